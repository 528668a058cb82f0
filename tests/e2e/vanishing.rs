//! A target whose address vanishes from the network, in a namespace of its own: nobody refuses, nobody answers.

use std::net::TcpListener;
use std::process::Command;

use crate::peers::answers;
use crate::support::{World, ports, rule_of, skip, wait_until};

/// Set where the test runs inside of its namespace.
const INSIDE: &str = "PORTUNUS_TEST_NAMESPACE";
const ADDRESS: &str = "10.9.8.1/32";
/// A link of which nobody answers at the other end: packets to an address that is gone go there.
const NETWORK: &str = "ip link set lo up && ip link add out0 type veth peer name out1 && ip link set out0 up && \
                       ip link set out1 up && ip addr add 10.9.8.254/24 dev out0";

fn ip(args: &[&str]) {
    assert!(Command::new("ip").args(args).status().unwrap().success(), "ip {args:?}");
}

#[test]
fn an_address_that_vanishes_costs_no_connection_and_is_used_again_when_it_is_back() {
    const NAME: &str = "vanishing::an_address_that_vanishes_costs_no_connection_and_is_used_again_when_it_is_back";
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1").output()
    };
    if !private(NETWORK).is_ok_and(|output| output.status.success()) {
        return skip("no network namespaces with links between them here (root, unshare and iproute2 make them)");
    }
    let output = private(&format!("{NETWORK} && exec \"$0\" \"$@\"")).unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn inside() {
    ip(&["addr", "add", ADDRESS, "dev", "lo"]);
    let world = World::with_edges(&["edge-01"]);
    let (port, target, spare) = (ports(1), ports(1), crate::peers::Echo::start());
    let listener = TcpListener::bind(("10.9.8.1", target)).unwrap();
    crate::peers::serve(listener, move |mut stream| {
        use std::io::Write;
        stream.write_all(&target.to_be_bytes()).ok();
    });
    world.edit_and_apply(
        "a.toml",
        &format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\nconnect_timeout_ms = 300\ntargets = [\n  \
             {{ host = \"127.0.0.1\", port = {}, priority = 1 }},\n  {{ host = \"10.9.8.1\", port = {target} }},\n]\n\
             [rule.health]\ninterval_secs = 1\ntimeout_ms = 400\nrise = 1\nfall = 2\n",
            spare.port
        ),
    );
    wait_until("the preferred target to serve", || answers(port) == Some(target));
    ip(&["addr", "del", ADDRESS, "dev", "lo"]);
    let state = |status: &serde_json::Value| {
        let rule = rule_of(status, "edge-01", "a").unwrap();
        let one = rule["targets"].as_array().unwrap().iter().find(|one| one["target"] == format!("10.9.8.1:{target}"));
        one.unwrap().clone()
    };
    let mut connections = 0;
    while state(&world.status())["state"] != "down" {
        assert_eq!(answers(port), Some(spare.port), "connection {connections}");
        connections += 1;
    }
    assert!(connections > 0, "the verdict came after a connection");
    let status = world.wait_status("the reason", |status| state(status)["last"]["code"] == "L4TOUT");
    let rule = rule_of(&status, "edge-01", "a").unwrap();
    assert_eq!(rule["health"], "up", "{rule}");
    assert_eq!(answers(port), Some(spare.port));
    ip(&["addr", "add", ADDRESS, "dev", "lo"]);
    wait_until("the address that is back to be used", || answers(port) == Some(target));
}
