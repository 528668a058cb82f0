//! `portunus top`: a person looks at the fleet on a real terminal, which is theirs again afterwards.

use std::cell::RefCell;
use std::process::Command;

use crate::peers::{Client, Echo};
use crate::pty::Pty;
use crate::support::{World, ports, rule, wait_until};

const CHECK: &str = "owner = \"team-web\"\n[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";

/// A fleet of one edge with a rule that serves and one whose target is down.
fn fleet() -> (World, Echo, u16) {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(2));
    let rules = rule("edge-01", "web", port, echo.port, CHECK) + &rule("edge-01", "mail", port + 1, ports(1), CHECK);
    world.edit_and_apply("a.toml", &rules);
    world.wait_status("the check to fail", |status| status["targets"]["down"] == 1);
    (world, echo, port)
}

fn top(world: &World, args: &[&str]) -> Option<Pty> {
    let args = [&["top"], args].concat();
    Pty::start(&world.cli_command(&args), 80, 24)
}

#[test]
fn every_view_is_a_key_away_and_follows_what_happens() {
    let (world, echo, port) = fleet();
    let Some(mut top) = top(&world, &["--interval", "1s"]) else { return };
    let first = top.wait("both rules", |shown| shown.contains("edge-01/web") && shown.contains("▼ down 0/1"));
    assert!(first.contains("[2 Rules]") && first.contains("1 of 2 targets up, 1 down"), "{first}");
    assert!(first.contains("q quit") && first.contains("? keys"), "the keys are shown: {first}");
    assert!(top.is_taken());
    top.press("1");
    top.wait("the edges", |shown| shown.contains("[1 Edges]") && shown.contains("▲ connected"));
    top.press("3");
    top.wait("the targets", |shown| {
        shown.contains("[3 Targets]") && shown.contains(&format!("127.0.0.1:{}", echo.port))
    });
    let mut live = Client::to(port);
    live.ping(1, 0, 10_000).unwrap();
    top.press("4");
    top.wait("the connection", |shown| shown.contains("[4 Connections]") && shown.contains("connections 1–1 of 1"));
    top.press("5");
    top.wait("the plan", |shown| shown.contains("[5 Plan]") && shown.contains("Mode heal"));
    top.press("6");
    top.wait("the events", |shown| shown.contains("[6 Events]") && shown.contains("edge-01/mail down"));
    // What happens appears without a key, and the list of rules follows.
    world.edit_and_apply("b.toml", &rule("edge-01", "new", ports(1), echo.port, ""));
    top.wait_text("edge-01/new active");
    top.press("2");
    top.wait_text("edge-01/new");
    // A filter, its end, and what belongs to a rule.
    top.press("/mail\r");
    top.wait("only one rule", |shown| shown.contains("rules 1–1 of 1") && shown.contains("filter mail"));
    top.press("\u{1b}[C");
    top.wait("its targets", |shown| shown.contains("[3 Targets]") && shown.contains("L4CON"));
    top.press("\r");
    top.wait("the target in full", |shown| shown.contains("Last result"));
    top.press("q");
    top.press("?");
    top.wait("the keys", |shown| shown.contains("one page up or down"));
    top.press("qq");
    assert_eq!(top.ended(), 0);
}

#[test]
fn rates_of_the_selected_rule_move() {
    let (world, _echo, port) = fleet();
    let Some(mut top) = top(&world, &["--rule", "web"]) else { return };
    top.wait_text("edge-01/web over the last minutes");
    let live = RefCell::new((Client::to(port), 0));
    let is_moving = |shown: &str| {
        shown.lines().any(|line| line.trim_start().starts_with("out ") && line.contains("iB/s") && line.contains('█'))
    };
    top.wait("a rate", |shown| {
        let (client, sent) = &mut *live.borrow_mut();
        client.ping(1, *sent, 50_000).unwrap();
        *sent += 50_000;
        is_moving(shown)
    });
    top.press("q");
    assert_eq!(top.ended(), 0);
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_program() {
    let (world, _echo, _port) = fleet();
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let Some(mut top) = top(&world, &[]) else { return };
        top.wait_text("edge-01/web");
        top.signal(signal);
        assert_eq!(top.ended(), 130, "{signal}");
    }
    let Some(mut top) = top(&world, &[]) else { return };
    top.wait_text("edge-01/web");
    top.press("\u{3}");
    assert_eq!(top.ended(), 130, "Ctrl-C");
}

#[test]
fn a_panic_leaves_a_terminal_that_can_be_used() {
    let (world, _echo, _port) = fleet();
    let mut command = world.cli_command(&["top"]);
    command.env("PORTUNUS_TESTING_KILL_FILE", world.path("kill"));
    let Some(mut top) = Pty::start(&command, 80, 24) else { return };
    top.wait_text("edge-01/web");
    std::fs::write(world.path("kill"), "top\n").unwrap();
    assert_eq!(top.ended(), 101);
    assert!(top.shown().contains("panicked"), "{}", top.shown());
}

