//! The policy file of an edge, and what a policy means for a desired set. Pure; what a policy allows is decided by
//! [`schema::policy`].
//!
//! Keeps: a key that this version does not know is an error with its line; what a policy forbids is rejected whatever
//! serves, and what an earlier policy forbade is not.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schema::capability::Rejection;
use schema::codes::RuleCode;
use schema::diff::Rules;
use schema::name::RuleName;
use schema::net::{PortRange, PortSet};
use schema::policy::{MAX_ENTRIES, Network, Networks, Policy};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::decide::desired::{Desired, DesiredRule};

/// The keys of a policy file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    listen_ports: Option<Vec<Ports>>,
    listen_addresses: Option<Vec<Text<Network>>>,
    target_networks: Option<Vec<Text<Network>>>,
    target_ports: Option<Vec<Ports>>,
    max_rules: Option<u32>,
    max_connections: Option<u32>,
}

/// A port as a number, or ports as a text.
#[derive(Debug)]
struct Ports(PortRange);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfPorts;
        impl Visitor<'_> for OfPorts {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535, or a range such as \"8000-8999\"")
            }

            fn visit_i64<E: Error>(self, port: i64) -> Result<Ports, E> {
                let single = u16::try_from(port).ok().and_then(PortRange::single);
                single.map(Ports).ok_or_else(|| E::invalid_value(Unexpected::Signed(port), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Ports, E> {
                PortRange::parse(text).map(Ports).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(OfPorts)
    }
}

/// A value that is written as text.
#[derive(Debug)]
struct Text<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Reads the text of a policy file; the error says what is wrong and in which line.
pub fn parse(text: &str) -> Result<Policy, String> {
    let file: PolicyFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}", error.message())
    })?;
    let lists = [
        ("listen_ports", file.listen_ports.as_ref().map(Vec::len)),
        ("listen_addresses", file.listen_addresses.as_ref().map(Vec::len)),
        ("target_networks", file.target_networks.as_ref().map(Vec::len)),
        ("target_ports", file.target_ports.as_ref().map(Vec::len)),
    ];
    if let Some((key, _)) = lists.into_iter().find(|(_, length)| length.is_some_and(|length| length > MAX_ENTRIES)) {
        return Err(format!("`{key}` has more than {MAX_ENTRIES} entries"));
    }
    let ports = |list: Vec<Ports>| PortSet::from_ranges(list.into_iter().map(|ports| ports.0));
    let networks = |list: Vec<Text<Network>>| list.into_iter().map(|text| text.0).collect::<Networks>();
    Ok(Policy {
        listen_ports: file.listen_ports.map(ports),
        listen_addresses: file.listen_addresses.map(networks),
        target_networks: file.target_networks.map(networks),
        target_ports: file.target_ports.map(ports),
        max_rules: file.max_rules,
        max_connections: file.max_connections,
        allow_metadata_targets: false,
    })
}

/// Rejects the rules of a set that the policy forbids, as far as nothing else speaks against them, and accepts what an
/// earlier policy forbade. Returns those that are more than the policy allows. `serving` is what serves now.
pub fn judge(desired: &mut Desired, serving: &Rules, policy: &Policy) -> BTreeSet<RuleName> {
    let is_by_policy = |rejection: &Rejection| rejection.code == RuleCode::ForbiddenByPolicy;
    for desired in desired.rules.values_mut() {
        if desired.rejection.as_ref().is_none_or(is_by_policy) {
            desired.rejection = desired.rule.as_ref().and_then(|rule| policy.forbids(rule));
        }
    }
    let may_stay = |name: &RuleName| serving.get(name).is_some_and(|rule| policy.forbids(rule).is_none());
    let takes_place = |(name, desired): &(&RuleName, &DesiredRule)| desired.rejection.is_none() || may_stay(name);
    let names: Vec<&RuleName> = desired.rules.iter().filter(takes_place).map(|(name, _)| name).collect();
    let beyond = policy.beyond(names.into_iter(), |name| serving.contains_key(name));
    let names = beyond.keys().cloned().collect();
    for (name, rejection) in beyond {
        if let Some(desired) = desired.rules.get_mut(&name) {
            desired.rejection.get_or_insert(rejection);
        }
    }
    names
}

