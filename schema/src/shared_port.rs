//! Rules that share a port, and which of them a TLS client reaches by the name that it asks for. Pure.
//!
//! Keeps: one function decides which rule a name leads to, for the edge, for `trace` and for what a change ends; an
//! exact name takes precedence over a wildcard, a wildcard over the fallback.

use std::collections::HashMap;

use crate::net::{ListenRange, Protocol};
use crate::rule::Rule;
use crate::sni::ServerName;

/// The longest name that is compared, in bytes as a client may write it.
const MAX_ASKED: usize = 1024;

/// How a name leads to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameMatch {
    /// The rule lists the name.
    Exact,
    /// The rule lists a wildcard that stands for it.
    Wildcard,
    /// No rule lists it, or there is none, and one rule of the port lists no names.
    Fallback,
}

impl NameMatch {
    /// The word of metrics and of `trace`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Wildcard => "wildcard",
            Self::Fallback => "fallback",
        }
    }
}

/// The rules of one port, by name.
#[derive(Debug, Clone)]
pub struct ByName<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows `*.`.
    wildcards: HashMap<Box<str>, T>,
    fallback: Option<T>,
}

impl<T: Clone> ByName<T> {
    /// The rules that listen on one port, each with what stands for it. No two of them may claim the same
    /// (see [`clash`]).
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a Rule, T)>) -> Self {
        let mut all = Self { exact: HashMap::new(), wildcards: HashMap::new(), fallback: None };
        for (rule, value) in rules {
            if rule.sni.is_empty() {
                all.fallback = Some(value);
                continue;
            }
            for name in &rule.sni {
                match name.wildcard() {
                    Some(suffix) => all.wildcards.insert(suffix.into(), value.clone()),
                    None => all.exact.insert(name.as_str().into(), value.clone()),
                };
            }
        }
        all
    }

    /// The rule that a client reaches with this name, as [`asked`] gives it.
    pub fn find(&self, name: Option<&str>) -> Option<(NameMatch, &T)> {
        let fallback = || self.fallback.as_ref().map(|value| (NameMatch::Fallback, value));
        let Some(name) = name else { return fallback() };
        if let Some(value) = self.exact.get(name) {
            return Some((NameMatch::Exact, value));
        }
        let suffix = name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, suffix)| suffix);
        let wildcard = suffix.and_then(|suffix| self.wildcards.get(suffix));
        wildcard.map(|value| (NameMatch::Wildcard, value)).or_else(fallback)
    }
}

/// The name that a client wrote into its hello as it is compared: in lower case, without a trailing dot, in A-labels.
/// A text that a rule cannot list becomes the empty name, which leads to the fallback.
pub fn asked(written: &[u8]) -> Box<str> {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    match std::str::from_utf8(written) {
        Ok(text) if text.len() > MAX_ASKED => Box::default(),
        // What almost all clients send.
        Ok(text) if written.iter().all(is_plain) => text.strip_suffix('.').unwrap_or(text).into(),
        Ok(text) if !text.contains('*') => {
            ServerName::parse(text).map_or_else(|_| Box::default(), |name| name.as_str().into())
        }
        _ => Box::default(),
    }
}

/// Why two rules of one edge cannot both serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clash {
    /// They need a socket that only one of them can have.
    Port,
    /// They share a port, and both list this name.
    Name(ServerName),
    /// They share a port, and expect PROXY headers from different networks.
    AcceptProxy,
}

impl Clash {
    /// What one of the rules, which listens there, claims of the other, for people.
    pub fn claim(&self, listen: ListenRange) -> String {
        match self {
            Self::Port => listen.to_string(),
            Self::Name(name) => format!("the server name `{name}` on {listen}"),
            Self::AcceptProxy => format!("{listen}, with other networks in `accept_proxy`,"),
        }
    }
}

/// Why two rules of one edge cannot both serve, if so.
pub fn clash(one: &Rule, other: &Rule) -> Option<Clash> {
    if !one.listen.conflicts_with(&other.listen) {
        return None;
    }
    let is_chosen_by_name = !one.sni.is_empty() || !other.sni.is_empty();
    if one.listen.protocol != Protocol::Tcp || one.listen.address != other.listen.address || !is_chosen_by_name {
        return Some(Clash::Port);
    }
    if let Some(name) = one.sni.iter().find(|name| other.sni.contains(name)) {
        return Some(Clash::Name(name.clone()));
    }
    (one.accept_proxy != other.accept_proxy).then_some(Clash::AcceptProxy)
}

/// True if two versions of a rule claim the same: no rule that can serve beside the one clashes with the other.
pub fn claims_alike(one: &Rule, other: &Rule) -> bool {
    one.listen == other.listen && one.sni == other.sni && one.accept_proxy == other.accept_proxy
}

