//! A fleet that is not on one host: server, edge and operator reach each other over a network, and clocks differ.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::namespaces::{in_namespace, ip};
use crate::peers::{Client, Echo, answers, echo, serve};
use crate::support::{World, ports, rule, skip, wait_until};

/// The address of the server's host; the edge's host is 10.9.8.1.
const SERVER: &str = "10.9.8.254";
const EDGE: &str = "10.9.8.1";
const ACROSS: &str = "fleets::a_fleet_across_two_hosts_is_set_up_as_the_documents_tell";

#[test]
fn a_fleet_across_two_hosts_is_set_up_as_the_documents_tell() {
    in_namespace(ACROSS, across_two_hosts, |part| panic!("{part}"));
}

fn across_two_hosts() {
    let world = World::new();
    // The other host: a namespace with the other end of the link.
    let holder = world.start_program("unshare", &["--net", "sleep", "600"]);
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let theirs = format!("/proc/{}/ns/net", holder.id());
    wait_until("the other namespace", || fs::read_link(&theirs).is_ok_and(|theirs| theirs != own));
    let there = holder.id().to_string();
    ip(&["link", "set", "out1", "netns", &there]);
    let at = |args: &[&str]| {
        let all = [&["-t", there.as_str(), "-n"][..], args].concat();
        assert!(Command::new("nsenter").args(&all).status().unwrap().success(), "{args:?}");
    };
    at(&["ip", "link", "set", "lo", "up"]);
    at(&["ip", "link", "set", "out1", "up"]);
    at(&["ip", "addr", "add", &format!("{EDGE}/24"), "dev", "out1"]);

    let (control, operator) = (format!("{SERVER}:{}", world.control), format!("{SERVER}:{}", world.operator));
    let local = format!("127.0.0.1:{}", world.operator);
    let state = world.arg("server-state");
    let listens = ["--control-listen", &control, "--operator-listen", &local, "--operator-listen", &operator];
    let rest = ["--metrics-listen", "127.0.0.1:0", "--mode", "heal", "--state-dir", &state];
    world.start_cli("server", &[&["serve"][..], &listens, &rest].concat());
    wait_until("the server", || world.cli(&["status"]).code == 0);

    // On the server's host, with the token of its state directory.
    let token = world.cli(&["edge-token", "create", "edge-01", "-o", "json"]).exits(0).json();
    let uri = token["uri"].as_str().unwrap();
    assert!(uri.contains(&control), "{uri}");
    let created = world.cli(&["operator", "create", "ci", "--role", "applier", "-o", "json"]).exits(0).json();
    fs::write(world.path("token"), created["token"].as_str().unwrap()).unwrap();
    let ca = world.cli(&["ca", "show", "-o", "json"]).exits(0).json();
    let pin = ca["pin"].as_str().or_else(|| ca["current"]["pin"].as_str()).unwrap_or_else(|| panic!("{ca}")).to_owned();

    // On the edge's host: the edge, and an operator who has the address, the pin and a token.
    let portunus = env!("CARGO_BIN_EXE_portunus");
    let edge_state = world.arg("edge-state");
    let edge = ["-t", there.as_str(), "-n", portunus, "edge", "--join", uri, "--state-dir", &edge_state];
    world.start_program("nsenter", &edge);
    world.wait_connected("edge-01", true);
    let home = format!("HOME={}", world.arg("home"));
    let token_file = format!("@{}", world.arg("token"));
    let remote = |args: &[&str]| {
        let all = [&["-t", there.as_str(), "-n", "env", "-i"][..], &[home.as_str(), portunus], args].concat();
        let output = Command::new("nsenter").args(&all).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    };
    let url = format!("https://{operator}");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let (code, said) = remote(&["login", &url, "--pin", &wrong, "--token", &token_file]);
    assert!(code == 1 && said.contains("pin"), "{code}: {said}");
    let (code, said) = remote(&["login", &url, "--pin", &pin, "--token", &token_file]);
    assert_eq!(code, 0, "{said}");

    // The rule listens on the edge's host and forwards to the server's.
    let (port, target) = (ports(1), ports(1));
    serve(TcpListener::bind((SERVER, target)).unwrap(), move |stream| echo(stream, target));
    let text = format!(
        "[[rule]]\nname = \"web\"\nedges = [\"edge-01\"]\nlisten_port = {port}\ntarget = \"{SERVER}:{target}\"\n"
    );
    world.edit("a.toml", text);
    let (code, said) = remote(&["apply", &world.tree_arg(), "--yes"]);
    assert_eq!(code, 0, "{said}");
    wait_until("traffic across both", || Client::connect((EDGE, port)).is_ok_and(|client| client.tag == target));
    let (code, said) = remote(&["status"]);
    assert!(code == 0 && said.contains("In sync"), "{said}");
    let history = world.cli(&["history", "-o", "json"]).exits(0).json();
    assert_eq!(history.as_array().unwrap().last().unwrap()["actor"], "ci", "{history}");
}

