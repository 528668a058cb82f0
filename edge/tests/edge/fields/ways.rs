//! A rule under test on one of the paths, two targets that say who they are, and clients that check every byte.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use edge::act::names::Names;
use edge::act::runtime::{self, RuntimeHandle};
use edge::act::workers::Meter;
use schema::net::{PortRange, Protocol};
use schema::rule::{Host, ProxyProtocol, Rule, RuleParts, Target};
use schema::testing::rule_with;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::datagrams::{ask, client, mirror_at};
use crate::dns::{Dns, Reply};
use crate::support::{LONG, apply, free_ports, is_reset, is_turned_away, limits, wait_until};

/// A way that bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Copied,
    Spliced,
    Proxied,
    Datagrams,
    Range,
    Named,
}

pub(super) const PATHS: [Path; 6] =
    [Path::Copied, Path::Spliced, Path::Proxied, Path::Datagrams, Path::Range, Path::Named];

/// A rule under test: `a` is preferred to `b` unless a field says otherwise.
pub(super) struct Bench {
    pub(super) path: Path,
    pub(super) edge: RuntimeHandle,
    pub(super) dns: Dns,
    /// Where clients connect.
    pub(super) port: u16,
    pub(super) targets: Vec<Target>,
    /// The header that targets are to expect, as the rule says.
    pub(super) header: Arc<Mutex<Option<ProxyProtocol>>>,
}

/// Somebody who was served.
pub(super) enum Client {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

impl Bench {
    pub(super) async fn new(path: Path) -> Self {
        let dns = Dns::start().await;
        dns.say("here.test", Reply::Addresses(vec!["127.0.0.1".parse().unwrap()], 300));
        let edge = runtime::start(limits(), Names::start(dns.source()), None, None).await.0;
        let header = Arc::default();
        let mut targets = Vec::new();
        for tag in ["a", "b"] {
            let first = free_ports(2);
            for port in [first, first + 1] {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                if path == Path::Datagrams {
                    mirror_at(&address.to_string(), tag.as_bytes()).await;
                } else {
                    tokio::spawn(answer(TcpListener::bind(address).await.unwrap(), tag, Arc::clone(&header)));
                }
            }
            targets.push(target_at(path, first));
        }
        Self { path, edge, dns, port: free_ports(2) + u16::from(path == Path::Range), targets, header }
    }

    fn rule(&self, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
        let first = self.port - u16::from(self.path == Path::Range);
        rule_with("web", first, self.port, |parts| {
            if self.path == Path::Datagrams {
                parts.listen.protocol = Protocol::Udp;
            }
            parts.targets.clone_from(&self.targets);
            change(parts);
        })
    }

    pub(super) async fn serve(&self, change: impl FnOnce(&mut RuleParts)) {
        let rule = self.rule(change);
        *self.header.lock().unwrap() = rule.targets[0].proxy_protocol;
        apply(&self.edge, self.edge.status().accepted.generation + 1, &[rule]).await;
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        self.edge.status().rule("web").unwrap().meter.clone().unwrap()
    }

    /// Who serves the next connection or flow, once bytes went both ways.
    pub(super) async fn served(&self) -> (char, Client) {
        self.served_at(Ipv4Addr::LOCALHOST.into()).await
    }

    pub(super) async fn served_at(&self, ip: IpAddr) -> (char, Client) {
        let at = SocketAddr::new(ip, self.port);
        if self.path == Path::Datagrams {
            let socket = client().await;
            let answer = ask(&socket, at, b"first").await;
            assert_eq!(&answer[1..], b"first");
            return (char::from(answer[0]), Client::Datagrams(socket));
        }
        let mut stream = timeout(LONG, TcpStream::connect(at)).await.unwrap().unwrap();
        let tag = char::from(timeout(LONG, stream.read_u8()).await.expect("a target answers").unwrap());
        let mut client = Client::Stream(stream);
        self.talk(&mut client).await;
        (tag, client)
    }

    /// Bytes there and back.
    pub(super) async fn talk(&self, client: &mut Client) {
        let length = if self.path == Path::Spliced { 1 << 20 } else { 100 };
        let sent: Vec<u8> = (0..length).map(|index| (index / 3) as u8).collect();
        match client {
            Client::Datagrams(socket) => {
                let answer = ask(socket, ([127, 0, 0, 1], self.port).into(), &sent).await;
                assert_eq!(&answer[1..], &sent);
            }
            Client::Stream(stream) => {
                let (mut reader, mut writer) = stream.split();
                let mut read = vec![0; length];
                let talking = async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut read)) };
                let (sending, reading) = timeout(LONG, talking).await.expect("bytes go both ways");
                sending.unwrap();
                reading.unwrap();
                assert!(read == sent);
            }
        }
    }

    /// Nobody serves the next one, and it is counted.
    pub(super) async fn turns_away(&self) {
        if self.path != Path::Datagrams {
            assert!(is_turned_away(self.port).await);
            return;
        }
        let meter = self.meter();
        let lost = || {
            let figures = meter.figures();
            figures.datagrams_dropped.sum() + figures.flows_dropped_overflow + figures.connections_refused
        };
        let before = lost();
        let socket = client().await;
        socket.send_to(b"?", ("127.0.0.1", self.port)).await.unwrap();
        wait_until(|| lost() > before).await;
        let answer = socket.try_recv(&mut [0; 10]).expect_err("no answer");
        assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock);
    }

    /// Waits for the end of the only client, which the edge makes.
    pub(super) async fn is_ended(meter: &Meter, client: &mut Client) {
        match client {
            Client::Stream(stream) => assert!(is_reset(stream).await),
            Client::Datagrams(_) => wait_until(|| meter.figures().active_flows == 0).await,
        }
    }
}

pub(super) fn target_at(path: Path, first: u16) -> Target {
    let host = if path == Path::Named { "here.test" } else { "127.0.0.1" };
    let last = first + u16::from(path == Path::Range);
    let mut target = Target::new(Host::parse(host).unwrap(), PortRange::new(first, last).unwrap());
    target.proxy_protocol = (path == Path::Proxied).then_some(ProxyProtocol::V2);
    target
}

/// Says its tag and echoes, after the header that it is to expect.
pub(super) async fn answer(listener: TcpListener, tag: &'static str, header: Arc<Mutex<Option<ProxyProtocol>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let expected = *header.lock().unwrap();
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let has_header = match expected {
                None => true,
                Some(ProxyProtocol::V1) => {
                    let mut line = Vec::new();
                    while !line.ends_with(b"\r\n") && line.len() < 107 {
                        let Ok(byte) = reader.read_u8().await else { return };
                        line.push(byte);
                    }
                    line.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.")
                }
                Some(ProxyProtocol::V2) => {
                    // Signature, version and command, family, length; then two addresses and ports of IPv4.
                    let mut head = [0; 28];
                    reader.read_exact(&mut head).await.is_ok()
                        && head.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")
                }
            };
            if has_header && writer.write_all(tag.as_bytes()).await.is_ok() {
                // A connection that is reset ends by itself.
                _ = tokio::io::copy(&mut reader, &mut writer).await;
            }
        });
    }
}
