//! Who may connect to a rule: networks that may and networks that may not. Pure.
//!
//! Keeps: an IPv4-mapped address is IPv4; `deny` wins; the same networks in another order are the same value.

use std::net::IpAddr;

use crate::codes::TreeCode;
use crate::policy::Networks;
use crate::rule::{RuleProblem, words};

/// Most networks of one list that a rule itself holds.
pub const MAX_NETWORKS: usize = 10_000;

/// Whether a limit refuses, or only counts what it would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Enforcement {
    /// It refuses.
    #[default]
    Enforce,
    /// It counts.
    Observe,
}
words!(Enforcement { Enforce = "enforce", Observe = "observe" });

/// What happens to live connections that a changed list refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LiveConnections {
    /// They go on.
    #[default]
    Keep,
    /// They drain.
    Drain,
}
words!(LiveConnections { Keep = "keep", Drain = "drain" });

/// `[rule.access]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Who may connect; empty: everyone.
    pub allow: Networks,
    /// Who may not.
    pub deny: Networks,
    /// Whether the lists refuse.
    pub mode: Enforcement,
    /// What happens to live connections that a changed list refuses.
    pub live: LiveConnections,
}

impl Access {
    /// True if nobody is refused, whatever the mode is.
    pub fn is_empty(&self) -> bool {
        self.allow.as_slice().is_empty() && self.deny.as_slice().is_empty()
    }

    /// True if the lists admit the address, whatever the mode is.
    pub fn admits(&self, source: IpAddr) -> bool {
        !self.deny.contain(source) && (self.allow.as_slice().is_empty() || self.allow.contain(source))
    }

    /// What is wrong with it, by keys inside of a rule.
    pub(crate) fn problems(&self, problems: &mut Vec<RuleProblem>) {
        for (key, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            let count = list.as_slice().len();
            if count > MAX_NETWORKS {
                let message = format!("{count} networks; at most {MAX_NETWORKS} are allowed");
                problems.push(RuleProblem { code: TreeCode::OutOfRange, key: format!("access.{key}"), message });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_and_mapped_addresses_are_ipv4() {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<Networks>();
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let access =
            Access { allow: list(&["10.0.0.0/8", "2001:db8::/32"]), deny: list(&["10.9.0.0/16"]), ..Access::default() };
        let cases = [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.9.2.3", false),
            ("::ffff:10.9.2.3", false),
            ("192.0.2.1", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
        ];
        for (source, admitted) in cases {
            assert_eq!(access.admits(ip(source)), admitted, "{source}");
        }
        let only_deny = Access { allow: Networks::default(), ..access };
        assert!(only_deny.admits(ip("192.0.2.1")) && !only_deny.admits(ip("10.9.0.1")));
    }
}