/// The rules that serve and must not: those that the policy forbids, and of the others the last by name that are more
/// than it allows.
pub fn must_stop(serving: &Rules, policy: &Policy) -> BTreeSet<RuleName> {
    let is_forbidden = |name: &&RuleName| serving.get(*name).is_some_and(|rule| policy.forbids(rule).is_some());
    let mut stops: BTreeSet<RuleName> = serving.keys().filter(is_forbidden).cloned().collect();
    let others: Vec<&RuleName> = serving.keys().filter(|name| !stops.contains(*name)).collect();
    let beyond = policy.beyond(others.into_iter(), |_| true);
    stops.extend(beyond.into_keys());
    stops
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schema::capability::{Capabilities, Capability, Limits};
    use schema::testing::rule;
    use schema::wire::rule_to_wire;

    use super::*;
    use crate::decide::admission::Accepted;

    #[test]
    fn a_file_is_read_and_what_is_absent_limits_nothing() {
        let text = "listen_ports = [443, \"8000-8999\"]\nlisten_addresses = [\"10.0.0.0/8\"]\n\
            target_networks = [\"10.0.0.0/8\", \"::1\"]\ntarget_ports = [\"1-65535\"]\nmax_rules = 10\nmax_connections = 500\n";
        let policy = parse(text).expect("valid");
        let ports: Vec<String> =
            policy.listen_ports.iter().flat_map(PortSet::ranges).map(ToString::to_string).collect();
        assert_eq!(ports, ["443", "8000-8999"]);
        assert_eq!((policy.max_rules, policy.max_connections), (Some(10), Some(500)));
        assert_eq!(parse("# nothing\n"), Ok(Policy::default()));
        assert_eq!(parse("listen_ports = []\n").expect("valid").listen_ports, Some(PortSet::default()));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        let cases = [
            ("max_rules = 1\nlisten_port = [80]\n", "line 2: unknown field `listen_port`"),
            ("listen_ports = [0]\n", "line 1: invalid value: integer `0`, expected a port"),
            ("listen_ports = [\n  \"90-80\",\n]\n", "line 2: invalid value: string \"90-80\""),
            ("\ntarget_networks = [\"10.1.0.0/8\"]\n", "line 2: `10.1.0.0/8` has bits set beyond its prefix"),
            ("target_networks = [\"db.test\"]\n", "line 1: `db.test` is not a network"),
            ("max_rules = -1\n", "line 1: invalid value"),
            ("max_rules = \n", "line 1: "),
            ("target_ports = \"80\"\n", "line 1: invalid type"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(expected), "{error}");
        }
        let long = format!("target_ports = [{}]\n", "80, ".repeat(MAX_ENTRIES + 1));
        assert!(parse(&long).expect_err("too long").contains("`target_ports` has more than 1024 entries"));
    }

    fn desired(ports: &[u16]) -> Desired {
        let specs = ports.iter().map(|port| rule_to_wire(&rule(&format!("r{port}"), *port, *port))).collect();
        let all: Capabilities = Capability::ALL.iter().copied().collect();
        Desired::read(Accepted::default(), specs, None, &all, &Limits::default())
    }

    fn serving(ports: &[u16]) -> Rules {
        ports.iter().map(|port| rule(&format!("r{port}"), *port, *port)).map(|rule| (rule.name.clone(), rule)).collect()
    }

    fn rejected(desired: &Desired) -> Vec<&str> {
        desired.rules.iter().filter(|(_, rule)| rule.rejection.is_some()).map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_policy_that_widens_again_gives_back_what_it_took_and_nothing_else() {
        let specs = vec![rule_to_wire(&rule("range", 8000, 8001)), rule_to_wire(&rule("low", 80, 80))];
        let tcp = Capabilities::from([Capability::Tcp, Capability::PrivilegedPorts]);
        let mut desired = Desired::read(Accepted::default(), specs, None, &tcp, &Limits::default());
        let narrow = parse("listen_ports = [9000]").expect("valid");
        judge(&mut desired, &Rules::new(), &narrow);
        let code = |desired: &Desired, name: &str| desired.rules[name].rejection.as_ref().map(|one| one.code);
        assert_eq!(code(&desired, "low"), Some(RuleCode::ForbiddenByPolicy));
        assert_eq!(code(&desired, "range"), Some(RuleCode::PortRangeUnsupported));
        judge(&mut desired, &Rules::new(), &Policy::default());
        assert_eq!(code(&desired, "low"), None);
        assert_eq!(code(&desired, "range"), Some(RuleCode::PortRangeUnsupported));
    }

    #[test]
    fn a_new_rule_takes_no_place_from_one_that_serves() {
        let policy = parse("max_rules = 2").expect("valid");
        let mut wanted = desired(&[8000, 8001, 8002]);
        judge(&mut wanted, &serving(&[8001, 8002]), &policy);
        assert_eq!(rejected(&wanted), ["r8000"]);
        let mut wanted = desired(&[8000, 8001]);
        judge(&mut wanted, &serving(&[8001, 8002]), &policy);
        assert!(rejected(&wanted).is_empty(), "the one that is not wanted any more makes room");
        assert_eq!(must_stop(&serving(&[8000, 8001, 8002]), &policy).len(), 1);
    }

    proptest! {
        /// Whatever the policy: what it leaves serving it allows, and so it does what it accepts.
        #[test]
        fn what_is_left_is_allowed(
            wanted in proptest::collection::btree_set(8000..8010_u16, 0..8),
            now in proptest::collection::btree_set(8000..8010_u16, 0..8),
            (first, width) in (8000..8010_u16, 0..8_u16),
            most in proptest::option::of(0..6_u32),
        ) {
            let range = PortRange::new(first, first + width).expect("ascending");
            let policy =
                Policy { listen_ports: Some(PortSet::from_ranges([range])), max_rules: most, ..Policy::default() };
            let wanted: Vec<u16> = wanted.into_iter().collect();
            let before = serving(&now.into_iter().collect::<Vec<_>>());
            let mut desired = desired(&wanted);
            judge(&mut desired, &before, &policy);
            let accepted = desired.rules.iter().filter(|(_, rule)| rule.rejection.is_none());
            let accepted: BTreeSet<&RuleName> = accepted.map(|(name, _)| name).collect();
            // What a switch makes of it: the accepted versions, and those before the rejected ones.
            let after = |(name, rule): (&RuleName, &DesiredRule)| {
                let next = rule.rule.clone().filter(|_| rule.rejection.is_none());
                Some((name.clone(), next.or_else(|| before.get(name).cloned())?))
            };
            let mut left: Rules = desired.rules.iter().filter_map(after).collect();
            for stopped in must_stop(&left, &policy) {
                left.remove(&stopped);
                prop_assert!(!accepted.contains(&stopped), "{} is accepted and stopped", stopped);
            }
            prop_assert!(left.values().all(|rule| policy.forbids(rule).is_none()));
            prop_assert!(most.is_none_or(|most| left.len() <= most as usize && accepted.len() <= most as usize));
            prop_assert!(must_stop(&left, &policy).is_empty());
        }
    }
}
