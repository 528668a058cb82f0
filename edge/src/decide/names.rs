//! When a target's name is looked up, how long its answer is used, and when it is forgotten. Pure: time is an argument,
//! counted from the start of the resolver.
//!
//! Keeps: one lookup per name at a time and a bounded number of them; an answer that is in use is fetched again before
//! it expires; one that the name servers take back is used for a while longer, and one that they cannot be asked for is
//! used until they can; a name that nobody uses is forgotten.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::faults::ConnectCause;

/// How long things may last and how many there may be. The defaults are the product's; tests shrink them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The shortest life of an answer: a TTL of 0 would mean a lookup per connection.
    pub ttl_min: Duration,
    /// The longest life of an answer: a target that moves is followed within it, whatever its zone says.
    pub ttl_max: Duration,
    /// How much longer the last good answer is used after the name servers say that there is none.
    pub stale: Duration,
    /// How long an answer that nobody uses is remembered, for the case that the name servers do not answer when somebody does.
    pub keep: Duration,
    /// The pause after the first failure of a name; doubles with each further one up to `ttl_min`.
    pub retry: Duration,
    /// Lookups at once. Each is two queries with a socket each; a server that does not answer keeps them for seconds.
    pub lookups: usize,
    /// Names that are known or looked up: more than the targets of any edge, at a few hundred bytes each.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ttl_min: Duration::from_secs(5),
            ttl_max: Duration::from_mins(5),
            stale: Duration::from_secs(30),
            keep: Duration::from_hours(24),
            retry: Duration::from_secs(1),
            lookups: 64,
            names: 16_384,
        }
    }
}

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It does not exist, or has no address.
    #[error("the name has no address")]
    NotFound,
    /// No server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// A server answered with an error, or cannot be reached.
    #[error("the name servers failed: {0}")]
    Failed(Arc<str>),
    /// The host names no server that could be asked.
    #[error("the host has no name server")]
    NoServer,
    /// This host lacks or forbids what a lookup takes.
    #[error("the name cannot be looked up: {}", .0.of_host())]
    Host(ConnectCause),
    /// Too many names are looked up already.
    #[error("too many names are in use")]
    TooMany,
    /// The edge ends.
    #[error("the resolver has stopped")]
    Stopped,
}

impl NameError {
    /// True where the name itself is at fault. Name servers that do not answer say nothing about a target, and the last known
    /// address is as good as ever.
    pub const fn is_verdict(&self) -> bool {
        matches!(self, Self::NotFound)
    }
}

/// A good answer of the name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// At least one address, in the order of the answer.
    pub addresses: Arc<[IpAddr]>,
    /// As the zone says.
    pub ttl: Duration,
}

/// What somebody who asks gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameState {
    /// The addresses.
    Known(Arc<[IpAddr]>),
    /// No answer before the next lookup.
    Failed(NameError),
    /// A lookup is on its way.
    Wait,
}

/// What time made of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameChange {
    /// Its answer may not be used any more.
    Expired,
    /// Nothing is known about it any more.
    Forgotten,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LookupStage {
    Idle,
    Queued,
    Running,
}

#[derive(Debug)]
struct FreshAnswer {
    addresses: Arc<[IpAddr]>,
    until: Duration,
}

#[derive(Debug)]
struct Name {
    answer: Option<FreshAnswer>,
    /// Whether the answer is used without a lookup.
    is_served: bool,
    stage: LookupStage,
    /// Lookups that failed in a row, the last one how, and until when no other one is made.
    failures: u32,
    failure: Option<(NameError, Duration)>,
    /// Asked for since it was last looked at, apart from the uses that need no question.
    is_asked: bool,
    /// When to look at it again.
    due: Option<Duration>,
}

/// All names that are in use.
#[derive(Debug)]
pub struct Cache {
    limits: Limits,
    names: HashMap<Arc<str>, Name>,
    /// Names by their `due`.
    due: BTreeSet<(Duration, Arc<str>)>,
    queue: VecDeque<Arc<str>>,
    running: usize,
    /// Forgotten to make room, and not told yet.
    evicted: Vec<Arc<str>>,
}

