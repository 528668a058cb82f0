//! Sockets that are bound for plans and serve nothing yet: what keeps a proven plan proven until its lease ends. I/O.
//!
//! Keeps: a socket is held for as long as a lease names it and no longer; leases are bounded in number and time, and
//! none outlives its session; what the edge itself needs to bind is never refused for the sake of a lease.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::net::Listener;
use socket2::Socket;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::holders::Holders;
use crate::act::sockets::{self, Reservation};
use crate::decide::desired::Desired;
use crate::decide::policy;
use crate::decide::transition::{self, Bind, RuleFailure, Wanted};

/// Plans that may hold sockets here at once; the next one is modelled. A person has one in hand, a pipeline a few.
const LEASES: usize = 8;
/// Longer ones are cut: they keep ports from others.
const LONGEST: Duration = Duration::from_mins(10);

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleProof {
    /// All that it needs is held, or is its own already.
    Proven,
    /// It could be bound as far as is known, but nothing holds it.
    Modelled(String),
    /// It cannot.
    Refused(RuleFailure),
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Names the lease; 0 where nothing is held.
    pub lease: u64,
    /// How long it lasts.
    pub lasts: Duration,
    /// Every rule that would serve in another version, or fails.
    pub rules: BTreeMap<RuleName, RuleProof>,
}

struct Lease {
    due: Instant,
    listeners: HashSet<Listener>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Reserved {
    sockets: HashMap<Listener, Socket>,
    leases: BTreeMap<u64, Lease>,
    last: u64,
}

impl Reserved {
    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.due).min()
    }

    /// Closes what no lease holds any more.
    pub(super) fn expire(&mut self, now: Instant) {
        self.leases.retain(|id, lease| {
            if lease.due <= now {
                tracing::info!(lease = id, listeners = lease.listeners.len(), "a lease of a plan has ended");
            }
            lease.due > now
        });
        let leases = &self.leases;
        self.sockets.retain(|listener, _| leases.values().any(|lease| lease.listeners.contains(listener)));
    }

    /// Closes all of them.
    pub(super) fn clear(&mut self) {
        self.leases.clear();
        self.sockets.clear();
    }

    /// Sockets that are held.
    pub(super) fn count(&self) -> u64 {
        self.sockets.len() as u64
    }

    /// What a switch needs of them, ready to be used; those that would be in its way are closed.
    pub(super) fn spend(&mut self, needed: &[Listener]) -> HashMap<Listener, Socket> {
        let mut spent = HashMap::new();
        for listener in needed {
            let Some(socket) = self.sockets.remove(listener) else { continue };
            match sockets::take_up(listener, &socket) {
                Ok(()) => _ = spent.insert(*listener, socket),
                Err(error) => tracing::warn!(%listener, %error, "a held socket cannot be used and is bound again"),
            }
        }
        self.sockets.retain(|held, _| !needed.iter().any(|listener| listener.conflicts_with(held)));
        spent
    }

    fn begin(&mut self, listeners: HashSet<Listener>, lasts: Duration) -> u64 {
        self.last += 1;
        self.leases.insert(self.last, Lease { due: Instant::now() + lasts, listeners });
        self.last
    }
}

/// What is to be bound for one rule, and what is known before anything is tried.
struct RuleReservation {
    name: RuleName,
    binds: Vec<Listener>,
    /// Held for another plan already, which share it.
    shared: Vec<Listener>,
    doubt: Option<String>,
}

