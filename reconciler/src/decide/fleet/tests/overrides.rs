//! Break-glass rules, by script.

use schema::policy::Network;
use schema::sni::ServerName;

use super::*;
use crate::decide::new_override::InvalidOverride;

fn add(name: &str, port: u16, ttl: u64) -> Request {
    Request::Override(OverrideRequest::Add {
        edge: edge_name("a"),
        rule: rule(name, port, port),
        why: "the pager rang".to_owned(),
        ttl: Duration::from_secs(ttl),
        actor: "ada".to_owned(),
    })
}

fn ask(fleet: &mut Fleet, request: Request, second: i64) -> (Result<(), OverrideRefusal>, Vec<Effect>) {
    let mut effects = fleet.step(Event::Request { ticket: 9, authority: None, request: Box::new(request) }, at(second));
    let position = effects.iter().position(|effect| matches!(effect, Effect::Answered { ticket: 9, .. }));
    let Effect::Answered { answer, .. } = effects.remove(position.expect("every request is answered")) else {
        unreachable!("found as an answer")
    };
    let answer = answer.map(drop).map_err(|refusal| match refusal {
        RequestRefusal::Override(refusal) => refusal,
        other => panic!("{other}"),
    });
    (answer, effects)
}

/// A fleet whose edge `a` runs the rule `web` of a tree.
fn running() -> Fleet {
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", runs("here", 0, &[]));
    let (answer, _) = apply(&mut fleet, request(tree("one", &[("a", rule("web", 8000, 8000))])), 1);
    answer.expect("applied");
    say(&mut fleet, 1, "a", runs("here", 1, &[rule("web", 8000, 8000)]), 2);
    fleet
}

fn steps(effects: &[Effect]) -> Vec<OverrideStep> {
    let step = |effect: &Effect| match effect {
        Effect::Emit(Notice::Override { step, .. }) => Some(*step),
        _ => None,
    };
    effects.iter().filter_map(step).collect()
}

fn recorded(effects: &[Effect]) -> Vec<(String, Vec<u8>)> {
    let record = |effect: &Effect| match effect {
        Effect::Persist(record) => Some((record.key.clone(), record.value.clone())),
        _ => None,
    };
    effects.iter().filter_map(record).collect()
}

#[test]
fn an_override_is_recorded_sent_shown_as_drift_and_goes_by_itself() {
    let mut fleet = running();
    let (answer, effects) = ask(&mut fleet, add("glass", 9000, 60), 10);
    assert_eq!(answer, Ok(()));
    assert!(matches!(effects[0], Effect::Persist(_)), "{effects:?}");
    assert_eq!(sent(&effects), [("a".to_owned(), 2, vec!["glass".to_owned(), "web".to_owned()])]);
    let kinds: Vec<_> = crate::decide::drift::drift(fleet.edges()).into_iter().map(|drift| drift.kind).collect();
    assert!(kinds.contains(&crate::decide::drift::DriftKind::Override), "{kinds:?}");
    say(&mut fleet, 1, "a", runs("here", 2, &[rule("glass", 9000, 9000), rule("web", 8000, 8000)]), 11);
    assert_eq!(fleet.next_deadline(), Some(at(70)));
    assert_eq!(sent(&fleet.step(Event::Tick, at(69))), []);
    let effects = fleet.step(Event::Tick, at(70));
    assert_eq!(steps(&effects), [OverrideStep::Expired]);
    assert_eq!(sent(&effects), [("a".to_owned(), 3, vec!["web".to_owned()])]);
}

#[test]
fn an_override_that_expired_while_the_server_was_down_goes_with_the_first_step() {
    let mut before = running();
    let (_, effects) = ask(&mut before, add("glass", 9000, 60), 10);
    let records = recorded(&effects);
    let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
    let restored = crate::decide::record::restore(records).expect("readable");
    assert_eq!(restored.edges[&edge_name("a")].overrides.len(), 1);
    let mut after = Fleet::new("here".to_owned(), Mode::Heal, false, restored);
    let report = runs("here", 2, &[rule("glass", 9000, 9000), rule("web", 8000, 8000)]);
    let hello = Event::Hello { session: 1, edge: edge_name("a"), hello: hello(), report };
    let effects = after.step(hello, at(1000));
    assert_eq!(steps(&effects), [OverrideStep::Expired]);
    assert_eq!(sent(&effects), [("a".to_owned(), 3, vec!["web".to_owned()])]);
}

