//! Signals that have a meaning to other programs end no process that serves: SIGHUP makes it look again, SIGUSR1 and
//! SIGUSR2 change nothing.

use crate::git_source::Scene;
use crate::peers::{Client, Echo, answers};
use crate::processes::Process;
use crate::support::{World, ports, rule, wait_until};

/// Sends all three, and waits until the log shows that the last one was taken.
fn all_to(process: &Process) {
    for signal in ["HUP", "USR1", "USR2"] {
        process.signal(signal);
    }
    wait_until("the signals to be taken", || {
        assert!(process.has_ended().is_none(), "{}", process.log());
        let log = process.log();
        log.contains("SIGHUP: reading again") && log.contains("SIGUSR2 is reserved")
    });
}

#[test]
fn no_signal_but_those_that_ask_for_it_ends_a_process_that_serves() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let echo = Echo::start();
    let port = ports(2);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, echo.port, ""));
    let mut client = Client::to(port);
    client.ping(1, 0, 1000).unwrap();
    all_to(&server);
    all_to(&edge);
    client.ping(1, 1000, 50_000).expect("a live connection goes on");
    world.edit_and_apply("b.toml", &rule("edge-01", "b", port + 1, echo.port, ""));
    wait_until("the second rule", || answers(port + 1) == Some(echo.port));
    drop(client);
    // They are ignored while connections drain, too, and the process still ends.
    edge.signal("HUP");
    edge.stop();
    server.stop();

    let world = World::new();
    world.write("a.toml", rule("local", "a", port, echo.port, ""));
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the port", || answers(port) == Some(echo.port));
    all_to(&up);
    assert_eq!(answers(port), Some(echo.port));
    up.stop();
}

#[test]
fn sighup_makes_a_server_look_at_what_it_follows() {
    let scene = Scene::new();
    let url = format!("file://{}", scene.world.arg("remote.git"));
    let server = scene.world.serve(&["--git", &url, "--path", "rules.d", "--interval", "1h"]);
    scene.world.edge("edge-01");
    let first = scene.world.git(&["rev-parse", "HEAD"]);
    scene.serves(&scene.one, &first);
    let second = scene.push(&scene.two);
    server.signal("HUP");
    scene.serves(&scene.two, &second);
    server.stop();
}
