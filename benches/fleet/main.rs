//! What a server costs and how fast it is with a large fleet: `portunus serve` as a process of its own, and thousands
//! of sessions that speak the edge protocol over a connection each. I/O: loopback and a temporary folder; prints a
//! table and never fails for being slow.
//!
//! `FLEET_EDGES` is the number of edges (5000), `FLEET_RULES` the number of rules of each (1), `PORTUNUS_BIN` another
//! server to measure. The page is measured last: `FLEET_EDGES=1000 FLEET_RULES=10` are its 10,000
//! rules, and `FLEET_PAGE=1` measures nothing but it.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod page;
mod sessions;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sessions::{Places, Seen, Sessions};

/// How long the server waits for further changes before it looks (CONTRACT §8).
const QUIET: Duration = Duration::from_millis(250);
/// Changes of one rule that are measured.
const SINGLE: usize = 21;
/// Changes of a rule of every edge that are measured.
const WHOLE: usize = 3;
/// Edges whose rules share a file.
const PER_FILE: usize = 100;

/// A server that ends with this program.
struct Server {
    process: Child,
    /// Reads what it logs, so that its pipe never fills.
    reader: Option<thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself is measured no more either.
        _ = self.process.kill();
        _ = self.process.wait();
        _ = self.reader.take().map(thread::JoinHandle::join);
    }
}

impl Server {
    /// Starts it on free ports, or on those of one before, and waits until it says which.
    fn start(dir: &Path, before: Option<&Places>) -> (Self, Places) {
        let (control, operator) =
            before.map_or(("127.0.0.1:0", "127.0.0.1:0"), |before| (&before.control, before.operator_address()));
        let program = std::env::var("PORTUNUS_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_portunus").to_owned());
        let mut process = Command::new(program)
            .args(["serve", "--allow-dirty", "--log-format", "json", "--rules"])
            .arg(dir.join("rules.d"))
            .arg("--state-dir")
            .arg(dir.join("state"))
            .args(["--control-listen", control, "--operator-listen", operator])
            .args(["--metrics-listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let listens = |line: String| {
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            let address = |port: &str| line[port].as_str().map(str::to_owned);
            (line["message"] == "server listens").then_some((address("control")?, address("operator")?))
        };
        let (control, operator) = lines.find_map(listens).expect("the server says where it listens");
        let token = std::fs::read_to_string(dir.join("state/operator.token")).expect("a server that is up has a token");
        let reader = thread::spawn(move || lines.for_each(drop));
        let operator = format!("http://{operator}");
        let places = Places { members: dir.join("members"), control, operator, token: token.trim().to_owned() };
        (Self { process, reader: Some(reader) }, places)
    }

