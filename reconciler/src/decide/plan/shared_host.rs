//! Ports that edges of one host compete for: what a plan says where one edge is to bind what another one has. Pure.
//!
//! A hint and not a rejection: who holds a port is the last word of the edge, and what a plan knows of it may be old.
//!
//! Keeps: edges of one wave that wait for each other's ports change together, whatever its `max_parallel`, and the plan and
//! the rollout ask the same [`companions`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schema::name::EdgeName;
use schema::net::ListenRange;
use schema::ruleset::RuleSet;

use super::super::edges::Edges;
use super::super::view::EdgeView;
use super::{Hint, Plan, PlannedWave};

/// All hints, in the order of the changes.
pub(super) fn hints(ruleset: &RuleSet, edges: &Edges, plan: &Plan) -> Vec<Hint> {
    let mut hosts: BTreeMap<&str, Vec<&EdgeName>> = BTreeMap::new();
    for (name, view) in edges {
        if let Some(host) = host_of(view) {
            hosts.entry(host).or_default().push(name);
        }
    }
    let scene = HostScene { ruleset, edges, waves: &plan.waves };
    let mut hints = Vec::new();
    for change in plan.changes.iter().filter(|change| !change.ports.bind.is_empty()) {
        let names = edges.get(&change.edge).and_then(host_of).and_then(|host| hosts.get(host));
        let mut neighbours = names.into_iter().flatten().filter(|name| ***name != change.edge);
        let planned = ruleset.edges.get(&change.edge).and_then(|rules| rules.get(&change.rule));
        let Some(listen) = planned.map(|placed| placed.rule.listen) else { continue };
        let message = neighbours.find_map(|name| words(&change.edge, listen, name, &scene));
        hints.extend(message.map(|message| Hint {
            edge: change.edge.clone(),
            rule: change.rule.clone(),
            key: if listen.ports.width() == 1 { "listen_port" } else { "listen_ports" }.to_owned(),
            message,
        }));
    }
    hints
}

fn host_of(view: &EdgeView) -> Option<&str> {
    view.hello.as_ref().map(|hello| hello.host.as_str()).filter(|host| !host.is_empty())
}

/// What edges are to run, what they run, and the order in which they change.
struct HostScene<'h> {
    ruleset: &'h RuleSet,
    edges: &'h Edges,
    waves: &'h [PlannedWave],
}

/// What a neighbour has to do with these listeners, if anything.
fn words(edge: &EdgeName, listen: ListenRange, neighbour: &EdgeName, scene: &HostScene<'_>) -> Option<String> {
    let HostScene { ruleset, edges, waves } = *scene;
    let wanted = |of: &EdgeName, range: ListenRange| {
        let rules = ruleset.edges.get(of).into_iter().flatten();
        rules.into_iter().find(|(_, placed)| placed.rule.listen.conflicts_with(&range)).map(|(name, _)| name.clone())
    };
    let running = edges.get(neighbour)?.running();
    let holder = running.values().find(|rule| rule.listen.conflicts_with(&listen));
    let both = format!("{edge} and {neighbour} run on one host");
    if let Some(rule) = wanted(neighbour, listen) {
        let remedy = "give one of them another port or listen_address";
        return Some(format!(
            "{both}, and {listen} is a port of {neighbour}/{rule} in this tree: only one of them can bind it; {remedy}"
        ));
    }
    let holder = holder?;
    let held = format!("{both}, and {listen} is bound by {neighbour}/{} now", holder.name);
    let own = edges.get(edge).map(EdgeView::running).unwrap_or_default();
    let is_swap =
        own.values().any(|rule| wanted(neighbour, rule.listen).is_some() && wanted(edge, rule.listen).is_none());
    let order = order(edge, neighbour, waves);
    Some(match (is_swap, order) {
        (true, WaveOrder::Together) => {
            let first = edge.min(neighbour);
            format!(
                "{held}: the edges swap ports and change together; {first} releases its port before it has the new \
                 one, a gap of about a second"
            )
        }
        (true, WaveOrder::After | WaveOrder::Before) => {
            let first = if order == WaveOrder::Before { edge } else { neighbour };
            format!(
                "{held}: the edges swap ports, and this rollout changes {first} first, which fails with port_in_use; \
                 put both edges into one wave, or move one rule to a free port first"
            )
        }
        (false, WaveOrder::Before) => format!(
            "{held}, and this rollout changes {edge} before {neighbour} releases it, which fails with port_in_use; \
             release the port in an apply of its own, or let the rollout change {neighbour} first"
        ),
        (false, WaveOrder::Together | WaveOrder::After) => {
            format!("{held}: it is bound here once {neighbour} has released it")
        }
    })
}

