//! All probes of an edge: which targets each is for, when it is due, and those under way. I/O through its tasks.
//!
//! Keeps: one probe per place and check, however many rules share it; a probe that nobody needs is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use schema::health::{ResultCode, TargetKey};
use schema::proto;
use tokio::task::JoinSet;

use super::probe::connects::{Connect, Connected, Connects};
use super::probe::{self, Probed, Question, Tools};
use crate::act::names::Names;
use crate::decide::probing::{self, ProbeId, Schedule};

/// A target of a rule, by the number of the rule's group.
pub(super) type Subscriber = (u64, TargetKey);

struct Probe {
    question: Arc<Question>,
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
    unresolved: AtomicU64,
}

impl ProbeTally {
    fn add(&self, probed: &Probed) {
        let code = ResultCode::ALL.iter().position(|code| *code == probed.outcome.code());
        match code {
            Some(code) if !probed.is_unresolved => self.codes[code].fetch_add(1, Relaxed),
            _ => self.unresolved.fetch_add(1, Relaxed),
        };
    }

    /// Those that there were. A name that did not resolve is no connect error: it is counted as `dns`.
    pub(crate) fn totals(&self) -> Vec<proto::CauseCount> {
        let codes = ResultCode::ALL.iter().zip(&self.codes).map(|(code, count)| (code.as_str(), count));
        let all = codes.chain([("dns", &self.unresolved)]).map(|(cause, count)| (cause, count.load(Relaxed)));
        all.filter(|(_, count)| *count > 0)
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
    ids: HashMap<Arc<Question>, ProbeId>,
    known: HashMap<ProbeId, Probe>,
    schedule: Schedule,
    /// Of checks that only connect to an address; none where the system had no descriptor for them.
    connects: Option<Connects>,
    /// Of all others.
    under_way: JoinSet<Ended>,
    tools: Arc<Tools>,
    tally: Arc<ProbeTally>,
    next_id: u64,
    /// State of the chance in intervals.
    chance: u32,
}

impl Probes {
    /// None yet. `seed` is the chance in intervals: edges that start together shall not probe in step.
    pub(super) fn new(seed: u32, names: Names) -> Self {
        Self {
            ids: HashMap::new(),
            known: HashMap::new(),
            schedule: Schedule::default(),
            connects: Connects::new().ok(),
            under_way: JoinSet::new(),
            tools: Arc::new(Tools::new(names)),
            tally: Arc::default(),
            next_id: 0,
            chance: seed,
        }
    }

    /// The counters.
    pub(super) fn tally(&self) -> Arc<ProbeTally> {
        self.tally.clone()
    }

    /// Makes a target one of those that a question is asked for.
    pub(super) fn subscribe(&mut self, question: Question, subscriber: Subscriber) -> ProbeId {
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
            probe.due = wished.map(|at| now + probing::jittered(at.saturating_sub(now), percent, self.chance));
        }
        let due = match (probe.due, fixed) {
            (Some(due), Some(fixed)) => Some(due.min(fixed)),
            (due, fixed) => due.or(fixed),
        };
        self.schedule.set(id, due);
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

    /// Starts everything that is due, as far as there are places; true if there was anything.
    pub(super) fn start_due(&mut self, now: Duration) -> bool {
        let mut has_started = false;
        while let Some(id) = self.schedule.take(now) {
            let Some(probe) = self.known.get(&id) else {
                self.schedule.ended(id, false);
                continue;
            };
            has_started = true;
            let question = probe.question.clone();
            if let (Some(connects), Some(address)) = (&mut self.connects, question.bare_connect()) {
                connects.begin(Connect { id, address, started: now, deadline: now + question.timeout() });
                continue;
            }
            let tools = self.tools.clone();
            self.under_way.spawn(async move {
                let probed = probe::ask(&question, &tools).await;
                Ended { id, started: now, probed }
            });
        }
        has_started
    }

    /// Those of the probes that only connect which have ended since the last look.
    pub(super) fn look(&mut self, now: Duration) -> Vec<Ended> {
        let is_batched = !self.batch().is_zero();
        let look = |connects: &mut Connects| {
            connects.keep_sockets(is_batched);
            connects.look(now)
        };
        let connected = self.connects.as_mut().map(look).unwrap_or_default();
        let ended = connected.into_iter().map(|Connected { id, started, outcome }| {
            let ended = Ended { id, started, probed: Probed { outcome, is_unresolved: false } };
            self.note(&ended);
            ended
        });
        ended.collect()
    }

    /// True while answers are outstanding that only [`Self::look`] will find.
    pub(super) fn awaits_answers(&self) -> bool {
        self.connects.as_ref().is_some_and(Connects::is_waiting)
    }

    /// When to start some again, or to give some up; none while there is no place, or nothing to wait for.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        let silent = self.connects.as_ref().and_then(Connects::deadline);
        self.schedule.wakes_at().into_iter().chain(silent).min()
    }

    /// From one batch of probes to the next.
    pub(super) fn batch(&self) -> Duration {
        probing::batch(self.schedule.len())
    }

    /// Waits for the end of a probe that has a task of its own, or, if it `listens`, until there is an answer for
    /// [`Self::look`]: then it is none.
    pub(super) async fn ended(&mut self, listens: bool) -> Option<Ended> {
        let (connects, under_way) = (&mut self.connects, &mut self.under_way);
        let ended = loop {
            let answer = async {
                match connects {
                    Some(connects) if listens => connects.changed().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(ended) = under_way.join_next() => match ended {
                    Ok(ended) => break ended,
                    // Its place among those under way is lost; nothing else is.
                    Err(error) => tracing::error!(%error, "a probe failed by a bug"),
                },
                () = answer => return None,
            }
        };
        self.note(&ended);
        Some(ended)
    }

    fn note(&mut self, ended: &Ended) {
        self.tally.add(&ended.probed);
        self.schedule.ended(ended.id, self.known.contains_key(&ended.id));
    }
}
