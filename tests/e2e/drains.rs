//! What a plan says that a change ends is what ends, and nothing else: every kind of change at once, with a connection and
//! a flow on each listener, watched until well after the last drain.
//!
//! Each is judged by a model of its own that knows listeners, places and the clock, and neither planner nor edge.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peers::{Client, Echo, answers, serve};
use crate::support::{LONG, World, let_pass, ports, range_rule, rule, rule_of, wait_for};

/// Of every rule here, in seconds.
const DRAIN: u64 = 2;
/// Listeners of a change, and as many targets.
const WIDTH: u16 = 8;
/// More than the connections that a change ends may take to be counted as ended.
const WATCH: Duration = Duration::from_millis(DRAIN * 1000 + 2500);

/// A rule: its name, its first and last listener, and the first place of each of its targets, by their distance from the
/// first port; and more keys.
type Row = (&'static str, u16, u16, &'static [u16], &'static str);

/// What changes, the rules before and the rules after.
type Case = (&'static str, &'static [Row], &'static [Row]);

const CASES: [Case; 19] = [
    ("slide", &[("a", 0, 4, &[0], "")], &[("a", 2, 6, &[2], "")]),
    ("slide-off", &[("a", 0, 4, &[0], "")], &[("a", 2, 6, &[0], "")]),
    ("widen", &[("a", 1, 3, &[1], "")], &[("a", 0, 5, &[0], "")]),
    ("narrow", &[("a", 0, 5, &[0], "")], &[("a", 1, 3, &[1], "")]),
    ("split", &[("a", 0, 3, &[0], "")], &[("b", 0, 1, &[0], ""), ("c", 2, 3, &[2], "")]),
    ("merge", &[("b", 0, 1, &[0], ""), ("c", 2, 3, &[2], "")], &[("a", 0, 3, &[0], "")]),
    ("merge-into", &[("b", 0, 1, &[0], ""), ("c", 2, 3, &[2], "")], &[("b", 0, 3, &[0], "")]),
    ("swap-names", &[("a", 0, 0, &[0], ""), ("b", 1, 1, &[1], "")], &[("a", 1, 1, &[1], ""), ("b", 0, 0, &[0], "")]),
    ("swap-ports", &[("a", 0, 0, &[0], ""), ("b", 1, 1, &[1], "")], &[("a", 1, 1, &[0], ""), ("b", 0, 0, &[1], "")]),
    ("hand-over", &[("a", 0, 3, &[0], "")], &[("a", 0, 1, &[0], ""), ("b", 2, 3, &[2], "")]),
    ("hand-off", &[("a", 0, 3, &[0], "")], &[("a", 0, 1, &[0], ""), ("b", 2, 3, &[4], "")]),
    ("rename", &[("a", 0, 1, &[0], "")], &[("z", 0, 1, &[0], "")]),
    ("reorder", &[("a", 0, 1, &[0, 4], "")], &[("a", 0, 1, &[4, 0], "")]),
    ("weights", &[("a", 0, 1, &[0, 4], "")], &[("a", 0, 1, &[0, 4], "weight")]),
    ("labels", &[("a", 0, 1, &[0], "")], &[("a", 0, 1, &[0], "owner = \"web\"")]),
    ("retarget", &[("a", 0, 2, &[0], "")], &[("a", 0, 2, &[4], "")]),
    ("retarget-by-one", &[("a", 0, 2, &[0], "")], &[("a", 0, 2, &[1], "")]),
    ("disable", &[("a", 0, 1, &[0, 4], "")], &[("a", 0, 1, &[0, 4], "enabled")]),
    ("remove", &[("a", 0, 1, &[0], ""), ("b", 2, 3, &[2], "")], &[("b", 2, 3, &[2], "")]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One change over one protocol, on ports of its own.
struct Scene {
    case: Case,
    protocol: Protocol,
    listen: u16,
    target: u16,
    held: Vec<Held>,
}

/// A client of one listener, by distance; which target answers it, and from which port that one is asked.
struct Held {
    listener: u16,
    client: Asker,
    told: (u16, u16),
}

enum Asker {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Asker {
    fn to(protocol: Protocol, port: u16) -> Self {
        match protocol {
            Protocol::Tcp => {
                let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                Self::Tcp(stream)
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(("127.0.0.1", port)).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
                Self::Udp(socket)
            }
        }
    }

    /// A connection that began anew comes from another port. None where nothing is behind it any more.
    fn ask(&mut self) -> Option<(u16, u16)> {
        let mut answer = [0; 4];
        match self {
            Self::Tcp(stream) => {
                stream.write_all(b".").ok()?;
                stream.read_exact(&mut answer).ok()?;
            }
            // A datagram may be lost, and a released port says that nobody listens, or nothing.
            Self::Udp(socket) => {
                (0..5).find_map(|_| {
                    socket.send(b".").ok();
                    socket.recv(&mut answer).ok().filter(|length| *length == 4)
                })?;
            }
        }
        let number = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
        Some((number(0), number(2)))
    }
}

/// Targets in a row that answer every message with their own port and the one that it came from.
fn targets(protocol: Protocol) -> u16 {
    let answer = |port: u16, from: u16| [port.to_be_bytes(), from.to_be_bytes()].concat();
    match protocol {
        Protocol::Tcp => {
            let bind = |first: u16| -> std::io::Result<Vec<TcpListener>> {
                (first..first + WIDTH).map(|port| TcpListener::bind(("127.0.0.1", port))).collect()
            };
            let (first, listeners) = wait_for("ports in a row", || {
                let first = ports(WIDTH);
                bind(first).map(|listeners| (first, listeners)).map_err(|error| error.to_string())
            });
            for (port, listener) in (first..).zip(listeners) {
                serve(listener, move |mut stream| {
                    let from = stream.peer_addr().map_or(0, |peer| peer.port());
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&answer(port, from))).is_ok() {}
                });
            }
            first
        }
        Protocol::Udp => {
            let bind = |first: u16| -> std::io::Result<Vec<UdpSocket>> {
                (first..first + WIDTH).map(|port| UdpSocket::bind(("127.0.0.1", port))).collect()
            };
            let (first, sockets) = wait_for("ports in a row", || {
                let first = ports(WIDTH);
                bind(first).map(|sockets| (first, sockets)).map_err(|error| error.to_string())
            });
            for (port, socket) in (first..).zip(sockets) {
                let serve = move || {
                    let mut buffer = [0; 64];
                    loop {
                        // An error is what is said of an earlier answer.
                        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                            socket.send_to(&answer(port, from.port()), from).ok();
                        }
                    }
                };
                thread::Builder::new().stack_size(64 << 10).spawn(serve).unwrap();
            }
            first
        }
    }
}

impl Scene {
    fn new(case: Case, protocol: Protocol) -> Self {
        Self { case, protocol, listen: ports(WIDTH), target: targets(protocol), held: Vec::new() }
    }

    fn prefix(&self) -> String {
        format!("{}-{}-", self.protocol.as_str(), self.case.0)
    }

    fn tree(&self, rows: &[Row]) -> String {
        let text = |(name, first, last, targets, more): &Row| {
            let range = |from: u16, at: u16| format!("{}-{}", from + at, from + at + (last - first));
            let target = |(index, at): (usize, &u16)| {
                let more = match *more {
                    "weight" if index == 0 => ", weight = 0",
                    "enabled" if index == 0 => ", enabled = false",
                    _ => "",
                };
                format!("{{ host = \"127.0.0.1\", ports = \"{}\"{more} }}", range(self.target, *at))
            };
            let targets: Vec<String> = targets.iter().enumerate().map(target).collect();
            let more = if more.contains('=') { more } else { "" };
            format!(
                "[[rule]]\nname = \"{}{name}\"\nedges = [\"edge-01\"]\nprotocol = \"{}\"\nlisten_ports = \"{}\"\n\
                 targets = [{}]\ndrain_timeout_secs = {DRAIN}\n{more}\n",
                self.prefix(),
                self.protocol.as_str(),
                range(self.listen, *first),
                targets.join(", "),
            )
        };
        rows.iter().map(text).collect()
    }

    fn connect(&mut self) {
        let listeners: BTreeSet<u16> = self.case.1.iter().flat_map(|(_, first, last, ..)| *first..=*last).collect();
        for listener in listeners {
            let mut client = Asker::to(self.protocol, self.listen + listener);
            let told = client.ask().expect("an answer");
            self.held.push(Held { listener, client, told });
        }
    }

    /// The model: what the listener leads to afterwards.
    fn lives(&self, held: &Held) -> bool {
        self.case.2.iter().any(|(_, first, last, targets, more)| {
            let enabled = targets.iter().skip(usize::from(*more == "enabled"));
            let mut places = enabled.map(|at| self.target + at + held.listener.wrapping_sub(*first));
            (*first..=*last).contains(&held.listener) && places.any(|place| place == held.told.0)
        })
    }

    fn going(&self) -> u64 {
        self.held.iter().filter(|held| !self.lives(held)).count() as u64
    }

    /// What a plan says that the change ends. A rule has a name of one letter: prefixes may begin alike.
    fn planned(&self, plan: &Value) -> u64 {
        let changes = plan["changes"].as_array().unwrap().iter();
        let name = |change: &Value| Some(change["rule"].as_str()?.strip_prefix(&self.prefix())?.to_owned());
        let own = changes.filter(|change| name(change).is_some_and(|name| name.len() == 1));
        own.map(|change| change["impact"]["connections"].as_u64().unwrap()).sum()
    }
}

/// Connections of all rules: those that go on, and those that drain.
fn counted(status: &Value) -> (u64, u64) {
    let rules = status["edges"][0]["rules"].as_array().unwrap();
    let sum = |list: &Value| -> u64 {
        list.as_array().into_iter().flatten().map(|one| one["connections"].as_u64().unwrap()).sum()
    };
    let going_on = rules.iter().filter(|rule| rule["state"] != "draining");
    let going_on = going_on.map(|rule| rule["connections"].as_u64().unwrap()).sum();
    (going_on, rules.iter().map(|rule| sum(&rule["draining"])).sum())
}

#[test]
fn a_plan_counts_what_ends_and_everything_else_lives() {
    let world = World::with_edges(&["edge-01"]);
    world.write(
        "portunus.toml",
        "[rails]\nmax_removed_percent = 100\nmax_rebound_percent = 100\nmax_removed_rules = 999\n",
    );
    let all = Protocol::ALL.into_iter().flat_map(|protocol| CASES.map(|case| Scene::new(case, protocol)));
    let mut scenes: Vec<Scene> = all.collect();
    let tree = |scenes: &[Scene], rows: fn(&Case) -> &'static [Row]| -> String {
        scenes.iter().map(|scene| scene.tree(rows(&scene.case))).collect()
    };
    world.edit_and_apply("a.toml", &tree(&scenes, |case| case.1));
    scenes.iter_mut().for_each(Scene::connect);
    let all: u64 = scenes.iter().map(|scene| scene.held.len() as u64).sum();
    let going: u64 = scenes.iter().map(Scene::going).sum();
    world.wait_status("every connection to be counted", |status| counted(status) == (all, 0));

    world.edit("a.toml", tree(&scenes, |case| case.2));
    let plan = world.plan();
    for scene in &scenes {
        assert_eq!(scene.planned(&plan), scene.going(), "{}: {}", scene.prefix(), plan["changes"]);
    }
    assert_eq!(plan["summary"]["connections_affected"], going);
    let kinds = ["none", "new_connections"];
    for change in plan["changes"].as_array().unwrap() {
        let impact = &change["impact"];
        assert!(!kinds.contains(&impact["kind"].as_str().unwrap()) || impact["connections"] == 0, "{change}");
    }
    world.apply();
    let switched = Instant::now();
    world.wait_status("the others to drain", |status| counted(status) == (all - going, going));
    assert_eq!(world.plan()["changes"], json!([]));
    world.wait_status("the drains to end", |status| counted(status).1 == 0);
    assert!(switched.elapsed() >= Duration::from_millis(DRAIN * 1000 - 500), "{:?}", switched.elapsed());
    let_pass(WATCH.saturating_sub(switched.elapsed()));
    for scene in &mut scenes {
        let mut held = std::mem::take(&mut scene.held);
        for one in &mut held {
            let is_the_same = one.client.ask() == Some(one.told);
            assert_eq!(is_the_same, scene.lives(one), "{} listener {}", scene.prefix(), one.listener);
        }
        scene.held = held;
    }
}

#[test]
fn connections_that_a_change_back_finds_draining_live() {
    let world = World::with_edges(&["edge-01"]);
    world.write(
        "portunus.toml",
        "[rails]\nmax_removed_percent = 100\nmax_rebound_percent = 100\nmax_removed_rules = 999\n",
    );
    let back: Vec<Case> =
        CASES.into_iter().filter(|(name, ..)| ["slide", "retarget", "hand-off"].contains(name)).collect();
    let all = Protocol::ALL.into_iter().flat_map(|protocol| back.iter().map(move |case| Scene::new(*case, protocol)));
    let mut scenes: Vec<Scene> = all.collect();
    let here: String = scenes.iter().map(|scene| scene.tree(scene.case.1)).collect();
    let there: String = scenes.iter().map(|scene| scene.tree(scene.case.2)).collect();
    // Long enough for a machine with much to do to be back in time.
    world.edit_and_apply("a.toml", &here.replace("drain_timeout_secs = 2", "drain_timeout_secs = 8"));
    scenes.iter_mut().for_each(Scene::connect);
    let began = Instant::now();
    world.edit_and_apply("a.toml", &there);
    world.edit_and_apply("a.toml", &here);
    assert!(began.elapsed() < Duration::from_secs(7), "too slow to prove anything: {:?}", began.elapsed());
    let_pass(Duration::from_secs(10).saturating_sub(began.elapsed()));
    for one in scenes.iter_mut().flat_map(|scene| &mut scene.held) {
        assert_eq!(one.client.ask(), Some(one.told), "listener {}", one.listener);
    }
}

#[test]
fn who_drains_is_shown_where_it_is_with_the_time_left_and_planned_once() {
    let world = World::with_edges(&["edge-01"]);
    let echo = Echo::start();
    let port = ports(3);
    let at = |by: u16| rule("edge-01", "web", port + by, echo.port, "drain_timeout_secs = 60");
    world.edit_and_apply("a.toml", &at(0));
    let mut old = [Client::to(port), Client::to(port)];
    for client in &mut old {
        client.ping(1, 0, 100).unwrap();
    }
    let is_live = |count: u64| {
        move |status: &Value| rule_of(status, "edge-01", "web").is_some_and(|web| web["connections"] == count)
    };
    world.wait_status("the connections to be known", is_live(2));
    world.edit_and_apply("a.toml", &at(1));
    assert_eq!(answers(port + 1), Some(echo.port));
    let mut new = Client::to(port + 1);
    new.ping(1, 0, 100).unwrap();
    let status = world.wait_status("the new connection to be known", is_live(1));
    let web = rule_of(&status, "edge-01", "web").unwrap();
    assert_eq!(web["state"], "active");
    let [drain] = web["draining"].as_array().unwrap().as_slice() else { panic!("{web}") };
    assert_eq!((&drain["state"], &drain["connections"]), (&json!("draining"), &json!(2)));
    assert_eq!(drain["ports"], json!([format!("*:{port}")]));
    let left = drain["secs_left"].as_u64().unwrap();
    assert!((1..=60).contains(&left), "{drain}");
    for command in [&["rules"][..], &["status", "edge-01/web"]] {
        let text = world.cli(command).exits(0).to_string();
        let is_drain = |line: &&str| line.contains("draining") && line.contains(&format!("*:{port}"));
        let line = text.lines().find(is_drain).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(" 2 ") && line.contains(" s at the latest"), "{text}");
    }

    // The next change ends the new one only.
    world.edit("a.toml", at(2));
    let plan = world.plan();
    let impact = &plan["changes"][0]["impact"];
    assert_eq!((&impact["kind"], &impact["connections"], &impact["draining"]), (&json!("drain"), &json!(1), &json!(2)));
    assert!((1..=60).contains(&impact["draining_secs"].as_u64().unwrap()), "{impact}");
    assert_eq!(plan["summary"]["connections_affected"], 1);
    let text = world.cli(&["plan", &world.tree_arg()]).exits(0).to_string();
    assert!(text.contains("1 live connection at most") && text.contains("2 connections drain already"), "{text}");
    // As does a plan from a saved status.
    let saved = world.arg("status.json");
    std::fs::write(&saved, world.cli(&["status", "-o", "json"]).exits(0).json().to_string()).unwrap();
    let plan = world.cli(&["plan", &world.tree_arg(), "--live", &saved, "-o", "json"]).exits(0).json();
    let impact = &plan["changes"][0]["impact"];
    assert_eq!((&impact["connections"], &impact["draining"]), (&json!(1), &json!(2)), "{impact}");
    for client in old.iter_mut().chain([&mut new]) {
        client.ping(1, 100, 100).unwrap();
    }
}

#[test]
fn a_connection_that_lives_on_under_another_rule_is_counted_there() {
    let world = World::with_edges(&["edge-01"]);
    let (port, echo) = (ports(2), Echo::range(2));
    let more = "drain_timeout_secs = 1";
    world.edit_and_apply("a.toml", &range_rule("edge-01", "old", port, echo, 2, more));
    let mut client = Client::to(port);
    client.ping(1, 0, 100).unwrap();
    let split = rule("edge-01", "new-a", port, echo, more) + &rule("edge-01", "new-b", port + 1, echo + 1, more);
    world.edit_and_apply("a.toml", &split);
    world.wait_status("it to be counted with its new rule", |status| {
        rule_of(status, "edge-01", "old").is_none()
            && rule_of(status, "edge-01", "new-a").is_some_and(|rule| rule["connections"] == 1)
    });
    let_pass(Duration::from_millis(2500));
    client.ping(1, 100, 100).unwrap();
    // It is judged by its listener and its place again.
    world.edit("a.toml", range_rule("edge-01", "other", port, echo + 1, 1, ""));
    let plan = world.plan();
    assert_eq!(plan["summary"]["connections_affected"], 1, "{plan}");
    world.apply();
    assert!(client.is_cut());
}
