//! From targets' names to their addresses, by the host's resolver, for all workers. I/O, on tokio.
//!
//! Keeps: one lookup per name at a time; names that do not answer take no thread from the rest of the edge; no worker
//! ever waits for a name.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use super::queue::Command;
use super::shared::Shared;
use super::slab::Key;

/// Lookups at once. The host's resolver blocks a thread for each, up to half a minute where no server answers; tokio
/// has 512 of them, and binding and storing need some.
const LOOKUPS: usize = 64;
/// Questions that may wait for the task that takes them; it does nothing that lasts. Further ones fail.
pub(super) const QUESTIONS: usize = 4096;

/// A connection that needs the addresses of a name.
pub(super) struct Question {
    pub(super) name: Arc<str>,
    pub(super) asker: Asker,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) worker: usize,
    pub(super) key: Key,
}

/// The answer for one connection: no addresses where the name does not resolve.
pub(super) struct Resolved {
    pub(super) key: Key,
    pub(super) addresses: Arc<[IpAddr]>,
}

type Answer = (Arc<str>, io::Result<Vec<IpAddr>>);

#[derive(Default)]
struct Resolver {
    /// Connections by the name that they wait for: no more than there are connections.
    waiting: HashMap<Arc<str>, Vec<Asker>>,
    /// Names for which there was no place.
    queued: VecDeque<Arc<str>>,
    lookups: JoinSet<Answer>,
}

/// Answers until nobody can ask any more.
pub(super) async fn answer(mut questions: mpsc::Receiver<Question>, shared: Arc<Shared>) {
    let mut resolver = Resolver::default();
    loop {
        tokio::select! {
            question = questions.recv() => match question {
                Some(Question { name, asker }) => resolver.ask(name, asker),
                None => return,
            },
            Some(answer) = resolver.lookups.join_next() => match answer {
                Ok(answer) => {
                    for (worker, resolved) in resolver.settle(answer) {
                        // A worker that has ended has no connections that wait.
                        shared.workers[worker].send(Command::Resolved(resolved)).await;
                    }
                }
                Err(error) => tracing::error!(%error, "a lookup failed by a bug"),
            },
        }
    }
}

impl Resolver {
    fn ask(&mut self, name: Arc<str>, asker: Asker) {
        let askers = self.waiting.entry(name.clone()).or_default();
        askers.push(asker);
        if askers.len() == 1 {
            self.queued.push_back(name);
            self.look_up();
        }
    }

    fn look_up(&mut self) {
        while self.lookups.len() < LOOKUPS
            && let Some(name) = self.queued.pop_front()
        {
            self.lookups.spawn(async move {
                let asked = name.clone();
                let addresses = spawn_blocking(move || -> io::Result<Vec<IpAddr>> {
                    Ok((&*asked, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
                });
                let addresses = addresses.await.unwrap_or_else(|error| Err(io::Error::other(error)));
                (name, addresses)
            });
        }
    }

    fn settle(&mut self, (name, addresses): Answer) -> Vec<(usize, Resolved)> {
        let addresses = addresses.unwrap_or_else(|error| {
            tracing::debug!(%name, %error, "a name does not resolve");
            Vec::new()
        });
        let addresses: Arc<[IpAddr]> = addresses.into();
        let askers = self.waiting.remove(&name).unwrap_or_default();
        self.look_up();
        askers
            .into_iter()
            .map(|Asker { worker, key }| (worker, Resolved { key, addresses: addresses.clone() }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::slab::Slab;
    use super::*;

    #[tokio::test]
    async fn all_who_wait_for_one_name_get_the_answer_of_one_lookup() {
        let (mut resolver, mut slab) = (Resolver::default(), Slab::default());
        for worker in 0..3 {
            let asker = Asker { worker, key: slab.insert_with(|_| ()) };
            resolver.ask("localhost".into(), asker);
        }
        assert_eq!(resolver.lookups.len(), 1);
        let answer = resolver.lookups.join_next().await.unwrap().unwrap();
        let resolved = resolver.settle(answer);
        assert_eq!(resolved.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(resolved.iter().all(|(_, one)| !one.addresses.is_empty()));
        assert!(resolved[0].1.addresses.iter().all(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn a_name_without_a_place_is_looked_up_when_there_is_one() {
        let (mut resolver, mut slab) = (Resolver::default(), Slab::default());
        let mut names = Vec::new();
        for number in 1..=LOOKUPS + 1 {
            // Answered without a server.
            let name: Arc<str> = format!("127.0.0.{number}").into();
            names.push(name.clone());
            resolver.ask(name, Asker { worker: number, key: slab.insert_with(|_| ()) });
        }
        assert_eq!((resolver.lookups.len(), resolver.queued.len()), (LOOKUPS, 1));
        let answer = resolver.lookups.join_next().await.unwrap().unwrap();
        assert_eq!(resolver.settle(answer).len(), 1);
        assert_eq!((resolver.lookups.len(), resolver.queued.len()), (LOOKUPS, 0));
    }
}
