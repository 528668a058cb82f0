//! Peers that vanish without a word: their host loses its power, or the way to it is gone.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use edge::act::liveness::hurry;
use edge::act::runtime::RuntimeHandle;
use edge::act::workers::Meter;
use edge::decide::breaks::Break;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use schema::rule::{Host, RuleParts};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::connections::broken;
use crate::support::{
    LONG, alone_in_network, apply, connect, free_ports, ip, let_pass, runtime, target, to, wait_until,
};

const HOST: [u8; 4] = [10, 9, 8, 1];
/// The edge's own address on the link.
const NEAR: [u8; 4] = [10, 9, 8, 254];

/// Another host, at the other end of the link.
struct Far(File);

impl Far {
    fn start() -> Self {
        let apart = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        let far = Self(std::thread::spawn(apart).join().unwrap());
        ip(&["link", "set", "out1", "netns", &format!("/proc/{}/fd/{}", std::process::id(), far.0.as_raw_fd())]);
        far.run(|| {
            ip(&["link", "set", "out1", "up"]);
            ip(&["addr", "add", "10.9.8.1/24", "dev", "out1"]);
        });
        far
    }

    /// Does something there; sockets that it makes stay there.
    fn run<T: Send>(&self, there: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
            there()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    fn listen(&self) -> TcpListener {
        let listener = self.run(|| std::net::TcpListener::bind((Ipv4Addr::from(HOST), 0)).unwrap());
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    /// A connection from there, with room for little.
    fn connect(&self, port: u16) -> TcpStream {
        let socket = self.run(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&SocketAddr::from((NEAR, port)).into()).unwrap();
            socket
        });
        socket.set_nonblocking(true).unwrap();
        TcpStream::from_std(socket.into()).unwrap()
    }

    /// Says nothing any more, to nobody.
    fn vanish(&self) {
        self.run(|| ip(&["route", "add", "blackhole", &Ipv4Addr::from(NEAR).to_string()]));
    }
}

/// Sends until nothing more fits anywhere.
async fn flood(stream: &mut TcpStream) {
    while timeout(Duration::from_millis(300), stream.write_all(&[7; 16 << 10])).await.is_ok() {}
}

fn meter(edge: &RuntimeHandle, rule: &str) -> std::sync::Arc<Meter> {
    edge.status().rule(rule).unwrap().meter.clone().unwrap()
}

/// All times are twenty times shorter than in the product: three minutes are nine seconds. Keepalive counts in seconds,
/// and takes as long as that; so the same socket options, and the same looks at what waits, find every peer that is gone.
#[test]
fn a_peer_that_vanishes_is_found_whatever_was_under_way_to_it() {
    const NAME: &str = "vanishing::a_peer_that_vanishes_is_found_whatever_was_under_way_to_it";
    alone_in_network(NAME, async {
        hurry(20);
        let (edge, port, host) = (runtime().await, free_ports(2), Far::start());
        let ((near, near_at), far) = (target().await, host.listen());
        let elsewhere = |parts: &mut RuleParts| parts.targets[0].host = Host::Ip(HOST.into());
        let rules = [to("near", port, near_at, |_| ()), to("far", port + 1, far.local_addr().unwrap(), elsewhere)];
        apply(&edge, 1, &rules).await;
        let mut held = Vec::new();
        for is_flooded in [false, true] {
            let client = host.connect(port);
            let mut server = near.accept().await.unwrap().0;
            if is_flooded {
                // The client's window is closed by then.
                flood(&mut server).await;
            }
            held.push((client, server));
            let mut client = connect(port + 1).await;
            let server = far.accept().await.unwrap().0;
            if is_flooded {
                flood(&mut client).await;
            }
            held.push((client, server));
        }
        // Something that the peer's host has still to acknowledge when it is gone.
        let (client, mut sender) = (host.connect(port), near.accept().await.unwrap().0);
        let mut alive = (connect(port).await, near.accept().await.unwrap().0);
        let_pass(Duration::from_secs(1)).await;
        host.vanish();
        sender.write_all(b"under way").await.unwrap();
        held.push((client, sender));
        let start = Instant::now();
        let (near, far) = (meter(&edge, "near"), meter(&edge, "far"));
        wait_until(|| near.active() == 1 && far.active() == 0).await;
        assert!(start.elapsed() < Duration::from_secs(14), "{:?}", start.elapsed());
        assert_eq!(broken(&near), [(Break::ClientTimeout, 3)]);
        assert_eq!(broken(&far), [(Break::TargetTimeout, 2)]);
        alive.0.write_all(b"x").await.unwrap();
        assert_eq!(timeout(LONG, alive.1.read_u8()).await.expect("it lives").unwrap(), b'x');
    });
}

/// The edge's own socket between these two ends. It runs in this process, which may have a second descriptor of it.
fn socket_between(local: SocketAddr, peer: SocketAddr) -> Option<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let sockets = numbers.filter_map(|number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok());
    let end = |address: std::io::Result<socket2::SockAddr>| {
        let address = address.ok()?.as_socket()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
    };
    sockets.into_iter().find(|socket| {
        let socket = SockRef::from(socket);
        (end(socket.local_addr()), end(socket.peer_addr())) == (Some(local), Some(peer))
    })
}

/// What the product promises, on both sockets of a connection that is older than ten seconds.
#[tokio::test]
async fn both_sockets_of_a_live_connection_ask_a_silent_peer_within_three_minutes() {
    let edge = runtime().await;
    let ((listener, address), port) = (target().await, free_ports(1));
    apply(&edge, 1, &[to("web", port, address, |_| ())]).await;
    let client = connect(port).await;
    let (server, from) = listener.accept().await.unwrap();
    let ends = [(client.peer_addr().unwrap(), client.local_addr().unwrap()), (from, server.local_addr().unwrap())];
    for (local, peer) in ends {
        let socket = socket_between(local, peer).expect("the edge's socket");
        let socket = SockRef::from(&socket);
        wait_until(|| socket.keepalive().unwrap()).await;
        let asked = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let found = socket.tcp_keepalive_time().unwrap() + asked + Duration::from_secs(10);
        assert!(found < Duration::from_mins(3), "{local} finds {peer} after {found:?}");
        assert_eq!(socket.tcp_user_timeout().unwrap(), None, "a peer that is alive may be slow");
    }
}
