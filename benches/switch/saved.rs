//! From a saved file to ports that accept, with the real program. I/O: runs `portunus up` on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: u16 = 11;
const WIDTH: u16 = 100;
/// Far above anything that is measured.
const LONG: Duration = Duration::from_secs(20);
/// Small against what is measured, and long enough to leave the machine to the program.
const LOOK: Duration = Duration::from_millis(1);

/// Ends the program, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Ports below the ephemeral range that nobody uses, one after the other.
pub(crate) fn free_ports(count: u16) -> u16 {
    let is_free = |port| TcpListener::bind(("::", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
    let places = (12_000..30_000 - count).step_by(500);
    places.into_iter().find(|first| (*first..first + count).all(is_free)).expect("the machine has free ports")
}

fn look_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), LONG).is_ok()
}

fn is_ready(metrics: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", metrics)) else { return false };
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}

/// Saves as an editor does: a new file takes the place of the old one.
fn save(tree: &Path, first: u16) {
    let last = first + WIDTH - 1;
    let text =
        format!("[[rule]]\nname = \"web\"\nlisten_ports = \"{first}-{last}\"\ntarget = \"127.0.0.1:{first}-{last}\"\n");
    let new = tree.join(".web.toml.new");
    std::fs::write(&new, text).expect("the folder can be written");
    std::fs::rename(new, tree.join("web.toml")).expect("the folder can be written");
}

/// The time from the rename that saves a file until the last port of its range accepts.
pub(crate) fn measure() -> Vec<Duration> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tree = dir.path().join("rules.d");
    std::fs::create_dir(&tree).expect("the folder is new");
    let own = free_ports(3 + WIDTH * (ROUNDS + 1));
    let first = own + 3;
    save(&tree, first);
    let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
    command.arg("up").arg(&tree).arg("--state-dir").arg(dir.path().join("state"));
    for (offset, flag) in (0..).zip(["--control-listen", "--operator-listen", "--metrics-listen"]) {
        command.arg(flag).arg(format!("127.0.0.1:{}", own + offset));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().expect("the program starts"));
    look_until("a start", || is_ready(own + 2) && accepts(first + WIDTH - 1));
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let next = first + round * WIDTH;
        let start = Instant::now();
        save(&tree, next);
        look_until("the last port", || accepts(next + WIDTH - 1));
        times.push(start.elapsed());
        assert!((next..next + WIDTH).all(accepts), "all ports of the range accept");
    }
    drop(running);
    times
}
