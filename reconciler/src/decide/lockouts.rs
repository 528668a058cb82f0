//! Overrides that forward to a listener of their edge, and rules of the tree that meet one so. Pure.
//!
//! A tree alone is checked when it is read. What overrides add to it is known here only: an edge does not connect to its
//! own listeners, and would serve nobody with such a rule.
//!
//! Keeps: whoever comes second is refused with both places named, and what serves goes on.

use schema::check::find_lockouts;
use schema::rule::Rule;
use schema::ruleset::{EdgeRules, Origin};

use super::break_glass::{Override, Overrides};

/// A rule of the edge, with where a person finds it.
#[derive(Clone, Copy)]
struct LoopMember<'a> {
    rule: &'a Rule,
    place: MemberOrigin<'a>,
}

#[derive(Clone, Copy)]
enum MemberOrigin<'a> {
    Tree(Option<&'a Origin>),
    /// In place until then.
    Held(&'a Override),
    /// Asked for.
    Asked,
}

impl LoopMember<'_> {
    fn is_override(&self) -> bool {
        !matches!(self.place, MemberOrigin::Tree(_))
    }

    fn words(&self) -> String {
        let name = &self.rule.name;
        match self.place {
            MemberOrigin::Tree(Some(origin)) => format!("rule `{name}` ({}:{})", origin.file, origin.line),
            MemberOrigin::Tree(None) => format!("rule `{name}`"),
            MemberOrigin::Held(held) => {
                format!("the override `{name}` (in no file; {} added it until {:.0})", held.actor, held.until)
            }
            MemberOrigin::Asked => format!("the override `{name}` (in no file)"),
        }
    }
}

/// One that forwards to another, by their places among the members.
struct Loop {
    from: usize,
    to: usize,
    message: String,
}

/// The loops that overrides take part in.
fn loops(members: &[LoopMember<'_>]) -> Vec<Loop> {
    let numbered = (0..).zip(members.iter().map(|member| member.rule));
    let found = find_lockouts(numbered).into_iter().filter_map(|lockout| {
        let (from, to) = (lockout.rule as usize, lockout.listening as usize);
        let (forwards, listens) = (members.get(from)?, members.get(to)?);
        let target = forwards.rule.targets.get(lockout.target as usize)?;
        let way_out = if from == to {
            "choose another port or target".to_owned()
        } else {
            format!("forward to the target of `{}`, or choose another port", listens.rule.name)
        };
        let message = format!(
            "{} forwards to {target}, where {} listens ({}); an edge does not connect to its own listeners: {way_out}",
            forwards.words(),
            listens.words(),
            listens.rule.listen,
        );
        (forwards.is_override() || listens.is_override()).then_some(Loop { from, to, message })
    });
    found.collect()
}

fn of_tree(rules: &EdgeRules) -> impl Iterator<Item = LoopMember<'_>> {
    rules.values().map(|placed| LoopMember { rule: &placed.rule, place: MemberOrigin::Tree(placed.origin.as_ref()) })
}

/// Why an override cannot be added to an edge that runs these rules beside other overrides: it would forward to a
/// listener of theirs or of its own, or one of them to its.
pub(super) fn of_new<'a>(rule: &'a Rule, rules: &[&'a EdgeRules], overrides: &'a Overrides) -> Option<String> {
    let held = overrides.values().filter(|held| held.rule.name != rule.name);
    let held = held.map(|held| LoopMember { rule: &held.rule, place: MemberOrigin::Held(held) });
    let new = LoopMember { rule, place: MemberOrigin::Asked };
    // What is sent to the edge holds the overrides, too.
    let is_of_tree =
        |member: &LoopMember<'_>| member.rule.name != rule.name && !overrides.contains_key(&member.rule.name);
    let tree = rules.iter().flat_map(|rules| of_tree(rules)).filter(is_of_tree);
    let members: Vec<LoopMember<'a>> = std::iter::once(new).chain(held).chain(tree).collect();
    loops(&members).into_iter().find(|found| found.from == 0 || found.to == 0).map(|found| found.message)
}