#[test]
fn ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again() {
    let (world, _echo, _port) = fleet();
    let inner = world.cli_command(&[]);
    let mut shell = Command::new("bash");
    shell.args(["--norc", "--noediting", "-i"]).current_dir(inner.get_current_dir().unwrap());
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PS1", "ready: ");
    let Some(mut shell) = Pty::start(&shell, 80, 24) else { return };
    shell.wait_text("ready: ");
    shell.press(&format!("'{}' top\r", env!("CARGO_BIN_EXE_portunus")));
    shell.wait_text("edge-01/web");
    shell.press("\u{1a}");
    shell.wait_text("Stopped");
    wait_until("the terminal to be the shell's", || shell.is_given_back());
    shell.press("fg\r");
    wait_until("the terminal to be the program's", || shell.is_taken());
    shell.wait_text("edge-01/web");
    // The same from outside.
    shell.press("\u{1a}");
    wait_until("the terminal to be the shell's", || shell.is_given_back());
    shell.press("fg\r");
    wait_until("the terminal to be the program's", || shell.is_taken());
    shell.press("q");
    wait_until("the terminal to be the shell's", || shell.is_given_back());
    shell.press("echo status $?\r");
    shell.wait_text("status 0");
    shell.press("exit\r");
    shell.ended();
}

#[test]
fn a_larger_window_shows_more_and_a_tiny_one_breaks_nothing() {
    let (world, _echo, _port) = fleet();
    let Some(mut top) = top(&world, &["--view", "edges"]) else { return };
    top.wait_text("edge-01");
    top.resize(20, 5);
    top.wait_text("too small");
    top.resize(140, 40);
    let shown = top.wait("the larger frame", |shown| shown.contains("← back") && shown.contains("▲ connected"));
    assert!(shown.lines().count() == 40, "{shown}");
    top.press("q");
    assert_eq!(top.ended(), 0);
}

#[test]
fn a_server_that_goes_is_waited_for_and_what_was_known_stays() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    world.edge("edge-01");
    let port = ports(1);
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, ports(1), ""));
    let Some(mut top) = top(&world, &["--interval", "1s"]) else { return };
    top.wait_text("edge-01/web");
    server.kill();
    let shown = top.wait_text("stale since");
    assert!(shown.contains("edge-01/web") && shown.contains("Retrying"), "{shown}");
    world.serve(&["--mode", "heal"]);
    top.wait("the server", |shown| !shown.contains("stale since") && shown.contains("edge-01/web"));
    top.press("q");
    assert_eq!(top.ended(), 0);
}

#[test]
fn one_frame_is_printed_without_a_terminal() {
    let (world, _echo, _port) = fleet();
    let said = world.cli(&["top", "--once"]).exits(0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 24, "{said}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{said}");
    assert!(said.out.contains("edge-01/mail") && said.out.contains("▼ down 0/1"), "{said}");
    assert!(!said.out.contains('\u{1b}'), "{said}");
    let wide = world.cli_with(&["top", "--once", "--view", "targets"], &[("COLUMNS", "140"), ("LINES", "30")]).exits(0);
    assert_eq!(wide.out.lines().count(), 30, "{wide}");
    assert!(wide.out.lines().any(|line| line.chars().count() > 80), "{wide}");
    let colored = world.cli(&["top", "--once", "--color", "always"]).exits(0);
    assert!(colored.out.contains("32m▲ up 1/1"), "{:?}", colored.out);
    assert!(colored.out.contains("7m▼ down 0/1"), "the selected row is reversed as a whole: {:?}", colored.out);
    for view in ["Edges", "Connections", "Plan", "Events"] {
        world.cli(&["top", "--once", "--view", &view.to_lowercase()]).exits(0).says(&format!(" {view}]"));
    }
    let ranked = world.cli(&["top", "--once", "--sort", "rate"]).exits(0);
    assert!(ranked.out.contains("by rate") && ranked.out.contains("rules 1–2 of 2"), "{ranked}");
    world.cli(&["top", "--once", "--rule", "nothing"]).exits(1).says("nothing matches --rule nothing");
    world.cli(&["top", "--once", "--state", "down"]).exits(64).says("selects nothing in the view rules");
    world.cli(&["top", "--once", "--state", "asleep"]).exits(64);
    world.cli(&["top", "--once", "--view", "plan", "--sort", "name"]).exits(64);
    world.cli(&["top", "--once", "--view", "targets", "--state", "down"]).exits(0).says("edge-01/mail");
}

#[test]
fn without_a_terminal_or_a_server_it_does_not_begin() {
    let world = World::new();
    world.cli(&["top"]).exits(64).says("portunus top --once");
    world.cli_with(&["top"], &[("TERM", "dumb")]).exits(64).says("TERM=dumb");
    world.cli(&["top", "--once"]).exits(7).says("cannot be reached");
    let Some(mut top) = top(&world, &[]) else { return };
    assert_eq!(top.ended(), 7);
    assert!(top.shown().contains("cannot be reached"), "{}", top.shown());
}
