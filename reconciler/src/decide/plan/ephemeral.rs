//! Listeners on ports that the edge's host gives to outgoing connections: a hint that they may be found taken. Pure.

use schema::net::PortSet;
use schema::ruleset::RuleSet;

use super::{Hint, RuleChange};
use crate::decide::edges::Edges;

/// One hint for each change that binds such a port.
pub(super) fn hints(ruleset: &RuleSet, edges: &Edges, changes: &[RuleChange]) -> Vec<Hint> {
    let of_change = |change: &RuleChange| {
        if change.ports.bind.is_empty() {
            return None;
        }
        let ports = ruleset.edges.get(&change.edge)?.get(&change.rule)?.rule.listen.ports;
        let (met, _) = edges.get(&change.edge)?.hello.as_ref()?.ephemeral_ports.split(ports);
        (!met.is_empty()).then(|| Hint {
            edge: change.edge.clone(),
            rule: change.rule.clone(),
            key: if ports.is_single() { "listen_port" } else { "listen_ports" }.to_owned(),
            message: words(&met),
        })
    };
    changes.iter().filter_map(of_change).collect()
}

fn words(met: &PortSet) -> String {
    let ranges: Vec<String> = met.ranges().iter().map(ToString::to_string).collect();
    let ports = ranges.join(",");
    let (what, them) = if met.len() == 1 { ("port", "it") } else { ("ports", "them") };
    format!(
        "{what} {ports} may be in use by an outgoing connection when the rule is bound, because the host assigns such \
         ports from net.ipv4.ip_local_port_range: add {them} to net.ipv4.ip_local_reserved_ports on that host, or \
         choose other ports"
    )
}

#[cfg(test)]
mod tests {
    use schema::net::PortRange;

    use super::*;

    #[test]
    fn ports_that_are_met_are_named_as_the_system_takes_them() {
        let range = |first, last| PortRange::new(first, last).expect("a range");
        let text = words(&PortSet::from_ranges([range(32_768, 32_770), range(40_000, 40_000)]));
        assert!(text.starts_with("ports 32768-32770,40000 may be in use"), "{text}");
        assert!(text.contains("add them to net.ipv4.ip_local_reserved_ports"), "{text}");
        let text = words(&PortSet::from_ranges([range(40_000, 40_000)]));
        assert!(text.starts_with("port 40000 may be in use") && text.contains("add it to"), "{text}");
    }
}