impl Actor {
    /// Binds what a set would need, without listening, and holds it for a while. Nothing that serves is touched.
    pub(super) async fn reserve(&mut self, mut desired: Desired, lasts: Duration) -> Result<Proof, RuleFailure> {
        self.reserved.expire(Instant::now());
        let busy = |message: String| RuleFailure { code: RuleCode::FdBudgetExceeded, message, blocked_by: None };
        if self.is_stopping() {
            return Err(busy("the edge is stopping".to_owned()));
        }
        if self.reserved.leases.len() >= LEASES {
            return Err(busy(format!("the edge already holds sockets for {LEASES} other plans")));
        }
        let current = self.current();
        policy::judge(&mut desired, &current, &self.policy.load());
        let wanted: BTreeMap<RuleName, Wanted> = desired
            .rules
            .iter()
            .map(|(name, desired)| match &desired.rule {
                Some(rule) if desired.rejection.is_none() => (name.clone(), Wanted::Try(rule.clone())),
                rule => (name.clone(), Wanted::Hold(rule.clone())),
            })
            .collect();
        let plan = transition::transition(&current, &wanted);
        let attempts: Vec<RuleReservation> = plan.binds().map(|(name, binds)| self.attempt(name, binds)).collect();
        let room =
            self.limits.file_descriptors.saturating_sub(self.dataplane.listeners() as u64 + self.reserved.count());
        let tried = spawn_blocking(move || try_all(attempts, room)).await.expect("binding does not panic");

        let failures: BTreeMap<RuleName, RuleFailure> =
            tried.iter().filter_map(|(name, tried)| Some((name.clone(), tried.as_ref().err()?.clone()))).collect();
        let settled = transition::settle(&plan, &failures);
        let mut rules = BTreeMap::new();
        let mut listeners = HashSet::new();
        for (name, next) in &settled.serving {
            if current.get(name) != Some(&next.rule) {
                rules.insert(name.clone(), RuleProof::Proven);
            }
        }
        for (name, tried) in tried {
            let Ok(Tried { sockets, needed, doubt }) = tried else { continue };
            if settled.failed.contains_key(&name) {
                continue;
            }
            listeners.extend(needed);
            self.reserved.sockets.extend(sockets);
            rules.insert(name, doubt.map_or(RuleProof::Proven, RuleProof::Modelled));
        }
        rules.extend(settled.failed.into_iter().map(|(name, failure)| (name, RuleProof::Refused(failure))));
        for (name, desired) in desired.rules {
            if let Some(rejection) = desired.rejection {
                let failure = RuleFailure { code: rejection.code, message: rejection.message, blocked_by: None };
                rules.insert(name, RuleProof::Refused(failure));
            }
        }
        let lasts = lasts.min(LONGEST);
        let lease = if listeners.is_empty() { 0 } else { self.reserved.begin(listeners, lasts) };
        Ok(Proof { lease, lasts, rules })
    }

    fn attempt(&self, name: &RuleName, binds: &[Bind]) -> RuleReservation {
        let mut attempt = RuleReservation { name: name.clone(), binds: Vec::new(), shared: Vec::new(), doubt: None };
        for bind in binds {
            let (open, in_the_way) = self.dataplane.lingering(&bind.listener);
            let is_held = self.reserved.sockets.contains_key(&bind.listener);
            let is_held_otherwise = self.reserved.sockets.keys().any(|held| held.conflicts_with(&bind.listener));
            if !bind.replaces.is_empty() || !in_the_way.is_empty() {
                let port = bind.listener.port;
                attempt.doubt = Some(format!("port {port} changes its address, which cannot be reserved in advance"));
            } else if is_held {
                attempt.shared.push(bind.listener);
            } else if is_held_otherwise {
                let port = bind.listener.port;
                attempt.doubt = Some(format!("port {port} is held for another plan"));
            } else if open.is_none() {
                attempt.binds.push(bind.listener);
            }
        }
        attempt
    }
}

struct Tried {
    sockets: HashMap<Listener, Socket>,
    needed: Vec<Listener>,
    doubt: Option<String>,
}

fn try_all(attempts: Vec<RuleReservation>, mut room: u64) -> BTreeMap<RuleName, Result<Tried, RuleFailure>> {
    let mut holders = Holders::default();
    attempts
        .into_iter()
        .map(|attempt| {
            let tried = try_one(&attempt, room, &mut holders);
            room -= tried.as_ref().map_or(0, |tried| tried.sockets.len() as u64);
            (attempt.name, tried)
        })
        .collect()
}

/// All sockets of a rule or none.
fn try_one(attempt: &RuleReservation, room: u64, holders: &mut Holders) -> Result<Tried, RuleFailure> {
    if attempt.binds.len() as u64 > room {
        let message = format!(
            "{} more listeners are needed, but the edge has descriptors for \
            {room}",
            attempt.binds.len()
        );
        return Err(RuleFailure { code: RuleCode::FdBudgetExceeded, message, blocked_by: None });
    }
    let mut tried = Tried {
        sockets: HashMap::new(),
        needed: [&attempt.binds[..], &attempt.shared].concat(),
        doubt: attempt.doubt.clone(),
    };
    for listener in &attempt.binds {
        match sockets::reserve(listener).map_err(|error| error.told(holders))? {
            Reservation::Held(socket) => _ = tried.sockets.insert(*listener, socket),
            Reservation::Possible => {
                let words = format!(
                    "port {} is free, but closed connections prevent the edge from reserving \
                    it",
                    listener.port
                );
                tried.doubt.get_or_insert(words);
            }
        }
    }
    Ok(tried)
}
