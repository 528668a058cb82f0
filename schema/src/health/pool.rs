//! Pools by priority: which one is active, who carries weight, and how the rule is. Pure.
//! Keeps: at most one pool carries weight, and it is the first that can.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::state::TargetState;
use crate::rule::MAX_TARGETS;

/// What pools know of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The number of its pool; lower is preferred.
    pub priority: u8,
    /// Its share inside the pool; 0 takes no new connections.
    pub weight: u8,
    /// Its state.
    pub state: TargetState,
    /// False: only connections tell about it, so nothing else would ever give it a verdict.
    pub is_checked: bool,
}

impl Standing {
    /// True if connections may be sent to it at all.
    pub fn takes_connections(&self) -> bool {
        self.state.is_in_use() && self.weight > 0
    }
}

/// How a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleHealth {
    /// Nothing is known about its targets yet.
    Unknown,
    /// Some target is up that takes connections.
    Up,
    /// None does.
    Down,
}

impl RuleHealth {
    /// As in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for RuleHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The pools of one rule, judged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pools {
    eligible: [bool; MAX_TARGETS],
    active: Option<u8>,
    health: RuleHealth,
}

impl Pools {
    /// Judges them. Targets beyond the eighth do not exist: a rule has eight at most.
    pub fn new(standings: &[Standing]) -> Self {
        let has_verdict = standings.iter().any(|standing| standing.state.has_verdict());
        let mut eligible = [false; MAX_TARGETS];
        for (place, standing) in eligible.iter_mut().zip(standings) {
            *place = is_eligible(*standing, has_verdict);
        }
        let mut pools = Self { eligible, active: None, health: RuleHealth::Down };
        pools.active = eligible_of(standings, &eligible).map(|standing| standing.priority).min();
        // By verdict alone: a target that nobody probes keeps its weight until connections have told about it.
        let is_up = eligible_of(standings, &eligible).any(|standing| standing.state == TargetState::Up);
        // Not known yet: a first verdict can still come. Beside failed targets only one that takes connections counts:
        // it serves them until then, as one does that was just taken back into use.
        let is_unknown = |standing: &&Standing| standing.state == TargetState::Unknown;
        let is_open = standings.iter().filter(is_unknown).any(|one| !has_verdict || one.takes_connections());
        pools.health = match (is_up, is_open) {
            (true, _) => RuleHealth::Up,
            (false, true) => RuleHealth::Unknown,
            (false, false) => RuleHealth::Down,
        };
        pools
    }

    /// The number of the pool that carries weight.
    pub fn active(&self) -> Option<u8> {
        self.active
    }

    /// How the rule is.
    pub fn health(&self) -> RuleHealth {
        self.health
    }

    /// True if the target at this place may carry weight when its pool is active.
    pub fn is_eligible(&self, index: usize) -> bool {
        self.eligible.get(index).copied().unwrap_or(false)
    }

    /// The weight that the target at this place carries now.
    pub fn effective_weight(&self, standings: &[Standing], index: usize) -> u8 {
        match standings.get(index) {
            Some(standing) if self.is_eligible(index) && Some(standing.priority) == self.active => standing.weight,
            _ => 0,
        }
    }
}

fn eligible_of<'a>(
    standings: &'a [Standing],
    eligible: &'a [bool; MAX_TARGETS],
) -> impl Iterator<Item = &'a Standing> + Clone {
    standings.iter().zip(eligible).filter_map(|(standing, is_eligible)| is_eligible.then_some(standing))
}

/// While the rule has no verdict at all, targets without one count: connections cannot wait for the first probes.
/// From the first verdict on they do not, so that a failure never moves connections to a pool that nobody has asked.
fn is_eligible(standing: Standing, has_verdict: bool) -> bool {
    standing.takes_connections()
        && match standing.state {
            TargetState::Up => true,
            TargetState::Unknown => !has_verdict || !standing.is_checked,
            _ => false,
        }
}
