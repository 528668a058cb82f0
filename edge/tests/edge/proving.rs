//! What an edge reserves for a plan: held against everybody else, spent by the next state, given back by itself.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use edge::act::runtime::{Proof, RuleProof, RuntimeHandle};
use edge::decide::admission::{Accepted, Base};
use edge::decide::desired::Desired;
use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::net::{ListenAddress, PortRange, Protocol};
use schema::rule::Rule;
use schema::testing::rule_with;

use crate::support::{
    apply, capabilities, connect, desired, desired_state, echo, free_ports, limits, ping, range, runtime, to,
    wait_until,
};

const LEASE: Duration = Duration::from_mins(2);

fn wanted(rules: &[Arc<Rule>]) -> Desired {
    Desired::read(Accepted::default(), desired_state(0, rules).rules, None, &capabilities(), &limits())
}

fn base(edge: &RuntimeHandle) -> Base {
    let status = edge.status();
    Base { generation: status.accepted.generation, running: status.running_digest }
}

async fn reserve(edge: &RuntimeHandle, rules: &[Arc<Rule>], lasts: Duration) -> Proof {
    edge.reserve(wanted(rules), base(edge), lasts).await.unwrap().unwrap()
}

fn verdict<'a>(proof: &'a Proof, rule: &str) -> &'a RuleProof {
    &proof.rules[&RuleName::new(rule).unwrap()]
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

#[tokio::test]
async fn what_a_plan_needs_is_held_and_the_next_state_uses_it() {
    let edge = runtime().await;
    let (port, target) = (free_ports(4), echo("").await);
    let udp = rule_with("dns", port, port, |parts| {
        parts.listen.protocol = Protocol::Udp;
        parts.targets[0].ports = PortRange::single(target.port()).unwrap();
    });
    let rules = [to("web", port, target, |_| ()), range("many", port + 1, port + 3, 9000), udp];
    let proof = reserve(&edge, &rules, LEASE).await;
    for rule in ["web", "many", "dns"] {
        assert_eq!(verdict(&proof, rule), &RuleProof::Proven, "{rule}");
    }
    assert!(proof.lease > 0);
    assert!((port..port + 4).all(is_taken) && UdpSocket::bind(("127.0.0.1", port)).is_err());
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(), "nobody listens yet");
    assert_eq!(edge.status().listeners, 0);
    // Another plan of the same shares what is held.
    assert_eq!(verdict(&reserve(&edge, &rules, LEASE).await, "many"), &RuleProof::Proven);

    let status = apply(&edge, 1, &rules[..1]).await;
    assert!(status.rule("web").unwrap().code.is_none());
    ping(&mut connect(port).await, b"spent").await;
    assert!((port + 1..port + 4).all(|port| !is_taken(port)), "what was not needed is given back");
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_ok());
}

#[tokio::test]
async fn a_lease_ends_by_itself_or_with_its_session() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    let rules = [to("web", port, target, |_| ())];
    reserve(&edge, &rules, Duration::from_millis(300)).await;
    assert!(is_taken(port));
    wait_until(|| !is_taken(port)).await;
    reserve(&edge, &rules, LEASE).await;
    assert!(is_taken(port));
    edge.give_back().await.unwrap();
    assert!(!is_taken(port));
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_its_code_and_holds_nothing() {
    let edge = runtime().await;
    let port = free_ports(4);
    let stranger = TcpListener::bind(("127.0.0.1", port + 1)).unwrap();
    let proof = reserve(&edge, &[range("many", port, port + 3, 9000)], LEASE).await;
    let RuleProof::Refused(failure) = verdict(&proof, "many") else { panic!("{proof:?}") };
    assert_eq!(failure.code, RuleCode::PortInUse);
    assert!(failure.message.starts_with(&format!("port {} already bound by ", port + 1)), "{}", failure.message);
    assert_eq!(proof.lease, 0);
    drop(stranger);
    assert!((port..port + 4).all(|port| !is_taken(port)));
    let wide = reserve(&edge, &[range("wide", 10_001, 21_000, 30_000)], LEASE).await;
    let RuleProof::Refused(failure) = verdict(&wide, "wide") else { panic!("{wide:?}") };
    assert_eq!(failure.code, RuleCode::FdBudgetExceeded);
}

#[tokio::test]
async fn an_exchange_of_addresses_is_modelled_and_a_stale_question_is_not_answered() {
    let edge = runtime().await;
    let (port, target) = (free_ports(1), echo("").await);
    apply(&edge, 1, &[to("web", port, target, |_| ())]).await;
    let narrow = to("web", port, target, |parts| {
        parts.listen.address = ListenAddress::Ip("127.0.0.1".parse().unwrap());
    });
    let proof = reserve(&edge, std::slice::from_ref(&narrow), LEASE).await;
    assert!(matches!(verdict(&proof, "web"), RuleProof::Modelled(_)), "{proof:?}");
    ping(&mut connect(port).await, b"as before").await;

    let stale = Base { generation: 0, ..base(&edge) };
    let refused = edge.reserve(wanted(&[narrow]), stale, LEASE).await.unwrap().unwrap_err();
    assert_eq!(refused.code, RuleCode::StaleBase);
}

#[tokio::test]
async fn leases_are_few_and_stand_in_nobodys_way() {
    let edge = runtime().await;
    let (port, target) = (free_ports(9), echo("").await);
    for number in 0..8 {
        reserve(&edge, &[to("web", port + number, target, |_| ())], LEASE).await;
    }
    let next = edge.reserve(wanted(&[to("web", port + 8, target, |_| ())]), base(&edge), LEASE).await.unwrap();
    assert!(next.unwrap_err().message.contains("8 other plans"));
    // Held for all addresses, wanted on one: the edge's own state wins.
    let narrow = to("web", port, target, |parts| {
        parts.listen.address = ListenAddress::Ip("127.0.0.1".parse().unwrap());
    });
    edge.apply(desired(1, &[narrow])).await.unwrap();
    ping(&mut connect(port).await, b"served").await;
}
