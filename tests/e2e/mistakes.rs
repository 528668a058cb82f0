//! A mistake on the command line or in an address is named as what it is, with what to do; nothing happens by mistake.

use serde_json::Value;

use crate::peers::{Client, Echo, answers};
use crate::support::{World, ports, rule, rule_of, wait_for, wait_until};

#[test]
fn a_wrong_port_of_the_server_says_which_one_it_is() {
    let world = World::with_edges(&[]);
    let at = |port: u16| format!("127.0.0.1:{port}");
    for (port, words) in [(world.control, "the control port"), (world.metrics, "the metrics port")] {
        let said = world.cli(&["status", "--server", &at(port)]).exits(7);
        assert!(said.err.contains(words) && said.err.contains("the operator port, 7080 by default"), "{said}");
        let document = world.cli(&["status", "-o", "json", "--server", &at(port)]).exits(7).json();
        assert_eq!(document["code"], "wrong_port", "{document}");
    }
    for (name, port, words) in
        [("edge-01", world.operator, "the operator port"), ("edge-02", world.metrics, "the metrics port")]
    {
        let state = world.arg(&format!("{name}-state"));
        let edge = world.start(name, &["edge", "--name", name, "--server", &at(port), "--state-dir", &state]);
        wait_for("the edge to name the port", || {
            let log = edge.log();
            let is_named = log.contains(words) && log.contains("the control port, 7443 by default");
            if is_named { Ok(()) } else { Err(log) }
        });
        edge.stop();
    }
}

#[test]
fn without_a_terminal_the_plan_is_shown_before_it_is_refused() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(2));
    world.edit("a.toml", rule("edge-01", "web", port, echo.port, ""));
    let said = world.cli(&["apply", &world.tree_arg()]).exits(64);
    assert!(said.out.contains("+ web  activate") && said.err.contains("nothing was sent"), "{said}");
    assert!(said.err.contains("--yes"), "{said}");
    let said = world.cli(&["apply", &world.tree_arg(), "-o", "json"]).exits(64);
    assert!(said.err.contains("+ web  activate"), "{said}");
    assert_eq!(said.json()["code"], "usage");
    assert_eq!(answers(port), None, "nothing was sent");

    world.apply();
    let first = world.status()["revision"]["digest"].as_str().unwrap().to_owned();
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port + 1, echo.port, ""));
    let said = world.cli(&["rollback", &first]).exits(64);
    assert!(said.out.contains("web") && said.err.contains("nothing was sent"), "{said}");
    assert_eq!(answers(port + 1), Some(echo.port));
}

#[test]
fn an_override_is_named_like_every_other_rule() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(1));
    let (listen, target) = (port.to_string(), format!("127.0.0.1:{}", echo.port));
    let rest = ["--listen-port", &listen, "--target", &target, "--ttl", "1d", "--why", "the pager rang"];
    let add = |place: &[&str]| world.cli(&[&["override", "add"], place, &rest[..]].concat());
    let said = add(&["edge-01"]).exits(64);
    assert!(said.err.contains("portunus override add edge-01/NAME"), "{said}");
    let said = add(&["edge-01/glass", "--name", "other"]).exits(64);
    assert!(said.err.contains("two names"), "{said}");
    add(&["edge-01/glass", "--name", "glass"]).exits(0);
    world.cli(&["override", "remove", "edge-01/glass"]).exits(0);
    add(&["edge-01/glass"]).exits(0);
    assert_eq!(answers(port), Some(echo.port));
    let url = format!("https://{target}");
    let said = world.cli(&[
        "override",
        "add",
        "edge-01/web",
        "--listen-port",
        "1",
        "--target",
        &url,
        "--ttl",
        "1d",
        "--why",
        "x",
    ]);
    assert!(said.exits(1).err.contains(&format!("write \"{target}\"")));
}

#[test]
fn an_empty_directory_gets_a_first_rule_to_paste() {
    let world = World::new();
    let tree = world.tree_arg();
    for command in [&["validate", &tree][..], &["up", &tree], &["plan", &tree, "--live", "/dev/null"]] {
        let said = world.cli(command).exits(1);
        let text = format!("{}{}", said.out, said.err);
        for line in ["paste a first rule", "[[rule]]", "listen_port = 8080"] {
            assert!(text.contains(line), "{command:?}: {text}");
        }
    }
}

#[test]
fn rates_are_averages_over_five_seconds_at_least() {
    let world = World::with_edges(&["edge-01"]);
    let (echo, port) = (Echo::start(), ports(1));
    world.edit_and_apply("a.toml", &rule("edge-01", "web", port, echo.port, ""));
    let stats = || world.cli(&["stats", "edge-01/web", "-o", "json"]).exits(0).json();
    assert_eq!(stats()["rates"]["over_secs"], 5.0);
    wait_for("a rate", || {
        drop((0..5).map(|_| Client::to(port)).collect::<Vec<_>>());
        let rates = stats()["rates"].clone();
        assert!(rates["over_secs"].as_f64() >= Some(5.0), "{rates}");
        if rates["connections_per_sec"].as_f64() > Some(0.0) { Ok(()) } else { Err(rates.to_string()) }
    });
    // What was counted in one burst is there for the whole window, and gone after it.
    wait_until("the rate to end", || stats()["rates"]["connections_per_sec"] == 0.0);
}

#[test]
fn the_balance_of_a_rule_is_shown_and_its_change_is_logged() {
    let world = World::new();
    let server = world.serve(&["--mode", "heal"]);
    let edge = world.edge("edge-01");
    let (one, two, port) = (Echo::start(), Echo::start(), ports(1));
    let of = |balance: &str| {
        format!(
            "[[edge]]\nname = \"edge-01\"\n[[rule]]\nname = \"web\"\nedges = [\"edge-01\"]\nlisten_port = {port}\n\
             balance = \"{balance}\"\ntargets = [{{ host = \"127.0.0.1\", port = {} }}, {{ host = \"127.0.0.1\", port = {} }}]\n",
            one.port, two.port
        )
    };
    world.edit_and_apply("a.toml", &of("round-robin"));
    let shown = |status: &Value| {
        let rule = rule_of(status, "edge-01", "web").unwrap();
        (rule["balance"].as_str().unwrap().to_owned(), rule["sticky"].as_bool().unwrap())
    };
    assert_eq!(shown(&world.status()), ("round-robin".to_owned(), false));
    assert!(world.cli(&["status", "edge-01/web"]).exits(0).out.contains("Balance round-robin\n"));
    world.edit_and_apply("a.toml", &of("source-ip"));
    assert_eq!(shown(&world.status()), ("source-ip".to_owned(), true));
    let text = world.cli(&["status", "edge-01/web"]).exits(0).out.clone();
    assert!(text.contains("Balance source-ip (sticky: "), "{text}");
    wait_until("the log of the server", || {
        server.log().contains("balance changed") && server.log().contains("from=\"round-robin\" to=\"source-ip\"")
    });
    wait_until("the log of the edge", || edge.log().contains("the balance of a rule changed"));
}
