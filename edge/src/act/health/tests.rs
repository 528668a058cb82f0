//! Health over real sockets on loopback, without a data plane.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use schema::health::{HealthCheck, HealthKind, Retry, RuleHealth};
use schema::net::PortRange;
use schema::rule::{Host, OnTargetDown, RuleParts, Target};
use schema::testing::rule_with;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::act::names::ResolverFiles;
use crate::act::steady::Steady;
use crate::act::workers::ConnectionOutcome;
use crate::decide::faults::ConnectCause;

/// Far above anything that a test waits for.
const LONG: Duration = Duration::from_secs(20);

fn start() -> (HealthHandle, mpsc::Receiver<PartingOrder>) {
    super::start(
        Names::start(ResolverFiles::default()),
        PolicyInForce::default(),
        Steady::start(None),
        &Supervisor::new(),
    )
}

fn target(address: SocketAddr) -> Target {
    let host = Host::Ip(address.ip());
    Target::new(host, PortRange::single(address.port()).unwrap())
}

/// A rule with a TCP check that does not come again by itself within a test.
fn rule_to(name: &str, targets: &[SocketAddr], change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    rule_with(name, 8000, 8000, |parts| {
        parts.targets = targets.iter().copied().map(target).collect();
        parts.health = Some(HealthCheck::new(HealthKind::Tcp, 3600));
        change(parts);
    })
}

async fn upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn serve(health: &HealthHandle, rules: &[&Arc<Rule>]) -> Choices {
    let serving = |rule: &&Arc<Rule>| ServingRule { previous: Some(rule.name.clone()), rule: (*rule).clone() };
    health.serve(rules.iter().map(serving).collect()).await.unwrap()
}

async fn wait_for(health: &HealthHandle, name: &str, is_so: impl Fn(&RuleView) -> bool) -> Arc<RuleView> {
    let name = RuleName::new(name).unwrap();
    let mut changes = health.subscribe();
    let seen = changes.wait_for(|view| view.get(&name).is_some_and(|rule| is_so(rule)));
    timeout(LONG, seen).await.expect("the view comes").unwrap()[&name].clone()
}

fn is_up(view: &RuleView) -> bool {
    view.health == RuleHealth::Up
}

fn places(choice: &Choice) -> Vec<SocketAddr> {
    let at = |place: &crate::act::workers::Place| place.target.to_string().parse().unwrap();
    choice.chosen().places.iter().map(at).collect()
}

async fn accepted(listener: &TcpListener) {
    timeout(LONG, listener.accept()).await.expect("a probe comes").unwrap();
}

fn counted(health: &HealthHandle, code: &str) -> u64 {
    health.probes().iter().filter(|probes| probes.cause == code).map(|probes| probes.count).sum()
}

#[tokio::test]
async fn rules_of_one_check_and_address_share_a_probe_and_its_result() {
    let (health, _orders) = start();
    let (_listener, address) = upstream().await;
    let rules = [rule_to("a", &[address], |_| ()), rule_to("b", &[address], |_| ())];
    serve(&health, &[&rules[0], &rules[1]]).await;
    wait_for(&health, "a", is_up).await;
    wait_for(&health, "b", is_up).await;
    let other = rule_to("c", &[address], |parts| {
        parts.health = Some(HealthCheck { timeout_ms: 4999, ..HealthCheck::new(HealthKind::Tcp, 3600) });
    });
    serve(&health, &[&rules[0], &rules[1], &other]).await;
    let view = wait_for(&health, "c", is_up).await;
    assert_eq!(view.targets[0].last.as_ref().unwrap().code, "L4OK");
    assert_eq!(counted(&health, "L4OK"), 2);
}

#[tokio::test]
async fn a_reload_that_leaves_check_and_targets_keeps_verdict_history_and_choice() {
    let (health, _orders) = start();
    let (_listener, address) = upstream().await;
    let choice = serve(&health, &[&rule_to("web", &[address], |_| ())]).await.into_values().next().unwrap();
    let before = wait_for(&health, "web", is_up).await;
    let described = rule_to("web", &[address], |parts| parts.description = "new".to_owned());
    let after = serve(&health, &[&described]).await.into_values().next().unwrap();
    assert!(Arc::ptr_eq(&choice, &after));
    let moved = rule_with("web", 8001, 8001, |parts| {
        *parts = RuleParts { listen: parts.listen, ..RuleParts::clone(&described) }
    });
    let after = serve(&health, &[&moved]).await.into_values().next().unwrap();
    assert!(!Arc::ptr_eq(&choice, &after), "it listens elsewhere");
    assert_eq!((choice.chosen().listen.first(), after.chosen().listen.first()), (8000, 8001));
    let renamed = rule_with("site", 8001, 8001, |parts| {
        *parts = RuleParts { name: parts.name.clone(), ..RuleParts::clone(&moved) };
    });
    let serving = ServingRule { previous: Some(moved.name.clone()), rule: renamed };
    health.serve(vec![serving]).await.unwrap();
    assert_eq!(*wait_for(&health, "site", is_up).await, *before);
    assert_eq!((health.view().len(), counted(&health, "L4OK")), (1, 1));
}

