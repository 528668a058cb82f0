//! Targets that do not refuse and do not answer: gone from the network, slow, or stopped.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::namespaces::{in_namespace, ip};
use crate::peers::{Echo, answers, serve};
use crate::steering::{target_is, targets};
use crate::support::{LONG, World, http, let_pass, ports, rule_of, skip, wait_until};

const ADDRESS: &str = "10.9.8.1/32";

#[test]
fn an_address_that_vanishes_costs_no_connection_and_is_used_again_when_it_is_back() {
    const NAME: &str = "vanishing::an_address_that_vanishes_costs_no_connection_and_is_used_again_when_it_is_back";
    // Packets to an address that is gone go out by the link.
    in_namespace(NAME, inside, |_| ());
}

fn inside() {
    ip(&["link", "set", "out1", "up"]);
    ip(&["addr", "add", ADDRESS, "dev", "lo"]);
    let world = World::with_edges(&["edge-01"]);
    let (port, target, spare) = (ports(1), ports(1), Echo::start());
    let listener = TcpListener::bind(("10.9.8.1", target)).unwrap();
    serve(listener, move |mut stream| {
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

#[test]
fn a_target_that_becomes_slow_is_left_until_it_is_quick_again() {
    let world = World::with_edges(&["edge-01"]);
    let port = ports(1);
    let is_slow = Arc::new(AtomicBool::new(false));
    let web = |letter: u8, is_slow: Arc<AtomicBool>| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().port();
        serve(listener, move |mut stream| {
            use std::io::Write;
            if !stream.read(&mut [0; 512]).is_ok_and(|length| length > 0) {
                return;
            }
            if is_slow.load(Ordering::Relaxed) {
                let_pass(Duration::from_millis(1500));
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
                .and_then(|()| stream.write_all(&[letter]))
                .ok();
        });
        at
    };
    let (preferred, spare) = (web(b'p', is_slow.clone()), web(b's', Arc::default()));
    world.edit_and_apply(
        "a.toml",
        &format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {port}\ntargets = [\n  \
             {{ host = \"127.0.0.1\", port = {preferred} }},\n  {{ host = \"127.0.0.1\", port = {spare}, priority = 1 }},\n]\n\
             [rule.health]\nkind = \"http\"\ninterval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1\n"
        ),
    );
    let served = || http(port, "GET", "/", &[], "").ok().map(|(_, body)| body);
    let place = format!("127.0.0.1:{preferred}");
    for round in 0..2 {
        target_is(&world, &place, "up");
        assert_eq!(served().as_deref(), Some("p"), "round {round}");
        is_slow.store(true, Ordering::Relaxed);
        let status = world.wait_status("the slow target to be down", |status| {
            targets(status).iter().any(|one| one["target"] == place.as_str() && one["state"] == "down")
        });
        let slow = targets(&status).into_iter().find(|one| one["target"] == place.as_str()).unwrap();
        assert_eq!(slow["last"]["code"], "L7TOUT", "{slow}");
        assert_eq!(served().as_deref(), Some("s"), "round {round}");
        is_slow.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_process_that_is_stopped_is_left_until_it_goes_on() {
    let world = World::with_edges(&["edge-01"]);
    let first = ports(3);
    if Command::new("redis-server").arg("--version").output().is_err() {
        return skip("redis-server is not installed");
    }
    let redis = |port: u16| {
        world.start_program("redis-server", &["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
    };
    let (preferred, _spare) = (redis(first + 1), redis(first + 2));
    world.edit_and_apply(
        "a.toml",
        &format!(
            "[[rule]]\nname = \"a\"\nedges = [\"edge-01\"]\nlisten_port = {first}\non_target_down = \"reset\"\ntargets = [\n  \
             {{ host = \"127.0.0.1\", port = {} }},\n  {{ host = \"127.0.0.1\", port = {}, priority = 1 }},\n]\n\
             [rule.health]\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"\ninterval_secs = 1\ntimeout_ms = 900\nrise = 1\nfall = 1\n",
            first + 1,
            first + 2
        ),
    );
    // Which of them answers.
    let ask = |stream: &mut TcpStream| -> Option<u16> {
        use std::io::Write;
        stream.write_all(b"CONFIG GET port\r\n").ok()?;
        let mut answer = [0; 128];
        let length = stream.read(&mut answer).ok()?;
        String::from_utf8_lossy(&answer[..length]).trim().rsplit("\r\n").next()?.parse().ok()
    };
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", first)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    };
    let place = format!("127.0.0.1:{}", first + 1);
    target_is(&world, &place, "up");
    target_is(&world, &format!("127.0.0.1:{}", first + 2), "up");
    let mut live = connect();
    assert_eq!(ask(&mut live), Some(first + 1));
    preferred.signal("STOP");
    target_is(&world, &place, "down");
    assert_eq!(ask(&mut live), None, "it was reset, as the rule says");
    assert_eq!(ask(&mut connect()), Some(first + 2));
    preferred.signal("CONT");
    target_is(&world, &place, "up");
    wait_until("the one that goes on to serve", || ask(&mut connect()) == Some(first + 1));
}
