//! Verdicts and operators steer every path: flows, ranges, rules with one target; and what a client keeps.
//!
//! Long because each path has its own upstreams and clients, and steers by the same helpers.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};

use crate::peers::{Client, Echo, answers, serve};
use crate::support::{LONG, World, ports, rule, rule_of, wait_for, wait_until};

/// An upstream that says one letter on every port of a range, by TCP and UDP, and listens for checks on another one.
struct Upstream {
    ip: Ipv4Addr,
    check: TcpListener,
}

impl Upstream {
    fn start(letter: u8, first: u16, width: u16, check: u16) -> Self {
        let ip = Ipv4Addr::new(127, 0, 0, letter);
        for port in first..first + width {
            serve(TcpListener::bind((ip, port)).unwrap(), move |mut stream| {
                use std::io::Write;
                stream.write_all(&[letter]).ok();
                _ = stream.read_exact(&mut [0]);
            });
            let socket = UdpSocket::bind((ip, port)).unwrap();
            thread::spawn(move || {
                while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                    socket.send_to(&[letter], from).ok();
                }
            });
        }
        Self { ip, check: Self::healthy(ip, check) }
    }

    fn healthy(ip: Ipv4Addr, port: u16) -> TcpListener {
        let listener = wait_for("the port for checks", || TcpListener::bind((ip, port)).map_err(|e| e.to_string()));
        serve(listener.try_clone().unwrap(), drop);
        listener
    }

    /// Fails its checks from now on; what serves goes on.
    fn sicken(&self) {
        SockRef::from(&self.check).shutdown(Shutdown::Both).unwrap();
    }

    fn recover(&mut self) {
        let port = self.check.local_addr().unwrap().port();
        // The listener that was shut down holds the port until it is closed.
        self.check = TcpListener::bind("127.0.0.1:0").unwrap();
        self.check = Self::healthy(self.ip, port);
    }
}

/// A client of a rule over UDP or TCP, on one port of it.
struct Caller {
    at: SocketAddr,
    udp: Option<UdpSocket>,
}

impl Caller {
    fn new(protocol: &str, port: u16) -> Self {
        let udp = (protocol == "udp").then(|| UdpSocket::bind("127.0.0.1:0").unwrap());
        if let Some(socket) = &udp {
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        }
        Self { at: ([127, 0, 0, 1], port).into(), udp }
    }

    /// Which upstream answers; each question over TCP is a new connection.
    fn ask(&self) -> Option<u8> {
        let mut letter = [0];
        if let Some(socket) = &self.udp {
            // An error is what is said of an earlier datagram.
            socket.send_to(b"?", self.at).ok();
            socket.recv_from(&mut letter).ok()?;
        } else {
            let mut stream = TcpStream::connect(self.at).ok()?;
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.read_exact(&mut letter).ok()?;
        }
        Some(letter[0])
    }

