//! Targets that fail and come back: failover, checks of real servers, and what operators say of targets.

use std::fs;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::peers::{Client, answers};
use crate::support::{World, ports, rule_of, skip, wait_for, wait_until};

/// An upstream that greets with its port, and can be killed with all of its connections.
struct Upstream {
    listener: TcpListener,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    fn at(port: u16) -> Self {
        // The port of the one that was killed is free within moments.
        let listener = wait_for("the port of an upstream", || {
            TcpListener::bind(("127.0.0.1", port)).map_err(|error| error.to_string())
        });
        let connections = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
        let (accepting, kept) = (listener.try_clone().unwrap(), connections.clone());
        let thread = thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                use std::io::Write;
                if stream.write_all(&port.to_be_bytes()).is_ok() {
                    kept.lock().unwrap().push(stream);
                }
            }
        });
        Self { listener, connections, thread: Some(thread) }
    }

    fn kill(mut self) {
        // Ends the accept that waits on it.
        shut(&self.listener);
        self.thread.take().unwrap().join().unwrap();
        for stream in self.connections.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

/// Linux ends a waiting `accept` when its socket is shut down.
fn shut(listener: &TcpListener) {
    socket2::SockRef::from(listener).shutdown(Shutdown::Both).unwrap();
}

/// An edge with one rule that has two targets: the second in the file is the preferred one.
struct Scene {
    world: World,
    port: u16,
    preferred: u16,
    spare: u16,
}

impl Scene {
    fn new(more: &str) -> Self {
        let scene =
            Self { world: World::with_edges(&["edge-01"]), port: ports(1), preferred: ports(1), spare: ports(1) };
        scene.world.edit("a.toml", scene.text(more));
        scene
    }

    fn text(&self, more: &str) -> String {
        format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {}\ntargets = [\n  {{ host = \"127.0.0.1\", \
             port = {}, priority = 1 }},\n  {{ host = \"127.0.0.1\", port = {} }},\n]\n{more}\n",
            self.port, self.spare, self.preferred
        )
    }

    fn wait_target(&self, port: u16, state: &str) -> Value {
        let target = format!("127.0.0.1:{port}");
        self.world.wait_status(&format!("{target} to be {state}"), |status| {
            targets(status).iter().any(|one| one["target"] == target.as_str() && one["state"] == state)
        })
    }

    fn target(&self, operation: &str, port: u16) -> crate::processes::Said {
        let target = format!("127.0.0.1:{port}");
        let mut all = vec!["target", operation, "edge-01/a", &target];
        if matches!(operation, "pause" | "disable") {
            all.extend(["--why", "maintenance"]);
        }
        self.world.cli(&all)
    }
}

fn targets(status: &Value) -> Vec<Value> {
    rule_of(status, "edge-01", "a").and_then(|rule| rule["targets"].as_array().cloned()).unwrap_or_default()
}

const CHECKED: &str = "[rule.health]\nkind = \"tcp\"\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1";

#[test]
fn a_client_that_reconnects_sees_no_failure_when_a_target_dies_and_the_target_is_used_again() {
    for more in ["", CHECKED] {
        let scene = Scene::new(more);
        let (preferred, _spare) = (Upstream::at(scene.preferred), Upstream::at(scene.spare));
        scene.world.apply();
        wait_until("the preferred target to serve", || answers(scene.port) == Some(scene.preferred));
        preferred.kill();
        for round in 0..200 {
            assert_eq!(answers(scene.port), Some(scene.spare), "connection {round} ({more})");
        }
        if more.is_empty() {
            // Without a check only a connection could find out, after half a minute.
            continue;
        }
        scene.wait_target(scene.preferred, "down");
        let _preferred = Upstream::at(scene.preferred);
        wait_until("the recovered target to serve", || answers(scene.port) == Some(scene.preferred));
        let status = scene.wait_target(scene.preferred, "up");
        assert_eq!(rule_of(&status, "edge-01", "a").unwrap()["health"], "up");
        let stats = scene.world.stats("edge-01/a");
        assert!(stats["targets"].as_array().unwrap().len() == 2, "{stats}");
    }
}

#[test]
fn with_nothing_left_the_last_resort_decides() {
    for (word, serves) in [("top", true), ("none", false), ("all", true)] {
        let scene = Scene::new(&format!("last_resort = \"{word}\"\n{CHECKED}"));
        let (preferred, spare) = (Upstream::at(scene.preferred), Upstream::at(scene.spare));
        scene.world.apply();
        scene.wait_target(scene.preferred, "up");
        preferred.kill();
        spare.kill();
        scene.wait_target(scene.preferred, "down");
        scene.wait_target(scene.spare, "down");
        // It is back, and the check has not seen it yet or may have: what is asked is whether it is tried at all.
        assert_eq!(answers(scene.port), None, "{word}");
        let dialled = scene.world.wait_stats("edge-01/a", "connect errors", |_| true);
        let errors = dialled["connect_errors"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(errors > 0, serves, "{word}: {dialled}");
    }
}

#[test]
fn live_connections_of_a_failed_target_are_reset_where_that_is_asked_for() {
    let scene = Scene::new(&format!("on_target_down = \"reset\"\n{CHECKED}"));
    let (preferred, _spare) = (Upstream::at(scene.preferred), Upstream::at(scene.spare));
    scene.world.apply();
    wait_until("the preferred target to serve", || answers(scene.port) == Some(scene.preferred));
    let mut live = Client::to(scene.port);
    assert_eq!(live.tag, scene.preferred);
    // Only its listener goes: the connection itself would live on.
    shut(&preferred.listener);
    scene.wait_target(scene.preferred, "down");
    assert!(live.is_cut());
}

#[test]
fn operators_pause_and_disable_targets_and_the_edge_remembers_it() {
    let scene = Scene::new(CHECKED);
    let world = &scene.world;
    let (_preferred, _spare) = (Upstream::at(scene.preferred), Upstream::at(scene.spare));
    world.apply();
    scene.wait_target(scene.preferred, "up");
    wait_until("the preferred target to serve", || answers(scene.port) == Some(scene.preferred));
    let mut live = Client::to(scene.port);
    scene.target("pause", scene.preferred).exits(0);
    scene.wait_target(scene.preferred, "paused");
    assert_eq!(answers(scene.port), Some(scene.spare));
    live.stream.set_nonblocking(true).unwrap();
    let alive = std::io::Read::read(&mut live.stream, &mut [0]);
    assert!(alive.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "a pause leaves live connections alone");
    live.stream.set_nonblocking(false).unwrap();
    let status = world.status();
    assert!(status["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "override"), "{status}");
    scene.target("disable", scene.preferred).exits(0);
    scene.wait_target(scene.preferred, "disabled");
    assert!(live.is_cut(), "a disabled target's connections are reset");
    scene.target("enable", scene.preferred).exits(0);
    scene.wait_target(scene.preferred, "up");
    wait_until("the preferred target to serve", || answers(scene.port) == Some(scene.preferred));
    let said = scene.target("check", scene.preferred);
    said.exits(0);
    scene.world.cli(&["target", "pause", "edge-01/a", "127.0.0.1:1", "--why", "x"]).exits(1);
    scene.world.cli(&["target", "weight", "edge-01/a", "20"]).exits(64);
    // Without a target: all of the rule.
    let both = [scene.preferred, scene.spare];
    for (operation, state) in [("pause", "paused"), ("resume", "up"), ("disable", "disabled"), ("enable", "up")] {
        let answer = scene.world.cli(&["target", operation, "edge-01/a", "-o", "json"]).exits(0).json();
        let changed = answer["targets"].as_array().unwrap().iter().filter(|one| one["changed"] == true);
        assert_eq!(changed.count(), 2, "{operation}: {answer}");
        for target in both {
            scene.wait_target(target, state);
        }
    }
    let said = scene.world.cli(&["target", "resume", "edge-01/a"]).exits(0);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
}

#[test]
fn an_operators_word_survives_a_restart_of_the_edge_without_its_server() {
    let scene = Scene { world: World::new(), port: ports(1), preferred: ports(1), spare: ports(1) };
    let world = &scene.world;
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (_preferred, _spare) = (Upstream::at(scene.preferred), Upstream::at(scene.spare));
    world.edit_and_apply("a.toml", &scene.text(""));
    wait_until("the preferred target to serve", || answers(scene.port) == Some(scene.preferred));
    scene.target("pause", scene.preferred).exits(0);
    wait_until("the other target to serve", || answers(scene.port) == Some(scene.spare));
    server.kill();
    edge.kill();
    world.start_edge("edge-01", &[]);
    wait_until("the edge to serve its last good state", || answers(scene.port).is_some());
    for _ in 0..20 {
        assert_eq!(answers(scene.port), Some(scene.spare));
    }
}

/// A server from a package, on a port of its own; `None` where it is not installed.
fn program(world: &World, name: &str, args: &[&str]) -> Option<crate::support::Handle> {
    if Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        skip(&format!("{name} is not installed"));
        return None;
    }
    Some(world.start_program(name, args))
}

/// One rule with one target that is checked so.
fn checked(world: &World, target: u16, health: &str) {
    let rule = crate::support::rule("edge-01", "a", ports(1), target, "");
    world.edit_and_apply(
        "a.toml",
        &format!("{rule}[rule.health]\ninterval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1\n{health}\n"),
    );
}

fn last_code(world: &World, what: &str, is_so: impl Fn(&str) -> bool) {
    world
        .wait_status(what, |status| targets(status).iter().any(|one| one["last"]["code"].as_str().is_some_and(&is_so)));
}

#[test]
fn an_http_check_reads_what_nginx_answers() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    fs::create_dir(world.path("www")).unwrap();
    fs::write(world.path("www/healthz"), "all is well\n").unwrap();
    let conf = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/nginx.log;\nevents {{}}\nhttp {{ access_log off; \
         client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; \
         scgi_temp_path {0}/s;\nserver {{ listen 127.0.0.1:{port}; root {0}/www; }} }}\n",
        world.arg("")
    );
    fs::write(world.path("nginx.conf"), conf).unwrap();
    for dir in [world.path("www"), world.path("")] {
        fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let Some(nginx) = program(&world, "nginx", &["-e", "stderr", "-c", &world.arg("nginx.conf")]) else { return };
    checked(&world, port, "kind = \"http\"\npath = \"/healthz\"\nexpect_body = \"all .* well\"");
    last_code(&world, "nginx to pass", |code| code == "L7OK");
    checked(&world, port, "kind = \"http\"\npath = \"/nowhere\"");
    last_code(&world, "a status that is not expected", |code| code == "L7STS");
    checked(&world, port, "kind = \"http\"\npath = \"/healthz\"\nexpect_body = \"all is lost\"");
    last_code(&world, "a body that is not expected", |code| code == "L7RSP");
    nginx.kill();
    last_code(&world, "nginx to be gone", |code| code == "L4CON");
}

#[test]
fn a_tcp_check_speaks_with_redis() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let args = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""];
    let Some(redis) = program(&world, "redis-server", &args) else { return };
    checked(&world, port, "kind = \"tcp\"\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"");
    last_code(&world, "redis to pass", |code| code == "L7OK");
    // Stopped, it accepts and stays silent.
    redis.signal("STOP");
    last_code(&world, "redis to be silent", |code| code == "L7TOUT");
    redis.signal("CONT");
    last_code(&world, "redis to pass again", |code| code == "L7OK");
}

#[test]
fn a_tls_check_handshakes_with_openssl() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let (key, cert) = (world.arg("key.pem"), world.arg("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &cert,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return skip("openssl is not installed");
    }
    let accept = port.to_string();
    let Some(_openssl) =
        program(&world, "openssl", &["s_server", "-accept", &accept, "-key", &key, "-cert", &cert, "-quiet"])
    else {
        return;
    };
    checked(&world, port, "kind = \"tls\"\nserver_name = \"localhost\"\nverify = false");
    last_code(&world, "openssl to pass", |code| code == "L6OK");
    // Nobody has signed its certificate.
    checked(&world, port, "kind = \"tls\"\nserver_name = \"localhost\"");
    last_code(&world, "its certificate to be refused", |code| code == "L6RSP");
}