#[tokio::test]
async fn the_targets_of_before_serve_until_a_new_one_is_up_and_each_attempt_is_shown() {
    let (health, mut orders) = start();
    let (_old_listener, old) = upstream().await;
    let (listener, new) = upstream().await;
    drop(listener);
    let choice = serve(&health, &[&rule_to("web", &[old], |_| ())]).await.into_values().next().unwrap();
    wait_for(&health, "web", is_up).await;
    let after = serve(&health, &[&rule_to("web", &[new], |_| ())]).await.into_values().next().unwrap();
    assert!(Arc::ptr_eq(&choice, &after));
    let view = wait_for(&health, "web", |view| view.targets[0].attempts == 1).await;
    assert_eq!((view.targets[0].state.as_str(), places(&choice)), ("unknown", vec![old]), "no verdict yet");
    let detail = &view.targets[0].last.as_ref().unwrap().detail;
    assert_eq!(*detail, format!("{new} refused the connection: nothing listens there"));
    wait_for(&health, "web", |view| view.targets[0].attempts == 2).await;
    let _listener = TcpListener::bind(new).await.unwrap();
    let view = wait_for(&health, "web", is_up).await;
    assert_eq!((view.targets[0].attempts, places(&choice)), (0, vec![new]));
    let order = timeout(LONG, orders.recv()).await.unwrap().unwrap();
    let gone = vec![(Host::Ip(old.ip()), old.port())];
    assert_eq!((order.parting, order.scope), (Parting::Drain, Scope::Targets(gone)));
}

#[tokio::test]
async fn a_pause_and_a_weight_hold_through_a_reload_and_end_by_themselves() {
    let (health, _orders) = start();
    let (_listener, address) = upstream().await;
    let rule = rule_to("web", &[address], |_| ());
    serve(&health, &[&rule]).await;
    wait_for(&health, "web", is_up).await;
    let order = |operation: &str, weight, until_ms| proto::TargetOverride {
        rule: "web".to_owned(),
        target: address.to_string(),
        operation: operation.to_owned(),
        weight,
        until_ms,
        ..proto::TargetOverride::default()
    };
    let list = |overrides| proto::TargetOverrides { overrides };
    health.set_overrides(list(vec![order("pause", 0, 0), order("weight", 7, 0)])).await.unwrap();
    wait_for(&health, "web", |view| view.targets[0].state == "paused" && view.targets[0].weight == 7).await;
    let reloaded = rule_to("web", &[address], |parts| {
        parts.health = Some(HealthCheck::new(HealthKind::Tcp, 1800));
    });
    serve(&health, &[&reloaded]).await;
    assert_eq!(health.view()[&rule.name].targets[0].state, "paused");
    let end = health.steady().now_ms() + 100;
    health.set_overrides(list(vec![order("disable", 0, end)])).await.unwrap();
    let view = wait_for(&health, "web", |view| view.targets[0].state == "disabled").await;
    assert_eq!(view.targets[0].weight, 100);
    wait_for(&health, "web", |view| view.targets[0].state == "up").await;
    assert!(health.steady().now_ms() >= end);
}

#[tokio::test]
async fn a_target_that_is_taken_back_into_use_is_probed_at_once_and_failed_by_its_last_try_alone() {
    let (health, _orders) = start();
    let (listener, address) = upstream().await;
    let retry = Retry { max: 2, initial_ms: 200, max_ms: 300 };
    let rule = rule_to("web", &[address], |parts| {
        parts.health = Some(HealthCheck { retry, history: 7, ..HealthCheck::new(HealthKind::Tcp, 3600) });
    });
    serve(&health, &[&rule]).await;
    wait_for(&health, "web", is_up).await;
    let order = |operation: &str| {
        let one = proto::TargetOverride {
            rule: "web".to_owned(),
            target: address.to_string(),
            operation: operation.to_owned(),
            ..proto::TargetOverride::default()
        };
        proto::TargetOverrides { overrides: vec![one] }
    };
    for (operation, taken_out) in [("pause", "paused"), ("disable", "disabled")] {
        health.set_overrides(order(operation)).await.unwrap();
        wait_for(&health, "web", |view| view.targets[0].state == taken_out).await;
        // The interval is an hour: nothing but the order can make a probe due.
        health.set_overrides(proto::TargetOverrides::default()).await.unwrap();
        wait_for(&health, "web", is_up).await;
    }
    drop(listener);
    health.set_overrides(order("pause")).await.unwrap();
    wait_for(&health, "web", |view| view.targets[0].state == "paused").await;
    let begin = Instant::now();
    health.set_overrides(proto::TargetOverrides::default()).await.unwrap();
    let view = wait_for(&health, "web", |view| view.targets[0].attempts >= 1).await;
    assert_eq!((view.targets[0].state.as_str(), view.health), ("unknown", RuleHealth::Unknown));
    let view = wait_for(&health, "web", |view| view.health == RuleHealth::Down).await;
    assert!(begin.elapsed() >= Duration::from_millis(500), "three tries, 200 ms and 300 ms apart");
    let words: Vec<&str> = view.targets[0].history.iter().map(|change| change.code.as_str()).collect();
    assert_eq!(words, ["L4CON", "resumed", "paused", "L4OK", "enabled", "disabled", "L4OK"], "the last seven");
}

