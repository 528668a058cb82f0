//! The driver's way to the disk: records are made durable in their order, and what follows from them comes after. I/O.
//!
//! Keeps: an effect is carried out only once the records before it are durable; while the disk takes nothing, both
//! wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::causes::with_causes;
use tracing::{error, info};

use super::{Driver, Waiter};
use crate::act::revisions;
use crate::act::store::{Batch, StoreError};
use crate::decide::fleet::{Refusal, RequestRefusal};
use crate::decide::record::Record;

impl Driver {
    /// Carries out what waits, in its order, as far as the disk takes it; true if anything was written or done.
    pub(super) async fn catch_up(&mut self) -> bool {
        let mut has_begun = false;
        while self.carry_on().await {
            has_begun = true;
        }
        has_begun
    }

    /// Writes the records in front, or carries out the effect in front: what a server that dies has done or has not.
    /// True if that was done.
    pub(super) async fn carry_on(&mut self) -> bool {
        let records = self.backlog.records();
        if records.is_empty() {
            let Some(effect) = self.backlog.next() else { return false };
            self.carry_out(effect);
            return true;
        }
        let count = records.len();
        if let Err(error) = self.write(records).await {
            let reason = with_causes(&error);
            if self.disk_error.is_none() {
                error!(error = reason, "the state cannot be written; nothing new is sent until writing succeeds");
            }
            self.disk_error = Some(reason);
            return false;
        }
        self.backlog.written(count);
        if self.disk_error.take().is_some() {
            info!("the state can be written again");
        }
        true
    }

    /// Makes records durable, in one transaction.
    pub(super) async fn write(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        // Steps that wait side by side may name a key again: what was decided last is what holds.
        let last: BTreeMap<String, Record> = records.into_iter().map(|record| (record.key.clone(), record)).collect();
        let mut kept = self.kept.clone();
        let old: Vec<String> = last.keys().filter_map(|key| kept.wrote(key)).collect();
        let batch = old.into_iter().filter(|key| !last.contains_key(key)).fold(Batch::new(), revisions::without);
        let batch = last.into_values().fold(batch, revisions::with);
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || store.commit(&batch)).await {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        self.kept = kept;
        Ok(())
    }

    /// Tells who waits that nothing was done. An operator who went away needs no answer.
    pub(super) fn not_written(&mut self, ticket: u64) {
        let reason = self.disk_error.clone().unwrap_or_default();
        match self.waiting.remove(&ticket) {
            Some(Waiter::Apply(reply)) => drop(reply.send(Err(Refusal::StateNotWritable { reason }))),
            Some(Waiter::Request(reply)) => drop(reply.send(Err(RequestRefusal::StateNotWritable(reason)))),
            Some(Waiter::Control(reply)) => drop(reply.send(Err(Refusal::StateNotWritable { reason }))),
            None => {}
        }
    }
}
