//! All probes of an edge: which targets each is for, when it is due, and those under way. I/O through its tasks.
//!
//! Keeps: one probe per place and check, however many rules share it; a probe that nobody needs is forgotten.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use schema::health::{ResultCode, TargetKey};
use schema::net::ListenRange;
use schema::proto;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::probe::connects::{Connect, Connected, Connects};
use super::probe::served_listeners::ServedListeners;
use super::probe::{self, Missed, ProbeContext, ProbeSpec, Probed};
use crate::decide::faults::{Complaints, ConnectCause};
use crate::decide::probe_schedule::{self, ProbeId, Schedule, Started};

/// A target of a rule, by the number of the rule's group.
pub(super) type Subscriber = (u64, TargetKey);

struct Probe {
    question: Arc<ProbeSpec>,
    subscribers: Vec<Subscriber>,
    /// What the verdicts said last about the next turn, before chance.
    wished: Option<Duration>,
    /// The same with chance.
    due: Option<Duration>,
}

/// Probes so far, by result.
#[derive(Default)]
pub(crate) struct ProbeTally {
    codes: [AtomicU64; ResultCode::ALL.len()],
    /// Those that this host let down, in the order of [`ConnectCause::ALL`].
    missed: [AtomicU64; ConnectCause::ALL.len()],
    unresolved: AtomicU64,
}