/// Edges among these that have to change together with an edge: they hold a port of its host that it is to bind, and
/// release it in this tree; and so on for each of them.
pub(crate) fn companions(
    edge: &EdgeName,
    among: &VecDeque<EdgeName>,
    ruleset: &RuleSet,
    edges: &Edges,
) -> BTreeSet<EdgeName> {
    let mut found = BTreeSet::new();
    let mut next = vec![edge.clone()];
    while let Some(taker) = next.pop() {
        let holders = among.iter().filter(|name| *name != edge && holds_for(name, &taker, ruleset, edges));
        next.extend(holders.filter(|name| found.insert((*name).clone())).cloned());
    }
    found
}

/// True if an edge runs, on the host of another one, what that one is to bind, and does not keep it.
fn holds_for(holder: &EdgeName, taker: &EdgeName, ruleset: &RuleSet, edges: &Edges) -> bool {
    let (Some(holding), Some(taking)) = (edges.get(holder), edges.get(taker)) else { return false };
    if !holding.connected || host_of(holding).is_none() || host_of(holding) != host_of(taking) {
        return false;
    }
    let wanted = |name: &EdgeName| ruleset.edges.get(name).into_iter().flatten().map(|(_, placed)| placed.rule.listen);
    let is_kept = |listen: ListenRange| wanted(holder).any(|kept| kept.conflicts_with(&listen));
    let running = holding.running();
    wanted(taker).any(|listen| !is_kept(listen) && running.values().any(|rule| rule.listen.conflicts_with(&listen)))
}

/// Whether an edge begins to change before another one, after it, or without waiting for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaveOrder {
    Before,
    After,
    Together,
}

