//! What the edge answers to its server, message by message.

use std::sync::Arc;

use edge::act::runtime::RuntimeHandle;
use edge::act::session::{AfterMessage, Offer, Session};
use schema::capability::{Capabilities, Capability};
use schema::counters::Figures;
use schema::name::EdgeName;
use schema::proto::{self, edge_message, server_message};
use schema::testing::rule_with;

use crate::support::{
    capabilities, connect, desired_state, echo, free_ports, limits, ping, runtime, to, wait_for, wait_until,
};

fn session(runtime: &RuntimeHandle) -> Session {
    session_of(runtime, capabilities())
}

fn session_of(runtime: &RuntimeHandle, capabilities: Capabilities) -> Session {
    let name = EdgeName::new("edge-01").unwrap();
    let offer = Offer { name, capabilities, limits: limits(), own_listeners: Vec::new() };
    Session::new(Arc::new(offer), runtime.clone())
}

fn server(body: server_message::Body) -> proto::ServerMessage {
    proto::ServerMessage { body: Some(body) }
}

fn report_of(messages: Vec<proto::EdgeMessage>) -> proto::Report {
    match messages.into_iter().next_back().and_then(|message| message.body) {
        Some(edge_message::Body::Report(report)) => report,
        other => panic!("no report: {other:?}"),
    }
}

async fn send(session: &mut Session, state: proto::DesiredState) -> (proto::Report, AfterMessage) {
    let (messages, flow) = session.receive(server(server_message::Body::Desired(state))).await.unwrap();
    (report_of(messages), flow)
}

/// What a report counts of a rule.
fn figures(stats: &proto::RuleStats) -> Figures {
    Figures::from_wire(stats.total.as_ref().unwrap()).unwrap()
}

#[tokio::test]
async fn the_hello_says_what_the_edge_can_do_and_what_runs() {
    let edge = runtime().await;
    let port = free_ports(1);
    edge.apply(crate::support::desired(3, &[to("web", port, ([127, 0, 0, 1], 9).into(), |_| ())])).await.unwrap();
    let Some(edge_message::Body::Hello(hello)) = session(&edge).hello().body else { panic!("no hello") };
    assert_eq!(hello.edge, "edge-01");
    assert_eq!(schema::wire::capabilities_from_wire(&hello.capabilities), capabilities());
    let report = hello.report.unwrap();
    assert_eq!((report.generation, report.rules.len(), report.answers), (3, 1, 0));
    assert_eq!(report.running_digest, report.desired_digest);
}

#[tokio::test]
async fn a_desired_state_is_answered_with_what_runs() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let port = free_ports(2);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let target = ([127, 0, 0, 1], 9).into();
    let state = desired_state(1, &[to("good", port, target, |_| ()), to("taken", port + 1, target, |_| ())]);
    let (report, flow) = send(&mut session, state.clone()).await;
    assert_eq!((flow, report.answers, report.generation), (AfterMessage::Continue, 1, 1));
    assert_eq!(report.desired_digest, state.digest);
    assert_ne!(report.running_digest, state.digest);
    let taken = report.rules.iter().find(|rule| rule.rule == "taken").unwrap();
    assert_eq!((taken.state(), taken.code.as_str()), (proto::RuleState::Failed, "port_in_use"));
    assert!(taken.message.starts_with(&format!("port {} already bound by ", port + 1)), "{}", taken.message);
    assert!(taken.running.is_none() && taken.wanted.is_some());

    drop(stranger);
    session.changed().await.unwrap();
    let report = report_of(session.report());
    assert_eq!((report.answers, report.running_digest), (0, state.digest));
}

#[tokio::test]
async fn the_same_state_again_tries_at_once_what_failed() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let port = free_ports(1);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let state = desired_state(1, &[to("taken", port, ([127, 0, 0, 1], 9).into(), |_| ())]);
    let (report, _) = send(&mut session, state.clone()).await;
    assert_eq!(report.rules[0].state(), proto::RuleState::Failed);
    // Several attempts, so that the backoff would still be waiting.
    for _ in 0..6 {
        send(&mut session, state.clone()).await;
    }
    drop(stranger);
    let (report, flow) = send(&mut session, state).await;
    assert_eq!((flow, report.rules[0].state()), (AfterMessage::Continue, proto::RuleState::Active));
}

#[tokio::test]
async fn a_stale_generation_is_refused_and_nothing_changes() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let (port, target) = (free_ports(2), echo("").await);
    send(&mut session, desired_state(5, &[to("web", port, target, |_| ())])).await;
    let (report, flow) = send(&mut session, desired_state(4, &[to("web", port + 1, target, |_| ())])).await;
    assert_eq!(report.refused.unwrap().code, "stale_generation");
    assert_eq!((flow, report.answers, report.generation), (AfterMessage::Continue, 4, 5));
    ping(&mut connect(port).await, b"still").await;
}

#[tokio::test]
async fn what_was_decided_from_another_state_is_refused_and_nothing_changes() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let (port, target) = (free_ports(3), echo("").await);
    let stranger = std::net::TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let rules = [to("web", port, target, |_| ()), to("taken", port + 1, target, |_| ())];
    let from = |report: &proto::Report, state: proto::DesiredState| proto::DesiredState {
        base: Some(proto::Base { generation: report.generation, running_digest: report.running_digest.clone() }),
        ..state
    };
    let (before, _) = send(&mut session, desired_state(1, &rules)).await;
    drop(stranger);
    wait_for(&edge, |status| status.rule("taken").is_some_and(|rule| rule.code.is_none())).await;
    let next = desired_state(2, &[to("web", port + 2, target, |_| ())]);
    let (report, flow) = send(&mut session, from(&before, next.clone())).await;
    assert_eq!(report.refused.as_ref().map(|refused| refused.code.as_str()), Some("stale_base"));
    assert_eq!((flow, report.answers, report.generation), (AfterMessage::Continue, 2, 1));
    ping(&mut connect(port).await, b"still").await;

    // From what it reported with the refusal it is taken; sent once more, it runs already and there is nothing to refuse.
    let (after, _) = send(&mut session, from(&report, next.clone())).await;
    assert_eq!((after.refused, after.generation), (None, 2));
    let (again, _) = send(&mut session, from(&before, next)).await;
    assert_eq!((again.refused, again.generation), (None, 2));
    ping(&mut connect(port + 2).await, b"moved").await;
}

