//! What a plan would hit: how old the live connections of its changes are, and how fast new ones come. I/O.
//!
//! Keeps: a plan is made from what is known; asking edges only adds figures to it, never changes what it does, and
//! never holds it up for longer than [`PATIENCE`].

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::State;
use crate::decide::plan::{Action, Impact, PlanDocument, PlannedChange};

/// How long a plan waits for the figures of all edges: an edge answers in milliseconds, and a person waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes whose edges are asked, those with the most connections first: an edge looks at all of its connections for
/// each, and nobody reads more.
const ASKED: usize = 256;
/// Questions under way at once.
const AT_ONCE: usize = 32;

/// Adds what the edges say.
pub(super) async fn measure(state: &State, plan: &mut PlanDocument) {
    let until = Instant::now() + PATIENCE;
    let mut questions = asked(plan).into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(index) = questions.next()
        {
            let change = &plan.changes[index];
            let rule = change.previous_rule.clone().unwrap_or_else(|| change.rule.clone());
            let (fleet, edge) = (state.context.fleet.clone(), change.edge.clone());
            under_way.spawn(async move { (index, fleet.load(edge, &rule).await) });
        }
        match timeout_at(until, under_way.join_next()).await {
            Ok(Some(Ok((index, Ok(Ok(stats)))))) => {
                let impact = &mut plan.changes[index].impact;
                *impact = Impact {
                    oldest_secs: stats.ages.map(|ages| ages.oldest_secs),
                    median_secs: stats.ages.map(|ages| ages.median_secs),
                    connections_per_sec: Some(stats.rates.connections_per_sec),
                    ..*impact
                };
            }
            // An edge that cannot answer leaves the change without its figures.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// The changes to ask about: what serves already, on edges that can answer.
fn asked(plan: &PlanDocument) -> Vec<usize> {
    let is_connected = |change: &PlannedChange| plan.base.edges.get(&change.edge).is_some_and(|edge| edge.connected);
    let serves = |change: &PlannedChange| change.action != Action::Activate && is_connected(change);
    let mut asked: Vec<usize> = (0..plan.changes.len()).filter(|index| serves(&plan.changes[*index])).collect();
    asked.sort_by_key(|index| std::cmp::Reverse(plan.changes[*index].impact.connections));
    asked.truncate(ASKED);
    asked
}