#[test]
fn an_authority_that_was_restored_from_an_old_copy_is_refused_with_what_to_do() {
    let world = World::new();
    let (echo, port) = (Echo::start(), ports(1));
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, echo.port, ""));
    let (ca, copy, newer) = (world.path("server-state/ca"), world.arg("copy"), world.arg("newer"));
    let copied = |from: &str, to: &str| assert!(Command::new("cp").args(["-a", from, to]).status().unwrap().success());
    let ca = ca.to_string_lossy().into_owned();
    copied(&ca, &copy);
    world.cli(&["ca", "rotate"]).exits(0);
    wait_until("the edge to have a certificate of the next authority", || world.cli(&["ca", "retire"]).code == 0);
    server.kill();
    copied(&ca, &newer);
    fs::remove_dir_all(&ca).unwrap();
    copied(&copy, &ca);
    let state = world.server_args();
    let args: Vec<&str> = std::iter::once("serve").chain(state.iter().map(String::as_str)).collect();
    let refused = world.start_cli("restored", &args);
    assert_eq!(refused.ended(), 1, "{}", refused.log());
    assert!(refused.log().contains("restore the directory from the newest backup"), "{}", refused.log());
    assert_eq!(answers(port), Some(echo.port), "the edge forwards on");
    // With the newest copy, the edge is back by itself.
    fs::remove_dir_all(&ca).unwrap();
    copied(&newer, &ca);
    world.serve(&["--mode", "heal"]);
    world.wait_connected("edge-01", true);
}

#[test]
fn an_edge_whose_clock_is_wrong_by_minutes_joins_and_says_so() {
    let world = World::new();
    let preload = |ahead: &str| -> Option<Vec<String>> {
        let output = Command::new("faketime").args(["-f", ahead, "env"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let is_meant = |line: &&str| line.starts_with("LD_PRELOAD=") || line.starts_with("FAKETIME=");
        let found: Vec<String> = text.lines().filter(is_meant).map(str::to_owned).collect();
        (found.len() == 2).then_some(found)
    };
    if preload("+300s").is_none() {
        return skip("faketime is not installed");
    }
    world.serve(&["--mode", "heal"]);
    for (name, ahead) in [("edge-01", "+300s"), ("edge-02", "-300s")] {
        let token = world.cli(&["edge-token", "create", name, "-o", "json"]).exits(0).json();
        let (uri, state) = (token["uri"].as_str().unwrap(), world.arg(&format!("{name}-state")));
        let portunus = env!("CARGO_BIN_EXE_portunus");
        // Not by the wrapper, whose child would outlive it.
        let clock = preload(ahead).unwrap();
        let edge = [&clock[0], &clock[1], portunus, "edge", "--join", uri, "--state-dir", &state];
        let edge = world.start_program("env", &edge);
        wait_until("the edge to say it", || edge.log().contains("set the clocks"));
        let log = edge.log();
        assert!(
            log.contains("the clock of this host is 300 s") || log.contains("the clock of this host is 299 s"),
            "{log}"
        );
        world.wait_connected(name, true);
    }
}
