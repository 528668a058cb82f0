//! Forwards one port to another, TCP or UDP, until it is killed, with the data plane and nothing else of the edge: what the
//! benchmark measures.
//!
//! `forward 127.0.0.1:8000=127.0.0.1:9000`, or `forward udp 127.0.0.1:8000=127.0.0.1:9000`

use std::net::SocketAddr;
use std::sync::Arc;

use edge::act::abilities;
use edge::act::names::{Names, ResolverFiles};
use edge::act::policy::PolicyInForce;
use edge::act::sockets;
use edge::act::workers::{Acceptor, Choice, Dataplane, Route, Routing};
use guard::Supervisor;
use schema::name::RuleName;
use schema::net::{ListenAddress, ListenRange, PortRange, Protocol};
use schema::rule::{Host, Rule, RuleParts, Target};

fn addresses(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, target) = text.split_once('=')?;
    Some((listen.parse().ok()?, target.parse().ok()?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (protocol, ways) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["udp", ways] => (Protocol::Udp, ways),
        ["tcp", ways] | [ways] => (Protocol::Tcp, ways),
        _ => (Protocol::Tcp, ""),
    };
    let (listen, target) = addresses(ways).ok_or("usage: forward [tcp|udp] LISTEN=TARGET, each IP:PORT")?;
    abilities::limits(0);
    let port = |address: SocketAddr| PortRange::single(address.port()).ok_or("port 0");
    let range = ListenRange { protocol, address: ListenAddress::Ip(listen.ip()), ports: port(listen)? };
    let targets = vec![Target::new(Host::Ip(target.ip()), port(target)?)];
    let mut parts = RuleParts::new(RuleName::new("forward")?, range, targets);
    // The benchmark asks for a thousand at once.
    parts.udp_max_flows = 4096;
    let rule = Rule::new(parts).map_err(|problems| format!("{problems:?}"))?;

    let mut dataplane =
        Dataplane::start(Names::start(ResolverFiles::default()), PolicyInForce::default(), None, &Supervisor::new())?;
    let meter = dataplane.meter(Arc::default());
    let choice = Arc::new(Choice::unwatched(&rule));
    dataplane.publish(Routing::new([Route { rule: Arc::new(rule), meter, choice, gate: None }], []));
    let mut acceptors = Vec::new();
    for listener in range.listeners() {
        let socket = sockets::bind(&listener, false)?;
        sockets::listen(&listener, &socket)?;
        acceptors.push((listener, Acceptor::new(socket)));
    }
    dataplane.adopt(acceptors).await;
    std::future::pending().await
}