#[tokio::test]
async fn a_new_target_of_a_changed_check_has_its_tries_and_one_pass_is_enough() {
    let (health, _orders) = start();
    let (listener, address) = upstream().await;
    let check = |timeout_ms, history| {
        let retry = Retry { max: 200, initial_ms: 50, max_ms: 50 };
        Some(HealthCheck { timeout_ms, history, rise: 5, retry, ..HealthCheck::new(HealthKind::Tcp, 3600) })
    };
    serve(&health, &[&rule_to("web", &[address], |parts| parts.health = check(5000, 5))]).await;
    let view = wait_for(&health, "web", is_up).await;
    assert_eq!(view.targets[0].history.len(), 2, "the start and the first pass");
    // How many changes are kept says nothing about a target.
    serve(&health, &[&rule_to("web", &[address], |parts| parts.health = check(5000, 1))]).await;
    let kept = health.newest(None).await.unwrap().into_values().next().unwrap();
    assert_eq!((kept.health, kept.targets[0].history.len()), (RuleHealth::Up, 1));
    assert_eq!(counted(&health, "L4OK"), 1, "nothing was asked again");
    drop(listener);
    serve(&health, &[&rule_to("web", &[address], |parts| parts.health = check(4000, 5))]).await;
    let view = wait_for(&health, "web", |view| view.targets[0].attempts >= 3).await;
    assert_eq!(view.targets[0].state, "unknown", "no verdict before the last try");
    // Another check while it is waited for begins anew, and goes on.
    serve(&health, &[&rule_to("web", &[address], |parts| parts.health = check(3000, 5))]).await;
    wait_for(&health, "web", |view| view.targets[0].attempts >= 3).await;
    let _listener = TcpListener::bind(address).await.unwrap();
    wait_for(&health, "web", is_up).await;
}

#[tokio::test]
async fn a_round_of_probes_is_answered_when_it_has_ended() {
    let (health, _orders) = start();
    let (listener, address) = upstream().await;
    serve(&health, &[&rule_to("web", &[address], |parts| parts.name = RuleName::new("web").unwrap())]).await;
    wait_for(&health, "web", is_up).await;
    drop(listener);
    let check = |rule: &str, target: &str| {
        let request = proto::CheckTargets { request_id: 5, rule: rule.to_owned(), target: target.to_owned() };
        let health = health.clone();
        async move { timeout(LONG, health.check(request)).await.unwrap().unwrap() }
    };
    let checked = check("web", &address.to_string()).await;
    let last = checked.targets[0].last.as_ref().unwrap();
    assert_eq!((checked.request_id, last.code.as_str()), (5, "L4CON"));
    let refused = |checked: proto::TargetsChecked| checked.refused.unwrap().code;
    assert_eq!(refused(check("other", "").await), "unknown_rule");
    assert_eq!(refused(check("web", "192.0.2.1:1").await), "unknown_target");
    serve(&health, &[&rule_to("web", &[address], |parts| parts.health = None)]).await;
    assert_eq!(refused(check("web", "").await), "no_check");
}