impl Cache {
    /// Knows no name.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            due: BTreeSet::new(),
            queue: VecDeque::new(),
            running: 0,
            evicted: Vec::new(),
        }
    }

    /// Somebody needs the addresses of a name.
    pub fn ask(&mut self, name: &Arc<str>, now: Duration) -> NameState {
        if !self.names.contains_key(name) && self.names.len() >= self.limits.names && !self.make_room() {
            return NameState::Failed(NameError::TooMany);
        }
        let known = self.names.entry(name.clone()).or_insert_with(Name::unknown);
        known.is_asked = true;
        if let (true, Some(answer)) = (known.is_served, &known.answer) {
            return NameState::Known(answer.addresses.clone());
        }
        match &known.failure {
            Some((failure, until)) if known.stage == LookupStage::Idle && now < *until => {
                NameState::Failed(failure.clone())
            }
            _ => {
                known.enqueue(name, &mut self.queue);
                NameState::Wait
            }
        }
    }

    /// Forgets a name that nobody uses; false if all are in use.
    fn make_room(&mut self) -> bool {
        let is_spare = |known: &Name| known.stage == LookupStage::Idle && !known.is_served && !known.is_asked;
        let Some(name) = self.names.iter().find(|(_, known)| is_spare(known)).map(|(name, _)| name.clone()) else {
            return false;
        };
        if let Some(due) = self.names.remove(&name).and_then(|known| known.due) {
            self.due.remove(&(due, name.clone()));
        }
        self.evicted.push(name);
        true
    }

    /// Names that were forgotten to make room since the last call.
    pub fn take_evicted(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.evicted)
    }

    /// The next name to look up, while there is a place for it. The shell answers each by [`Cache::settle`].
    pub fn begin(&mut self) -> Option<Arc<str>> {
        if self.running >= self.limits.lookups {
            return None;
        }
        let name = self.queue.pop_front()?;
        self.names.get_mut(&name)?.stage = LookupStage::Running;
        self.running += 1;
        Some(name)
    }

    /// Takes the end of a lookup. Returns what all who wait get, which is also what is to be served from now on.
    pub fn settle(
        &mut self,
        name: &Arc<str>,
        found: Result<Found, NameError>,
        now: Duration,
    ) -> Result<Arc<[IpAddr]>, NameError> {
        self.running -= 1;
        let Some(known) = self.names.get_mut(name) else { return found.map(|found| found.addresses) };
        known.stage = LookupStage::Idle;
        // Whoever asked so far is answered now.
        known.is_asked = false;
        let (result, due) = match found {
            Ok(Found { addresses, ttl }) => {
                let ttl = ttl.clamp(self.limits.ttl_min, self.limits.ttl_max);
                (known.failures, known.failure) = (0, None);
                known.answer = Some(FreshAnswer { addresses: addresses.clone(), until: now + ttl });
                // Four fifths of its life: what is left covers a query that is lost and sent again.
                (Ok(addresses), now + ttl * 4 / 5)
            }
            Err(failure) => {
                known.failures += 1;
                // Four doublings are more than any cap allows; further ones would only overflow.
                let pause = self.limits.retry * (1 << (known.failures - 1).min(4));
                let retry = now + pause.min(self.limits.ttl_min);
                let is_away = !failure.is_verdict();
                known.failure = Some((failure.clone(), retry));
                match known.answer.take_if(|answer| !is_away && now >= answer.until + self.limits.stale) {
                    Some(_) => (Err(failure), now + self.limits.stale),
                    None => match &known.answer {
                        Some(answer) if is_away => (Ok(answer.addresses.clone()), retry),
                        Some(answer) => (Ok(answer.addresses.clone()), retry.min(answer.until + self.limits.stale)),
                        None => (Err(failure), now + self.limits.stale),
                    },
                }
            }
        };
        known.is_served = result.is_ok();
        known.schedule(name, Some(due), &mut self.due);
        result
    }

    /// True from the first lookup of a name that failed to the next one that did not.
    pub fn is_failing(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|known| known.failure.is_some())
    }

    /// When to call [`Cache::advance`] next.
    pub fn next(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Lets time pass. `take_use` says whether a name's served answer was used since it was last asked that.
    pub fn advance(&mut self, now: Duration, mut take_use: impl FnMut(&str) -> bool) -> Vec<(Arc<str>, NameChange)> {
        let mut turns = Vec::new();
        while let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, name)) = self.due.pop_first()
        {
            let Some(known) = self.names.get_mut(&name) else { continue };
            known.due = None;
            let is_used = take_use(&name) | std::mem::take(&mut known.is_asked);
            let (turn, due) = known.turn(now, is_used, &self.limits);
            if turn == Some(NameChange::Forgotten) {
                self.names.remove(&name);
            } else {
                match due {
                    NextLookup::At(due) => known.schedule(&name, Some(due), &mut self.due),
                    NextLookup::Lookup(due) => {
                        known.enqueue(&name, &mut self.queue);
                        known.schedule(&name, Some(due), &mut self.due);
                    }
                    NextLookup::Settled => {}
                }
            }
            turns.extend(turn.map(|turn| (name, turn)));
        }
        turns
    }

    /// How many names are known.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True if no name is known.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// What comes next for a name.