    fn wait(&self, letter: u8) {
        wait_for(&format!("upstream {letter} to answer"), || match self.ask() {
            Some(other) if other == letter => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

/// Waits until a target of `edge-01/a` is so.
pub(crate) fn target_is(world: &World, target: &str, state: &str) {
    world.wait_status(&format!("{target} to be {state}"), |status| {
        targets(status).iter().any(|one| one["target"] == target && one["state"] == state)
    });
}

/// The targets of `edge-01/a`.
pub(crate) fn targets(status: &Value) -> Vec<Value> {
    rule_of(status, "edge-01", "a").and_then(|rule| rule["targets"].as_array().cloned()).unwrap_or_default()
}

fn span(first: u16, width: u16) -> String {
    if width == 1 { first.to_string() } else { format!("{first}-{}", first + width - 1) }
}

/// A rule over two upstreams, the second in the file is preferred; both have their checks on another port.
#[expect(clippy::too_many_arguments, reason = "each is a key of the rule")]
fn two(protocol: &str, listen: u16, target: u16, width: u16, check: u16, more: &str) -> String {
    let (listen, target) = (span(listen, width), span(target, width));
    format!(
        "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nprotocol = \"{protocol}\"\nlisten_ports = \"{listen}\"\n\
         targets = [\n  {{ host = \"127.0.0.3\", ports = \"{target}\", priority = 1 }},\n  \
         {{ host = \"127.0.0.2\", ports = \"{target}\" }},\n]\n{more}\n[rule.health]\nport = {check}\n\
         interval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n"
    )
}

/// An upstream answers all of them.
fn all_wait(live: &[Caller], upstream: u8) {
    for caller in live {
        caller.wait(upstream);
    }
}

#[test]
fn flows_and_ranges_fail_over_and_return_by_the_verdicts_of_a_check_on_another_port() {
    for (protocol, width) in [("udp", 1), ("udp", 3), ("tcp", 3)] {
        let world = World::with_edges(&["edge-01"]);
        let (listen, target, check) = (ports(width), ports(width), ports(1));
        let (mut preferred, _spare) =
            (Upstream::start(2, target, width, check), Upstream::start(3, target, width, check));
        world.edit_and_apply("a.toml", &two(protocol, listen, target, width, check, ""));
        let (second, third) =
            (format!("127.0.0.2:{}", span(target, width)), format!("127.0.0.3:{}", span(target, width)));
        target_is(&world, &second, "up");
        target_is(&world, &third, "up");
        let live: Vec<Caller> = (0..width).map(|offset| Caller::new(protocol, listen + offset)).collect();
        all_wait(&live, 2);

        preferred.sicken();
        target_is(&world, &second, "down");
        for offset in 0..width {
            Caller::new(protocol, listen + offset).wait(3);
        }
        if protocol == "udp" {
            // A flow that lives moves to the target that is left with its next datagram.
            all_wait(&live, 3);
        }
        preferred.recover();
        target_is(&world, &second, "up");
        for offset in 0..width {
            Caller::new(protocol, listen + offset).wait(2);
        }
        let stats = world.wait_stats("edge-01/a", "a failover and a return", |stats| stats["target_failovers"] == 2);
        assert_eq!(stats["ports"].as_array().unwrap().len(), usize::from(width), "{stats}");

        let order = |operation: &str| {
            let mut all = vec!["target", operation, "edge-01/a", &second];
            if operation != "resume" {
                all.extend(["--why", "maintenance"]);
            }
            world.cli(&all).exits(0);
        };
        let live: Vec<Caller> = (0..width).map(|offset| Caller::new(protocol, listen + offset)).collect();
        all_wait(&live, 2);
        order("pause");
        target_is(&world, &second, "paused");
        for offset in 0..width {
            assert_eq!(Caller::new(protocol, listen + offset).ask(), Some(3), "{protocol}");
        }
        if protocol == "udp" {
            all_wait(&live, 2);
        }
        order("resume");
        target_is(&world, &second, "up");
        Caller::new(protocol, listen).wait(2);
    }
}

#[test]
fn live_flows_of_a_failed_or_disabled_target_begin_anew_where_that_is_asked_for() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target, check) = (ports(1), ports(1), ports(1));
    let (mut preferred, _spare) = (Upstream::start(2, target, 1, check), Upstream::start(3, target, 1, check));
    world.edit_and_apply("a.toml", &two("udp", listen, target, 1, check, "on_target_down = \"reset\""));
    let second = format!("127.0.0.2:{target}");
    target_is(&world, &second, "up");
    target_is(&world, &format!("127.0.0.3:{target}"), "up");
    let live = Caller::new("udp", listen);
    live.wait(2);
    preferred.sicken();
    live.wait(3);
    // The flow moves before the status says why.
    target_is(&world, &second, "down");
    preferred.recover();
    target_is(&world, &second, "up");
    let live = Caller::new("udp", listen);
    live.wait(2);
    world.cli(&["target", "disable", "edge-01/a", &second, "--why", "maintenance"]).exits(0);
    live.wait(3);
}

#[test]
fn an_only_target_that_is_paused_or_disabled_is_not_dialled_also_after_a_restart_of_its_edge() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let mut edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let target = format!("127.0.0.1:{}", echo.port);
    for (operation, end, state) in [("pause", "resume", "paused"), ("disable", "enable", "disabled")] {
        wait_until("the target to serve", || answers(port) == Some(echo.port));
        world.cli(&["target", operation, "edge-01/a", &target, "--why", "maintenance"]).exits(0);
        target_is(&world, &target, state);
        for _ in 0..20 {
            assert_eq!(answers(port), None, "{state}");
        }
        edge.kill();
        edge = world.edge("edge-01");
        target_is(&world, &target, state);
        assert_eq!(answers(port), None, "{state}, and the edge was restarted");
        world.cli(&["target", end, "edge-01/a", &target]).exits(0);
    }
    wait_until("the target to serve", || answers(port) == Some(echo.port));
    world.cli(&["target", "pause", "edge-01/a", &target, "--why", "maintenance"]).exits(0);
    target_is(&world, &target, "paused");
    server.kill();
    edge.kill();
    world.start_edge("edge-01", &[]);
    let connects = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait_until("the edge to listen without its server", connects);
    assert_eq!(answers(port), None, "the edge remembers it by itself");
}

/// Which upstream answers clients of these addresses.
fn mapping(port: u16) -> BTreeMap<u8, Option<u16>> {
    let from = |last: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 1, last], 0)).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).ok()?;
        let mut tag = [0; 2];
        TcpStream::from(socket).read_exact(&mut tag).ok()?;
        Some(u16::from_be_bytes(tag))
    };
    (1..=40).map(|last| (last, from(last))).collect()
}

