//! What a person sees of a range with dead ports, and of a UDP rule that has no room left.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use crate::support::{World, ports, range_rule, rule, rule_of, wait_for};

fn connects(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.read(&mut [0]).is_ok_and(|length| length > 0)
}

#[test]
fn dead_ports_of_a_range_are_named_and_the_rule_is_up() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target) = (ports(5), ports(5));
    for port in [target, target + 2, target + 4] {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                std::io::Write::write_all(&mut stream.unwrap(), b"1").ok();
            }
        });
    }
    world.edit("web.toml", range_rule("edge-01", "web", listen, target, 5, ""));
    world.apply();
    for offset in [0, 1, 1, 1, 2, 3, 3, 3, 4] {
        assert_eq!(connects(listen + offset), offset % 2 == 0, "{offset}");
    }
    let words = format!("up (2 of 5 ports failing: {}, {})", target + 1, target + 3);
    wait_for("the failing ports", || {
        let said = world.cli(&["status", "edge-01/web"]).exits(0).out;
        // The target's state, and the rule's health, which follows it within a moment.
        let is_shown = said.matches(&words).count() == 2 && said.contains(&format!("Health {words}"));
        if is_shown { Ok(()) } else { Err(said) }
    });
    let failing = serde_json::json!([target + 1, target + 3]);
    world.wait_status("the failing ports in JSON", |status| {
        rule_of(status, "edge-01", "web").is_some_and(|web| {
            web["health"] == "up" && web["targets"][0]["state"] == "up" && web["targets"][0]["failing_ports"] == failing
        })
    });
    assert!((0..5).step_by(2).all(|offset| connects(listen + offset)), "the others are as they were");
}

#[test]
fn a_flow_limit_that_is_hit_is_seen_in_status_and_hinted_at_by_a_plan() {
    let world = World::with_edges(&["edge-01"]);
    let (listen, target) = (ports(1), UdpSocket::bind("127.0.0.1:0").unwrap());
    let limited = |max: u16| {
        let more = format!("protocol = \"udp\"\nudp_max_flows = {max}\n");
        rule("edge-01", "dns", listen, target.local_addr().unwrap().port(), &more)
    };
    world.edit("dns.toml", limited(1));
    world.apply();
    assert!(!world.cli(&["status", "edge-01/dns"]).exits(0).out.contains("flow limit"));
    let clients: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for client in &clients {
        client.send_to(b"?", ("127.0.0.1", listen)).unwrap();
    }
    let text = wait_for("the limit", || {
        let said = world.cli(&["status", "edge-01/dns"]).exits(0).out;
        if said.contains("flow limit: 3 new UDP flows were refused") { Ok(said) } else { Err(said) }
    });
    assert!(text.contains("udp_max_flows = 1 was reached"), "{text}");
    assert_eq!(rule_of(&world.status(), "edge-01", "dns").unwrap()["flow_limit"]["refused"], 3);
    let hints = |plan: &serde_json::Value| plan["hints"].as_array().map_or(0, Vec::len);
    let plan = world.plan();
    assert_eq!((hints(&plan), &plan["hints"][0]["key"]), (1, &"udp_max_flows".into()));
    let text = world.cli(&["plan", &world.tree_arg()]).exits(0).out;
    assert!(text.contains("hint: edge-01/dns: 3 new flows were refused at udp_max_flows = 1: raise it"), "{text}");
    world.edit("dns.toml", limited(100));
    assert_eq!(hints(&world.plan()), 0, "the plan raises it");
}
