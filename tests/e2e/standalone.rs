//! `up`: one process, one directory, and a rule file of the upstream product as it stands.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use crate::peers::{Echo, answers, pattern, piece, refuses, serve};
use crate::support::{World, ports, skip, wait_until};

const SIZE: u64 = 100 << 20;
const CHUNK: usize = 64 << 10;

/// An HTTP server that sends a pattern of 100 MiB: its first half at once, the rest when told.
fn halting_download(key: u8) -> (u16, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (half, is_half) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Arc::new(Mutex::new(may_go));
    serve(listener, move |mut stream| {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            request.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        for at in (0..SIZE).step_by(CHUNK) {
            if at == SIZE / 2 {
                half.send(()).unwrap();
                may_go.lock().unwrap().recv().unwrap();
            }
            stream.write_all(&piece(key, at, CHUNK)).unwrap();
        }
    });
    (port, is_half, go)
}

#[test]
fn an_upstream_file_runs_as_it_stands_and_a_download_survives_a_rebind() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("no curl on this machine");
    }
    let world = World::new();
    std::fs::remove_dir_all(world.tree().join(".git")).unwrap();
    let (web, is_half, go) = halting_download(77);
    let (listen, target) = (ports(40), Echo::range(40));
    let http = ports(1);
    let file = |shift: u16| {
        format!(
            "# Written for portunus-standalone.\n[global]\nlabel = \"box\"\nlog_level = \"info\"\nlog_format = \"pretty\"\n\
             shutdown_drain_secs = 5\n\n[stats]\nenabled = true\n\n[[rule]]\nname = \"download\"\nprotocol = \"tcp\"\n\
             listen_port = {http}\ntarget = \"127.0.0.1:{web}\"\n\n[[rule]]\nname = \"range\"\n\
             listen_ports = \"{}-{}\"\ntarget = \"127.0.0.1:{}-{}\"\n",
            listen + shift,
            listen + shift + 19,
            target + shift,
            target + shift + 19,
        )
    };
    world.write("portunus.rules.toml", file(0));
    world.cli(&["validate", &world.tree_arg()]).exits(0);
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the ports to serve", || answers(listen + 19) == Some(target + 19));

    let url = format!("http://127.0.0.1:{http}/file");
    let mut curl = Command::new("curl").args(["-sS", "--noproxy", "*", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut body = curl.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut at, mut buffer) = (0_u64, vec![0; CHUNK]);
        loop {
            let read = body.read(&mut buffer).unwrap();
            if read == 0 {
                return at;
            }
            for byte in &buffer[..read] {
                assert_eq!(*byte, pattern(77, at), "byte {at}");
                at += 1;
            }
        }
    });
    is_half.recv_timeout(crate::support::LONG).expect("half of it was sent");
    world.write("portunus.rules.toml", file(20));
    wait_until("the range to be rebound", || answers(listen + 39) == Some(target + 39) && refuses(listen));
    go.send(()).unwrap();
    assert_eq!(reading.join().unwrap(), SIZE);
    assert!(curl.wait().unwrap().success());
    let stats = world.wait_stats("local/download", "all bytes", |stats| stats["bytes_out"].as_u64() > Some(SIZE));
    assert_eq!(stats["connections_total"], 1);
    up.stop();
    assert!(refuses(http));
}

#[test]
fn up_follows_a_tree_that_is_not_committed() {
    let world = World::new();
    let (one, two) = (Echo::start(), Echo::start());
    let port = ports(1);
    let text = |target: u16| format!("[[rule]]\nname = \"a\"\nlisten_port = {port}\ntarget = \"127.0.0.1:{target}\"\n");
    world.write("a.toml", text(one.port));
    world.up(&[&world.tree_arg()]);
    wait_until("the first target", || answers(port) == Some(one.port));
    world.write("a.toml", text(two.port));
    wait_until("the second target", || answers(port) == Some(two.port));
    world.cli(&["status", "local/a"]).exits(0);
}

#[test]
fn up_serves_its_last_good_state_after_a_restart_with_a_broken_tree() {
    let world = World::new();
    let echo = Echo::start();
    let port = ports(1);
    world.write(
        "a.toml",
        format!("[[rule]]\nname = \"a\"\nlisten_port = {port}\ntarget = \"127.0.0.1:{}\"\n", echo.port),
    );
    let up = world.up(&[&world.tree_arg()]);
    wait_until("the port", || answers(port) == Some(echo.port));
    up.kill();
    world.write("a.toml", "[[rule");
    world.up(&[&world.tree_arg()]);
    wait_until("the last good state", || answers(port) == Some(echo.port));
    world.wait_status("the error", |status| status["revision"]["errors"][0]["code"] == "syntax");
}
