//! Looks at the live connections of all workers. Questions to workers.
//!
//! Keeps: a worker looks at one slice between two turns and no more, however many connections there are.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::live::{ConnectionQuery, QueryResult, SlabQuery};
use super::mailbox::WorkerCommand;
use super::shared::Shared;
use super::targets::question::SlabKind;

/// Asks all workers, slice by slice.
pub(super) async fn ask(shared: &Shared, wanted: ConnectionQuery) -> QueryResult {
    let (id, limit) = (wanted.id, wanted.limit);
    let look = Arc::new(SlabQuery::new(wanted, shared.run));
    let mut found = QueryResult::default();
    for (index, worker) in shared.workers.iter().enumerate() {
        for kind in [SlabKind::Connection, SlabKind::Flow] {
            let mut next = Some(0);
            if let Some(id) = id {
                let is_there = id.run == shared.run && usize::from(id.worker) == index;
                next = Some(id.slot).filter(|_| is_there && id.is_flow == matches!(kind, SlabKind::Flow));
            }
            while let Some(from) = next {
                let (reply, answer) = oneshot::channel();
                worker.send(WorkerCommand::Survey(look.clone(), kind, from, reply)).await;
                // A worker that is gone has no connections.
                let (more, later) = answer.await.unwrap_or_default().into_parts();
                found.add(more, limit);
                next = later.filter(|_| id.is_none());
            }
        }
    }
    found.finish(limit);
    found
}
