//! A terminal that is closed ends no process that was started on it: forwarding, checks, applies and the clean end go on.

use std::fs;
use std::process::Command;

use crate::peers::{Client, Echo, answers, refuses};
use crate::support::{Handle, World, http, ports, rule, skip, wait_for, wait_until};

/// A process on a terminal of its own, and who holds the other end of that.
struct OnTerminal {
    terminal: Handle,
    id: String,
}

impl OnTerminal {
    /// `None` where there is no program that makes terminals.
    fn start(world: &World, args: &[&str]) -> Option<Self> {
        if Command::new("script").arg("--version").output().is_err() {
            skip("`script` of util-linux is not installed");
            return None;
        }
        let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
        let command = format!("exec '{}' {}", env!("CARGO_BIN_EXE_portunus"), quoted.join(" "));
        let terminal = world.start_program("script", &["-qfc", &command, "/dev/null"]);
        let children = format!("/proc/{0}/task/{0}/children", terminal.id());
        let id = wait_for("the process on its terminal", || {
            let children = fs::read_to_string(&children).map_err(|error| error.to_string())?;
            let is_ours =
                |id: &&str| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm == "portunus\n");
            children.split_whitespace().find(is_ours).map(str::to_owned).ok_or(children)
        });
        Some(Self { terminal, id })
    }

    /// Closes the terminal as a lost connection does: the process gets SIGHUP, and its writes fail.
    fn hang_up(&self) {
        self.terminal.kill();
    }

    /// True until it has ended, whether or not somebody has asked for its exit code.
    fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        stat.contains("(portunus)") && !stat.contains("(portunus) Z")
    }

    fn stop(&self) {
        assert!(self.lives(), "nothing but its end was asked for");
        assert!(Command::new("kill").args(["-TERM", &self.id]).status().unwrap().success());
        wait_until("its end", || !self.lives());
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Its parent is gone, so that the world does not know it any more.
        if self.lives() {
            Command::new("kill").args(["-KILL", &self.id]).status().ok();
        }
    }
}

const CHECK: &str = "[rule.health]\ninterval_secs = 1\ntimeout_ms = 500\nrise = 1\nfall = 1\n";

fn is_ready(world: &World) -> bool {
    http(world.metrics, "GET", "/readyz", &[], "").is_ok_and(|(status, _)| status == 200)
}

#[test]
fn server_and_edge_go_on_without_the_terminals_that_they_were_started_on() {
    let world = World::new();
    let own = world.server_args();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let serve = [&["serve", "--mode", "heal", "--log-level", "debug"], &own[..]].concat();
    let Some(server) = OnTerminal::start(&world, &serve) else { return };
    wait_until("the server to be ready", || is_ready(&world));
    let (control, state) = (format!("http://127.0.0.1:{}", world.control), world.arg("edge-state"));
    let edge = ["edge", "--name", "edge-01", "--server", &control, "--state-dir", &state, "--log-level", "debug"];
    let edge = world.joining(&edge);
    let edge: Vec<&str> = edge.iter().map(String::as_str).collect();
    let Some(edge) = OnTerminal::start(&world, &edge) else { return };
    world.wait_connected("edge-01", true);
    let (first, one, two) = (ports(1), Echo::start(), Echo::start());
    world.edit_and_apply("a.toml", &rule("edge-01", "a", first, one.port, CHECK));
    let mut live = Client::to(first);
    live.ping(1, 0, 50_000).unwrap();

    server.hang_up();
    edge.hang_up();
    live.ping(1, 50_000, 50_000).unwrap();
    world.edit_and_apply("a.toml", &rule("edge-01", "a", first, ports(1), CHECK));
    world.wait_status("the check to fail", |status| status.to_string().contains("\"L4CON\""));
    world.edit_and_apply("a.toml", &rule("edge-01", "a", first, two.port, CHECK));
    wait_until("the new target to serve", || answers(first) == Some(two.port));
    drop(live);
    edge.stop();
    assert!(refuses(first));
    server.stop();
}

#[test]
fn up_goes_on_without_the_terminal_that_it_was_started_on() {
    let world = World::new();
    let (port, echo) = (ports(2), Echo::start());
    world.write("a.toml", rule("local", "a", port, echo.port, CHECK));
    let (tree, own) = (world.tree_arg(), world.server_args());
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let up = [&["up", &tree, "--log-level", "debug"], &own[..]].concat();
    let Some(up) = OnTerminal::start(&world, &up) else { return };
    wait_until("the port", || is_ready(&world) && answers(port) == Some(echo.port));
    up.hang_up();
    // It says something about both, on the terminal that is gone.
    world.write("b.toml", "nonsense");
    world.wait_status("the errors", |status| status.to_string().contains("\"syntax\""));
    world.write("b.toml", rule("local", "b", port + 1, echo.port, ""));
    wait_until("the second port", || answers(port + 1) == Some(echo.port));
    assert_eq!(answers(port), Some(echo.port));
    up.stop();
    assert!(refuses(port));
}
