//! Addresses that are being tried, and one that waits until this host has a descriptor for it. Pure.
//!
//! Keeps: the time that an address waits for this host is not taken from the time that it has to answer.

use std::net::SocketAddr;

use super::{Dialling, HEAD_START, Lane, Stage};
use crate::decide::ticks::{Tick, ticks};

#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) began: Tick,
    pub(super) until: Tick,
}

/// The addresses of a name that has several.
#[derive(Debug)]
pub(super) struct Several {
    pub(super) attempts: [Option<Attempt>; 2],
    /// Not tried yet, the next one last.
    pub(super) left: Vec<SocketAddr>,
    /// When the next one joins the one that is tried.
    pub(super) joins: Tick,
}

impl Dialling {
    /// True while what is tried may wait for something.
    pub const fn has_time(&self, now: Tick) -> bool {
        now < self.deadline
    }

    /// This host cannot try an address yet: nothing is due but the end of all.
    pub(super) fn rests(&self, stage: Stage, lane: Lane) -> Stage {
        timed(stage, lane, None, (self.deadline, Tick::MAX))
    }

    /// An address that waited is being tried from now on.
    pub(super) fn begins(&self, stage: Stage, lane: Lane, now: Tick) -> Stage {
        let joins = if self.is_flow { Tick::MAX } else { now + ticks(HEAD_START) };
        timed(stage, lane, Some(now), (self.limit(now), joins))
    }
}

/// The same attempt with other times.
fn timed(stage: Stage, lane: Lane, began: Option<Tick>, (until, joins): (Tick, Tick)) -> Stage {
    match stage {
        Stage::Only { .. } if lane == Lane::First => Stage::Only { until },
        Stage::First(mut several) | Stage::Rival(mut several) | Stage::Rest(mut several) if several.is_tried(lane) => {
            if let Some(attempt) = &mut several.attempts[lane as usize] {
                (attempt.began, attempt.until) = (began.unwrap_or(attempt.began), until);
            }
            several.joins = joins;
            several.stage()
        }
        stage => stage,
    }
}

impl Several {
    pub(super) fn of(&self, lane: Lane) -> Option<&Attempt> {
        self.attempts[lane as usize].as_ref()
    }

    pub(super) fn is_tried(&self, lane: Lane) -> bool {
        self.of(lane).is_some()
    }

    pub(super) fn next(&self) -> Tick {
        self.attempts.iter().flatten().map(|attempt| attempt.until).min().unwrap_or(Tick::MAX)
    }

    pub(super) fn stage(self: Box<Self>) -> Stage {
        match (self.attempts, self.left.is_empty()) {
            ([Some(_), Some(_)], _) => Stage::Rival(self),
            (_, true) => Stage::Rest(self),
            (_, false) => Stage::First(self),
        }
    }
}