fn order(edge: &EdgeName, neighbour: &EdgeName, waves: &[PlannedWave]) -> WaveOrder {
    let place = |name: &EdgeName| waves.iter().find(|wave| wave.edges.contains(name));
    let (Some(own), Some(other)) = (place(edge), place(neighbour)) else {
        return WaveOrder::Together;
    };
    match own.wave.cmp(&other.wave) {
        Ordering::Less => WaveOrder::Before,
        Ordering::Equal => WaveOrder::Together,
        Ordering::Greater => WaveOrder::After,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use schema::capability::Capability;
    use schema::name::Labels;
    use schema::rollout::{Rollout, Wave};
    use schema::ruleset::Placed;
    use schema::testing::rule_with;

    use super::super::super::view::{Hello, Report, RuleView};
    use super::super::{Allowances, PlanInput, Source, plan};
    use super::*;
    use crate::decide::succession::Succession;

    /// The hints of a plan over two edges: what each runs and is to run.
    fn hinted(hosts: [&str; 2], before: [u16; 2], after: [u16; 2]) -> Vec<String> {
        hinted_in(Rollout::default(), hosts, before, after)
    }

    /// The same with waves; `stage` is the name of the edge.
    fn hinted_in(rollout: Rollout, hosts: [&str; 2], before: [u16; 2], after: [u16; 2]) -> Vec<String> {
        let mut ruleset = RuleSet { rollout, ..RuleSet::default() };
        let mut edges = Edges::default();
        for (index, name) in ["edge-a", "edge-b"].into_iter().enumerate() {
            let name = EdgeName::new(name).expect("a name");
            let rule = |port: u16| rule_with("web", port, port, |_| {});
            let (running, wanted): (Arc<_>, Arc<_>) = (rule(before[index]), rule(after[index]));
            let report =
                Report { rules: [(running.name.clone(), RuleView::serving(&running))].into(), ..Report::default() };
            let capabilities = Capability::ALL.iter().copied().collect();
            let hello = Hello { host: hosts[index].to_owned(), capabilities, ..Hello::default() };
            let view = EdgeView { connected: true, hello: Some(hello), report: Some(report), ..EdgeView::default() };
            *edges.get_or_new(&name) = view;
            ruleset.inventory.insert(name.clone(), stage(name.as_str()));
            let placed = Placed { rule: wanted.clone(), origin: None };
            ruleset.edges.entry(name).or_default().insert(wanted.name.clone(), placed);
        }
        let document = plan(&PlanInput {
            ruleset: &ruleset,
            source: &Source::unversioned(schema::canonical::Digest::default()),
            edges: &edges,
            lineage: "l",
            rails: None,
            succession: Succession::default(),
            allowances: &Allowances::default(),
            diagnostics: &[],
            now: Timestamp::UNIX_EPOCH,
        });
        document.hints.into_iter().map(|hint| format!("{}: {}", hint.edge, hint.message)).collect()
    }

    fn stage(name: &str) -> Labels {
        Labels::from([("stage".to_owned(), name.to_owned())])
    }

    fn wave(edge_labels: Labels, max_parallel: u32) -> Wave {
        let max_parallel = NonZeroU32::new(max_parallel).expect("a number");
        Wave { edge_labels, max_parallel, max_failed: 0, soak: Duration::ZERO }
    }

    #[test]
    fn edges_that_swap_ports_of_one_host_are_named() {
        let hints = hinted(["h", "h"], [80, 81], [81, 80]);
        assert_eq!(hints.len(), 2, "{hints:?}");
        assert!(hints[0].contains("edge-a and edge-b run on one host") && hints[0].contains("swap ports"), "{hints:?}");
        assert!(hinted(["h", "other"], [80, 81], [81, 80]).is_empty());
        assert!(hinted(["", ""], [80, 81], [81, 80]).is_empty(), "a host that is not known is nobody's");
    }

    #[test]
    fn edges_of_one_wave_that_wait_for_each_other_change_together() {
        // Every edge is in the one wave.
        let waves = |most: u32| Rollout { waves: vec![wave(Labels::new(), most)] };
        let one_by_one = hinted_in(waves(1), ["h", "h"], [80, 81], [81, 80]);
        assert!(one_by_one[0].contains("change together"), "{one_by_one:?}");
        let at_once = hinted_in(waves(2), ["h", "h"], [80, 81], [81, 80]);
        assert!(at_once[0].contains("a gap of about a second"), "{at_once:?}");
        let passed_on = hinted_in(waves(1), ["h", "h"], [80, 81], [81, 82]);
        assert!(passed_on[0].contains("once edge-b has released it"), "{passed_on:?}");
        let released_first = hinted_in(waves(1), ["h", "h"], [80, 81], [82, 80]);
        assert!(released_first[0].contains("once edge-a has released it"), "{released_first:?}");
    }

    #[test]
    fn a_rollout_that_changes_one_of_them_in_an_earlier_wave_is_said_to_fail() {
        let waves = Rollout { waves: vec![wave(stage("edge-a"), 1), wave(stage("edge-b"), 1)] };
        let swapped = hinted_in(waves.clone(), ["h", "h"], [80, 81], [81, 80]);
        assert_eq!(swapped.len(), 2, "{swapped:?}");
        for hint in &swapped {
            assert!(hint.contains("changes edge-a first, which fails with port_in_use"), "{hint}");
        }
        let passed_on = hinted_in(waves.clone(), ["h", "h"], [80, 81], [81, 82]);
        assert!(passed_on[0].contains("changes edge-a before edge-b releases it"), "{passed_on:?}");
        let released_first = hinted_in(waves, ["h", "h"], [80, 81], [82, 80]);
        assert!(released_first[0].contains("once edge-a has released it"), "{released_first:?}");
    }

    #[test]
    fn a_port_that_a_neighbour_releases_or_keeps_is_named() {
        let passed_on = hinted(["h", "h"], [80, 81], [81, 82]);
        assert!(passed_on[0].contains("once edge-b has released it"), "{passed_on:?}");
        let kept = hinted(["h", "h"], [80, 81], [81, 81]);
        assert!(kept[0].contains("only one of them can bind it"), "{kept:?}");
    }
}