#[test]
fn an_override_takes_no_port_and_no_name_from_the_tree() {
    let mut fleet = running();
    let refused = |fleet: &mut Fleet, request| ask(fleet, request, 10).0.expect_err("refused");
    assert!(matches!(
        refused(&mut fleet, add("glass", 8000, 60)),
        OverrideRefusal::Invalid(InvalidOverride::PortTaken { .. })
    ));
    assert!(matches!(
        refused(&mut fleet, add("web", 9000, 60)),
        OverrideRefusal::Invalid(InvalidOverride::NameTaken(_))
    ));
    assert!(matches!(refused(&mut fleet, add("glass", 9000, 0)), OverrideRefusal::Invalid(InvalidOverride::Lifetime)));
    let (answer, _) = ask(&mut fleet, add("glass", 9000, 60), 10);
    assert_eq!(answer, Ok(()));
    assert!(matches!(
        refused(&mut fleet, add("other", 9000, 60)),
        OverrideRefusal::Invalid(InvalidOverride::Overridden { .. })
    ));
}

#[test]
fn an_override_shares_a_port_by_name_and_takes_no_name_from_the_tree() {
    let named = |name: &str, server_names: &[&str]| {
        rule_with(name, 8000, 8000, |parts| {
            parts.sni = server_names.iter().map(|name| ServerName::parse(name).expect("a name")).collect();
        })
    };
    let add = |rule: Arc<Rule>| match add("glass", 8000, 60) {
        Request::Override(OverrideRequest::Add { edge, why, ttl, actor, .. }) => {
            Request::Override(OverrideRequest::Add { edge, rule, why, ttl, actor })
        }
        other => other,
    };
    let mut fleet = fleet(Mode::Heal);
    say_hello(&mut fleet, 1, "a", runs("here", 0, &[]));
    let web = named("web", &["www.example.org"]);
    apply(&mut fleet, request(tree("one", &[("a", web.clone())])), 1).0.expect("applied");
    say(&mut fleet, 1, "a", runs("here", 1, std::slice::from_ref(&web)), 2);
    let (answer, _) = ask(&mut fleet, add(named("glass", &["WWW.example.org."])), 10);
    let text = answer.expect_err("refused").to_string();
    assert!(text.starts_with("the server name `www.example.org` on *:8000 belongs to web of the tree"), "{text}");
    let proxied = rule_with("glass", 8000, 8000, |parts| {
        parts.accept_proxy = std::iter::once("10.0.0.0/8".parse::<Network>().expect("a network")).collect();
    });
    let text = ask(&mut fleet, add(proxied), 10).0.expect_err("refused").to_string();
    assert!(text.contains("with other networks in `accept_proxy`"), "{text}");
    // The fallback that the port lacks, and then another name beside it.
    let (answer, effects) = ask(&mut fleet, add(rule("glass", 8000, 8000)), 11);
    assert_eq!(answer, Ok(()));
    assert_eq!(sent(&effects), [("a".to_owned(), 2, vec!["glass".to_owned(), "web".to_owned()])]);
    say(&mut fleet, 1, "a", runs("here", 2, &[rule("glass", 8000, 8000), web.clone()]), 11);
    let text = ask(&mut fleet, add(rule("other", 8000, 8000)), 12).0.expect_err("refused").to_string();
    assert!(text.contains("belongs to the override glass"), "{text}");
    let (answer, effects) = ask(&mut fleet, add(named("api", &["api.example.org"])), 13);
    assert_eq!(answer, Ok(()));
    let all = ["api", "glass", "web"].map(ToOwned::to_owned).to_vec();
    assert_eq!(sent(&effects), [("a".to_owned(), 3, all)]);
    let all = [named("api", &["api.example.org"]), rule("glass", 8000, 8000), web.clone()];
    say(&mut fleet, 1, "a", runs("here", 3, &all), 13);
    // A rule of the tree that wants the same name waits; one with another name does not.
    let (new, old) = (named("new", &["new.example.org"]), named("old", &["api.example.org"]));
    let tree = tree("two", &[("a", web), ("a", new), ("a", old)]);
    let (_, effects) = apply(&mut fleet, request(tree), 14);
    let all = ["api", "glass", "new", "web"].map(ToOwned::to_owned).to_vec();
    assert_eq!(sent(&effects), [("a".to_owned(), 4, all)]);
}