    /// Resident memory in KiB.
    fn memory(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux, and it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Processor time in seconds.
    fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("Linux, and it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("a name in brackets").split(' ').collect();
        // utime and stime, in ticks of 10 ms.
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
    }
}

fn edge(index: usize) -> String {
    format!("edge-{index:05}")
}

/// A number that the environment gives.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Rules of the edges of one file. Every edge has a rule whose target's port is what changes, and further ones that stay.
fn write_file(dir: &Path, file: usize, edges: usize, port: impl Fn(usize) -> u16) {
    let mut text = String::new();
    for index in (file * PER_FILE..edges).take(PER_FILE) {
        let (name, port) = (edge(index), port(index));
        writeln!(text, "[[edge]]\nname = \"{name}\"\n").expect("a string takes all");
        for rule in 0..number("FLEET_RULES", 1) {
            let suffix = if rule == 0 { String::new() } else { format!("-{rule}") };
            let (listen, port) = (8443 + rule, if rule == 0 { port } else { 1000 });
            write!(
                text,
                "[[rule]]\nname = \"web-{index:05}{suffix}\"\nedges = [\"{name}\"]\nowner = \"team-{}\"\n\
                 listen_port = {listen}\ntarget = \"10.0.0.1:{port}\"\n\n",
                index % 10
            )
            .expect("a string takes all");
        }
    }
    // As an editor saves: no reader sees half a file.
    let (path, beside) = (dir.join(format!("rules.d/part-{file:03}.toml")), dir.join("beside"));
    std::fs::write(&beside, text).expect("the folder can be written");
    std::fs::rename(beside, path).expect("one file system");
}

fn write_all(dir: &Path, edges: usize, port: u16) {
    for file in 0..edges.div_ceil(PER_FILE) {
        write_file(dir, file, edges, |_| port);
    }
}

/// Middle, least and most, in milliseconds.
fn in_words(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (least, most) = (times[0], times[times.len() - 1]);
    format!("{:.1} ms | {:.1}–{:.1} ms", ms(times[times.len() / 2]), ms(least), ms(most))
}

/// Kills the server, starts it again, and lets every edge connect at once while an operator asks again and again.
async fn restart(dir: &Path, (server, sessions): (Server, Sessions), names: &[String], port: u16) {
    let places = sessions.end();
    drop(server);
    let begin = Instant::now();
    let (server, places) = Server::start(dir, Some(&places));
    let up = begin.elapsed();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asking = tokio::spawn(ask(places.operator.clone(), places.token.clone(), asked.clone()));
    let mut sessions = Sessions::open(places, &names[..1]).await;
    sessions.all_at_once(&names[1..]).await;
    let back = begin.elapsed();
    sessions.all_run(port).await;
    println!("| after a restart the server listens | {:.2} s | |", up.as_secs_f64());
    println!("| … every edge has a session | {:.1} s | |", back.as_secs_f64());
    println!("| … and runs what is in force | {:.1} s | |", begin.elapsed().as_secs_f64());
    println!("| … processor time of the server | {:.1} s | |", server.processor());
    asking.abort();
    let asked = asked.lock().expect("nobody panicked with it").clone();
    println!("| … an operator's question meanwhile | {} |", in_words(asked));
}

/// Asks for the revision in force, again and again, as a script does that waits for the server.
async fn ask(operator: String, token: String, asked: Arc<Mutex<Vec<Duration>>>) {
    let client = reqwest::Client::new();
    loop {
        let begin = Instant::now();
        let request = client.get(format!("{operator}/v1/revision")).bearer_auth(&token);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        answer.expect("the server answers").bytes().await.expect("whole");
        asked.lock().expect("nobody panicked with it").push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() {
    let edges = number("FLEET_EDGES", 5000);
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let dir = scratch.path();
    std::fs::create_dir(dir.join("rules.d")).expect("the folder is new");
    write_all(dir, edges, 1000);
    let (server, places) = Server::start(dir, None);
    let names: Vec<String> = (0..edges).map(edge).collect();

    let begin = Instant::now();
    let mut sessions = Sessions::open(places, &names[..1]).await;
    sessions.all_run(1000).await;
    let alone = server.memory();
    sessions.more(&names[1..]).await;
    sessions.all_run(1000).await;
    let joined = begin.elapsed();
    let full = server.memory();
    println!("\n{edges} edges with a rule each, all connected and served after {:.1} s.\n", joined.as_secs_f64());
    println!("| figure | median | spread |\n|---|---|---|");
    let each = (full.saturating_sub(alone)) as f64 / (edges.max(2) - 1) as f64;
    println!("| memory of a session, KiB | {each:.1} | {alone} to {full} in all |");

    if number("FLEET_PAGE", 0) == 0 {
        changes(dir, edges, &server, &mut sessions).await;
    }
    println!("| memory at the end | {} MiB | |", server.memory() / 1024);
    page::measure(sessions.places(), &names, || server.processor()).await;
    if number("FLEET_PAGE", 0) == 0 {
        restart(dir, (server, sessions), &names, 3000 + WHOLE as u16 - 1).await;
    }
}

/// How fast changes reach their edges.
async fn changes(dir: &Path, edges: usize, server: &Server, sessions: &mut Sessions) {
    let mut times = Vec::new();
    for turn in 0..SINGLE {
        let changed = turn * edges / SINGLE;
        let port = 2000 + turn as u16;
        let begin = Instant::now();
        write_file(dir, changed / PER_FILE, edges, |index| if index == changed { port } else { 1000 });
        times.push(sessions.one_gets(changed, port).await - begin);
        sessions.is_settled().await;
        // Back again, so that each turn changes one rule of one edge.
        write_file(dir, changed / PER_FILE, edges, |_| 1000);
        sessions.one_gets(changed, 1000).await;
        sessions.is_settled().await;
    }
    let beyond = times.iter().map(|time| time.saturating_sub(QUIET)).collect();
    println!("| one change reaches its edge, after the quiet time | {} |", in_words(beyond));

    let (mut sent, mut acknowledged, before) = (Vec::new(), Vec::new(), server.processor());
    for turn in 0..WHOLE {
        let port = 3000 + turn as u16;
        let begin = Instant::now();
        write_all(dir, edges, port);
        let Seen { last_sent, last_acknowledged } = sessions.all_run(port).await;
        sent.push((last_sent - begin).saturating_sub(QUIET));
        acknowledged.push((last_acknowledged - begin).saturating_sub(QUIET));
    }
    println!("| one change of every edge: the last one has it, after the quiet time | {} |", in_words(sent));
    println!("| … and the server has the last acknowledgement | {} |", in_words(acknowledged));
    println!("| … its processor time | {:.1} s | {WHOLE} times |", (server.processor() - before) / WHOLE as f64);
}
