//! When rules and their ports were used last, over restarts. Pure.
//!
//! Keeps: a use is never forgotten while its rule is on the edge; a rule that is renamed keeps its uses; one that comes
//! again after it was removed begins anew.

use std::collections::BTreeMap;

use schema::proto;

/// The uses of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleUses {
    /// Since when the edge has the rule, in milliseconds since 1970.
    pub since_ms: u64,
    /// When its last connection came; 0: none came.
    pub last_ms: u64,
    /// When each port was used last; ports without any use are left out.
    pub ports: BTreeMap<u16, u64>,
}

/// The uses of all rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UseBook(BTreeMap<String, RuleUses>);

impl UseBook {
    /// Notes that the edge has a rule, when its last connection came, and when its ports were used.
    pub fn note(&mut self, rule: &str, now_ms: u64, last_ms: u64, ports: impl IntoIterator<Item = (u16, u64)>) {
        let ports: Vec<(u16, u64)> = ports.into_iter().filter(|(_, at_ms)| *at_ms > 0).collect();
        // What was used before it was first looked at is at least as old as that use.
        let first_ms = ports.iter().map(|(_, at_ms)| *at_ms).chain([now_ms]).min().unwrap_or(now_ms);
        let begun = || RuleUses { since_ms: first_ms, ..RuleUses::default() };
        let uses = match self.0.get_mut(rule) {
            Some(uses) => uses,
            None => self.0.entry(rule.to_owned()).or_insert_with(begun),
        };
        uses.last_ms = uses.last_ms.max(last_ms);
        for (port, at_ms) in ports {
            let known = uses.ports.entry(port).or_default();
            *known = (*known).max(at_ms);
        }
    }

    /// Gives the uses of a rule its new name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(uses) = self.0.remove(from) {
            self.0.insert(to.to_owned(), uses);
        }
    }

    /// Forgets rules that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|rule, _| is_there(rule));
    }

    /// The uses of a rule.
    pub fn get(&self, rule: &str) -> Option<&RuleUses> {
        self.0.get(rule)
    }

    /// As a message, which a file holds.
    pub fn to_wire(&self) -> proto::UsageReport {
        let rules = self.0.iter().map(|(rule, uses)| uses.to_wire(rule, true)).collect();
        proto::UsageReport { request_id: 0, rules }
    }

    /// What a message holds.
    pub fn from_wire(message: proto::UsageReport) -> Self {
        let port = |port: proto::PortUsage| Some((u16::try_from(port.port).ok()?, port.last_ms));
        let uses = |rule: proto::RuleUsage| {
            let ports = rule.ports.into_iter().filter_map(port).collect();
            (rule.rule, RuleUses { since_ms: rule.since_ms, last_ms: rule.last_ms, ports })
        };
        Self(message.rules.into_iter().map(uses).collect())
    }
}

impl RuleUses {
    /// As a message.
    pub fn to_wire(&self, rule: &str, per_port: bool) -> proto::RuleUsage {
        let port = |(port, last_ms): (&u16, &u64)| proto::PortUsage { port: (*port).into(), last_ms: *last_ms };
        let ports = if per_port { self.ports.iter().map(port).collect() } else { Vec::new() };
        let (since_ms, last_ms) = (self.since_ms, self.last_ms);
        proto::RuleUsage { rule: rule.to_owned(), since_ms, last_ms, ports, sources: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_kept_over_a_restart_and_a_later_reading_never_makes_them_older() {
        let mut book = UseBook::default();
        book.note("web", 100, 150, [(443, 150), (444, 0)]);
        let mut restarted = UseBook::from_wire(book.to_wire());
        assert_eq!(restarted, book);
        restarted.note("web", 900, 0, []);
        let uses = restarted.get("web").expect("it is known");
        assert_eq!((uses.since_ms, uses.last_ms, uses.ports.clone()), (100, 150, BTreeMap::from([(443, 150)])));
        restarted.note("web", 950, 940, [(444, 940)]);
        assert_eq!(restarted.get("web").map(|uses| (uses.last_ms, uses.ports.len())), Some((940, 2)));
    }

    #[test]
    fn a_renamed_rule_keeps_its_uses_and_one_that_comes_again_begins_anew() {
        let mut book = UseBook::default();
        book.note("web", 100, 150, []);
        book.rename("web", "www");
        assert_eq!(book.get("www").map(|uses| uses.since_ms), Some(100));
        book.retain(|rule| rule != "www");
        book.note("www", 500, 0, []);
        assert_eq!(book.get("www"), Some(&RuleUses { since_ms: 500, ..RuleUses::default() }));
    }
}