#[tokio::test]
async fn connections_that_fail_take_a_target_out_and_reset_what_lives_where_the_rule_says_so() {
    let (health, mut orders) = start();
    let rule = rule_to("web", &[([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into()], |parts| {
        (parts.health, parts.on_target_down) = (None, OnTargetDown::Reset);
    });
    let choice = serve(&health, &[&rule]).await.into_values().next().unwrap();
    let chosen = choice.chosen();
    assert_ne!(chosen.places[0].awaits_success.load(std::sync::atomic::Ordering::Relaxed), 0);
    let own = [
        ConnectCause::Descriptors,
        ConnectCause::SourcePorts,
        ConnectCause::Memory,
        ConnectCause::Firewall,
        ConnectCause::Route,
    ];
    for own in own {
        (0..3).for_each(|_| choice.tell(&chosen.places[0], 1, ConnectionOutcome::Failure(own)));
    }
    for _ in 0..3 {
        choice.tell(&chosen.places[0], 1, ConnectionOutcome::Failure(ConnectCause::Refused));
    }
    let view = wait_for(&health, "web", |view| view.targets[0].state == "down").await;
    assert_eq!(view.targets[0].history[0].detail, "a connection was refused");
    let order = timeout(LONG, orders.recv()).await.unwrap().unwrap();
    assert_eq!(order.parting, Parting::Reset);
    assert!(matches!(order.scope, Scope::Targets(targets) if targets.len() == 1));
    assert_eq!(choice.chosen().selections.rest().weights(), [0, 100]);
}

#[tokio::test]
async fn a_connection_that_fails_makes_a_probe_due_at_once() {
    let (health, _orders) = start();
    let (listener, address) = upstream().await;
    let choice = serve(&health, &[&rule_to("web", &[address], |_| ())]).await.into_values().next().unwrap();
    accepted(&listener).await;
    wait_for(&health, "web", is_up).await;
    choice.tell(&choice.chosen().places[0], address.port(), ConnectionOutcome::Failure(ConnectCause::Timeout));
    accepted(&listener).await;
}

#[tokio::test]
async fn targets_that_are_silent_hold_up_no_other() {
    let (health, _orders) = start();
    // It takes connections and says nothing.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent: Vec<SocketAddr> = (1..=8).map(|last| ([127, 0, 1, last], port).into()).collect();
    let http = |parts: &mut RuleParts| parts.health = Some(HealthCheck::new(HealthKind::Http, 3600));
    let (_listener, well) = upstream().await;
    serve(&health, &[&rule_to("a", &silent, http), &rule_to("b", &[well], |_| ())]).await;
    wait_for(&health, "b", is_up).await;
    let view = health.view()[&RuleName::new("a").unwrap()].clone();
    assert!(view.targets.iter().all(|target| target.last.is_none()), "they are still asked: {view:?}");
}

#[tokio::test]
async fn a_target_that_dies_is_found_in_time_beside_hundreds_that_hang() {
    // They take connections and say nothing.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let retry = Retry { max: 0, ..Retry::default() };
    let check = |kind| HealthCheck { rise: 1, fall: 2, jitter_percent: 0, retry, ..HealthCheck::new(kind, 1) };
    let silent: Vec<Arc<Rule>> = (0..40)
        .map(|number| {
            let targets: Vec<SocketAddr> = (1..=8).map(|last| ([127, 2, number, last], port).into()).collect();
            rule_to(&format!("silent-{number}"), &targets, |parts| parts.health = Some(check(HealthKind::Http)))
        })
        .collect();
    let (well_listener, well) = upstream().await;
    let well = rule_to("well", &[well], |parts| parts.health = Some(check(HealthKind::Tcp)));
    let (health, _orders) = start();
    serve(&health, &silent.iter().chain([&well]).collect::<Vec<_>>()).await;
    wait_for(&health, "well", is_up).await;
    wait_for(&health, "silent-39", |view| view.health == RuleHealth::Down).await;
    drop(well_listener);
    let begin = Instant::now();
    wait_for(&health, "well", |view| view.health == RuleHealth::Down).await;
    // Two probes, a second apart; with ten places for 321 probes it took half a minute.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn many_targets_are_asked_evenly_from_the_first_period_on() {
    const RULES: u8 = 125;
    const EVEN: usize = 50;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let rules: Vec<Arc<Rule>> = (0..RULES)
        .map(|number| {
            let targets: Vec<SocketAddr> = (1..=8).map(|last| ([127, 1, number, last], port).into()).collect();
            rule_to(&format!("web-{number}"), &targets, |parts| {
                parts.health = Some(HealthCheck { timeout_ms: 2000, ..HealthCheck::new(HealthKind::Tcp, 2) });
            })
        })
        .collect();
    let (health, _orders) = start();
    serve(&health, &rules.iter().collect::<Vec<_>>()).await;
    let (begin, mut asked, mut tenths) = (Instant::now(), BTreeMap::<IpAddr, u32>::new(), [0_usize; 60]);
    loop {
        let (stream, _) = timeout(LONG, listener.accept()).await.expect("a probe comes").unwrap();
        let Some(tenth) = tenths.get_mut(begin.elapsed().as_millis() as usize / 100) else { break };
        *tenth += 1;
        *asked.entry(stream.local_addr().unwrap().ip()).or_default() += 1;
    }
    assert_eq!(asked.len(), usize::from(RULES) * 8);
    assert!(asked.values().all(|count| (2..=4).contains(count)), "each in every period: {asked:?}");
    // A host that is busy may hold up everything for a moment, and what is due then comes after it.
    let many = tenths.iter().filter(|count| **count > 2 * EVEN).count();
    assert!(many <= tenths.len() / 10 && tenths.iter().all(|count| *count < 10 * EVEN), "{tenths:?}");
}
