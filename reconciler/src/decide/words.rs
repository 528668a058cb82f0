//! The closed sets of words that edges use: causes, kinds and codes. Pure.
//!
//! A new word of an edge gets its place here; the metrics have a row for each from the start.
//!
//! Keeps: a word of a newer edge, or of one that makes words up, counts as `other`, so that no peer decides how many
//! series, rows and strings this server holds.

use std::collections::BTreeMap;

use schema::codes::RuleCode;
use schema::counters::SniMiss;
use schema::health::{Layer, ResultCode};
use schema::proto::CauseCount;

/// Stands for every word outside of a set.
pub const OTHER: &str = "other";

/// Why a probe asked no target: the name, or what the edge's host lacks or forbids.
pub const UNASKED: &[&str] = &["dns", "descriptors", "source_ports", "memory", "firewall", OTHER];
/// Probes by result, or by why no target was asked.
pub fn probes(counts: &[CauseCount]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::<_, u64>::new();
    for CauseCount { cause, count } in counts {
        let sum = sums.entry(probe(cause)).or_default();
        *sum = sum.saturating_add(*count);
    }
    sums
}

/// Connections to ports with server names that no rule was for, by cause.
pub fn sni_missed(counts: &[CauseCount]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::<_, u64>::new();
    for CauseCount { cause, count } in counts {
        let known = SniMiss::ALL.iter().map(|why| why.as_str()).find(|word| *word == cause);
        let sum = sums.entry(known.unwrap_or(OTHER)).or_default();
        *sum = sum.saturating_add(*count);
    }
    sums
}

fn probe(cause: &str) -> &'static str {
    let codes = ResultCode::ALL.iter().map(|code| code.as_str());
    codes.chain(UNASKED.iter().copied()).find(|word| *word == cause).unwrap_or(OTHER)
}

/// The code of a rule or of a refusal; none stays none.
pub fn code(text: &str) -> String {
    match RuleCode::parse(text) {
        Some(code) => code.as_str().to_owned(),
        None if text.is_empty() => String::new(),
        None => OTHER.to_owned(),
    }
}

/// The code of a result, of which an operator's change has none.
pub fn result(text: &str) -> String {
    let codes = ResultCode::ALL.iter().map(|code| code.as_str());
    // What moved a target without a result.
    let causes = ["start", "disabled", "enabled", "paused", "resumed", "removed", ""];
    codes.chain(causes).find(|word| *word == text).unwrap_or(OTHER).to_owned()
}

/// The layer of a result.
pub fn layer(text: &str) -> String {
    let layers = [Layer::L4, Layer::L6, Layer::L7].map(Layer::as_str);
    layers.into_iter().find(|layer| *layer == text).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_edges_use_is_known() {
        for known in RuleCode::ALL {
            assert_eq!(code(known.as_str()), known.as_str());
        }
        for known in ResultCode::ALL {
            assert_eq!((result(known.as_str()).as_str(), probe(known.as_str())), (known.as_str(), known.as_str()));
        }
        assert_eq!(
            (code(""), code("made_up"), result(""), probe("x")),
            (String::new(), OTHER.to_owned(), String::new(), OTHER)
        );
    }
}
