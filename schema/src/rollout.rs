//! `[rollout]` of portunus.toml: which edges change together, in which order, and what stops it. Pure.
//!
//! Keeps: an edge is in one wave, the first that has its labels.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{EdgeName, Labels};

/// Edges that change one after the other before the next wave begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Its edges have all of these.
    pub edge_labels: Labels,
    /// Edges that change at the same time.
    pub max_parallel: NonZeroU32,
    /// Failed edges that it bears.
    pub max_failed: u32,
    /// How long it is watched before the next one.
    pub soak: Duration,
}

impl Wave {
    /// True if an edge with these labels belongs to it, unless an earlier wave has it.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.edge_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The waves in order. None: all edges change at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rollout {
    /// In order.
    pub waves: Vec<Wave>,
}

impl Rollout {
    /// The wave of an edge; `None` where there are no waves, or none has it.
    pub fn wave_of(&self, edge: &EdgeName, inventory: &BTreeMap<EdgeName, Labels>) -> Option<usize> {
        let none = Labels::new();
        let labels = inventory.get(edge).unwrap_or(&none);
        self.waves.iter().position(|wave| wave.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_edge_is_in_the_first_wave_that_has_its_labels() {
        let wave = |pairs: &[(&str, &str)]| Wave {
            edge_labels: labels(pairs),
            max_parallel: NonZeroU32::MIN,
            max_failed: 0,
            soak: Duration::ZERO,
        };
        let rollout = Rollout { waves: vec![wave(&[("stage", "canary")]), wave(&[("region", "fra")])] };
        let name = |text: &str| EdgeName::new(text).expect("a name");
        let inventory = BTreeMap::from([
            (name("a"), labels(&[("stage", "canary"), ("region", "fra")])),
            (name("b"), labels(&[("region", "fra")])),
            (name("c"), Labels::new()),
        ]);
        let waves: Vec<_> = ["a", "b", "c", "d"].iter().map(|edge| rollout.wave_of(&name(edge), &inventory)).collect();
        assert_eq!(waves, [Some(0), Some(1), None, None]);
    }
}
