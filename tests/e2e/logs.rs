//! Nobody who reads the logs can stop the product: a reader that goes away, a full disk and a full pipe behind standard
//! error end nothing and hold nothing up.

use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::process::{Command, Stdio};

use crate::peers::{Client, Echo, answers, refuses};
use crate::processes::Process;
use crate::support::{World, http, ports, wait_until};

const DROPPED: &str = "portunus_log_lines_dropped_total ";

fn dropped(metrics: u16) -> u64 {
    let text = World::scrape(metrics);
    let row = text.lines().find_map(|line| line.strip_prefix(DROPPED)).unwrap_or_else(|| panic!("{text}"));
    row.parse().unwrap()
}

/// A rule whose target is checked every second.
fn checked(edge: &str, port: u16, target: u16) -> String {
    let health = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";
    crate::support::rule(edge, "a", port, target, health)
}

fn ready(world: &World, process: &Process) {
    wait_until("the server to be ready", || {
        assert!(process.has_ended().is_none(), "{}", process.log());
        http(world.metrics, "GET", "/readyz", &[], "").is_ok_and(|(status, _)| status == 200)
    });
}

/// Server and edge, then `up`, with such a standard error: checks, applies, connections and the end go on.
fn go_on(stderr: impl Fn() -> Stdio, is_dropping: bool) {
    let world = World::new();
    let own = world.server_args();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let serve = [&["serve", "--mode", "heal", "--log-level", "debug"], &own[..]].concat();
    let server = world.start_with_stderr("serve", &serve, stderr());
    ready(&world, &server);
    let (control, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("edge-state"));
    let first = ports(3);
    let metrics = format!("127.0.0.1:{}", first + 2);
    let mut args = vec!["edge", "--name", "edge-01", "--server", &control, "--state-dir", &state];
    args.extend(["--metrics-listen", &metrics, "--log-level", "debug"]);
    let edge = world.start_with_stderr("edge", &args, stderr());
    world.wait_connected("edge-01", true);

    let (one, two) = (Echo::start(), Echo::start());
    world.edit_and_apply("a.toml", &checked("edge-01", first, one.port));
    let mut live = Client::to(first);
    live.ping(1, 0, 50_000).unwrap();
    let nobody = ports(1);
    world.edit_and_apply("a.toml", &checked("edge-01", first, nobody));
    world.wait_status("the check to fail", |status| status.to_string().contains("\"L4CON\""));
    world.edit_and_apply("a.toml", &checked("edge-01", first, two.port));
    wait_until("the new target to serve", || answers(first) == Some(two.port));
    if is_dropping {
        wait_until("the server to count", || dropped(world.metrics) > 0);
        wait_until("the edge to count", || dropped(first + 2) > 0);
    } else {
        dropped(world.metrics);
        dropped(first + 2);
    }
    drop(live);
    edge.stop();
    server.stop();

    let world = World::new();
    world.write("a.toml", checked("local", first + 1, one.port));
    let (tree, own) = (world.tree_arg(), world.server_args());
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let up = [&["up", &tree, "--log-level", "debug"], &own[..]].concat();
    let up = world.start_with_stderr("up", &up, stderr());
    ready(&world, &up);
    wait_until("the port", || answers(first + 1) == Some(one.port));
    // What it says about a tree with errors is for people, and goes the same way.
    world.write("b.toml", "nonsense");
    world.wait_status("the errors", |status| status.to_string().contains("\"syntax\""));
    assert_eq!(answers(first + 1), Some(one.port));
    up.stop();
    assert!(refuses(first + 1));
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let gone = || {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        writer.into()
    };
    go_on(gone, true);
}

#[test]
fn a_full_disk_behind_standard_error_ends_nothing() {
    go_on(|| File::options().write(true).open("/dev/full").unwrap().into(), true);
}

#[test]
fn a_full_pipe_that_nobody_reads_holds_nothing_up() {
    let readers = std::cell::RefCell::new(Vec::<PipeReader>::new());
    let full = || {
        let (reader, mut writer) = pipe().unwrap();
        // As much as a pipe takes; the next byte would wait.
        writer.write_all(&b"\n".repeat(64 << 10)).unwrap();
        readers.borrow_mut().push(reader);
        writer.into()
    };
    go_on(full, false);
}

#[test]
fn the_last_lines_of_an_end_are_written() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    edge.stop();
    assert!(edge.log().contains("accepting has stopped"), "{}", edge.log());
    let listen = format!("127.0.0.1:{}", world.control);
    let state = world.arg("other-state");
    let taken = world.start("taken", &["serve", "--mode", "heal", "--state-dir", &state, "--control-listen", &listen]);
    assert_eq!(taken.ended(), 1);
    assert!(taken.log().contains("the control port cannot listen on"), "{}", taken.log());
    server.stop();
    assert!(server.log().contains("shutdown was requested"), "{}", server.log());
}

#[test]
fn a_command_that_watches_ends_with_its_reader() {
    let world = World::with_edges(&["edge-01"]);
    for format in ["json", "text"] {
        let (reader, writer) = pipe().unwrap();
        let mut watch = Command::new(env!("CARGO_BIN_EXE_portunus"));
        watch.args(["status", "--watch", "-o", format, "--server", &format!("http://127.0.0.1:{}", world.operator)]);
        watch.env("PORTUNUS_STATE_DIR", world.path("server-state")).stdin(Stdio::null()).stdout(writer);
        drop(reader);
        let mut watch = watch.spawn().unwrap();
        wait_until("the watch to end", || {
            // Something happens, so that it prints once more.
            world.cli(&["freeze", "--why", "a test"]);
            world.cli(&["unfreeze"]);
            watch.try_wait().unwrap().is_some()
        });
        assert_eq!(watch.wait().unwrap().code(), Some(0));
    }
}