/// The rules to which connections may belong that came in through a listener by one of these names, where the rule that
/// listed them has left. `owners` are the rules that listen there now; connections of a rule that listed no
/// names may have any name.
pub fn heirs<'a>(names: &[ServerName], owners: &[&'a Rule]) -> Vec<&'a Rule> {
    if names.is_empty() || owners.iter().all(|owner| owner.sni.is_empty()) {
        return owners.to_vec();
    }
    let by_name = ByName::new(owners.iter().enumerate().map(|(index, owner)| (*owner, index)));
    let mut found: Vec<usize> = Vec::new();
    for name in names {
        match name.wildcard() {
            None => found.extend(by_name.find(Some(name.as_str())).map(|(_, index)| *index)),
            Some(suffix) => {
                let wildcard = by_name.wildcards.get(suffix).or(by_name.fallback.as_ref());
                let is_below = |name: &str| name.split_once('.').is_some_and(|(_, rest)| rest == suffix);
                let exact = by_name.exact.iter().filter(|(name, _)| is_below(name)).map(|(_, index)| index);
                found.extend(wildcard.into_iter().chain(exact));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|index| owners[index]).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::rule_with;

    fn named(name: &str, names: &[&str]) -> Arc<Rule> {
        rule_with(name, 443, 443, |parts| {
            parts.sni = names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
        })
    }

    fn found<'a>(rules: &'a [Arc<Rule>], name: &str) -> Option<(NameMatch, &'a str)> {
        let by_name = ByName::new(rules.iter().map(|rule| (&**rule, rule.name.as_str())));
        by_name.find(Some(name)).map(|(how, rule)| (how, *rule))
    }

    #[test]
    fn an_exact_name_precedes_a_wildcard_and_a_wildcard_the_fallback() {
        let rules = [
            named("exact", &["www.example.org", "example.org"]),
            named("wild", &["*.example.org", "*.shop.example.org"]),
            named("other", &[]),
        ];
        let cases = [
            ("www.example.org", NameMatch::Exact, "exact"),
            ("example.org", NameMatch::Exact, "exact"),
            ("api.example.org", NameMatch::Wildcard, "wild"),
            ("a.shop.example.org", NameMatch::Wildcard, "wild"),
            // A star stands for one label, and not for none.
            ("a.b.example.org", NameMatch::Fallback, "other"),
            ("shop.example.org", NameMatch::Wildcard, "wild"),
            (".example.org", NameMatch::Fallback, "other"),
            ("example.com", NameMatch::Fallback, "other"),
            ("", NameMatch::Fallback, "other"),
        ];
        for (name, how, rule) in cases {
            assert_eq!(found(&rules, name), Some((how, rule)), "{name}");
        }
        assert_eq!(found(&rules[..2], "example.com"), None);
        let by_name = ByName::new(rules.iter().map(|rule| (&**rule, rule.name.as_str())));
        assert_eq!(by_name.find(None), Some((NameMatch::Fallback, &"other")));
    }

    #[test]
    fn what_clients_write_is_compared_as_rules_have_it() {
        let cases: &[(&[u8], &str)] = &[
            (b"www.example.org", "www.example.org"),
            (b"WWW.Example.ORG.", "www.example.org"),
            ("bücher.example".as_bytes(), "xn--bcher-kva.example"),
            (b"www.example.org.", "www.example.org"),
            (b"*.example.org", ""),
            (b"a b", ""),
            (b"\xff\xfe", ""),
            (&[b'a'; 2000], ""),
        ];
        for (written, expected) in cases {
            assert_eq!(&*asked(written), *expected, "{written:?}");
        }
    }

    #[test]
    fn rules_share_a_port_by_name_with_one_fallback_and_nothing_else() {
        let (a, b, plain) = (named("a", &["a.example"]), named("b", &["b.example"]), named("plain", &[]));
        assert_eq!(clash(&a, &b), None);
        assert_eq!(clash(&a, &plain), None);
        assert_eq!(clash(&plain, &named("other", &[])), Some(Clash::Port));
        let twice = named("c", &["c.example", "a.example"]);
        assert_eq!(clash(&twice, &a), Some(Clash::Name(a.sni[0].clone())));
        assert_eq!(clash(&named("w", &["*.x.example"]), &named("e", &["a.x.example"])), None);
        let range = rule_with("range", 400, 500, |_| ());
        assert_eq!(clash(&range, &a), None);
        let elsewhere = rule_with("b", 443, 443, |parts| {
            parts.sni.clone_from(&b.sni);
            parts.listen.address = crate::net::ListenAddress::all_ipv4();
        });
        assert_eq!(clash(&elsewhere, &a), Some(Clash::Port), "one socket cannot be shared by two addresses");
        let udp = |rule: &Rule| {
            let mut parts = rule.clone().into_parts();
            parts.listen.protocol = Protocol::Udp;
            Rule::new(parts).expect("a rule")
        };
        assert_eq!(clash(&udp(&plain), &a), None);
        let beyond = rule_with("beyond", 444, 444, |parts| parts.sni.clone_from(&a.sni));
        assert_eq!(clash(&beyond, &a), None);
        assert!(claims_alike(&a, &a) && !claims_alike(&a, &b) && !claims_alike(&a, &beyond));
    }

    #[test]
    fn connections_of_a_rule_that_is_gone_belong_to_those_that_its_names_lead_to() {
        let rules = [named("a", &["a.example.org"]), named("w", &["*.example.org"]), named("f", &[])];
        let owners: Vec<&Rule> = rules.iter().map(|rule| &**rule).collect();
        let heirs = |names: &[&str], owners: &[&Rule]| -> Vec<String> {
            let names: Vec<_> = names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
            super::heirs(&names, owners).iter().map(|rule| rule.name.to_string()).collect()
        };
        assert_eq!(heirs(&["a.example.org"], &owners), ["a"]);
        assert_eq!(heirs(&["b.example.org"], &owners), ["w"]);
        assert_eq!(heirs(&["*.example.org"], &owners), ["a", "w"]);
        assert_eq!(heirs(&["*.example.com", "b.example.org"], &owners), ["w", "f"]);
        assert_eq!(heirs(&["a.example.com"], &owners[..2]), [""; 0]);
        assert_eq!(heirs(&[], &owners), ["a", "w", "f"], "of a fallback they may have any name");
        assert_eq!(heirs(&["a.example.com"], &owners[2..]), ["f"]);
    }
}
