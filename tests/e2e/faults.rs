//! More connections than descriptors, and as many at once as there may be: what is there goes on, and all comes back.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use crate::peers::{Client, Echo, answers};
use crate::processes::Process;
use crate::support::{LONG, World, let_pass, ports, rule, skip, wait_until};

/// Processor time of a process so far, in hundredths of a second.
fn processor_time(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Memory of a process, in KiB.
fn memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many descriptors this process may have.
fn own_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    // "unlimited" is as many as anybody asks for here.
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}

#[test]
fn an_edge_without_descriptors_serves_what_it_has_rests_and_recovers() {
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(2), Echo::start().port);
    let tree = rule("edge-01", "a", port, target, "") + &rule("edge-01", "b", port + 1, target, "");
    world.edit_and_apply("a.toml", &tree);
    assert_eq!((answers(port), answers(port + 1)), (Some(target), Some(target)));
    let mut live = Client::to(port + 1);
    live.ping(1, 0, 10).unwrap();
    let open = edge.descriptors();
    let limit = |count: usize| {
        let id = edge.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={count}:")]).output();
        limited.is_ok_and(|output| output.status.success())
    };
    if !limit(open + 80) {
        return skip("there is no prlimit that may change a process of this user");
    }
    let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    // A quarter of so small a limit is kept back from clients.
    let for_clients = (open + 80) * 3 / 4;
    wait_until("the edge to have no descriptor left for clients", || edge.descriptors() >= for_clients - 4);
    live.ping(1, 10, 100_000).unwrap();
    let start = processor_time(&edge);
    let_pass(Duration::from_secs(1));
    let spent = processor_time(&edge) - start;
    assert!(spent < 25, "{spent} hundredths of a second in one: it does not spin");
    live.ping(1, 100_010, 100_000).unwrap();

    drop(crowd);
    // Those of the crowd that still wait to be accepted take descriptors for a moment, too.
    wait_until("both rules to serve again", || (answers(port), answers(port + 1)) == (Some(target), Some(target)));
    wait_until("what the crowd took", || edge.descriptors() <= open);
    world.wait_rule("edge-01", "a", "active");
    live.ping(1, 200_010, 10).unwrap();
}

/// Set where the test runs as the targets of its crowd: the port that they listen on.
const CROWD_PORT: &str = "PORTUNUS_TEST_CROWD_PORT";
/// So many of a crowd come before others do: no more than the queue of a listener takes.
const AT_A_TIME: usize = 100;
const CROWD: &str = "faults::ten_thousand_connections_at_once_are_served_and_leave_nothing";

/// The other ends of a crowd, in a process of their own: clients and targets in one would need too many descriptors.
struct Targets {
    child: Child,
    says: BufReader<ChildStderr>,
}

impl Targets {
    fn start(port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", CROWD, "--nocapture"]).env(CROWD_PORT, port.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut targets = Self { says: BufReader::new(child.stderr.take().unwrap()), child };
        targets.awaits("listening");
        targets
    }

    /// Has that many connections accepted.
    fn tell(&mut self, count: usize) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{count}").unwrap();
    }

    fn awaits(&mut self, what: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), what);
    }

    /// What that process does, until nobody tells it anything any more.
    fn run(port: u16) {
        let say = |what: &str| std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
        let number = |stream: &mut TcpStream| {
            let mut key = [0; 8];
            stream.read_exact(&mut key).unwrap();
            u64::from_be_bytes(key)
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        say("listening");
        for line in std::io::stdin().lines() {
            let mut crowd: Vec<(TcpStream, u64)> = Vec::new();
            while crowd.len() < line.as_ref().unwrap().parse().unwrap() {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                let key = number(&mut stream);
                crowd.push((stream, key));
                if crowd.len().is_multiple_of(AT_A_TIME) {
                    say("accepted");
                }
            }
            // Each still has its own peer, both ways, with all of them there.
            for (mut stream, key) in crowd.iter().map(|(stream, key)| (stream, *key)) {
                let mut again = [0; 8];
                stream.read_exact(&mut again).unwrap();
                assert_eq!(u64::from_be_bytes(again), key);
                stream.write_all(&(!key).to_be_bytes()).unwrap();
            }
            say("answered");
            for (mut stream, _) in crowd {
                assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the client has gone, and sent no more");
            }
            say("left");
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn ten_thousand_connections_at_once_are_served_and_leave_nothing() {
    const WANTED: usize = 10_000;
    if let Ok(port) = std::env::var(CROWD_PORT) {
        return Targets::run(port.parse().unwrap());
    }
    // The edge has two for each, and some for itself; the clients here have one.
    let possible = own_limit().saturating_sub(200) / 2;
    let count = WANTED.min(possible) / AT_A_TIME * AT_A_TIME;
    if count < WANTED {
        skip(&format!("{} of {WANTED} connections: an edge may have {} descriptors", WANTED - count, own_limit()));
    }
    let world = World::with_edges(&[]);
    let edge = world.edge("edge-01");
    let (port, target) = (ports(1), ports(1));
    let mut targets = Targets::start(target);
    world.edit_and_apply("a.toml", &rule("edge-01", "a", port, target, ""));

    let mut round = |count: usize| {
        targets.tell(count);
        let mut clients: Vec<TcpStream> = Vec::new();
        while clients.len() < count {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.set_read_timeout(Some(LONG)).unwrap();
            client.write_all(&clients.len().to_be_bytes()).unwrap();
            clients.push(client);
            if clients.len().is_multiple_of(AT_A_TIME) {
                targets.awaits("accepted");
            }
        }
        clients.iter_mut().enumerate().for_each(|(number, client)| client.write_all(&number.to_be_bytes()).unwrap());
        for (number, client) in clients.iter_mut().enumerate() {
            let mut key = [0; 8];
            client.read_exact(&mut key).unwrap();
            assert_eq!(usize::from_be_bytes(key), !number);
        }
        targets.awaits("answered");
        let (held, open) = (memory(&edge), edge.descriptors());
        assert!(open >= 2 * count, "{open} descriptors for {count} connections: all are there at once");
        drop(clients);
        targets.awaits("left");
        held
    };
    let open = edge.descriptors();
    let live = || world.stats("edge-01/a")["active_connections"].as_u64();
    let rest = || {
        wait_until("its descriptors", || edge.descriptors() <= open);
        wait_until("its connections", || live() == Some(0));
    };
    round(100);
    rest();
    let before = memory(&edge);
    let full = round(count);
    rest();
    let each = full.saturating_sub(before) * 1024 / count as u64;
    assert!(each <= 2048, "{each} bytes for each of {count} connections");
    // What one crowd left behind is there for the next one: it does not grow again.
    let after = memory(&edge);
    round(count);
    rest();
    assert!(memory(&edge) <= after + 2048, "{after} KiB after the first crowd, {} after the second", memory(&edge));
}
