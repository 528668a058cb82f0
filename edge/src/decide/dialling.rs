//! From the targets of a connection or flow to the one that serves it, as one state machine. Pure.
//!
//! The shell reports what happened ([`Heard`]) and carries out the answer ([`Do`]) in order; only the last step of an
//! answer may be followed by an event at once. Targets are known by their place in the order of the connection. The
//! addresses of a target that is a name race as in RFC 8305: the next one joins after a head start of 250 ms, or as soon
//! as one has failed. A flow opens one address after the other, since nothing answers to its connect.
//!
//! Keeps: every address is tried at most once and in order, by two sockets at most; a dialling is over within 10 s; each
//! failure is counted once; health hears of a target once, and of no fault of this host; a withdrawn target is passed
//! over without a word; the socket that loses is closed; a target that has sent something serves, and a client that has
//! gets its target, whatever became of their sockets since.

mod attempts;
mod steps;

use std::net::SocketAddr;
use std::time::Duration;

use super::faults::ConnectCause;
use super::ticks::{Tick, ticks};
use attempts::{Attempt, Several};
pub use steps::{DialFailure, DialTerms, Do, Heard, Lane, Steps};

/// A whole dialling, names included (CONTRACT §2, `connect_timeout_ms`).
pub const DIALLING: Duration = Duration::from_secs(10);
/// How long an address is tried before the next one joins it: the "Connection Attempt Delay" of RFC 8305, 8.
pub const HEAD_START: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum Stage {
    /// The target has to be found.
    Approaching,
    /// Its name is looked up.
    Resolving {
        until: Tick,
    },
    /// Its only address is tried.
    Only {
        until: Tick,
    },
    /// One of several addresses is tried, and others follow.
    First(Box<Several>),
    /// Two are tried.
    Rival(Box<Several>),
    /// The last one is tried.
    Rest(Box<Several>),
    /// A target serves. A flow keeps what else there was.
    Serving(Option<Box<Several>>),
    /// A flow has lost its way, and goes on once it is wanted.
    Paused(Option<Box<Several>>),
    Over,
}

/// One dialling.
#[derive(Debug)]
pub struct Dialling {
    deadline: Tick,
    /// In ticks.
    each: u32,
    targets: u8,
    step: u8,
    is_flow: bool,
    /// An address of the target failed by a fault of this host: nobody knows about the target.
    is_spared: bool,
    /// How the last address failed that did so by itself.
    cause: Option<ConnectCause>,
    stage: Stage,
}

/// An attempt that failed, and why.
#[derive(Debug, Clone, Copy)]
struct LaneFailure {
    lane: Lane,
    cause: ConnectCause,
}

impl LaneFailure {
    const fn timeout(lane: Lane) -> Self {
        Self { lane, cause: ConnectCause::Timeout }
    }
}

impl Dialling {
    /// At the first target that is tried, whose address or name is to be reported next.
    pub fn new(terms: DialTerms, now: Tick) -> Self {
        Self {
            deadline: now + ticks(DIALLING),
            each: u32::try_from(ticks(terms.each)).unwrap_or(u32::MAX),
            targets: terms.targets as u8,
            step: terms.first,
            is_flow: terms.is_flow,
            is_spared: false,
            cause: None,
            stage: Stage::Approaching,
        }
    }

    /// The place of the target in the order.
    pub const fn step(&self) -> u8 {
        self.step
    }