/// The rules of the tree that forward to an override, or that one forwards to, and why they have to wait.
pub(super) fn of_tree_rules<'a>(
    tree: &'a EdgeRules,
    held: impl Iterator<Item = &'a Override>,
) -> impl Iterator<Item = (&'a Rule, String)> {
    let held = held.map(|held| LoopMember { rule: &held.rule, place: MemberOrigin::Held(held) });
    let members: Vec<LoopMember<'a>> = held.chain(of_tree(tree)).collect();
    loops(&members).into_iter().filter_map(move |found| {
        let waiting = [found.from, found.to].into_iter().map(|index| members[index]);
        let waiting = waiting.into_iter().find(|member| !member.is_override())?;
        Some((waiting.rule, found.message))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use schema::net::{PortRange, Protocol};
    use schema::ruleset::Placed;
    use schema::testing::rule_with;

    use super::*;

    fn rule(name: &str, port: u16, to: u16, protocol: Protocol) -> Arc<Rule> {
        rule_with(name, port, port, |parts| {
            parts.listen.protocol = protocol;
            parts.targets[0].ports = PortRange::single(to).expect("a port");
        })
    }

    fn tree(rules: &[Arc<Rule>]) -> EdgeRules {
        let placed = |rule: &Arc<Rule>| {
            let origin = Origin { file: "rules.toml".into(), line: 7, column: 1 };
            (rule.name.clone(), Placed { rule: rule.clone(), origin: Some(origin) })
        };
        rules.iter().map(placed).collect()
    }

    fn held(rule: Arc<Rule>) -> Overrides {
        let until = Timestamp::UNIX_EPOCH + Duration::from_mins(1);
        let held = Override { rule, actor: "ada".to_owned(), why: "x".to_owned(), since: Timestamp::UNIX_EPOCH, until };
        [(held.rule.name.clone(), held)].into()
    }

    #[test]
    fn an_override_that_closes_a_loop_is_refused_with_both_places() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let tree = tree(&[rule("web", 8001, 8002, protocol)]);
            let back = rule("glass", 8002, 8001, protocol);
            let message = of_new(&back, &[&tree], &Overrides::new()).expect("refused");
            for words in ["the override `glass` (in no file)", "rule `web` (rules.toml:7)", "own listeners"] {
                assert!(message.contains(words), "{message}");
            }
            // It closes no circle, but the rule of the tree would no longer reach what it was meant for.
            let forwarded_to = rule("glass", 8002, 9000, protocol);
            assert!(of_new(&forwarded_to, &[&tree], &Overrides::new()).is_some());
            let other = if protocol == Protocol::Tcp { Protocol::Udp } else { Protocol::Tcp };
            assert_eq!(of_new(&rule("glass", 8002, 8001, other), &[&tree], &Overrides::new()), None);
            assert_eq!(of_new(&rule("glass", 8003, 9000, protocol), &[&tree], &Overrides::new()), None);
        }
    }

    #[test]
    fn overrides_meet_each_other_and_one_that_is_replaced_meets_nobody() {
        let first = held(rule("first", 8001, 8002, Protocol::Tcp));
        let message = of_new(&rule("second", 8002, 8001, Protocol::Tcp), &[], &first).expect("refused");
        assert!(message.contains("`first` (in no file; ada added it until 1970-01-01T00:01:00Z)"), "{message}");
        assert_eq!(of_new(&rule("first", 8002, 8001, Protocol::Tcp), &[], &first), None);
        let itself = of_new(&rule("itself", 8002, 8002, Protocol::Tcp), &[], &Overrides::new()).expect("refused");
        assert!(itself.ends_with("choose another port or target"), "{itself}");
    }

    #[test]
    fn the_rule_of_the_tree_waits_whichever_of_the_two_forwards() {
        for (port, to) in [(8001, 8002), (8010, 8002), (8001, 9000)] {
            let tree = tree(&[rule("web", port, to, Protocol::Udp), rule("other", 7000, 7001, Protocol::Udp)]);
            let held = held(rule("glass", 8002, 8001, Protocol::Udp));
            let waiting: Vec<_> = of_tree_rules(&tree, held.values()).collect();
            assert!(!waiting.is_empty() && waiting.iter().all(|(rule, _)| rule.name.as_str() == "web"), "{waiting:?}");
            assert!(waiting.iter().all(|(_, why)| why.contains("in no file") && why.contains("rules.toml:7")));
        }
    }
}
