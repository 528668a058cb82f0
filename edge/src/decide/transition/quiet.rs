//! Which rules wait for a quiet moment: those whose change would cost live connections. Pure.
//!
//! Keeps: a rule that waits leaves everything as it is, and so does a rule that needs one of its sockets; all others
//! change at once.

use std::collections::BTreeMap;

use schema::diff::{self, Rules};
use schema::ending::{Part, ends};
use schema::name::RuleName;

use super::{Wanted, settle, transition};

/// Why a rule waits: what the rule that serves under this name would lose; `None` where it needs a socket of another
/// one that waits.
pub type WaitingRules = BTreeMap<RuleName, Option<(RuleName, Vec<Part>)>>;

/// Holds what would cost connections that live now, as `is_busy` says of a rule that serves and its loss. Returns the
/// rules that wait.
pub fn hold_busy(
    current: &Rules,
    wanted: &mut BTreeMap<RuleName, Wanted>,
    is_busy: impl Fn(&RuleName, &[Part]) -> bool,
) -> WaitingRules {
    let mut waiting = WaitingRules::new();
    loop {
        let plan = transition(current, wanted);
        let settled = settle(&plan, &BTreeMap::new());
        let next: Rules = settled.serving.iter().map(|(name, serving)| (name.clone(), serving.rule.clone())).collect();
        let endings = ends(&diff::diff(current, &next));
        let loss = |name: &RuleName| -> Option<(RuleName, Vec<Part>)> {
            let parts: Vec<Part> = endings.of_rule(name).cloned().collect();
            (!parts.is_empty() && is_busy(name, &parts)).then(|| (name.clone(), parts))
        };
        let mut more = Vec::new();
        for (name, loss) in plan.removed.keys().filter_map(|name| Some((name, loss(name)?))) {
            more.push((name.clone(), Wanted::Hold(None), Some(loss)));
        }
        for (name, step) in &plan.steps {
            let Some(next) = &step.next else { continue };
            let held = || Wanted::Hold(Some(next.clone()));
            if let Some(failure) = settled.failed.get(name) {
                if failure.blocked_by.as_ref().is_some_and(|owner| waiting.contains_key(owner)) {
                    more.push((name.clone(), held(), None));
                }
                continue;
            }
            let previous = step.previous.as_ref();
            if let Some(loss) = previous.and_then(|previous| loss(&previous.name)) {
                more.push((name.clone(), held(), Some(loss)));
            }
        }
        if more.is_empty() {
            return waiting;
        }
        // What is held only grows, so this ends; what it blocks is found in the next round.
        for (name, held, why) in more {
            wanted.insert(name.clone(), held);
            waiting.insert(name, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schema::ending::End;
    use schema::net::PortRange;
    use schema::rule::{Host, Rule};
    use schema::testing::{rule, rule_with};

    use super::*;

    fn rules(rules: &[Arc<Rule>]) -> Rules {
        rules.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
    }

    /// The rules that wait where the named ones have connections on everything that they have.
    fn waits(before: &[Arc<Rule>], after: &[Arc<Rule>], busy: &[&str]) -> Vec<String> {
        let mut wanted = after.iter().map(|rule| (rule.name.clone(), Wanted::Try(rule.clone()))).collect();
        let waiting = hold_busy(&rules(before), &mut wanted, |name, _| busy.contains(&name.as_str()));
        for name in waiting.keys() {
            assert!(matches!(wanted[name], Wanted::Hold(_)), "{name}");
        }
        waiting.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn a_busy_rule_waits_and_a_quiet_one_does_not() {
        let before = [rule("a", 80, 80), rule("b", 90, 90), rule("gone", 70, 70)];
        let after = [rule("a", 81, 81), rule("b", 91, 91)];
        assert_eq!(waits(&before, &after, &["a"]), ["a"]);
        assert_eq!(waits(&before, &after, &["gone"]), ["gone"]);
        assert_eq!(waits(&before, &after, &[]), [""; 0]);
        assert_eq!(waits(&before, &before, &["a", "b", "gone"]), [""; 0], "what stays waits for nothing");
    }

    #[test]
    fn what_needs_a_socket_of_a_waiting_rule_waits_with_it_and_so_on() {
        let before = [rule("a", 80, 80), rule("b", 90, 90), rule("c", 100, 100)];
        let to_others = |name: &str, port: u16| {
            rule_with(name, port, port, |parts| parts.targets[0].ports = PortRange::single(9).expect("a port"))
        };
        let after = [to_others("b", 80), to_others("c", 90), to_others("d", 100), to_others("e", 110)];
        // `a` goes, and everybody else moves up by one.
        assert_eq!(waits(&before, &after, &["a"]), ["a", "b", "c", "d"]);
    }

    #[test]
    fn only_ports_and_targets_that_go_count() {
        let seen = |before: &Arc<Rule>, after: &Arc<Rule>| {
            let mut wanted = BTreeMap::from([(after.name.clone(), Wanted::Try(after.clone()))]);
            let waiting = hold_busy(&rules(std::slice::from_ref(before)), &mut wanted, |_, _| true);
            waiting.into_values().next().flatten().map(|(_, loss)| loss)
        };
        let slid = rule_with("a", 85, 94, |parts| parts.targets[0].ports = PortRange::new(95, 104).expect("a range"));
        let loss = seen(&rule("a", 80, 89), &slid).expect("a loss");
        assert_eq!(loss.len(), 1, "{loss:?}");
        assert_eq!((loss[0].listen.ports, &loss[0].end), (PortRange::new(80, 84).expect("a range"), &End::Released));
        let to =
            |host: &str| rule_with("a", 80, 80, |parts| parts.targets[0].host = Host::parse(host).expect("an address"));
        let loss = seen(&to("10.0.0.1"), &to("10.0.0.2")).expect("a loss");
        assert!(matches!(loss.as_slice(), [Part { end: End::Places { .. }, .. }]), "{loss:?}");
        let described = rule_with("a", 80, 80, |parts| "other".clone_into(&mut parts.description));
        assert_eq!(seen(&rule("a", 80, 80), &described), None);
    }

    #[test]
    fn what_another_rule_takes_over_with_its_place_waits_for_nothing() {
        let same = |name: &str| {
            rule_with(name, 80, 80, |parts| parts.targets[0].ports = PortRange::single(9).expect("a port"))
        };
        let other = rule("b", 90, 90);
        assert_eq!(waits(&[same("a"), other.clone()], &[same("b")], &["a"]), [""; 0]);
        assert_eq!(waits(&[same("a"), other.clone()], &[same("b")], &["b"]), ["b"]);
        // As long as `b` waits, nobody would take over from `a`.
        assert_eq!(waits(&[same("a"), other], &[same("b")], &["a", "b"]), ["a", "b"]);
    }
}