enum NextLookup {
    /// Nothing before then.
    At(Duration),
    /// A lookup; its answer ends then at the latest.
    Lookup(Duration),
    /// Whatever the lookup that is under way brings.
    Settled,
}

impl Name {
    const fn unknown() -> Self {
        Self {
            answer: None,
            is_served: false,
            stage: LookupStage::Idle,
            failures: 0,
            failure: None,
            is_asked: false,
            due: None,
        }
    }

    fn enqueue(&mut self, name: &Arc<str>, queue: &mut VecDeque<Arc<str>>) {
        if self.stage == LookupStage::Idle {
            self.stage = LookupStage::Queued;
            queue.push_back(name.clone());
        }
    }

    fn schedule(&mut self, name: &Arc<str>, due: Option<Duration>, all: &mut BTreeSet<(Duration, Arc<str>)>) {
        if let Some(old) = self.due.take() {
            all.remove(&(old, name.clone()));
        }
        if let Some(due) = due {
            all.insert((due, name.clone()));
        }
        self.due = due;
    }

    /// Its `due` has come.
    fn turn(&mut self, now: Duration, is_used: bool, limits: &Limits) -> (Option<NameChange>, NextLookup) {
        let stale = limits.stale;
        let is_idle = self.stage == LookupStage::Idle;
        let Some(until) = self.answer.as_ref().map(|answer| answer.until) else {
            return match (is_idle, is_used) {
                (false, _) => (None, NextLookup::Settled),
                (true, true) => (None, NextLookup::At(now + stale)),
                (true, false) => (Some(NameChange::Forgotten), NextLookup::Settled),
            };
        };
        let is_away = self.failure.as_ref().is_some_and(|(failure, _)| !failure.is_verdict());
        if is_away && self.is_served && now >= until {
            // Served until somebody can be asked again, and asked for as long as it is used.
            let next = now + limits.ttl_min;
            return (None, if is_idle && is_used { NextLookup::Lookup(next) } else { NextLookup::At(next) });
        }
        if now >= until + stale && is_idle && !is_used && now < until + limits.keep {
            let was_served = std::mem::take(&mut self.is_served);
            return (was_served.then_some(NameChange::Expired), NextLookup::At(until + limits.keep));
        }
        if now >= until + stale {
            self.answer = None;
            let was_served = std::mem::take(&mut self.is_served);
            return match (is_idle, is_used) {
                (true, false) => (Some(NameChange::Forgotten), NextLookup::Settled),
                (true, true) => (was_served.then_some(NameChange::Expired), NextLookup::At(now + stale)),
                (false, _) => (was_served.then_some(NameChange::Expired), NextLookup::Settled),
            };
        }
        if is_idle && is_used {
            // Served on until the lookup ends: nobody waits for a name that is in use.
            return (None, NextLookup::Lookup(until + stale));
        }
        if now < until {
            return (None, NextLookup::At(until));
        }
        let was_served = is_idle && std::mem::take(&mut self.is_served);
        (was_served.then_some(NameChange::Expired), NextLookup::At(until + stale))
    }
}

#[cfg(test)]
mod tests;