#[test]
fn the_tree_takes_an_override_over_under_its_own_name_and_waits_under_another() {
    let mut fleet = running();
    ask(&mut fleet, add("glass", 9000, 60), 10).0.expect("added");
    say(&mut fleet, 1, "a", runs("here", 2, &[rule("glass", 9000, 9000), rule("web", 8000, 8000)]), 11);
    let (web, other) = (rule("web", 8000, 8000), rule("other", 9000, 9000));
    let (answer, effects) = apply(&mut fleet, request(tree("two", &[("a", web.clone()), ("a", other.clone())])), 12);
    // Everything that changes is rejected until the override ends.
    assert!(matches!(answer, Err(Refusal::Rejected { ref reason, .. }) if reason == "port_in_use"), "{answer:?}");
    assert_eq!(sent(&effects), []);
    let (answer, effects) =
        apply(&mut fleet, request(tree("three", &[("a", web.clone()), ("a", rule("glass", 9000, 9000))])), 13);
    answer.expect("applied");
    assert_eq!(steps(&effects), [OverrideStep::TakenOver]);
    // Nothing that runs has changed: the same set is sent without its end, and time ends nothing any more.
    assert_eq!(sent(&effects), [("a".to_owned(), 2, vec!["glass".to_owned(), "web".to_owned()])]);
    let is_without_end = |effect: &Effect| matches!(effect, Effect::Send { ends, .. } if ends.is_empty());
    assert!(effects.iter().any(is_without_end));
    assert_eq!(steps(&fleet.step(Event::Tick, at(5000))), []);
    assert_eq!(fleet.edges()[&edge_name("a")].running().len(), 2);
}

#[test]
fn a_tree_without_the_override_neither_plans_nor_makes_its_removal() {
    let mut fleet = running();
    ask(&mut fleet, add("glass", 9000, 600), 10).0.expect("added");
    say(&mut fleet, 1, "a", runs("here", 2, &[rule("glass", 9000, 9000), rule("web", 8000, 8000)]), 11);
    let (answer, effects) = apply(&mut fleet, request(tree("two", &[("a", rule("web", 8001, 8001))])), 12);
    answer.expect("applied");
    assert_eq!(sent(&effects), [("a".to_owned(), 3, vec!["glass".to_owned(), "web".to_owned()])]);
    let (answer, effects) = ask(
        &mut fleet,
        Request::Override(OverrideRequest::Remove {
            edge: edge_name("a"),
            rule: RuleName::new("glass").expect("a name"),
            why: String::new(),
            actor: "ada".to_owned(),
        }),
        13,
    );
    assert_eq!((answer, steps(&effects)), (Ok(()), vec![OverrideStep::Removed]));
}

#[test]
fn every_override_that_comes_or_goes_is_a_line_of_the_ledger() {
    let mut fleet = running();
    let mut effects = ask(&mut fleet, add("glass", 9000, 60), 10).1;
    effects.extend(fleet.step(Event::Tick, at(70)));
    effects.extend(ask(&mut fleet, add("other", 9001, 600), 80).1);
    let remove = OverrideRequest::Remove {
        edge: edge_name("a"),
        rule: rule("other", 1, 1).name.clone(),
        why: "the disk is back".to_owned(),
        actor: "bob".to_owned(),
    };
    effects.extend(ask(&mut fleet, Request::Override(remove), 81).1);
    effects.extend(ask(&mut fleet, add("third", 9002, 600), 82).1);
    let both = tree("two", &[("a", rule("web", 8000, 8000)), ("a", rule("third", 9002, 9002))]);
    effects.extend(apply(&mut fleet, request(both), 83).1);
    let lines: Vec<Entry> = recorded(&effects)
        .into_iter()
        .filter(|(key, _)| key.starts_with("ledger/"))
        .map(|(_, value)| serde_json::from_slice(&value).expect("a line"))
        .collect();
    let ended = lines.iter().find(|line| line.outcome == "rule_removed").expect("a line");
    assert_eq!(ended.why, "the disk is back");
    let of_rules = lines.iter().filter(|line| line.action == crate::decide::ledger::LedgerAction::Override);
    let said: Vec<_> = of_rules.map(|line| (line.outcome.as_str(), line.actor.as_str(), line.note.as_str())).collect();
    assert_eq!(
        said,
        [
            ("rule_added", "ada", "a/glass on *:9000"),
            ("rule_expired", "clock", "a/glass on *:9000"),
            ("rule_added", "ada", "a/other on *:9001"),
            ("rule_removed", "bob", "a/other on *:9001"),
            ("rule_added", "ada", "a/third on *:9002"),
            ("rule_taken_over", "tree", "a/third on *:9002"),
        ]
    );
    assert_eq!((lines[0].why.as_str(), lines[0].until), ("the pager rang", Some(at(70))));
    assert_eq!(lines[0].generations, [(edge_name("a"), 2)].into());
    assert_eq!(lines[0].digest, Digest::of(b"one"), "the tree that was in force");
    let mut head =
        crate::decide::ledger::Head { id: lines[0].id - 1, hash: lines[0].previous_hash, ..Default::default() };
    assert!(lines.iter().all(|line| line.clone().chained(&mut head) == *line), "the chain holds");
}
