//! Builders for tests of every crate: short names for valid rules.

use std::sync::Arc;

use crate::name::RuleName;
use crate::net::{ListenAddress, ListenRange, PortRange, Protocol};
use crate::rule::{Host, Rule, RuleParts, Target};

/// A TCP rule `name` on all addresses at `first..=last`, to 127.0.0.1 at the same ports.
pub fn rule(name: &str, first: u16, last: u16) -> Arc<Rule> {
    rule_with(name, first, last, |_| ())
}

/// Like [`rule`], with a change to its parts.
pub fn rule_with(name: &str, first: u16, last: u16, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    let ports = PortRange::new(first, last).expect("the test gives a range");
    let listen = ListenRange { protocol: Protocol::Tcp, address: ListenAddress::Any, ports };
    let host = Host::parse("127.0.0.1").expect("an address");
    let mut parts =
        RuleParts::new(RuleName::new(name).expect("the test gives a name"), listen, vec![Target::new(host, ports)]);
    change(&mut parts);
    Arc::new(Rule::new(parts).expect("the test gives a valid rule"))
}
