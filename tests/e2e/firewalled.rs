//! Targets behind a firewall, in a namespace of their own: packets to them vanish there, or are answered by a refusal.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::namespaces::{in_namespace, ip, part};
use crate::peers::{Client, Echo, answers, echo, serve};
use crate::steering::target_is;
use crate::support::{Handle, LONG, World, let_pass, ports, rule_of, wait_until};

/// The part of the process that all targets are, with the port that they listen on.
const TARGETS: &str = "targets-";
/// Addresses of targets: 10.9.8.1 and so on.
const HOSTS: u8 = 8;

fn host(number: u8) -> String {
    format!("10.9.8.{number}")
}

/// Upstreams on a port of all their addresses that answer with the last byte of theirs, until who started them ends.
fn targets(part: &str) {
    let port: u16 = part.strip_prefix(TARGETS).unwrap().parse().unwrap();
    serve(TcpListener::bind(("0.0.0.0", port)).unwrap(), |stream| {
        let std::net::IpAddr::V4(address) = stream.local_addr().unwrap().ip() else { return };
        echo(stream, address.octets()[3].into());
    });
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        let_pass(Duration::from_millis(200));
    }
}

/// The targets' side of the link, and the rules of the firewall there.
struct Behind {
    targets: Handle,
}

impl Behind {
    fn start(world: &World, test: &str, port: u16) -> Self {
        let args = part(test, &format!("{TARGETS}{port}"));
        let targets = world.start_program("unshare", &args.iter().map(String::as_str).collect::<Vec<_>>());
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", targets.id());
        wait_until("a namespace of the targets", || std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own));
        ip(&["link", "set", "out1", "netns", &targets.id().to_string()]);
        let behind = Self { targets };
        // Errors are told by hosts that forward only, and one a second at most unless told otherwise.
        behind.run("sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv4/icmp_ratelimit"]);
        behind.ip(&["link", "set", "out1", "up"]);
        for number in 1..=HOSTS {
            behind.ip(&["addr", "add", &format!("{}/24", host(number)), "dev", "out1"]);
        }
        // The firewall's table comes before that of local addresses.
        behind.ip(&["rule", "add", "lookup", "local", "pref", "10"]);
        behind.ip(&["rule", "add", "lookup", "77", "pref", "5"]);
        behind.ip(&["rule", "del", "pref", "0"]);
        wait_until("the targets to answer", || Client::connect((host(1), port)).is_ok_and(|client| client.tag == 1));
        behind
    }

    fn run(&self, program: &str, args: &[&str]) {
        let id = self.targets.id().to_string();
        let done = Command::new("nsenter").args(["-t", &id, "-n", program]).args(args).status();
        assert!(done.unwrap().success(), "{program} {args:?}");
    }

    fn ip(&self, args: &[&str]) {
        self.run("ip", args);
    }

    /// What happens to packets to a target from now on: `blackhole` drops them silently, `prohibit` reports it.
    fn forbid(&self, kind: &str, number: u8) {
        self.ip(&["route", "replace", kind, &host(number), "table", "77"]);
    }

    fn allow(&self, number: u8) {
        self.ip(&["route", "del", &host(number), "table", "77"]);
    }
}

