//! Under a service manager: what the process reports, the sockets that it opens, and the units that are shipped.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::peers::{Echo, answers};
use crate::support::{LONG, World, http, ports, rule, skip, wait_until};

/// A service manager that only listens.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self(socket)
    }

    /// Waits for a message with this line; what came before it.
    #[track_caller]
    fn hears(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("{line}: {error} after {before:?}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|one| one.starts_with(line)) {
                return before;
            }
            before.push(message);
        }
    }
}

#[test]
fn a_service_manager_hears_of_start_life_reload_and_end() {
    let world = World::new();
    let path = world.path("notify");
    let manager = Manager::at(&path);
    let socket = path.to_str().unwrap();
    let env = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "600000")];
    let server = world.serve_with(&["--mode", "heal"], &env);
    manager.hears("READY=1");
    manager.hears("STATUS=0 of 0 edges connected");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    server.signal("HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    server.stop();
    manager.hears("STOPPING=1");

    let world = World::new();
    let path = world.path("notify");
    let manager = Manager::at(&path);
    let server = world.serve(&["--mode", "heal"]);
    let control = format!("http://127.0.0.1:{}", world.control);
    let (state, policy) = (world.arg("edge-state"), world.arg("policy.toml"));
    std::fs::write(&policy, "").unwrap();
    let args = ["edge", "--name", "edge-01", "--server", &control, "--state-dir", &state, "--policy", &policy];
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let edge = world.start_with_env("edge-01", &args, &env);
    manager.hears("READY=1");
    world.wait_connected("edge-01", true);
    let echo = Echo::start();
    world.edit_and_apply("a.toml", &rule("edge-01", "web", ports(1), echo.port, ""));
    manager.hears("STATUS=serving 1 rule");
    manager.hears("WATCHDOG=1");
    edge.signal("HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    edge.stop();
    manager.hears("STOPPING=1");
    server.stop();
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let world = World::new();
    let path = world.path("notify");
    let manager = Manager::at(&path);
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let server = world.serve_with(&["--mode", "heal"], &env);
    manager.hears("READY=1");
    server.stop();
    let before = manager.hears("STOPPING=1");
    assert!(!before.iter().any(|message| message.contains("WATCHDOG")), "{before:?}");
}

/// Starts a program behind systemd's own tool for trying socket activation, which waits for the first connection.
fn activated(world: &World, sockets: &[String], args: &[&str]) -> Option<crate::support::Handle> {
    const TOOL: &str = "systemd-socket-activate";
    if !Command::new(TOOL).arg("--version").output().is_ok_and(|output| output.status.success()) {
        skip("systemd-socket-activate is not installed");
        return None;
    }
    let mut all: Vec<&str> = sockets.iter().flat_map(|socket| ["-l", socket.as_str()]).collect();
    all.push(env!("CARGO_BIN_EXE_portunus"));
    all.extend(args);
    Some(world.start_program(TOOL, &all))
}

#[test]
fn the_ports_of_a_server_can_be_sockets_of_the_service_manager_and_others_are_closed() {
    let world = World::new();
    let stray = ports(1);
    let at = |port: u16| format!("127.0.0.1:{port}");
    // In another order than the server uses them; the operator port is its own.
    let sockets = [at(stray), at(world.metrics), at(world.control)];
    let mut args = vec!["serve".to_owned(), "--mode".to_owned(), "heal".to_owned()];
    args.extend(world.server_args());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(server) = activated(&world, &sockets, &args) else { return };
    wait_until("the server is ready", || {
        http(world.metrics, "GET", "/readyz", &[], "").is_ok_and(|(status, _)| status == 200)
    });
    world.edge("edge-01");
    wait_until("the stray socket is closed", || TcpStream::connect(("127.0.0.1", stray)).is_err());
    let closed = format!("{}/tcp", at(stray));
    wait_until("the log names it", || server.log().contains(&closed));
    server.stop();
}

#[test]
fn a_rule_can_listen_on_a_socket_of_the_service_manager() {
    let world = World::with_edges(&[]);
    let (listen, stray, metrics) = (ports(1), ports(1), ports(1));
    let at = |port: u16| format!("127.0.0.1:{port}");
    let control = format!("http://127.0.0.1:{}", world.control);
    let state = world.arg("edge-state");
    let metrics_at = at(metrics);
    let args =
        ["edge", "--name", "edge-01", "--server", &control, "--state-dir", &state, "--metrics-listen", &metrics_at];
    let args = world.joining(&args);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(edge) = activated(&world, &[at(listen), metrics_at.clone(), at(stray)], &args) else { return };
    wait_until("the edge runs", || http(metrics, "GET", "/metrics", &[], "").is_ok_and(|(status, _)| status == 200));
    world.wait_connected("edge-01", true);
    let echo = Echo::start();
    let more = "listen_address = \"127.0.0.1\"";
    world.edit_and_apply("a.toml", &rule("edge-01", "web", listen, echo.port, more));
    assert_eq!(answers(listen), Some(echo.port));
    assert!(edge.log().contains("a socket of the service manager is used"), "{}", edge.log());
    wait_until("the stray socket is closed", || TcpStream::connect(("127.0.0.1", stray)).is_err());
    // It is the rule's own from then on.
    world.edit_and_apply("a.toml", &rule("edge-01", "web", ports(1), echo.port, more));
    wait_until("the port is released", || answers(listen).is_none());
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let world = World::new();
    let server = world.serve_with(&["--mode", "heal"], &[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")]);
    assert!(!server.log().contains("service manager"), "{}", server.log());
    server.stop();
}

#[test]
fn the_units_are_hardened() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd");
    for unit in ["portunus-server.service", "portunus-edge.service"] {
        let path = folder.join(unit);
        let text = std::fs::read_to_string(&path).unwrap();
        for line in [
            "Type=notify",
            "WatchdogSec=",
            "ExecReload=",
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE\n",
            "StateDirectory=",
        ] {
            assert!(text.contains(line), "{unit} has {line}");
        }
        assert!(text.contains("AF_NETLINK") && !text.contains("User=root"), "{unit}");
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--threshold=30", "--no-pager"]).arg(&path);
        match analyze.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{unit}: {said}{}", String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => skip(&format!("systemd-analyze cannot be run: {error}")),
        }
    }
}
