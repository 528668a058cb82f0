//! What a change ends, for real: every kind of change under live connections and flows, watched for well over the drain.
//!
//! Each connection is judged by a model that knows nothing but listeners, places and the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::act::runtime::RuntimeHandle;
use schema::diff::{Rules, diff};
use schema::ending::ends;
use schema::net::{ListenAddress, ListenRange, Listener, PortRange, Protocol};
use schema::rule::{Host, Rule, RuleParts, Target};
use schema::testing::{places, rule_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::support::{LONG, apply, free_ports, let_pass, runtime, wait_until};

/// Of every rule here.
const DRAIN: Duration = Duration::from_secs(1);
/// Well past it.
const WATCH: Duration = Duration::from_millis(2600);
/// Listen ports of a scene, and as many targets.
const WIDTH: u16 = 12;

/// Ports to listen on, and targets that answer every message with their own port and the one that it came from.
#[derive(Clone, Copy)]
struct Scene {
    protocol: Protocol,
    listen: u16,
    target: u16,
}

impl Scene {
    async fn new(protocol: Protocol) -> Self {
        let scene = Self { protocol, listen: free_ports(WIDTH), target: free_ports(WIDTH) };
        for port in scene.target..scene.target + WIDTH {
            match protocol {
                Protocol::Tcp => _ = tokio::spawn(answer(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), port)),
                Protocol::Udp => {
                    let socket = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
                    tokio::spawn(async move {
                        let mut buffer = [0; 64];
                        while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
                            // A queue that is full loses it, as queues do.
                            _ = socket.send_to(format!("{port} {}", from.port()).as_bytes(), from).await;
                        }
                    });
                }
            }
        }
        scene
    }

    /// A rule from a run of listeners to runs of targets, both by their distance from the first port.
    fn rule(self, name: &str, (first, last): (u16, u16), targets: &[u16]) -> Arc<Rule> {
        self.rule_with(name, (first, last), targets, |_| ())
    }

    fn rule_with(
        self,
        name: &str,
        (first, last): (u16, u16),
        targets: &[u16],
        change: impl FnOnce(&mut RuleParts),
    ) -> Arc<Rule> {
        rule_with(name, 1, 1, |parts| {
            let range = |from: u16, at: u16| PortRange::new(from + at, from + at + (last - first)).expect("ascending");
            parts.listen =
                ListenRange { protocol: self.protocol, address: ListenAddress::Any, ports: range(self.listen, first) };
            let host = Host::Ip([127, 0, 0, 1].into());
            parts.targets = targets.iter().map(|at| Target::new(host.clone(), range(self.target, *at))).collect();
            parts.drain_timeout = DRAIN;
            change(parts);
        })
    }

    fn listener(self, port: u16) -> Listener {
        Listener { protocol: self.protocol, address: ListenAddress::Any, port: self.listen + port }
    }
}

