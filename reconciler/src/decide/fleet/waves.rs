//! The waves of an apply: which edges are in which, and where the rollout is. Pure.
//!
//! Keeps: an edge is in one wave, and waits for its turn until it is taken off the queue.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::EdgeName;
use schema::ruleset::RuleSet;

use super::Applied;
use super::before::Before;
use crate::decide::plan::{PlannedWave, grouped};

/// One wave with the edges of this apply that are in it.
#[derive(Debug, Clone)]
pub(super) struct WaveRun {
    /// As in the plan.
    pub(super) number: u32,
    pub(super) max_parallel: NonZeroU32,
    pub(super) max_failed: u32,
    pub(super) soak: Duration,
    pub(super) queued: VecDeque<EdgeName>,
    pub(super) begun: Vec<EdgeName>,
}

/// What a failure does to the edges that were changed.
#[derive(Debug, Clone)]
pub(super) enum OnFailure {
    /// They keep what they have.
    Stop,
    /// They go back to what they ran, and this is in force again; nothing before the first apply.
    BringBack(Option<Box<Applied>>),
}

/// The waves of one apply.
#[derive(Debug, Clone)]
pub(super) struct Waves {
    pub(super) ruleset: Arc<RuleSet>,
    pub(super) parts: Vec<WaveRun>,
    pub(super) current: usize,
    /// Until when the current one is watched.
    pub(super) soak_until: Option<Timestamp>,
    pub(super) before: BTreeMap<EdgeName, Before>,
    pub(super) on_failure: OnFailure,
    /// How long an edge may take.
    pub(super) timeout: Duration,
}

impl Waves {
    /// The waves of these edges; `None` where all of them change at once and a failure brings none of them back.
    pub(super) fn of(
        ruleset: &Arc<RuleSet>,
        touched: impl Iterator<Item = EdgeName>,
        on_failure: OnFailure,
        timeout: Duration,
    ) -> Option<Self> {
        if ruleset.rollout.waves.is_empty() && matches!(on_failure, OnFailure::Stop) {
            return None;
        }
        let part = |wave: PlannedWave| WaveRun {
            number: wave.wave,
            max_parallel: wave.max_parallel.unwrap_or(NonZeroU32::MAX),
            max_failed: wave.max_failed,
            soak: Duration::from_secs(wave.soak_secs),
            queued: wave.edges.into(),
            begun: Vec::new(),
        };
        let parts: Vec<WaveRun> = grouped(ruleset, touched).into_iter().map(part).collect();
        let (current, soak_until, before) = (0, None, BTreeMap::new());
        (!parts.is_empty()).then(|| Self {
            ruleset: ruleset.clone(),
            parts,
            current,
            soak_until,
            before,
            on_failure,
            timeout,
        })
    }

    /// The edges that wait for their turn.
    pub(super) fn held_back(&self) -> impl Iterator<Item = &EdgeName> {
        self.parts[self.current..].iter().flat_map(|part| &part.queued)
    }

    /// True while edges wait for their turn, or a wave is watched.
    pub(super) fn is_under_way(&self) -> bool {
        self.soak_until.is_some() || self.queued() > 0
    }

    /// How many edges wait for their turn.
    pub(super) fn queued(&self) -> usize {
        self.parts[self.current..].iter().map(|part| part.queued.len()).sum()
    }

    /// When to look again without an event.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.soak_until
    }
}