#[test]
fn a_target_behind_a_firewall_that_drops_or_rejects_costs_no_connection() {
    const NAME: &str = "firewalled::a_target_behind_a_firewall_that_drops_or_rejects_costs_no_connection";
    let inside = || {
        let world = World::with_edges(&["edge-01"]);
        let (port, target, spare) = (ports(1), ports(1), Echo::start());
        let behind = Behind::start(&world, NAME, target);
        let preferred = format!("{}:{target}", host(1));
        world.edit_and_apply(
            "a.toml",
            &format!(
                "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\nconnect_timeout_ms = 300\n\
                 targets = [\n  {{ host = \"127.0.0.1\", port = {}, priority = 1 }},\n  {{ host = \"{}\", port = {target} }},\n]\n\
                 [rule.health]\ninterval_secs = 1\ntimeout_ms = 400\nrise = 1\nfall = 2\n",
                spare.port,
                host(1)
            ),
        );
        for (kind, code) in [("blackhole", "L4TOUT"), ("prohibit", "L4CON")] {
            wait_until("the preferred target to serve", || answers(port) == Some(1));
            target_is(&world, &preferred, "up");
            behind.forbid(kind, 1);
            let seen = |status: &serde_json::Value| {
                let targets = crate::steering::targets(status);
                let one = targets.iter().find(|one| one["target"] == preferred.as_str()).unwrap();
                (one["state"] == "down", one["last"]["code"] == code)
            };
            let mut connections = 0;
            while !seen(&world.status()).0 {
                assert_eq!(answers(port), Some(spare.port), "{kind}, connection {connections}");
                connections += 1;
            }
            assert!(connections > 0, "{kind}: the verdict came after a connection");
            let status = world.wait_status("the reason", |status| seen(status) == (true, true));
            assert_eq!(rule_of(&status, "edge-01", "a").unwrap()["health"], "up", "{kind}: {status}");
            assert_eq!(answers(port), Some(spare.port));
            behind.allow(1);
        }
        wait_until("the target that may be reached again to serve", || answers(port) == Some(1));
    };
    in_namespace(NAME, inside, targets);
}

#[test]
fn eight_targets_are_dialled_by_priority_and_no_longer_than_ten_seconds() {
    const NAME: &str = "firewalled::eight_targets_are_dialled_by_priority_and_no_longer_than_ten_seconds";
    const SILENT: [u8; 3] = [2, 4, 6];
    let inside = || {
        let world = World::with_edges(&["edge-01"]);
        let (first, target) = (ports(2), ports(1));
        let behind = Behind::start(&world, NAME, target);
        // In the file the last one to try comes first.
        let rule = |name: &str, listen: u16, timeout: u16| {
            let line = |number: u8| {
                // Where nobody listens, or a firewall forbids it, a connect is refused at once.
                let port = if [1, 5].contains(&number) { target + 1 } else { target };
                format!("  {{ host = \"{}\", port = {port}, priority = {} }},\n", host(number), number - 1)
            };
            let lines: String = (1..=HOSTS).rev().map(line).collect();
            format!(
                "[[rule]]\nname = \"{name}\"\nedges = [\"edge-01\"]\nlisten_port = {listen}\n\
                 connect_timeout_ms = {timeout}\ntargets = [\n{lines}]\n\n"
            )
        };
        for (kind, numbers) in [("blackhole", &SILENT[..]), ("prohibit", &[3, 7])] {
            for number in numbers {
                behind.forbid(kind, *number);
            }
        }
        world.edit_and_apply("a.toml", &(rule("a", first, 1000) + &rule("b", first + 1, 3000)));

        let start = Instant::now();
        assert_eq!(answers(first), Some(HOSTS.into()), "the eighth serves");
        let took = start.elapsed();
        assert!((Duration::from_secs(3)..Duration::from_secs(10)).contains(&took), "three were silent: {took:?}");
        let stats = world.wait_stats("edge-01/a", "seven failures", |stats| {
            stats["targets"]
                .as_array()
                .is_some_and(|all| all.iter().filter(|one| !one["last_failure"].is_null()).count() == 7)
        });
        let failed: Vec<_> = (1..HOSTS)
            .map(|number| {
                let all = stats["targets"].as_array().unwrap();
                let one = all.iter().find(|one| one["host"] == host(number).as_str()).unwrap();
                one["last_failure"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
            })
            .collect();
        assert!(failed.is_sorted(), "by priority: {failed:?}");

        // Three of three seconds each, and a fourth that has one.
        (1..HOSTS).for_each(|number| behind.forbid("blackhole", number));
        let start = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", first + 1)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        assert!(!matches!(stream.read(&mut [0]), Ok(1)), "nobody was reached");
        let took = start.elapsed();
        assert!((Duration::from_millis(9500)..Duration::from_millis(11_500)).contains(&took), "{took:?}");
    };
    in_namespace(NAME, inside, targets);
}
