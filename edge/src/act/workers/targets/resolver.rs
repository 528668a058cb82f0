//! Questions of workers about targets' names, and the way of the answers back to them. I/O, on tokio.
//!
//! Keeps: one question per name at the resolver, however many connections wait for it; no worker ever waits for a name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::mailbox::WorkerCommand;
use super::super::shared::Shared;
use super::question::{Asker, NameQuestion, Resolved};
use crate::act::names::{NameError, Names};

/// Questions that may wait for the task that takes them; it does nothing that lasts. Further ones fail.
pub(crate) const QUESTIONS: usize = 4096;

type ResolvedName = (Arc<str>, Result<Arc<[IpAddr]>, NameError>);

struct Desk {
    names: Names,
    /// Connections by the name that they wait for: no more than there are connections.
    waiting: HashMap<Arc<str>, Vec<Asker>>,
    /// One for each name that is waited for.
    lookups: JoinSet<ResolvedName>,
}

/// Answers until nobody can ask any more.
pub(crate) async fn answer(mut questions: mpsc::Receiver<NameQuestion>, shared: Arc<Shared>) {
    let mut desk = Desk::new(shared.names.clone());
    loop {
        tokio::select! {
            question = questions.recv() => match question {
                Some(NameQuestion { name, asker }) => desk.ask(name, asker),
                None => return,
            },
            Some(answer) = desk.lookups.join_next() => match answer {
                Ok(answer) => {
                    for (worker, resolved) in desk.settle(answer) {
                        // A worker that has ended has no connections that wait.
                        shared.workers[worker].send(WorkerCommand::Resolved(resolved)).await;
                    }
                }
                Err(error) => tracing::error!(%error, "a lookup failed because of a bug"),
            },
        }
    }
}

impl Desk {
    fn new(names: Names) -> Self {
        Self { names, waiting: HashMap::new(), lookups: JoinSet::new() }
    }

    fn ask(&mut self, name: Arc<str>, asker: Asker) {
        let askers = self.waiting.entry(name.clone()).or_default();
        askers.push(asker);
        if askers.len() == 1 {
            let names = self.names.clone();
            self.lookups.spawn(async move {
                let addresses = names.resolve(name.clone()).await;
                (name, addresses)
            });
        }
    }

    fn settle(&mut self, (name, found): ResolvedName) -> Vec<(usize, Resolved)> {
        let askers = self.waiting.remove(&name).unwrap_or_default();
        askers
            .into_iter()
            .map(|Asker { worker, key, kind, step }| (worker, Resolved { key, kind, step, found: found.clone() }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::slab::Slab;
    use super::super::question::SlabKind;
    use super::*;
    use crate::act::names::ResolverFiles;

    #[tokio::test]
    async fn all_who_wait_for_one_name_get_the_answer_of_one_question() {
        let source = ResolverFiles { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into(), port: 53 };
        let (mut desk, mut slab) = (Desk::new(Names::start(source)), Slab::default());
        for worker in 0..3 {
            let asker = Asker { worker, key: slab.insert_with(|_| ()), kind: SlabKind::Connection, step: 0 };
            desk.ask("localhost".into(), asker);
        }
        assert_eq!(desk.lookups.len(), 1);
        let answer = desk.lookups.join_next().await.unwrap().unwrap();
        let resolved = desk.settle(answer);
        assert_eq!(resolved.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1, 2]);
        for (_, one) in resolved {
            assert!(one.found.unwrap().iter().all(IpAddr::is_loopback));
        }
        assert!(desk.waiting.is_empty());
    }
}
