//! The task that owns what is known about names: questions in, lookups out, answers served. I/O.
//!
//! Keeps: it waits for no name server itself; everybody who waits for a name gets the answer of one lookup.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::lookup::Lookup;
use super::system::ResolverFiles;
use super::{LookupAnswer, LookupRequest, ServedNames};
use crate::decide::names::{Cache, Found, Limits, NameChange, NameError, NameState};

struct Resolver {
    /// Times of the cache count from here.
    start: Instant,
    cache: Cache,
    served: Arc<ServedNames>,
    /// Whoever waits, by name. Each of them is a task that awaits its answer, so they are as many as their owners
    /// allow.
    waiting: HashMap<Arc<str>, Vec<oneshot::Sender<LookupAnswer>>>,
    lookup: Lookup,
    lookups: JoinSet<Result<Found, NameError>>,
    /// Names by the task that looks them up.
    running: HashMap<Id, Arc<str>>,
}

/// Answers until nobody can ask any more.
pub(super) async fn run(
    mut questions: mpsc::Receiver<LookupRequest>,
    served: Arc<ServedNames>,
    source: ResolverFiles,
    limits: Limits,
) {
    let mut resolver = Resolver {
        start: Instant::now(),
        cache: Cache::new(limits),
        served,
        waiting: HashMap::new(),
        lookup: Lookup::new(source, limits.lookups),
        lookups: JoinSet::new(),
        running: HashMap::new(),
    };
    loop {
        let due = resolver.cache.next().map(|due| resolver.start + due);
        tokio::select! {
            question = questions.recv() => match question {
                Some(question) => resolver.ask(question),
                None => return,
            },
            Some(ended) = resolver.lookups.join_next_with_id() => resolver.settle(ended),
            () = until(due) => resolver.advance(),
        }
        while let Some(name) = resolver.cache.begin() {
            let lookup = resolver.lookup.clone();
            let task = resolver.lookups.spawn({
                let name = name.clone();
                async move { lookup.addresses(&name).await }
            });
            resolver.running.insert(task.id(), name);
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Resolver {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn ask(&mut self, LookupRequest { name, asker }: LookupRequest) {
        match self.cache.ask(&name, self.now()) {
            NameState::Known(addresses) => answer(asker, Ok(addresses)),
            NameState::Failed(error) => answer(asker, Err(error)),
            NameState::Wait => self.waiting.entry(name).or_default().push(asker),
        }
        for name in self.cache.take_evicted() {
            self.served.forget(&name);
        }
    }

    fn settle(&mut self, ended: Result<(Id, Result<Found, NameError>), JoinError>) {
        let (id, found) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a lookup ended because of a bug");
            (error.id(), Err(NameError::Failed("a bug".into())))
        });
        let Some(name) = self.running.remove(&id) else { return };
        let failure = found.as_ref().err().cloned();
        let was_failing = self.cache.is_failing(&name);
        let result = self.cache.settle(&name, found, self.now());
        match failure {
            Some(error) if !was_failing => {
                tracing::warn!(%name, %error, is_kept = result.is_ok(), "a target's name does not resolve");
            }
            None if was_failing => tracing::info!(%name, "a target's name resolves again"),
            _ => {}
        }
        self.served.serve(&name, result.as_ref().ok().cloned());
        for asker in self.waiting.remove(&name).unwrap_or_default() {
            answer(asker, result.clone());
        }
    }

    fn advance(&mut self) {
        let now = self.now();
        for (name, turn) in self.cache.advance(now, |name| self.served.take_use(name)) {
            match turn {
                NameChange::Expired => self.served.serve(&name, None),
                NameChange::Forgotten => self.served.forget(&name),
            }
        }
    }
}

fn answer(asker: oneshot::Sender<LookupAnswer>, answer: LookupAnswer) {
    // Who has stopped waiting needs none.
    _ = asker.send(answer);
}