    /// True once it waits for nothing any more.
    pub const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Serving(_) | Stage::Paused(_) | Stage::Over)
    }

    /// When to report that time has passed, at the latest.
    pub fn due(&self) -> Option<Tick> {
        let next = match &self.stage {
            Stage::Approaching => Tick::MAX,
            Stage::Resolving { until } | Stage::Only { until } => *until,
            Stage::First(several) => several.next().min(several.joins),
            Stage::Rival(several) | Stage::Rest(several) => several.next(),
            Stage::Serving(_) | Stage::Paused(_) | Stage::Over => return None,
        };
        Some(next.min(self.deadline))
    }

    /// Takes what happened, and says what to do.
    pub fn hear(&mut self, heard: Heard, now: Tick) -> Steps {
        let mut steps = Steps::default();
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.stage = match (stage, heard) {
            (Stage::Approaching | Stage::Resolving { .. }, Heard::Address(address)) => {
                self.only(address, now, &mut steps)
            }
            (Stage::Approaching, Heard::Name) => self.resolve(now, &mut steps),
            (Stage::Resolving { .. }, Heard::Addresses(addresses)) => self.several(addresses, now, &mut steps),
            (Stage::Resolving { .. }, Heard::Unresolved { is_verdict }) => {
                self.is_spared |= !is_verdict;
                self.unresolved(now, &mut steps)
            }
            (stage, Heard::Gone) => self.gone(stage, now, &mut steps),
            (stage, Heard::Opened(lane) | Heard::Broken { lane, has_sent: true, .. }) => {
                self.opened(stage, lane, &mut steps)
            }
            (stage, Heard::Failed(lane, cause) | Heard::Broken { lane, cause, .. }) => {
                self.failed(stage, LaneFailure { lane, cause }, now, &mut steps)
            }
            (stage, Heard::ClientGone { has_sent: false }) => Self::abandoned(stage, &mut steps),
            (Stage::Paused(several), Heard::Wanted) => self.wanted(several, now, &mut steps),
            (stage, Heard::Wanting(lane)) => self.rests(stage, lane),
            (stage, Heard::Begun(lane)) => self.begins(stage, lane, now),
            (stage, Heard::Tick) => self.tick(stage, now, &mut steps),
            // Late answers, for what is over by now.
            (stage, _) => stage,
        };
        steps
    }

    fn limit(&self, now: Tick) -> Tick {
        now + Tick::from(self.each)
    }

    fn only(&self, address: SocketAddr, now: Tick, steps: &mut Steps) -> Stage {
        steps.push(Do::Connect(Lane::First, address));
        Stage::Only { until: self.limit(now) }
    }

    fn resolve(&self, now: Tick, steps: &mut Steps) -> Stage {
        steps.push(Do::LookUp);
        // Where other targets are left, one whose name does not resolve may not take all of the time.
        let has_more = self.step + 1 < self.targets;
        Stage::Resolving { until: if has_more { self.limit(now) } else { Tick::MAX } }
    }

    fn several(&self, mut addresses: Vec<SocketAddr>, now: Tick, steps: &mut Steps) -> Stage {
        addresses.reverse();
        let several = Box::new(Several { attempts: [None; 2], left: addresses, joins: Tick::MAX });
        self.try_next(several, Lane::First, now, steps)
    }

    /// Tries the next address by a socket that is free.
    fn try_next(&self, mut several: Box<Several>, lane: Lane, now: Tick, steps: &mut Steps) -> Stage {
        if let Some(address) = several.left.pop() {
            several.attempts[lane as usize] = Some(Attempt { address, began: now, until: self.limit(now) });
            several.joins = if self.is_flow { Tick::MAX } else { now + ticks(HEAD_START) };
            steps.push(Do::Connect(lane, address));
        }
        several.stage()
    }

    fn unresolved(&mut self, now: Tick, steps: &mut Steps) -> Stage {
        steps.push(Do::Count(DialFailure::Name));
        self.end_target(DialFailure::Name, now, steps)
    }

    fn opened(&mut self, stage: Stage, lane: Lane, steps: &mut Steps) -> Stage {
        let several = match stage {
            Stage::Only { .. } if lane == Lane::First => None,
            Stage::First(several) | Stage::Rival(several) | Stage::Rest(several) if several.is_tried(lane) => {
                Some(several)
            }
            stage => return stage,
        };
        if let Some(several) = &several
            && let Some(winner) = several.of(lane)
        {
            if let Some(loser) = several.of(lane.other()) {
                steps.push(Do::Close(lane.other()));
                // One that was overtaken in spite of its head start would delay the next connection as much.
                if loser.began < winner.began {
                    steps.push(Do::Defer(loser.address));
                }
            }
            if !self.is_flow {
                steps.push(Do::Trust(winner.address));
            }
        }
        steps.push(Do::Serve(lane));
        Stage::Serving(several.filter(|_| self.is_flow))
    }

    fn failed(&mut self, stage: Stage, failure: LaneFailure, now: Tick, steps: &mut Steps) -> Stage {
        let LaneFailure { lane, cause } = failure;
        let (mut several, is_serving) = match stage {
            Stage::Approaching => (None, false),
            Stage::Only { .. } if lane == Lane::First => (None, false),
            Stage::First(several) | Stage::Rival(several) | Stage::Rest(several) if several.is_tried(lane) => {
                (Some(several), false)
            }
            Stage::Serving(several) if self.is_flow => (several, true),
            stage => return stage,
        };
        steps.push(Do::Close(lane));
        steps.push(Do::Count(DialFailure::Connect(cause)));
        if cause.is_targets() {
            self.cause = Some(cause);
        } else if cause != ConnectCause::Route {
            // Many hosts have no route to IPv6 addresses: those that a name has besides spare it no verdict.
            self.is_spared = true;
        }
        let attempt = several.as_mut().and_then(|several| several.attempts[lane as usize].take());
        if let Some(attempt) = attempt.filter(|_| cause.is_targets()) {
            steps.push(Do::Defer(attempt.address));
        }
        match several {
            Some(several) if is_serving && !several.left.is_empty() => Stage::Paused(Some(several)),
            Some(several) if !several.left.is_empty() => self.try_next(several, lane, now, steps),
            Some(several) if several.is_tried(lane.other()) => several.stage(),
            _ if is_serving && self.step + 1 < self.targets => {
                self.tell(DialFailure::Connect(cause), steps);
                Stage::Paused(None)
            }
            _ => self.end_target(DialFailure::Connect(cause), now, steps),
        }
    }

    fn gone(&mut self, stage: Stage, now: Tick, steps: &mut Steps) -> Stage {
        match &stage {
            Stage::Serving(_) if self.is_flow => {
                steps.push(Do::Close(Lane::First));
                return Stage::Paused(None);
            }
            Stage::Paused(_) => return Stage::Paused(None),
            Stage::Serving(_) | Stage::Over => return stage,
            tried => tried.close(steps),
        }
        self.next_target(now, steps)
    }

    fn abandoned(stage: Stage, steps: &mut Steps) -> Stage {
        if matches!(stage, Stage::Serving(_) | Stage::Paused(_) | Stage::Over) {
            return stage;
        }
        stage.close(steps);
        steps.push(Do::Abandon);
        Stage::Over
    }

    /// Goes on where a flow left off.
    fn wanted(&mut self, several: Option<Box<Several>>, now: Tick, steps: &mut Steps) -> Stage {
        self.deadline = now + ticks(DIALLING);
        match several {
            Some(several) => self.try_next(several, Lane::First, now, steps),
            None => self.next_target(now, steps),
        }
    }

    fn tick(&mut self, stage: Stage, now: Tick, steps: &mut Steps) -> Stage {
        if self.deadline <= now {
            return self.out_of_time(stage, now, steps);
        }
        match stage {
            Stage::Resolving { until } if until <= now => {
                // A name that takes its time says something about name servers.
                self.is_spared = true;
                self.unresolved(now, steps)
            }
            Stage::Only { until } if until <= now => {
                self.failed(Stage::Only { until }, LaneFailure::timeout(Lane::First), now, steps)
            }
            Stage::First(several) | Stage::Rival(several) | Stage::Rest(several) => {
                let overdue = Lane::BOTH.into_iter().find(|lane| several.of(*lane).is_some_and(|one| one.until <= now));
                let free = Lane::BOTH.into_iter().find(|lane| !several.is_tried(*lane));
                match (overdue, free) {
                    (Some(lane), _) => self.failed(several.stage(), LaneFailure::timeout(lane), now, steps),
                    (None, Some(free)) if several.joins <= now => self.try_next(several, free, now, steps),
                    _ => several.stage(),
                }
            }
            stage => stage,
        }
    }

    fn out_of_time(&mut self, stage: Stage, now: Tick, steps: &mut Steps) -> Stage {
        let tried = match &stage {
            Stage::Only { until } => [Some((*until, None)), None],
            Stage::First(several) | Stage::Rival(several) | Stage::Rest(several) => {
                several.attempts.map(|attempt| attempt.map(|attempt| (attempt.until, Some(attempt.address))))
            }
            Stage::Approaching | Stage::Resolving { .. } => [None; 2],
            Stage::Serving(_) | Stage::Paused(_) | Stage::Over => return stage,
        };
        for (lane, (_, address)) in Lane::BOTH.into_iter().zip(tried).filter_map(|(lane, tried)| Some((lane, tried?))) {
            steps.push(Do::Close(lane));
            steps.push(Do::Count(DialFailure::Connect(ConnectCause::Timeout)));
            if let Some(address) = address {
                steps.push(Do::Defer(address));
            }
        }
        let mut untils = tried.into_iter().flatten().map(|(until, _)| until).peekable();
        if untils.peek().is_none() {
            // A name that takes its time says something about name servers.
            steps.push(Do::Count(DialFailure::Name));
        } else if self.step == 0 || untils.any(|until| until <= now) {
            // One that came late in the order and was cut short has not failed.
            self.cause = Some(ConnectCause::Timeout);
            self.tell(DialFailure::Connect(ConnectCause::Timeout), steps);
        }
        steps.push(Do::GiveUp);
        Stage::Over
    }

    fn tell(&self, failure: DialFailure, steps: &mut Steps) {
        let failure = self.cause.map_or(failure, DialFailure::Connect);
        let is_targets = !matches!(failure, DialFailure::Connect(cause) if !cause.is_targets());
        if is_targets && !self.is_spared {
            steps.push(Do::Tell(failure));
        }
    }

    /// The target has failed.
    fn end_target(&mut self, failure: DialFailure, now: Tick, steps: &mut Steps) -> Stage {
        self.tell(failure, steps);
        self.next_target(now, steps)
    }

    fn next_target(&mut self, now: Tick, steps: &mut Steps) -> Stage {
        (self.is_spared, self.cause) = (false, None);
        if self.step + 1 >= self.targets || self.deadline <= now {
            steps.push(Do::GiveUp);
            return Stage::Over;
        }
        self.step += 1;
        steps.push(Do::Approach(self.step));
        Stage::Approaching
    }
}

impl Stage {
    /// Closes the sockets that are being connected.
    fn close(&self, steps: &mut Steps) {
        let tried = match self {
            Self::Only { .. } => [true, false],
            Self::First(several) | Self::Rival(several) | Self::Rest(several) => {
                Lane::BOTH.map(|lane| several.is_tried(lane))
            }
            Self::Approaching | Self::Resolving { .. } | Self::Serving(_) | Self::Paused(_) | Self::Over => [false; 2],
        };
        for (lane, _) in Lane::BOTH.into_iter().zip(tried).filter(|(_, is_tried)| *is_tried) {
            steps.push(Do::Close(lane));
        }
    }
}

#[cfg(test)]
mod tests;