#[test]
fn clients_keep_their_target_over_a_restart_and_have_the_same_on_every_edge() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    world.edge("edge-02");
    let port = ports(2);
    let all = [Echo::start(), Echo::start(), Echo::start()];
    let targets: Vec<String> =
        all.iter().map(|echo| format!("{{ host = \"127.0.0.1\", port = {} }}", echo.port)).collect();
    let text = |edge: &str, port: u16| {
        format!(
            "[[rule]]\nname = \"a\"\nedges = [\"{edge}\"]\nlisten_port = {port}\nbalance = \"source-ip\"\ntargets = [{}]\n",
            targets.join(", ")
        )
    };
    world.edit_and_apply("a.toml", &(text("edge-01", port) + &text("edge-02", port + 1)));
    let before = mapping(port);
    for echo in &all {
        assert!(before.values().any(|tag| *tag == Some(echo.port)), "every target has clients: {before:?}");
    }
    assert_eq!(before, mapping(port + 1), "the same on every edge");
    edge.kill();
    world.edge("edge-01");
    wait_until("everybody to be served again", || mapping(port).values().all(Option::is_some));
    assert_eq!(before, mapping(port), "the same after a restart");
    let leaves = format!("127.0.0.1:{}", all[1].port);
    world.cli(&["target", "pause", "edge-01/a", &leaves, "--why", "maintenance"]).exits(0);
    target_is(&world, &leaves, "paused");
    let after = mapping(port);
    for (client, tag) in &before {
        let now = after[client];
        if *tag == Some(all[1].port) {
            assert!(now.is_some() && now != *tag, "{client} has moved: {now:?}");
        } else {
            assert_eq!(now, *tag, "{client} is no client of the target that left");
        }
    }
    world.cli(&["target", "resume", "edge-01/a", &leaves]).exits(0);
    wait_until("its clients to be back", || mapping(port) == before);
}