async fn answer(listener: TcpListener, port: u16) {
    while let Ok((mut stream, from)) = listener.accept().await {
        tokio::spawn(async move {
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte).await {
                if stream.write_all(format!("{port:05} {:05}", from.port()).as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// One client.
enum Client {
    Tcp(TcpStream),
    Udp(UdpSocket, u16),
}

impl Client {
    async fn to(listener: Listener) -> Self {
        match listener.protocol {
            Protocol::Tcp => Self::Tcp(TcpStream::connect(("127.0.0.1", listener.port)).await.unwrap()),
            Protocol::Udp => Self::Udp(UdpSocket::bind("127.0.0.1:0").await.unwrap(), listener.port),
        }
    }

    /// Which target answers, and from which port of the edge it is asked: a connection that began anew has another one.
    /// None where it has ended.
    async fn ask(&mut self) -> Option<(u16, u16)> {
        let mut text = [0; 11];
        match self {
            Self::Tcp(stream) => {
                stream.write_all(b".").await.ok()?;
                timeout(LONG, stream.read_exact(&mut text)).await.expect("an answer or an end").ok()?;
            }
            Self::Udp(socket, port) => {
                // A released port says nothing, or that nobody listens.
                for _ in 0..5 {
                    _ = socket.send_to(b".", ("127.0.0.1", *port)).await;
                    if let Ok(Ok(_)) = timeout(Duration::from_millis(300), socket.recv_from(&mut text)).await {
                        break;
                    }
                }
            }
        }
        let text = std::str::from_utf8(&text).ok()?.trim_matches('\0');
        let (target, source) = text.split_once(' ')?;
        Some((target.parse().ok()?, source.parse().ok()?))
    }
}

struct Held {
    listener: Listener,
    client: Client,
    told: (u16, u16),
}

fn rules(all: &[Arc<Rule>]) -> Rules {
    all.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
}

async fn connect(scene: Scene, before: &[Arc<Rule>]) -> Vec<Held> {
    let mut held = Vec::new();
    for listener in before.iter().flat_map(|rule| rule.listen.listeners()) {
        let mut client = Client::to(scene.listener(listener.port - scene.listen)).await;
        let told = client.ask().await.expect("an answer");
        held.push(Held { listener, client, told });
    }
    held
}

/// What the edge counts as going on and as draining.
fn counted(edge: &RuntimeHandle) -> (u64, u64) {
    let status = edge.status();
    let live = status.rules.iter().map(edge::act::status::RuleStatus::live);
    live.fold((0, 0), |(stays, drains), live| {
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
        (
            stays + sum(&mut live.places.iter().map(|place| place.connections)),
            drains + sum(&mut live.drains.iter().map(|drain| drain.connections)),
        )
    })
}

/// Changes the rules under one connection per listener, and watches who lives.
async fn change(what: &str, scene: Scene, before: &[Arc<Rule>], after: &[Arc<Rule>]) {
    let edge = runtime().await;
    apply(&edge, 1, before).await;
    let mut held = connect(scene, before).await;
    let leads = places(&rules(after));
    let host = Host::Ip([127, 0, 0, 1].into());
    let lives = |held: &Held| leads.get(&held.listener).is_some_and(|to| to.contains(&(host.clone(), held.told.0)));
    let going = held.iter().filter(|held| !lives(held)).count() as u64;
    let staying = held.len() as u64 - going;

    let endings = ends(&diff(&rules(before), &rules(after)));
    let status = edge.status();
    let mut planned = 0;
    for (rule, counted) in status.rules.iter().filter_map(|rule| Some((rule.running.as_ref()?, rule.meter.as_ref()?))) {
        for ((port, host, to), connections) in counted.per_place() {
            planned +=
                if endings.find(&rule.name, rule.listen.at(port), &host, to).is_some() { connections } else { 0 };
        }
    }
    assert_eq!(planned, going, "{what}: what a plan counts");

    let switched = Instant::now();
    apply(&edge, 2, after).await;
    assert_eq!(counted(&edge), (staying, going), "{what}: what the edge counts at once");
    if going > 0 {
        wait_until(|| counted(&edge).1 == 0).await;
        assert!(switched.elapsed() >= DRAIN, "{what}: drained for {:?}", switched.elapsed());
    }
    let_pass(WATCH.saturating_sub(switched.elapsed())).await;
    for one in &mut held {
        let is_the_same = one.client.ask().await == Some(one.told);
        assert_eq!(is_the_same, lives(one), "{what}: {} to {}", one.listener, one.told.0);
    }
    // Flows that ended have begun anew, where their port is open.
    if scene.protocol == Protocol::Tcp {
        assert_eq!(counted(&edge), (staying, 0), "{what}: what the edge counts in the end");
    }
    // Who lives is counted, and judged by the next change: everything goes.
    apply(&edge, 3, &[]).await;
    assert_eq!(counted(&edge).0, 0, "{what}: nothing stays where no rule does");
    if scene.protocol == Protocol::Tcp {
        assert_eq!(counted(&edge).1, staying, "{what}: all of them drain then");
    }
}

/// The rules before and after a change.
type Versions = fn(Scene) -> (Vec<Arc<Rule>>, Vec<Arc<Rule>>);

#[expect(clippy::too_many_lines, reason = "a table of changes, a line each")]
async fn all(protocol: Protocol) {
    let mut tasks = tokio::task::JoinSet::new();
    let changes: [(&'static str, Versions); 21] = [
        ("slide", |s| (vec![s.rule("a", (0, 4), &[0])], vec![s.rule("a", (2, 6), &[2])])),
        ("slide with other places", |s| (vec![s.rule("a", (0, 4), &[0])], vec![s.rule("a", (2, 6), &[0])])),
        ("widen", |s| (vec![s.rule("a", (1, 3), &[1])], vec![s.rule("a", (0, 5), &[0])])),
        ("narrow", |s| (vec![s.rule("a", (0, 5), &[0])], vec![s.rule("a", (1, 3), &[1])])),
        ("split", |s| (vec![s.rule("a", (0, 5), &[0])], vec![s.rule("b", (0, 2), &[0]), s.rule("c", (3, 5), &[3])])),
        ("merge", |s| (vec![s.rule("b", (0, 2), &[0]), s.rule("c", (3, 5), &[3])], vec![s.rule("a", (0, 5), &[0])])),
        ("merge into one of them", |s| {
            (vec![s.rule("b", (0, 2), &[0]), s.rule("c", (3, 5), &[3])], vec![s.rule("c", (0, 5), &[0])])
        }),
        ("swap of names", |s| {
            (
                vec![s.rule("a", (0, 0), &[0]), s.rule("b", (1, 1), &[1])],
                vec![s.rule("a", (1, 1), &[1]), s.rule("b", (0, 0), &[0])],
            )
        }),
        ("swap of ports", |s| {
            (
                vec![s.rule("a", (0, 0), &[0]), s.rule("b", (1, 1), &[1])],
                vec![s.rule("a", (1, 1), &[0]), s.rule("b", (0, 0), &[1])],
            )
        }),
        ("hand over", |s| {
            (vec![s.rule("a", (0, 3), &[0])], vec![s.rule("a", (0, 1), &[0]), s.rule("b", (2, 3), &[2])])
        }),
        ("hand over to other places", |s| {
            (vec![s.rule("a", (0, 3), &[0])], vec![s.rule("a", (0, 1), &[0]), s.rule("b", (2, 3), &[4])])
        }),
        ("hand over and add a target", |s| {
            (vec![s.rule("a", (0, 3), &[0])], vec![s.rule("a", (0, 1), &[0]), s.rule("b", (2, 3), &[6, 2])])
        }),
        ("rename", |s| (vec![s.rule("a", (0, 1), &[0])], vec![s.rule("z", (0, 1), &[0])])),
        ("reorder", |s| (vec![s.rule("a", (0, 1), &[0, 6])], vec![s.rule("a", (0, 1), &[6, 0])])),
        ("weights", |s| {
            let light = s.rule_with("a", (0, 1), &[0, 6], |parts| parts.targets[0].weight = 0);
            (vec![s.rule("a", (0, 1), &[0, 6])], vec![light])
        }),
        ("labels", |s| {
            let named = s.rule_with("a", (0, 1), &[0], |parts| "web".clone_into(&mut parts.owner));
            (vec![s.rule("a", (0, 1), &[0])], vec![named])
        }),
        ("retarget", |s| (vec![s.rule("a", (0, 2), &[0])], vec![s.rule("a", (0, 2), &[6])])),
        ("retarget by one port", |s| (vec![s.rule("a", (0, 2), &[0])], vec![s.rule("a", (0, 2), &[1])])),
        ("disable a target", |s| {
            let one = s.rule_with("a", (0, 1), &[0, 6], |parts| parts.targets[0].enabled = false);
            (vec![s.rule("a", (0, 1), &[0, 6])], vec![one])
        }),
        ("remove", |s| (vec![s.rule("a", (0, 1), &[0]), s.rule("b", (2, 3), &[2])], vec![s.rule("b", (2, 3), &[2])])),
        ("remove a target", |s| (vec![s.rule("a", (0, 1), &[0, 6])], vec![s.rule("a", (0, 1), &[6])])),
    ];
    for (what, make) in changes {
        let scene = Scene::new(protocol).await;
        let (before, after) = make(scene);
        tasks.spawn(async move { change(what, scene, &before, &after).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_ends_the_connections_that_it_should_after_their_drain_and_no_other() {
    all(Protocol::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_ends_the_flows_that_it_should_after_their_drain_and_no_other() {
    all(Protocol::Udp).await;
}

/// Long enough for a machine with much to do to change there and back meanwhile.
const LONG_DRAIN: Duration = Duration::from_secs(6);

/// Changes there and back before the drain is over, twice: nobody is cut, by the first deadline or by the second.
async fn there_and_back(what: &str, here: Vec<Arc<Rule>>, there: Vec<Arc<Rule>>, scene: Scene) {
    let slowly = |rules: Vec<Arc<Rule>>| -> Vec<Arc<Rule>> {
        let slow = |rule: Arc<Rule>| {
            let mut parts = Rule::clone(&rule).into_parts();
            parts.drain_timeout = LONG_DRAIN;
            Arc::new(Rule::new(parts).unwrap())
        };
        rules.into_iter().map(slow).collect()
    };
    let (here, there) = (slowly(here), slowly(there));
    let edge = runtime().await;
    apply(&edge, 1, &here).await;
    let mut held = connect(scene, &here).await;
    for generation in [2, 4] {
        apply(&edge, generation, &there).await;
        assert!(counted(&edge).1 > 0, "{what}: some drain");
        apply(&edge, generation + 1, &here).await;
        assert_eq!(counted(&edge), (held.len() as u64, 0), "{what}: all are spared");
    }
    let_pass(LONG_DRAIN + Duration::from_secs(1)).await;
    for one in &mut held {
        assert_eq!(one.client.ask().await, Some(one.told), "{what}: {}", one.listener);
    }
    let status = edge.status();
    let active: u64 = status.rules.iter().filter_map(|rule| Some(rule.meter.as_ref()?.active())).sum();
    assert_eq!(active, held.len() as u64, "{what}: each is counted once");
}

/// The rules that a change leads to.
type Version = fn(Scene) -> Vec<Arc<Rule>>;

async fn all_there_and_back(protocol: Protocol) {
    let changes: [(&'static str, Version); 4] = [
        ("remove", |s| vec![s.rule("other", (7, 7), &[7])]),
        ("retarget", |s| vec![s.rule("a", (0, 2), &[6])]),
        ("move away and rename", |s| vec![s.rule("b", (3, 5), &[0])]),
        ("hand over in part", |s| vec![s.rule("a", (0, 1), &[0]), s.rule("b", (2, 2), &[9])]),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (what, there) in changes {
        let scene = Scene::new(protocol).await;
        let here = vec![scene.rule("a", (0, 2), &[0])];
        tasks.spawn(there_and_back(what, here, there(scene), scene));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_a_change_back_finds_draining_are_spared() {
    all_there_and_back(Protocol::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_that_a_change_back_finds_draining_are_spared() {
    all_there_and_back(Protocol::Udp).await;
}

#[tokio::test]
async fn a_connection_that_lives_on_under_another_rule_is_counted_and_limited_there() {
    let scene = Scene::new(Protocol::Tcp).await;
    let edge = runtime().await;
    apply(&edge, 1, &[scene.rule("a", (0, 1), &[0])]).await;
    let mut held = connect(scene, &[scene.rule("a", (0, 1), &[0])]).await;
    let one = |parts: &mut RuleParts| parts.max_connections = std::num::NonZeroU32::new(1);
    let status = apply(&edge, 2, &[scene.rule("a", (0, 0), &[0]), scene.rule_with("b", (1, 1), &[1], one)]).await;
    let figures = |name: &str| status.rule(name).unwrap().meter.as_ref().unwrap().figures();
    assert_eq!((figures("a").active_connections, figures("a").connections_total), (1, 2));
    assert_eq!((figures("b").active_connections, figures("b").connections_total), (1, 0));
    assert!(crate::support::is_turned_away(scene.listen + 1).await, "the rule has as many as it may");
    assert_eq!(held[1].client.ask().await, Some(held[1].told));
    wait_until(|| figures("b").bytes_in == 1).await;
    drop(held.pop());
    wait_until(|| figures("b").active_connections == 0).await;
    assert_eq!(figures("a").active_connections, 1);
}

#[tokio::test]
async fn a_status_says_where_connections_drain_and_until_when() {
    let scene = Scene::new(Protocol::Tcp).await;
    let edge = runtime().await;
    let slow = |parts: &mut RuleParts| parts.drain_timeout = Duration::from_mins(1);
    apply(&edge, 1, &[scene.rule_with("a", (0, 2), &[0], slow)]).await;
    let _held = connect(scene, &[scene.rule("a", (0, 2), &[0])]).await;
    let status = apply(&edge, 2, &[scene.rule("a", (2, 4), &[2])]).await;
    let live = status.rule("a").unwrap().live();
    assert_eq!((live.places.len(), live.places[0].listen_port), (1, u32::from(scene.listen + 2)));
    let [drain] = live.drains.as_slice() else { panic!("{live:?}") };
    assert_eq!(drain.listen, [format!("*:{}-{}", scene.listen, scene.listen + 1)]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let left = drain.ends_at_ms.saturating_sub(now);
    assert!(drain.connections == 2 && (30_000..=60_000).contains(&left), "{drain:?}, {left} ms left");
    // A later version's shorter drain timeout is not theirs; nor does a change that does not concern them touch them.
    let status = apply(&edge, 3, &[scene.rule("a", (2, 5), &[2])]).await;
    assert_eq!(status.rule("a").unwrap().live().drains, std::slice::from_ref(drain));
}
