//! Who may connect to a rule: networks that may and networks that may not. Pure.
//!
//! Keeps: an IPv4-mapped address is IPv4; `deny` wins; the same networks in another order are the same value.

use std::net::IpAddr;

use crate::codes::TreeCode;
use crate::networks::{ListFile, Lists, NetworkList};
use crate::policy::Network;
use crate::rule::{Rule, RuleProblem, words};

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
    /// Who may connect, beside those of `allow_file`; without either, everyone may.
    pub allow: NetworkList,
    /// Who may not.
    pub deny: NetworkList,
    /// A file with more of those who may.
    pub allow_file: Option<ListFile>,
    /// A file with more of those who may not.
    pub deny_file: Option<ListFile>,
    /// Whether the lists refuse.
    pub mode: Enforcement,
    /// What happens to live connections that a changed list refuses.
    pub live: LiveConnections,
}

impl Access {
    /// True if nobody is refused, whatever the mode is.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && !self.has_files()
    }

    /// True if the lists admit the address, whatever the mode is.
    pub fn admits(&self, source: IpAddr) -> bool {
        if is_in(source, &self.deny, self.deny_file.as_ref()) {
            return false;
        }
        self.admits_unlisted() || is_in(source, &self.allow, self.allow_file.as_ref())
    }

    /// True if the lists refuse an address of the network, whatever the mode is. A network that takes both lists of those who
    /// may to be admitted counts as refused.
    pub fn refuses_some(&self, network: Network) -> bool {
        let files = |file: &Option<ListFile>, holds: fn(&NetworkList, Network) -> bool| {
            file.as_ref().and_then(ListFile::list).is_some_and(|list| holds(list, network))
        };
        if self.deny.meets(network) || files(&self.deny_file, NetworkList::meets) {
            return true;
        }
        !self.admits_unlisted() && !self.allow.covers(network) && !files(&self.allow_file, NetworkList::covers)
    }

    /// True if those may connect that no list names.
    pub fn admits_unlisted(&self) -> bool {
        self.allow.is_empty() && self.allow_file.is_none()
    }

    /// True if networks of it are in files.
    pub fn has_files(&self) -> bool {
        self.files().next().is_some()
    }

    /// The files of it.
    pub fn files(&self) -> impl Iterator<Item = &ListFile> {
        self.allow_file.iter().chain(&self.deny_file)
    }

    /// The same with the networks of its files, as far as they are known.
    #[must_use]
    pub fn resolved(&self, lists: &Lists) -> Self {
        let resolved = |file: &Option<ListFile>| file.as_ref().map(|file| file.resolved(lists));
        Self { allow_file: resolved(&self.allow_file), deny_file: resolved(&self.deny_file), ..self.clone() }
    }

    /// What is wrong with it, by keys inside of a rule.
    pub(crate) fn problems(&self, problems: &mut Vec<RuleProblem>) {
        for (key, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            let count = list.len();
            if count > MAX_NETWORKS {
                let message = format!("{count} networks; at most {MAX_NETWORKS} are allowed");
                problems.push(RuleProblem { code: TreeCode::OutOfRange, key: format!("access.{key}"), message });
            }
        }
    }
}

/// True if a change of these lists ends the live connections that the new version refuses: the one judge of it.
pub fn ends_refused(before: &Rule, after: &Rule) -> bool {
    let drains = |access: &Access| access.live == LiveConnections::Drain && access.mode == Enforcement::Enforce;
    after.access.as_deref().is_some_and(drains) && before.access != after.access
}

impl Rule {
    /// The same rule with the networks of its list files, as far as they are known.
    ///
    /// # Panics
    /// Never: what a file holds changes nothing that makes a rule whole.
    #[must_use]
    pub fn resolved(self, lists: &Lists) -> Self {
        if self.is_resolved() {
            return self;
        }
        let mut parts = self.into_parts();
        parts.access = parts.access.map(|access| Box::new(access.resolved(lists)));
        Self::new(parts).expect("it was whole before")
    }

    /// True unless networks of its list files are not at hand.
    pub fn is_resolved(&self) -> bool {
        self.access.iter().flat_map(|access| access.files()).all(|file| file.list().is_some())
    }
}

fn is_in(source: IpAddr, list: &NetworkList, file: Option<&ListFile>) -> bool {
    list.contains(source) || file.and_then(ListFile::list).is_some_and(|list| list.contains(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_refused_in_part_where_one_of_its_addresses_is() {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<NetworkList>();
        let refused = |access: &Access, network: &str| access.refuses_some(network.parse().expect("a network"));
        let deny = Access { deny: list(&["10.0.0.7", "2001:db8:1::/64"]), ..Access::default() };
        for (network, is_refused) in [
            ("10.0.0.0/24", true),
            ("10.0.1.0/24", false),
            ("10.0.0.7", true),
            ("2001:db8:1::/48", true),
            ("2001:db8:2::/48", false),
        ] {
            assert_eq!(refused(&deny, network), is_refused, "{network}");
        }
        let allow = Access { allow: list(&["10.0.0.0/25", "10.0.0.128/25", "10.0.2.0/25"]), ..Access::default() };
        for (network, is_refused) in
            [("10.0.0.0/24", false), ("10.0.0.64/26", false), ("10.0.2.0/24", true), ("10.0.3.0/24", true)]
        {
            assert_eq!(refused(&allow, network), is_refused, "{network}");
        }
        assert!(!refused(&Access::default(), "0.0.0.0/0"));
    }

    #[test]
    fn deny_wins_and_mapped_addresses_are_ipv4() {
        let list = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<NetworkList>();
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
        let only_deny = Access { allow: NetworkList::default(), ..access.clone() };
        assert!(only_deny.admits(ip("192.0.2.1")) && !only_deny.admits(ip("10.9.0.1")));
        let files = Access {
            allow_file: Some(ListFile::new("a.txt", list(&["192.0.2.0/24"]))),
            deny_file: Some(ListFile::new("b.txt", list(&["10.1.0.0/16"]))),
            ..access
        };
        let admitted = ["192.0.2.1", "10.2.0.1", "10.1.0.1", "198.51.100.1"].map(|source| files.admits(ip(source)));
        assert_eq!(admitted, [true, true, false, false]);
        let only_file = Access { allow: NetworkList::default(), ..files };
        assert!(!only_file.admits(ip("10.2.0.1")) && only_file.admits(ip("192.0.2.1")));
    }
}
