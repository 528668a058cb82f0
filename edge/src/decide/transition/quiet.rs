//! Which rules wait for a quiet moment: those whose change would cost live connections. Pure.
//!
//! Keeps: a rule that waits leaves everything as it is, and so does a rule that needs one of its sockets; all others
//! change at once.

use std::collections::{BTreeMap, HashSet};

use schema::diff::Rules;
use schema::name::RuleName;
use schema::net::{Listener, Protocol};
use schema::rule::{Host, Rule};

use super::{Wanted, settle, transition};

/// What a rule gives up, and with it the connections that hang on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// Everything: nobody wants the rule any more.
    Rule,
    /// Some of it.
    Parts {
        /// Ports that nobody listens on afterwards.
        ports: Vec<u16>,
        /// Targets that go, by host and first port.
        targets: Vec<(Host, u16)>,
    },
}

/// Why a rule waits: what the rule that serves under this name would lose; `None` where it needs a socket of another
/// one that waits.
pub type Waiting = BTreeMap<RuleName, Option<(RuleName, Loss)>>;

/// Holds what would cost connections that live now, as `is_busy` says of a rule that serves and its loss. Returns the
/// rules that wait.
pub fn hold_busy(
    current: &Rules,
    wanted: &mut BTreeMap<RuleName, Wanted>,
    is_busy: impl Fn(&RuleName, &Loss) -> bool,
) -> Waiting {
    let mut waiting = Waiting::new();
    loop {
        let plan = transition(current, wanted);
        let settled = settle(&plan, &BTreeMap::new());
        let released: HashSet<Listener> = settled.release.iter().copied().collect();
        let mut more = Vec::new();
        for name in plan.removed.keys().filter(|name| is_busy(name, &Loss::Rule)) {
            more.push((name.clone(), Wanted::Hold(None), Some((name.clone(), Loss::Rule))));
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
            let Some(previous) = step.previous.as_ref().filter(|previous| previous.rule != *next) else { continue };
            let loss = loss(&previous.rule, next, &released).filter(|loss| is_busy(&previous.name, loss));
            if let Some(loss) = loss {
                more.push((name.clone(), held(), Some((previous.name.clone(), loss))));
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

fn loss(before: &Rule, after: &Rule, released: &HashSet<Listener>) -> Option<Loss> {
    let owns = |listener: &Listener| after.listen.listeners().any(|other| other == *listener);
    // A connection stays with its rule where another one takes its port over; a flow does not end by itself.
    let is_lost =
        |listener: &Listener| released.contains(listener) || (listener.protocol == Protocol::Udp && !owns(listener));
    let ports: Vec<u16> = if before.listen == after.listen {
        Vec::new()
    } else {
        before.listen.listeners().filter(is_lost).map(|listener| listener.port).collect()
    };
    let enabled = |rule: &Rule| -> Vec<(Host, u16)> {
        let targets = rule.targets.iter().filter(|target| target.enabled);
        targets.map(|target| (target.host.clone(), target.ports.first())).collect()
    };
    let stays = enabled(after);
    let targets: Vec<(Host, u16)> = enabled(before).into_iter().filter(|target| !stays.contains(target)).collect();
    (!ports.is_empty() || !targets.is_empty()).then_some(Loss::Parts { ports, targets })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let after = [rule("b", 80, 80), rule("c", 90, 90), rule("d", 100, 100), rule("e", 110, 110)];
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
        let Some(Loss::Parts { ports, .. }) = seen(&rule("a", 80, 89), &rule("a", 85, 94)) else { panic!("a loss") };
        assert_eq!(ports, [80, 81, 82, 83, 84]);
        let to =
            |host: &str| rule_with("a", 80, 80, |parts| parts.targets[0].host = Host::parse(host).expect("an address"));
        let loss = seen(&to("10.0.0.1"), &to("10.0.0.2")).expect("a loss");
        let Loss::Parts { ports, targets } = loss else { panic!("of a target") };
        assert_eq!((ports.len(), targets.len()), (0, 1));
        let described = rule_with("a", 80, 80, |parts| "other".clone_into(&mut parts.description));
        assert_eq!(seen(&rule("a", 80, 80), &described), None);
    }
}
