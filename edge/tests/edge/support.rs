//! Builders and peers for the tests: desired sets, free ports, echo servers, waiting for a status.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use edge::act::names::{Names, ResolverFiles};
use edge::act::runtime::{self, RuntimeHandle};
use edge::act::status::Status;
use edge::decide::admission::Accepted;
use edge::decide::desired::Desired;
use edge::{Edge, EdgeConfig, Endpoint};
use schema::canonical;
use schema::capability::{Capabilities, Capability, Limits};
use schema::name::EdgeName;
use schema::net::PortRange;
use schema::networks::Lists;
use schema::proto::DesiredState;
use schema::rule::{Host, Rule, RuleParts, Target};
use schema::testing::rule_with;
use schema::wire::entry::{lists_from_wire, lists_to_wire};
use schema::wire::rule_to_wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far above anything that a test waits for; reached only where it fails.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Set where a test runs in the process that it has for itself.
const ALONE: &str = "PORTUNUS_TEST_ALONE";

/// Runs a test in a process of its own: this binary again, with only that test.
pub(crate) fn alone(name: &str, test: impl Future<Output = ()>) {
    if std::env::var_os(ALONE).is_none() {
        return again(Command::new(std::env::current_exe().unwrap()), name);
    }
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tokio.block_on(test);
}

/// The same in a network of its own: loopback, and a link at whose other end nobody answers (`10.9.8.0/24`).
pub(crate) fn alone_in_network(name: &str, test: impl Future<Output = ()>) {
    const NETWORK: &str = "ip link set lo up && ip link add out0 type veth peer name out1 && ip link set out0 up && \
                           ip link set out1 up && ip addr add 10.9.8.254/24 dev out0";
    if std::env::var_os(ALONE).is_some() {
        return alone(name, test);
    }
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
        command
    };
    if !private(NETWORK).output().is_ok_and(|output| output.status.success()) {
        return skipped("no network namespaces here (root, unshare and iproute2 make them)");
    }
    again(private(&format!("{NETWORK} && exec \"$0\" \"$@\"")), name);
}

fn again(mut this: Command, name: &str) {
    let output = this.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    text.lines().filter_map(|line| line.strip_prefix(SKIPPED)).for_each(skipped);
}

/// Runs an `ip` command in this network.
pub(crate) fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
}

pub(crate) fn limits() -> Limits {
    Limits { ports_per_range: 0, file_descriptors: 10_000, rules: 0 }
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities::from([
        Capability::Tcp,
        Capability::Udp,
        Capability::PortRange,
        Capability::Ipv6,
        Capability::MultiTarget,
        Capability::ActiveHealth,
        Capability::SourceIp,
        Capability::ProxyProtocol,
        Capability::Access,
        Capability::AcceptProxy,
        Capability::RateLimit,
        Capability::Quota,
        Capability::Sni,
    ])
}

/// The message that a server would send.
pub(crate) fn desired_state(generation: u64, rules: &[Arc<Rule>]) -> DesiredState {
    let by_name: BTreeMap<_, _> = rules.iter().map(|rule| (rule.name.clone(), rule)).collect();
    DesiredState {
        lineage: "test".to_owned(),
        generation,
        digest: canonical::rules_digest(by_name.values().map(|rule| &***rule)).as_bytes().to_vec(),
        rules: by_name.values().map(|rule| rule_to_wire(rule)).collect(),
        lists: lists_to_wire(by_name.values().map(|rule| &***rule)),
        ..DesiredState::default()
    }
}

/// The same as the runtime takes it.
pub(crate) fn desired(generation: u64, rules: &[Arc<Rule>]) -> Desired {
    let state = desired_state(generation, rules);
    let digest = canonical::Digest::from_bytes(&state.digest).unwrap();
    let accepted = Accepted { lineage: state.lineage, generation, digest };
    let lists = lists_from_wire(state.lists, &Lists::default()).unwrap();
    Desired::read(accepted, state.rules, Some(&lists), &capabilities(), &limits())
}

pub(crate) async fn runtime() -> RuntimeHandle {
    runtime::start(limits(), Names::start(ResolverFiles::default()), None, None).await.0
}

