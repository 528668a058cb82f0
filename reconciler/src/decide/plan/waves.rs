//! Which edges of a plan change in which wave. Pure.
//!
//! Keeps: the plan and the apply that follows it call the same [`grouped`], so that what is shown is what happens.

use std::num::NonZeroU32;

use schema::name::{EdgeName, Labels};
use schema::ruleset::RuleSet;
use serde::{Deserialize, Serialize};

/// One wave of a plan: edges that change before those of the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedWave {
    /// Its place in `[rollout]`, from 1; one more than there are for edges that the tree does not name any more.
    pub wave: u32,
    /// The labels that its edges have; empty for those of no wave, and for a wave that takes all that are left.
    pub edge_labels: Labels,
    /// Edges that change at the same time; `None`: all of them.
    pub max_parallel: Option<NonZeroU32>,
    /// Failed edges that it bears.
    pub max_failed: u32,
    /// How long it is watched before the next one begins, in seconds; 0 for the last one.
    pub soak_secs: u64,
    /// Those with changes, in the order in which they begin.
    pub edges: Vec<EdgeName>,
}

/// The waves that have edges among these, in order. A tree without waves has one.
pub(crate) fn grouped(ruleset: &RuleSet, touched: impl Iterator<Item = EdgeName>) -> Vec<PlannedWave> {
    let rollout = &ruleset.rollout;
    let mut waves: Vec<PlannedWave> = (1..)
        .zip(&rollout.waves)
        .map(|(number, wave)| PlannedWave {
            wave: number,
            edge_labels: wave.edge_labels.clone(),
            max_parallel: Some(wave.max_parallel),
            max_failed: wave.max_failed,
            soak_secs: wave.soak.as_secs(),
            edges: Vec::new(),
        })
        .collect();
    // An edge that no wave has runs what the tree does not name any more: it comes last. Without waves, all do.
    let last = waves.len();
    waves.push(PlannedWave {
        wave: last as u32 + 1,
        edge_labels: Labels::new(),
        max_parallel: None,
        max_failed: 0,
        soak_secs: 0,
        edges: Vec::new(),
    });
    for edge in touched {
        let wave = rollout.wave_of(&edge, &ruleset.inventory).unwrap_or(last);
        waves[wave].edges.push(edge);
    }
    waves.retain(|wave| !wave.edges.is_empty());
    if let Some(last) = waves.last_mut() {
        last.soak_secs = 0;
    }
    waves
}

/// The waves to show: none where the tree has none.
pub(crate) fn shown(ruleset: &RuleSet, touched: impl Iterator<Item = EdgeName>) -> Vec<PlannedWave> {
    if ruleset.rollout.waves.is_empty() { Vec::new() } else { grouped(ruleset, touched) }
}