impl ProbeTally {
    fn add(&self, probed: &Probed) {
        let counter = match probed {
            // Both are in the order of the variants.
            Probed::Found(outcome) => &self.codes[outcome.code() as usize],
            Probed::Missed(Missed::Host { cause, .. }) => &self.missed[*cause as usize],
            Probed::Nameless(_) | Probed::Missed(Missed::Names(_)) => &self.unresolved,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Those that there were. A name that did not resolve is not a connect error: it is counted as `dns`.
    pub(crate) fn totals(&self) -> Vec<proto::CauseCount> {
        let codes = ResultCode::ALL.iter().map(|code| code.as_str()).zip(&self.codes);
        let missed = ConnectCause::ALL.iter().map(|cause| cause.as_str()).zip(&self.missed);
        let all = codes.chain(missed).chain([("dns", &self.unresolved)]);
        all.map(|(cause, count)| (cause, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| proto::CauseCount { cause: cause.to_owned(), count })
            .collect()
    }
}

/// A probe that has ended.
pub(super) struct Ended {
    pub(super) id: ProbeId,
    pub(super) started: Duration,
    pub(super) probed: Probed,
}

/// All of them.
pub(super) struct Probes {
    ids: HashMap<Arc<ProbeSpec>, ProbeId>,
    known: HashMap<ProbeId, Probe>,
    schedule: Schedule,
    /// Of checks that only connect to an address; none where the system had no descriptor for them.
    connects: Option<Connects>,
    /// Of all others.
    under_way: JoinSet<Ended>,
    /// Which probe a task is, and when it began.
    tasks: HashMap<Id, (ProbeId, Duration)>,
    handles: HashMap<ProbeId, AbortHandle>,
    complaints: Complaints,
    tools: Arc<ProbeContext>,
    tally: Arc<ProbeTally>,
    next_id: u64,
    /// State of the chance in intervals.
    chance: u32,
}

impl Probes {
    /// None yet. `seed` is the chance in intervals: edges that start together shall not probe in step.
    pub(super) fn new(seed: u32, tools: ProbeContext) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most_hanging = probe_schedule::most_hanging(descriptors);
        Self {
            ids: HashMap::new(),
            known: HashMap::new(),
            schedule: Schedule::new(most_hanging),
            connects: Connects::new().ok(),
            under_way: JoinSet::new(),
            tasks: HashMap::new(),
            handles: HashMap::new(),
            complaints: Complaints::default(),
            tools: Arc::new(tools),
            tally: Arc::default(),
            next_id: 0,
            chance: seed,
        }
    }

    /// The counters.
    pub(super) fn tally(&self) -> Arc<ProbeTally> {
        self.tally.clone()
    }

    /// From now on these are the listeners of this edge.
    pub(super) fn set_listeners(&self, ranges: impl Iterator<Item = ListenRange>) {
        self.tools.own.store(Arc::new(ServedListeners::new(ranges)));
    }

    /// Makes a target one of those that a question is asked for.
    pub(super) fn subscribe(&mut self, question: ProbeSpec, subscriber: Subscriber) -> ProbeId {
        let question = Arc::new(question);
        let next = ProbeId(self.next_id);
        let id = *self.ids.entry(question.clone()).or_insert(next);
        if id == next {
            self.next_id += 1;
            let probe = Probe { question, subscribers: Vec::new(), wished: None, due: None };
            self.known.insert(id, probe);
        }
        if let Some(probe) = self.known.get_mut(&id)
            && !probe.subscribers.contains(&subscriber)
        {
            probe.subscribers.push(subscriber);
        }
        id
    }

    /// Ends that; the probe goes with its last subscriber.
    pub(super) fn unsubscribe(&mut self, id: ProbeId, subscriber: &Subscriber) {
        let Some(probe) = self.known.get_mut(&id) else { return };
        probe.subscribers.retain(|other| other != subscriber);
        if probe.subscribers.is_empty() {
            let question = probe.question.clone();
            self.known.remove(&id);
            self.ids.remove(&question);
            self.schedule.remove(id);
        }
    }

    /// Those that a probe is for.
    pub(super) fn subscribers(&self, id: ProbeId) -> &[Subscriber] {
        self.known.get(&id).map_or(&[], |probe| &probe.subscribers)
    }

    /// Sets when a probe is due: `wished` by the verdicts, made earlier by chance once, and `fixed` exactly.
    pub(super) fn set(&mut self, id: ProbeId, wished: Option<Duration>, fixed: Option<Duration>, now: Duration) {
        let Some(probe) = self.known.get_mut(&id) else { return };
        if probe.wished != wished {
            probe.wished = wished;
            self.chance = self.chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let percent = probe.question.check.jitter_percent;
            probe.due = wished.map(|at| now + probe_schedule::jittered(at.saturating_sub(now), percent, self.chance));
        }
        match fixed {
            Some(fixed) if probe.due.is_none_or(|due| fixed <= due) => self.schedule.set_exact(id, fixed),
            _ => self.schedule.set(id, probe.due),
        }
    }

    /// Sets the first turn of a probe for targets that came together with others.
    pub(super) fn set_first(&mut self, id: ProbeId, wished: Option<Duration>, due: Duration) {
        let Some(probe) = self.known.get_mut(&id) else { return };
        probe.wished = wished;
        probe.due = wished.map(|_| due);
        self.schedule.set(id, probe.due);
    }

    /// Between probes of a settled target.
    pub(super) fn interval(&self, id: ProbeId) -> Option<Duration> {
        let secs = self.known.get(&id)?.question.check.interval_secs;
        Some(Duration::from_secs(secs.into()))
    }

    /// Makes a probe due before all others.
    pub(super) fn hurry(&mut self, id: ProbeId) {
        self.schedule.hurry(id);
    }

    /// True while something subscribes to it.
    pub(super) fn is_known(&self, id: ProbeId) -> bool {
        self.known.contains_key(&id)
    }

    /// Starts everything that is due; true if there was anything. Those that hung for longest and end for others are
    /// added to `ended`.
    pub(super) fn start_due(&mut self, now: Duration, ended: &mut Vec<Ended>) -> bool {
        let mut has_started = false;
        while let Some(Started { id, evicted }) = self.schedule.take(now) {
            ended.extend(evicted.and_then(|evicted| self.evict(evicted, now)));
            let Some(probe) = self.known.get(&id) else {
                self.schedule.ended(id, false);
                continue;
            };
            has_started = true;
            let question = probe.question.clone();
            let may_ask =
                |to: &SocketAddr| !question.comes_back(*to, &self.tools.own.load()) && !self.tools.policy.refuses(*to);
            let bare = question.bare_connect().filter(may_ask);
            if let (Some(connects), Some(address)) = (&mut self.connects, bare) {
                connects.begin(Connect { id, address, started: now, deadline: now + question.timeout() });
                continue;
            }
            let tools = self.tools.clone();
            let task = self.under_way.spawn(async move {
                let probed = probe::ask(&question, &tools).await;
                Ended { id, started: now, probed }
            });
            self.tasks.insert(task.id(), (id, now));
            self.handles.insert(id, task);
        }
        has_started
    }

    /// Ends a probe that hangs, so that another one can begin: the bound is this host's, and says nothing of the
    /// target.
    fn evict(&mut self, id: ProbeId, now: Duration) -> Option<Ended> {
        let started = self.schedule.started(id)?;
        match self.handles.remove(&id) {
            Some(task) => {
                task.abort();
                self.tasks.remove(&task.id());
            }
            None => self.connects.as_mut()?.cancel(id),
        }
        let detail = "too many probes hang at the same time for this limit of descriptors".to_owned();
        let ended =
            Ended { id, started, probed: Probed::Missed(Missed::Host { cause: ConnectCause::Descriptors, detail }) };
        self.note(&ended, now);
        Some(ended)
    }

    /// Those of the probes that only connect which have ended since the last look.
    pub(super) fn look(&mut self, now: Duration) -> Vec<Ended> {
        let is_batched = !self.batch().is_zero();
        let look = |connects: &mut Connects| {
            connects.keep_sockets(is_batched);
            connects.look(now)
        };
        let connected = self.connects.as_mut().map(look).unwrap_or_default();
        let ended = connected.into_iter().map(|Connected { id, started, probed }| {
            let ended = Ended { id, started, probed };
            self.note(&ended, now);
            ended
        });
        ended.collect()
    }

    /// True while answers are outstanding that only [`Self::look`] will find.
    pub(super) fn awaits_answers(&self) -> bool {
        self.connects.as_ref().is_some_and(Connects::is_waiting)
    }

    /// When to start some again, or to give some up; none while there is nothing to wait for.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        let silent = self.connects.as_ref().and_then(Connects::deadline);
        self.schedule.wakes_at().into_iter().chain(silent).min()
    }

    /// From one batch of probes to the next.
    pub(super) fn batch(&self) -> Duration {
        probe_schedule::batch(self.schedule.len())
    }

    /// Waits for the end of a probe that has a task of its own, or, if it `listens`, until there is an answer for
    /// [`Self::look`]: then it is none.
    pub(super) async fn ended(&mut self, listens: bool) -> Option<Ended> {
        let (connects, under_way) = (&mut self.connects, &mut self.under_way);
        loop {
            let answer = async {
                match connects {
                    Some(connects) if listens => connects.changed().await,
                    _ => std::future::pending().await,
                }
            };
            let (task, ended) = tokio::select! {
                Some(ended) = under_way.join_next_with_id() => match ended {
                    Ok((task, ended)) => (task, Ok(ended)),
                    Err(error) => (error.id(), Err(error)),
                },
                () = answer => return None,
            };
            // One that was ended for another has been noted.
            let Some((id, started)) = self.tasks.remove(&task) else { continue };
            self.handles.remove(&id);
            return Some(ended.unwrap_or_else(|error| {
                tracing::error!(%error, "a probe failed because of a bug");
                let detail = "the probe failed because of a bug in the edge".to_owned();
                Ended { id, started, probed: Probed::Missed(Missed::Host { cause: ConnectCause::Other, detail }) }
            }));
        }
    }

    /// Notes the end of a probe: those that [`Self::ended`] returns are noted by this alone.
    pub(super) fn note(&mut self, ended: &Ended, now: Duration) {
        self.tally.add(&ended.probed);
        match &ended.probed {
            Probed::Missed(Missed::Host { cause, detail }) => {
                if let Some(times) = self.complaints.note(*cause, now) {
                    let cause = cause.as_str();
                    tracing::warn!(cause, detail, times, "probes fail for reasons on this host");
                }
            }
            // The resolver logs when a name begins to fail.
            Probed::Missed(Missed::Names(detail)) => tracing::debug!(detail, "a target's name cannot be looked up"),
            Probed::Found(_) | Probed::Nameless(_) => {}
        }
        self.schedule.ended(ended.id, self.known.contains_key(&ended.id));
    }
}
