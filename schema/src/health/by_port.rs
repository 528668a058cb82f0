//! How connections of a rule are dialled, port by port: one selection for almost all of them, and one for each set of
//! targets that fail at some port alone. Pure, and without allocation where it is asked.
//!
//! Keeps: a target that fails at one port is judged at the others as if it did not.

use super::pool::{RuleHealth, Standing};
use super::rendezvous::TargetSeed;
use super::select::Selection;
use super::state::TargetState;
use crate::rule::{Balance, LastResort, MAX_TARGETS};

/// A set of targets, by their places in the rule.
pub type TargetSet = u8;
const _: () = assert!(MAX_TARGETS <= TargetSet::BITS as usize);

/// The selections of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selections {
    rest: Selection,
    /// By offset in the range: the targets that fail there and nowhere else.
    ports: Box<[(u16, TargetSet)]>,
    /// One for each set among them.
    sets: Box<[(TargetSet, Selection)]>,
}

impl Selections {
    /// For targets in file order; `ports` are the offsets at which some of them fail, in order.
    pub fn new(
        targets: &[(Standing, TargetSeed)],
        balance: Balance,
        last_resort: LastResort,
        ports: Vec<(u16, TargetSet)>,
    ) -> Self {
        let mut sets: Vec<TargetSet> = ports.iter().map(|(_, failing)| *failing).collect();
        sets.sort_unstable();
        sets.dedup();
        let of_set = |failing: TargetSet| {
            let failed: Vec<_> = targets.iter().enumerate().map(|(place, one)| failed(*one, place, failing)).collect();
            (failing, Selection::new(&failed, balance, last_resort))
        };
        Self {
            rest: Selection::new(targets, balance, last_resort),
            ports: ports.into(),
            sets: sets.into_iter().map(of_set).collect(),
        }
    }

    /// The selection of every port that no target fails at alone.
    pub fn rest(&self) -> &Selection {
        &self.rest
    }

    /// The selection of the port at this offset of the range.
    pub fn at(&self, offset: u16) -> &Selection {
        if self.ports.is_empty() {
            return &self.rest;
        }
        let failing = self.failing_at(offset);
        self.sets.iter().find(|(set, _)| *set == failing).map_or(&self.rest, |(_, selection)| selection)
    }

    /// The targets that fail at this offset and not as a whole.
    pub fn failing_at(&self, offset: u16) -> TargetSet {
        let found = self.ports.binary_search_by_key(&offset, |(offset, _)| *offset);
        found.map_or(0, |index| self.ports[index].1)
    }

    /// The offsets at which some target fails, each with those that do.
    pub fn ports(&self) -> &[(u16, TargetSet)] {
        &self.ports
    }

    /// How a rule of so many ports is: as well as its best port.
    pub fn health(&self, width: u32) -> RuleHealth {
        let is_rest_left = (self.ports.len() as u64) < u64::from(width);
        let rest = is_rest_left.then_some(&self.rest);
        let all = || rest.into_iter().chain(self.sets.iter().map(|(_, selection)| selection));
        let has = |health| all().any(|selection| selection.pools().health() == health);
        let found = [RuleHealth::Up, RuleHealth::Unknown].into_iter().find(|health| has(*health));
        found.unwrap_or(RuleHealth::Down)
    }
}

fn failed((standing, seed): (Standing, TargetSeed), place: usize, failing: TargetSet) -> (Standing, TargetSeed) {
    let fails = failing & (1 << place) != 0 && standing.state.is_in_use();
    (Standing { state: if fails { TargetState::Down } else { standing.state }, ..standing }, seed)
}