#[tokio::test]
async fn the_same_generation_with_other_content_ends_the_session() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let port = free_ports(2);
    let target = ([127, 0, 0, 1], 9).into();
    send(&mut session, desired_state(5, &[to("web", port, target, |_| ())])).await;
    let (report, flow) = send(&mut session, desired_state(5, &[to("web", port + 1, target, |_| ())])).await;
    assert_eq!(report.refused.unwrap().code, "stale_generation");
    assert_eq!((flow, edge.status().listeners), (AfterMessage::End, 1));
}

#[tokio::test]
async fn the_same_state_again_is_answered_and_touches_nothing() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let state = desired_state(5, &[to("web", free_ports(1), ([127, 0, 0, 1], 9).into(), |_| ())]);
    let (first, _) = send(&mut session, state.clone()).await;
    let before = edge.status();
    let (second, flow) = send(&mut session, state).await;
    assert_eq!((first, flow), (second, AfterMessage::Continue));
    assert!(Arc::ptr_eq(&before, &edge.status()));
}

#[tokio::test]
async fn a_rejected_version_leaves_the_previous_one_serving() {
    let edge = runtime().await;
    let mut session = session_of(&edge, &capabilities() - &Capabilities::from([Capability::Udp]));
    let (port, target) = (free_ports(2), echo("").await);
    send(&mut session, desired_state(1, &[to("web", port, target, |_| ())])).await;
    let udp = rule_with("web", port, port, |parts| parts.listen.protocol = schema::net::Protocol::Udp);
    let (report, _) = send(&mut session, desired_state(2, &[udp])).await;
    let rule = &report.rules[0];
    assert_eq!((rule.state(), rule.code.as_str()), (proto::RuleState::Rejected, "unsupported_protocol"));
    assert_eq!(rule.running.as_ref().unwrap().protocol(), proto::Protocol::Tcp);
    assert_eq!(rule.wanted.as_ref().unwrap().protocol(), proto::Protocol::Udp);
    ping(&mut connect(port).await, b"previous").await;
}

#[tokio::test]
async fn only_counters_that_moved_are_sent_and_the_last_ones_before_a_rule_vanishes() {
    let edge = runtime().await;
    let mut session = session(&edge);
    let (port, target) = (free_ports(2), echo("").await);
    let rules = [to("a", port, target, |_| ()), to("b", port + 1, target, |_| ())];
    send(&mut session, desired_state(1, &rules)).await;
    assert_eq!(session.moved_counters(), None);
    let mut stream = connect(port).await;
    ping(&mut stream, b"12345").await;
    let stats = |message: proto::EdgeMessage| match message.body {
        Some(edge_message::Body::Stats(stats)) => stats,
        other => panic!("no stats: {other:?}"),
    };
    let sent = stats(session.moved_counters().unwrap());
    assert_eq!((sent.request_id, sent.rules.len(), sent.rules[0].rule.as_str()), (0, 1, "a"));
    assert_eq!(figures(&sent.rules[0]).bytes_in, 5);
    assert_eq!(session.moved_counters(), None);

    let released = proto::EndingPart {
        protocol: proto::Protocol::Tcp.into(),
        first_port: port.into(),
        last_port: port.into(),
        ..proto::EndingPart::default()
    };
    let kept = vec![proto::KeptPlaces { host: target.ip().to_string(), first_port: target.port().into() }];
    let request = |ending: &[proto::EndingPart]| {
        let ending = ending.to_vec();
        let rule = "a".to_owned();
        let asked = proto::StatsRequest { request_id: 9, rule, per_port: true, per_target: true, ages: true, ending };
        server(server_message::Body::StatsRequest(asked))
    };
    for ends_nothing in [vec![], vec![proto::EndingPart { kept, ..released.clone() }]] {
        let (answer, _) = session.receive(request(&ends_nothing)).await.unwrap();
        assert_eq!(stats(answer.into_iter().next().unwrap()).rules[0].ages, None, "{ends_nothing:?}");
    }
    let (answer, _) = session.receive(request(&[released])).await.unwrap();
    let answer = stats(answer.into_iter().next().unwrap());
    assert_eq!((answer.request_id, answer.rules[0].ports[0].port), (9, u32::from(port)));
    assert_eq!(answer.rules[0].targets[0].port, u32::from(target.port()));
    let ages = answer.rules[0].ages.expect("one connection lives");
    assert_eq!(ages.oldest_ms, ages.median_ms, "it is the only one");
    assert!(ages.oldest_ms < 60_000, "{ages:?}");

    let meter = edge.status().rule("a").unwrap().meter.clone().unwrap();
    drop(stream);
    wait_until(|| meter.active() == 0).await;
    let state = desired_state(2, &[]);
    let (messages, _) = session.receive(server(server_message::Body::Desired(state))).await.unwrap();
    assert_eq!(messages.len(), 2);
    let last = stats(messages.into_iter().next().unwrap());
    assert_eq!(figures(&last.rules[0]).active_connections, 0);
    wait_for(&edge, |status| status.rules.is_empty()).await;
}
