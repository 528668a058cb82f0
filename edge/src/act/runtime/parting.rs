//! What the runtime passes on to health, and does for it. I/O.
//!
//! Keeps: an override is in force before it is stored, and stored before it is answered for.

use schema::proto::TargetOverrides;
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::health::{Order, Parting};

impl Actor {
    /// Takes the whole list of what operators ordered.
    pub(super) async fn set_overrides(&mut self, mut overrides: TargetOverrides) {
        let now_ms = self.health.steady().now_ms();
        for order in overrides.overrides.iter_mut().filter(|order| order.rest_ms > 0) {
            order.until_ms = now_ms.saturating_add(std::mem::take(&mut order.rest_ms));
        }
        if self.overrides != overrides {
            self.overrides.clone_from(&overrides);
            self.tell_overrides(overrides).await;
            self.store().await;
        }
        self.publish();
    }

    /// Tells health about it.
    pub(super) async fn tell_overrides(&self, overrides: TargetOverrides) {
        if self.health.set_overrides(overrides).await.is_err() {
            tracing::error!("health has ended by a bug");
        }
    }

    /// Does with live connections what health asks for; those that come later are not meant.
    pub(super) async fn part(&mut self, order: Order) {
        let Some(served) = self.serving.get(&order.rule) else { return };
        let (meter, scope, now) = (served.meter.clone(), order.scope, Instant::now());
        match order.parting {
            Parting::Reset => self.dataplane.reset(&meter, &scope, meter.next_connection()).await,
            Parting::Failover => meter.failed_over(),
            Parting::Drain => self.drains.part(&served.rule, &meter, scope, now),
            Parting::Failing => self.failing.begin(&served.rule, &meter, scope, now),
            Parting::Recovered => self.failing.recovered(&meter, &scope),
        }
    }
}
