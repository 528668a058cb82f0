//! However many clients come, the edge and its operators have the descriptors that they need.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::peers::{Client, Echo, answers};
use crate::processes::Process;
use crate::support::{Handle, LONG, World, let_pass, ports, rule, rule_of, wait_until};

/// Descriptors of the process under test: with the default limit a crowd would have to be a thousand times larger.
const LIMIT: usize = 400;
/// What clients may not have of them.
const RESERVE: usize = 64;

/// Starts the program under the limit.
fn start(world: &World, args: &[&str]) -> Handle {
    let script = format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"");
    world.start_program("sh", &[&["-c", &script, env!("CARGO_BIN_EXE_portunus")][..], args].concat())
}

/// More clients than there is room for; those that are not accepted wait.
fn crowd(process: &Process, port: u16) -> Vec<TcpStream> {
    let crowd = (0..LIMIT).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    wait_until("accepting to rest", || process.descriptors() >= LIMIT - RESERVE - 16);
    crowd
}

#[test]
fn an_edge_full_of_clients_still_has_its_session_its_binds_its_probes_and_its_metrics() {
    let world = World::new();
    let server = world.serve(&[]);
    let (own, port) = (ports(1), ports(3));
    let (at, metrics, state) =
        (format!("http://127.0.0.1:{}", world.control), format!("127.0.0.1:{own}"), world.arg("edge-state"));
    let args = ["edge", "--name", "edge-01", "--server", &at, "--state-dir", &state, "--metrics-listen", &metrics];
    let args = world.joining(&args);
    let edge = start(&world, &args.iter().map(String::as_str).collect::<Vec<_>>());
    world.wait_connected("edge-01", true);
    let (target, probed) = (Echo::start().port, std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let checked =
        rule("edge-01", "checked", port + 1, probed.local_addr().unwrap().port(), "health_check_interval_secs = 1");
    let tree = rule("edge-01", "web", port, target, "") + &checked;
    world.edit_and_apply("a.toml", &tree);
    let mut live = Client::to(port);
    live.ping(1, 0, 10).unwrap();
    let crowd = crowd(&edge, port);
    let_pass(Duration::from_secs(1));
    let open = edge.descriptors();
    assert!(open <= LIMIT - RESERVE + 8, "{open} of {LIMIT} are in use, and {RESERVE} are kept back");
    live.ping(1, 10, 100_000).unwrap();

    // A probe sees its target go, a rule is bound, and a new server gets a session.
    drop(probed);
    world.wait_status("the probe's verdict", |status| {
        rule_of(status, "edge-01", "checked").is_some_and(|rule| rule["health"] == "down")
    });
    world.edit_and_apply("a.toml", &(tree + &rule("edge-01", "late", port + 2, target, "")));
    server.kill();
    let _server = world.serve(&[]);
    world.wait_connected("edge-01", true);
    world.wait_rule("edge-01", "late", "active");
    let metrics = World::scrape(own);
    assert!(metrics.contains("portunus_accepting_rests 1"), "{metrics}");
    assert!(!metrics.contains("portunus_accept_shortages_total 0"), "{metrics}");
    assert!(metrics.contains(&format!("portunus_max_descriptors {LIMIT}")), "{metrics}");

    // Nobody was refused: who waited is served as soon as there is room.
    let mut waiting = TcpStream::connect(("127.0.0.1", port + 2)).unwrap();
    waiting.set_read_timeout(Some(LONG)).unwrap();
    drop(crowd);
    waiting.read_exact(&mut [0; 2]).expect("the target says its number first");
    wait_until("the shortage to be over", || World::scrape(own).contains("portunus_accepting_rests 0"));
    assert_eq!(answers(port), Some(target));
}

#[test]
fn a_process_full_of_clients_still_answers_its_operators_and_follows_its_tree() {
    let world = World::new();
    let (port, target) = (ports(2), Echo::start().port);
    let tree = rule("local", "web", port, target, "");
    world.edit("a.toml", &tree);
    let (tree_arg, server_args) = (world.tree_arg(), world.server_args());
    let args: Vec<&str> = ["up", &tree_arg].into_iter().chain(server_args.iter().map(String::as_str)).collect();
    let up = start(&world, &args);
    wait_until("the server to answer", || world.try_status().is_ok());
    world.wait_rule("local", "web", "active");
    let crowd = crowd(&up, port);
    for _ in 0..8 {
        world.cli(&["status"]).exits(0);
    }
    world.edit("a.toml", tree + &rule("local", "late", port + 1, target, ""));
    world.wait_rule("local", "late", "active");
    drop(crowd);
    assert_eq!((answers(port), answers(port + 1)), (Some(target), Some(target)));
}

#[test]
fn nobody_of_a_crowd_is_reset_and_all_are_served_one_after_the_other() {
    let world = World::new();
    let (port, target) = (ports(1), Echo::start().port);
    world.edit("a.toml", rule("local", "web", port, target, ""));
    let (tree_arg, server_args) = (world.tree_arg(), world.server_args());
    let args: Vec<&str> = ["up", &tree_arg].into_iter().chain(server_args.iter().map(String::as_str)).collect();
    let up = start(&world, &args);
    world.wait_rule("local", "web", "active");
    for (number, mut client) in crowd(&up, port).into_iter().enumerate() {
        client.set_read_timeout(Some(LONG)).unwrap();
        client.read_exact(&mut [0; 2]).unwrap_or_else(|error| panic!("client {number} is served: {error}"));
    }
}

#[test]
fn a_limit_that_is_too_low_to_start_with_is_an_error_that_says_what_to_do() {
    let world = World::new();
    world.edit("a.toml", rule("local", "web", ports(1), 9, ""));
    let server_args = world.server_args();
    let server_args: Vec<&str> = server_args.iter().map(String::as_str).collect();
    let (state, tree) = (world.arg("low-state"), world.tree_arg());
    let edge = ["edge", "--name", "low", "--server", "http://127.0.0.1:1", "--state-dir", &state];
    let serve = [&["serve", "--rules", &tree][..], &server_args[..]].concat();
    let up = [&["up", &tree][..], &server_args[..]].concat();
    for args in [&edge[..], &serve[..], &up[..]] {
        for limit in [6, 12, 30] {
            let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            let output =
                Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_portunus")]).args(args).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{args:?} with {limit}: {said}");
            assert!(said.contains(&format!("the limit of open files is {limit}")), "{args:?}: {said}");
            assert!(said.contains("ulimit -n 65536") && !said.contains("panicked"), "{args:?}: {said}");
        }
    }
}