#[test]
fn a_reload_that_leaves_the_check_alone_keeps_verdict_history_and_overrides() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target, check) = (ports(2), ports(2), ports(1));
    let (mut preferred, _spare) = (Upstream::start(2, target, 2, check), Upstream::start(3, target, 2, check));
    world.edit_and_apply("a.toml", &two("tcp", listen, target, 1, check, ""));
    let (second, third) = (format!("127.0.0.2:{target}"), format!("127.0.0.3:{target}"));
    preferred.sicken();
    target_is(&world, &second, "down");
    preferred.recover();
    target_is(&world, &second, "up");
    world.cli(&["target", "pause", "edge-01/a", &third, "--why", "maintenance"]).exits(0);
    target_is(&world, &third, "paused");
    // What a probe found last goes on changing; all else is to stay.
    let kept = |status: &Value| -> Vec<Value> {
        targets(status)
            .into_iter()
            .map(|mut one| {
                one.as_object_mut().unwrap().remove("last");
                one
            })
            .collect()
    };
    let before = kept(&world.status());
    assert!(before.iter().any(|one| one["history"].as_array().unwrap().len() >= 2), "{before:?}");
    let described = two("tcp", listen, target, 1, check, "description = \"new\"\nidle_timeout_secs = 77");
    world.edit_and_apply("a.toml", &described);
    let status = world.status();
    assert_eq!(kept(&status), before);
    assert!(status["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "override"), "{status}");
    assert_eq!(Caller::new("tcp", listen).ask(), Some(2));
    // A check that is another one knows nothing yet, and undoes no pause.
    let other = two("tcp", listen, target, 1, check, "").replace("fall = 1", "fall = 2");
    world.edit_and_apply("a.toml", &other);
    let status = world.wait_status("the new check to begin anew", |status| kept(status) != before);
    assert!(targets(&status).iter().any(|one| one["target"] == third.as_str() && one["state"] == "paused"), "{status}");
}

#[test]
fn a_changed_weight_and_an_added_target_move_no_live_connection() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let all = [Echo::start(), Echo::start(), Echo::start()];
    let text = |weights: &[u8]| {
        let one = |(echo, weight): (&Echo, &u8)| {
            format!("{{ host = \"127.0.0.1\", port = {}, weight = {weight} }}", echo.port)
        };
        let targets: Vec<String> = all.iter().zip(weights).map(one).collect();
        format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\nbalance = \"round-robin\"\ntargets = [{}]\n",
            targets.join(", ")
        )
    };
    world.edit_and_apply("a.toml", &text(&[50, 50]));
    let mut live: Vec<Client> = (0..8).map(|_| Client::to(port)).collect();
    let to = |live: &[Client], echo: &Echo| live.iter().filter(|client| client.tag == echo.port).count();
    assert_eq!((to(&live, &all[0]), to(&live, &all[1])), (4, 4));
    let mut at = 0;
    let mut all_go_on = || {
        for client in &mut live {
            client.ping(3, at, 100).unwrap();
        }
        at += 100;
    };
    world.edit_and_apply("a.toml", &text(&[0, 100, 100]));
    wait_until("the added target to serve", || answers(port) == Some(all[2].port));
    all_go_on();
    let target = format!("127.0.0.1:{}", all[1].port);
    world.cli(&["target", "weight", "edge-01/a", &target, "0"]).exits(0);
    wait_until("one target to get all", || (0..4).all(|_| answers(port) == Some(all[2].port)));
    all_go_on();
    let stats = world.stats("edge-01/a");
    let of = |echo: &Echo| {
        let targets = stats["targets"].as_array().unwrap();
        targets.iter().find(|one| one["port"] == echo.port).unwrap()["active_connections"].clone()
    };
    assert_eq!((of(&all[0]), of(&all[1])), (4.into(), 4.into()), "{stats}");
}

#[test]
fn a_failed_target_without_a_check_is_tried_by_one_connection_after_half_a_minute() {
    let world = World::with_edges(&["edge-01"]);
    let (port, gate, spare) = (ports(1), ports(1), Echo::start());
    world.edit_and_apply(
        "a.toml",
        &format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\ntargets = [\n  \
             {{ host = \"127.0.0.1\", port = {gate} }},\n  {{ host = \"127.0.0.1\", port = {}, priority = 1 }},\n]\n",
            spare.port
        ),
    );
    for _ in 0..3 {
        assert_eq!(answers(port), Some(spare.port));
    }
    target_is(&world, &format!("127.0.0.1:{gate}"), "down");
    let begin = Instant::now();
    serve(TcpListener::bind(("127.0.0.1", gate)).unwrap(), move |mut stream| {
        use std::io::Write;
        stream.write_all(&gate.to_be_bytes()).ok();
    });
    wait_until("the trial", || {
        let tag = answers(port);
        assert!(tag == Some(spare.port) || tag == Some(gate), "{tag:?}");
        tag == Some(gate)
    });
    // The failure was a moment before the verdict was seen.
    assert!(begin.elapsed() > Duration::from_secs(25), "{:?}", begin.elapsed());
}

#[test]
fn the_last_result_is_the_last_one_also_where_it_repeats() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(1));
    let check = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\n";
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, check));
    let last = || {
        let status = world.cli(&["status", "edge-01/a", "-o", "json"]).exits(0).json();
        rule_of(&status, "edge-01", "a").unwrap()["targets"][0]["last"].clone()
    };
    world.wait_status("the target to be up", |status| {
        rule_of(status, "edge-01", "a").is_some_and(|rule| rule["health"] == "up")
    });
    let first = last();
    assert_eq!(first["code"], "L4OK");
    let mut seen = vec![first["at"].clone()];
    wait_until("two more results", || {
        let at = last()["at"].clone();
        if seen.last() != Some(&at) {
            seen.push(at);
        }
        seen.len() == 3
    });
}
