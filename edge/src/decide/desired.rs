//! A desired state as this edge understands it: valid rules, and those that it cannot take. Pure.
//!
//! Keeps: nothing of the message is lost; what cannot be read or done is rejected rule by rule, with its code.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use schema::capability::{self, Capabilities, Limits, Rejection};
use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::proto::{DesiredState, RuleSpec};
use schema::rule::Rule;
use schema::wire;

use crate::decide::admission::Accepted;

/// One desired rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRule {
    /// As received.
    pub spec: RuleSpec,
    /// As read; `None` where it is no valid rule here.
    pub rule: Option<Arc<Rule>>,
    /// Why the edge does not take it, if so.
    pub rejection: Option<Rejection>,
}

/// Everything that the edge should run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// Which desired state this is.
    pub accepted: Accepted,
    /// By name.
    pub rules: BTreeMap<RuleName, DesiredRule>,
    /// Rules without a possible or with a repeated name: they can only be reported.
    pub nameless: Vec<(RuleSpec, Rejection)>,
}

impl Desired {
    /// Reads every rule of an admitted state.
    pub fn read(accepted: Accepted, specs: Vec<RuleSpec>, capabilities: &Capabilities, limits: &Limits) -> Self {
        let mut desired = Self { accepted, ..Self::default() };
        let invalid = |message| Rejection { code: RuleCode::InvalidRule, message };
        for spec in specs {
            let name = match RuleName::new(&spec.name) {
                Ok(name) => name,
                Err(error) => {
                    desired.nameless.push((spec, invalid(error.to_string())));
                    continue;
                }
            };
            if desired.rules.contains_key(&name) {
                desired.nameless.push((spec, invalid(format!("a rule named `{name}` came before"))));
                continue;
            }
            let (rule, rejection) = match wire::rule_from_wire(&spec) {
                Ok(rule) => {
                    let rejection = capability::rejection(&rule, capabilities, limits);
                    (Some(Arc::new(rule)), rejection)
                }
                Err(error) => (None, Some(invalid(error.to_string()))),
            };
            desired.rules.insert(name, DesiredRule { spec, rule, rejection });
        }
        desired
    }

    /// Rejects what forwards to itself on a host that has these addresses, as far as nothing else speaks against it.
    #[must_use]
    pub fn on_host(mut self, addresses: &BTreeSet<IpAddr>) -> Self {
        for desired in self.rules.values_mut().filter(|desired| desired.rejection.is_none()) {
            let rule = desired.rule.as_ref();
            desired.rejection =
                rule.and_then(|rule| capability::forwards_to_itself(rule, |ip| addresses.contains(&ip)));
        }
        self
    }

    /// The message that this was read from, to be kept.
    pub fn to_wire(&self) -> DesiredState {
        let mut rules: Vec<RuleSpec> = self.rules.values().map(|desired| desired.spec.clone()).collect();
        rules.extend(self.nameless.iter().map(|(spec, _)| spec.clone()));
        DesiredState {
            lineage: self.accepted.lineage.clone(),
            generation: self.accepted.generation,
            digest: self.accepted.digest.as_bytes().to_vec(),
            rules,
            ..DesiredState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::capability::Capability;
    use schema::rule::Host;
    use schema::testing::{rule, rule_with};
    use schema::wire::rule_to_wire;

    #[test]
    fn what_the_edge_cannot_read_or_do_is_rejected_and_the_rest_is_taken() {
        let good = rule_to_wire(&rule("good", 8000, 8000));
        let range = rule_to_wire(&rule("range", 8100, 8101));
        let broken = RuleSpec { name: "broken".to_owned(), ..RuleSpec::default() };
        let nameless = RuleSpec { name: "No Name".to_owned(), ..RuleSpec::default() };
        let capabilities = Capabilities::from([Capability::Tcp]);
        let specs = vec![good.clone(), range, broken, nameless, good];
        let desired = Desired::read(Accepted::default(), specs, &capabilities, &Limits::default());
        let code = |name: &str| desired.rules[name].rejection.as_ref().map(|rejection| rejection.code);
        assert_eq!(code("good"), None);
        assert_eq!(code("range"), Some(RuleCode::PortRangeUnsupported));
        assert_eq!(code("broken"), Some(RuleCode::InvalidRule));
        assert_eq!(desired.nameless.len(), 2);
        assert_eq!(desired.to_wire().rules.len(), 5);
    }

    #[test]
    fn a_rule_that_forwards_to_its_own_port_on_an_address_of_the_host_is_rejected() {
        let to = |name: &str, port, host: &str| {
            rule_to_wire(&rule_with(name, port, port, |parts| {
                parts.targets[0].host = Host::parse(host).expect("a host");
                parts.targets[0].ports = schema::net::PortRange::single(8000).expect("a port");
            }))
        };
        let specs = vec![
            to("own", 8000, "192.0.2.7"),
            to("other-host", 8000, "192.0.2.8"),
            to("other-port", 8001, "192.0.2.7"),
        ];
        let capabilities = Capabilities::from([Capability::Tcp]);
        let desired = Desired::read(Accepted::default(), specs, &capabilities, &Limits::default());
        let desired = desired.on_host(&BTreeSet::from(["192.0.2.7".parse().expect("an address")]));
        let rejection = |name: &str| desired.rules[name].rejection.clone();
        let own = rejection("own").expect("it is refused");
        assert_eq!(own.code, RuleCode::SelfLockout);
        assert_eq!(own.message, "the rule forwards to its own listener (192.0.2.7:8000)");
        assert_eq!((rejection("other-host"), rejection("other-port")), (None, None));
    }
}