/// Applies and returns what the edge says then.
pub(crate) async fn apply(runtime: &RuntimeHandle, generation: u64, rules: &[Arc<Rule>]) -> Arc<Status> {
    timeout(LONG, runtime.apply(desired(generation, rules))).await.unwrap().unwrap();
    runtime.status()
}

/// Waits until the status is as asked.
pub(crate) async fn wait_for(runtime: &RuntimeHandle, is_so: impl Fn(&Status) -> bool) -> Arc<Status> {
    let mut changes = runtime.subscribe();
    timeout(LONG, changes.wait_for(|status| is_so(status))).await.expect("the status comes").unwrap().clone()
}

/// Waits for figures, which are no part of the status and tell nobody that they moved.
pub(crate) async fn wait_until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, waiting).await.expect("the figures come");
}

/// Ports below the ephemeral range that nobody uses, one after the other; no two tests get the same.
pub(crate) fn free_ports(count: u16) -> u16 {
    const FIRST: u32 = 10_000;
    const WIDTH: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run side by side start at different places; another one's range may lie in the way.
    let start = std::process::id() % 97 * 200;
    for _ in 0..WIDTH {
        let place = (start + NEXT.fetch_add(count.into(), Ordering::Relaxed)) % WIDTH;
        // Rows that would reach over the end are skipped, so that no other caller's row begins inside them.
        let first = (FIRST + place) as u16;
        let is_free = |port| StdListener::bind(("::", port)).is_ok() && StdListener::bind(("127.0.0.1", port)).is_ok();
        if place + u32::from(count) <= WIDTH && (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// A rule from one free port to one target port.
pub(crate) fn to(name: &str, port: u16, target: SocketAddr, change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    rule_with(name, port, port, |parts| {
        parts.targets[0].ports = PortRange::single(target.port()).unwrap();
        change(parts);
    })
}

/// A rule from one free port to several targets of equal priority and weight.
pub(crate) fn to_all(name: &str, port: u16, targets: &[SocketAddr], change: impl FnOnce(&mut RuleParts)) -> Arc<Rule> {
    rule_with(name, port, port, |parts| {
        let target =
            |address: &SocketAddr| Target::new(Host::Ip(address.ip()), PortRange::single(address.port()).unwrap());
        parts.targets = targets.iter().map(target).collect();
        change(parts);
    })
}

/// A rule over a range, to a target range of the same width.
pub(crate) fn range(name: &str, first: u16, last: u16, target: u16) -> Arc<Rule> {
    rule_with(name, first, last, |parts| {
        parts.targets[0].ports = PortRange::new(target, target + (last - first)).unwrap();
    })
}

/// A target that greets each connection with its tag and echoes from then on.
pub(crate) async fn echo(tag: &'static str) -> SocketAddr {
    echo_at(([127, 0, 0, 1], 0).into(), tag).await
}

/// The same at an address.
pub(crate) async fn echo_at(address: SocketAddr, tag: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(echo_from(listener, tag));
    address
}

/// Echo targets on a range.
pub(crate) async fn echo_range(count: u16) -> u16 {
    let first = free_ports(count);
    for port in first..first + count {
        tokio::spawn(echo_from(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), ""));
    }
    first
}

async fn echo_from(listener: TcpListener, tag: &'static str) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            if writer.write_all(tag.as_bytes()).await.is_ok() {
                // A client that resets ends its own connection only.
                _ = tokio::io::copy(&mut reader, &mut writer).await;
            }
            _ = writer.shutdown().await;
        });
    }
}

/// An address that answers no handshake, until it is dropped: its accept queue is full.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _held: (socket2::Socket, Vec<socket2::Socket>),
}

impl BlackHole {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::try_at(address).unwrap()
    }

    /// Fails where this host does not have the address.
    pub(crate) fn try_at(address: SocketAddr) -> std::io::Result<Self> {
        let open = || socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        let listener = open();
        listener.bind(&address.into())?;
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        // A queue of none holds one; the one after it waits for a place that it never gets.
        loop {
            let filler = open();
            let is_in = filler.connect_timeout(&address.into(), Duration::from_millis(200)).is_ok();
            held.push(filler);
            if !is_in {
                return Ok(Self { address, _held: (listener, held) });
            }
        }
    }
}

/// An address that refuses.
pub(crate) fn closed() -> SocketAddr {
    ([127, 0, 0, 1], free_ports(1)).into()
}

const SKIPPED: &str = "skipped: ";

/// Says why a test, or a part of it, does not run on this host.
#[expect(clippy::print_stdout, reason = "it is for whoever reads the output of the tests")]
pub(crate) fn skipped(why: &str) {
    println!("{SKIPPED}{why}");
}

/// A target whose connections the test holds itself.
pub(crate) async fn target() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn connect(port: u16) -> TcpStream {
    timeout(LONG, TcpStream::connect(("127.0.0.1", port))).await.unwrap().unwrap()
}

/// Sends a word and expects it back.
pub(crate) async fn ping(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).await.unwrap();
    let mut answer = vec![0; word.len()];
    timeout(LONG, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(answer, word);
}

/// True if the connection ends with a reset, not with an end of data.
pub(crate) async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

/// True if a new connection ends with a reset: afterwards, or before its own side has seen that it is there.
pub(crate) async fn is_turned_away(port: u16) -> bool {
    match timeout(LONG, TcpStream::connect(("127.0.0.1", port))).await.unwrap() {
        Ok(mut stream) => is_reset(&mut stream).await,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Connects again and again until stopped; every connection must be answered. Returns how many there were.
pub(crate) struct Prober {
    stop: tokio_util::sync::CancellationToken,
    count: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Prober {
    pub(crate) async fn start(port: u16) -> Self {
        let stop = tokio_util::sync::CancellationToken::new();
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (stop.clone(), count.clone());
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("never refused");
                let mut byte = [0];
                timeout(LONG, stream.read_exact(&mut byte)).await.expect("an answer").expect("never reset");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let prober = Self { stop, count, task };
        prober.passes(5).await;
        prober
    }

    /// Waits for that many more answers.
    pub(crate) async fn passes(&self, more: usize) {
        let until = self.count.load(Ordering::Relaxed) + more;
        wait_until(|| self.task.is_finished() || self.count.load(Ordering::Relaxed) >= until).await;
    }

    pub(crate) async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.unwrap();
        self.count.load(Ordering::Relaxed)
    }
}

/// A stretch of time to measure over: what must not happen can only be watched.
pub(crate) async fn let_pass(time: Duration) {
    tokio::time::timeout(time, std::future::pending::<()>()).await.expect_err("nothing comes of it");
}

/// An edge that keeps its state there and has no server.
pub(crate) fn config_without_server(folder: &std::path::Path) -> EdgeConfig {
    EdgeConfig {
        name: EdgeName::new("edge-01").unwrap(),
        // Nobody listens on port 1: the server does not come back.
        server: over_tcp(SocketAddr::from(([127, 0, 0, 1], 1))),
        state_dir: Some(folder.to_owned()),
        metrics_listen: None,
        process_listens: Vec::new(),
        disabled_capabilities: Capabilities::new(),
        policy: schema::policy::Policy::default(),
        shutdown_drain: Duration::from_secs(30),
        names: ResolverFiles::default(),
        log_lines_dropped: std::sync::Arc::default(),
        connection_log: None,
        inherited: guard::InheritedSockets::default(),
    }
}

/// A server of the tests, which speaks the protocol without TLS, as if it were in the same process.
pub(crate) fn over_tcp(address: SocketAddr) -> Endpoint {
    Endpoint::InProcess(std::sync::Arc::new(move || {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        let mut far = tokio::net::TcpStream::from_std(stream)?;
        let (near, mut middle) = tokio::io::duplex(256 << 10);
        tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut middle, &mut far).await) });
        Ok(near)
    }))
}

/// Ends an edge and waits until it has.
pub(crate) async fn end(edge: Edge) {
    edge.end_now().cancel();
    timeout(LONG, edge.run(CancellationToken::new())).await.unwrap().unwrap();
}
