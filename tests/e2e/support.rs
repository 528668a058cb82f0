//! One small world per test: a rule tree in git, a server, edges, and the commands of an operator.
//!
//! Keeps: no two worlds share a port or a folder, nothing outlives its world, and only processes that it started
//! are ever signalled. Waiting always ends: with what was waited for, or with what was seen instead.
//!
//! Long because a world is one thing: every theme needs all of its parts, and each is a few lines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Events, Process, Said};

/// Far above anything that a test waits for; reached only where it fails.
pub(crate) const LONG: Duration = Duration::from_secs(40);
/// Between two looks at something that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(10);

/// Ports in a row below the ephemeral range that nobody uses; no two callers get the same.
pub(crate) fn ports(count: u16) -> u16 {
    const FIRST: u32 = 10_000;
    const WIDTH: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run side by side start at different places.
    let start = std::process::id() % 110 * 200;
    let is_free = |port| TcpListener::bind(("::", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..1000 {
        let place = (start + NEXT.fetch_add(count.into(), Ordering::Relaxed)) % WIDTH;
        // Rows that would reach over the end are skipped, so that no other caller's row begins inside them.
        let first = (FIRST + place) as u16;
        if place + u32::from(count) <= WIDTH && (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}

/// Looks until the answer is there.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("waited for {what}, but: {seen}"),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

/// Looks until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()).ok_or_else(|| "it is not so".to_owned()));
}

/// Varies the moment of what comes next; nothing waits on it.
pub(crate) fn let_pass(time: Duration) {
    thread::sleep(time);
}

/// Says why a test proves nothing on this machine, past the capture of the test's output.
pub(crate) fn skip(reason: &str) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    writeln!(std::io::stderr(), "skipped {name}: {reason}").ok();
}

/// A handle to a process that ends with its world at the latest.
pub(crate) type Handle = Arc<Process>;

/// A rule tree, a server, edges and an operator.
pub(crate) struct World {
    processes: Mutex<Vec<Handle>>,
    /// Edges that have joined, and from where.
    pub(crate) members: Mutex<HashMap<String, PathBuf>>,
    pub(crate) control: u16,
    pub(crate) operator: u16,
    pub(crate) metrics: u16,
    /// What stands before `portunus` in its command line.
    wrapper: Vec<&'static str>,
    dir: TempDir,
}

impl World {
    /// An empty tree in a fresh repository; nothing runs.
    pub(crate) fn new() -> Self {
        let first = ports(3);
        let dir = tempfile::Builder::new().prefix("portunus-e2e-").tempdir().unwrap();
        let world = Self {
            processes: Mutex::new(Vec::new()),
            members: Mutex::default(),
            control: first,
            operator: first + 1,
            metrics: first + 2,
            wrapper: Vec::new(),
            dir,
        };
        fs::create_dir(world.tree()).unwrap();
        fs::create_dir(world.path("home")).unwrap();
        world.git(&["init", "-q", "-b", "main"]);
        world
    }

    /// A world whose server is told what to apply, with these edges.
    pub(crate) fn with_edges(names: &[&str]) -> Self {
        let world = Self::new();
        world.serve(&["--mode", "heal"]);
        for name in names {
            world.edge(name);
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The rule tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.path("rules")
    }

    fn text_of(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    /// Its path as an argument.
    pub(crate) fn tree_arg(&self) -> String {
        Self::text_of(&self.tree())
    }

    pub(crate) fn arg(&self, name: &str) -> String {
        Self::text_of(&self.path(name))
    }

    fn quiet(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("NO_COLOR", "1").env("TMPDIR", self.dir.path()).current_dir(self.dir.path());
        command
    }

    /// Runs git in the tree.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let mut git = self.quiet("git");
        git.current_dir(self.tree()).args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]).args(args);
        let output = git.output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.tree().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits all of the tree.
    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "rules"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes one file and commits.
    pub(crate) fn edit(&self, file: &str, text: impl AsRef<[u8]>) -> String {
        self.write(file, text);
        self.commit()
    }

    fn portunus(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_portunus");
        match self.wrapper.split_first() {
            None => self.quiet(binary),
            Some((first, rest)) => {
                let mut command = self.quiet(first);
                command.args(rest).arg(binary);
                command
            }
        }
    }

    /// The same, with processes that may have 1,024 descriptors each.
    pub(crate) fn with_few_descriptors(self) -> Self {
        self.behind(vec!["prlimit", "--nofile=1024:1024"])
    }

    /// The same, with processes that other programs start.
    pub(crate) fn behind(mut self, wrapper: Vec<&'static str>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// From now on its processes are bound by the modes of files, whoever runs the tests; `None` where this user
    /// cannot arrange that.
    pub(crate) fn bound_by_modes(mut self) -> Option<Self> {
        let probe = self.path("probe");
        fs::write(&probe, "").unwrap();
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o000)).unwrap();
        if File::open(&probe).is_err() {
            return Some(self);
        }
        self.wrapper = vec!["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        let mut cat = self.quiet(self.wrapper[0]);
        let output = cat.args(&self.wrapper[1..]).arg("cat").arg(&probe).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("denied")).then_some(self)
    }

    pub(crate) fn start(&self, name: &str, args: &[&str]) -> Handle {
        let mut command = self.portunus();
        command.args(self.joining(args));
        self.own(name, command)
    }

    /// The same with more in its environment.
    pub(crate) fn start_with_env(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Handle {
        let mut command = self.portunus();
        command.args(self.joining(args)).envs(env.iter().copied());
        self.own(name, command)
    }

    /// The same with another standard error than its log.
    pub(crate) fn start_with_stderr(&self, name: &str, args: &[&str], stderr: Stdio) -> Handle {
        let mut command = self.portunus();
        command.args(self.joining(args));
        let log = self.path(&format!("{name}.log"));
        let process = Arc::new(Process::start_with_stderr(name, command, &log, stderr));
        self.processes.lock().unwrap().push(process.clone());
        process
    }

    /// Starts a program that is not ours, such as an upstream.
    pub(crate) fn start_program(&self, program: &str, args: &[&str]) -> Handle {
        let mut command = self.quiet(program);
        command.args(args);
        self.own(program, command)
    }

    /// Starts a command of an operator that a test has in hand while it runs.
    pub(crate) fn start_cli(&self, name: &str, args: &[&str]) -> Handle {
        self.own(name, self.cli_command(args))
    }

    /// Starts an edge that sees another `/etc/hosts`; `None` where this user cannot arrange that.
    pub(crate) fn edge_with_hosts(&self, name: &str, hosts: &str) -> Option<Handle> {
        fs::write(self.path("hosts"), hosts).unwrap();
        let mounting = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut private = self.quiet("unshare");
        private.args(["--mount", "sh", "-c", mounting]).arg(self.path("hosts"));
        let can = Command::new("unshare")
            .args(["--mount", "sh", "-c", mounting])
            .arg(self.path("hosts"))
            .arg("true")
            .output();
        if !can.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let (server, state) = (format!("http://127.0.0.1:{}", self.control), self.arg(&format!("{name}-state")));
        private.arg(env!("CARGO_BIN_EXE_portunus"));
        private.args(self.joining(&["edge", "--name", name, "--server", &server, "--state-dir", &state]));
        let edge = self.own(name, private);
        self.wait_connected(name, true);
        Some(edge)
    }

    fn own(&self, name: &str, command: Command) -> Handle {
        let process = Arc::new(Process::start(name, command, &self.path(&format!("{name}.log"))));
        self.processes.lock().unwrap().push(process.clone());
        process
    }

    /// The arguments that give a server its place.
    pub(crate) fn server_args(&self) -> Vec<String> {
        let listen = |port: u16| format!("127.0.0.1:{port}");
        vec![
            "--state-dir".to_owned(),
            self.arg("server-state"),
            "--control-listen".to_owned(),
            listen(self.control),
            "--operator-listen".to_owned(),
            listen(self.operator),
            "--metrics-listen".to_owned(),
            listen(self.metrics),
        ]
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Handle {
        self.start_server("serve", args, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn serve_with(&self, args: &[&str], env: &[(&str, &str)]) -> Handle {
        self.start_server("serve", args, env)
    }

    /// Starts a server that follows the tree.
    pub(crate) fn follow(&self, mode: &str) -> Handle {
        self.serve(&["--mode", mode, "--rules", &self.tree_arg()])
    }

    /// The same for a tree outside of git, or one that is saved without a commit.
    pub(crate) fn follow_uncommitted(&self) -> Handle {
        self.serve(&["--mode", "apply", "--allow-dirty", "--rules", &self.tree_arg()])
    }

    /// Starts `up` and waits until its server is ready.
    pub(crate) fn up(&self, args: &[&str]) -> Handle {
        self.start_server("up", args, &[])
    }

    fn start_server(&self, command: &str, args: &[&str], env: &[(&str, &str)]) -> Handle {
        let mut all = vec![command.to_owned()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        all.extend(self.server_args());
        let mut serving = self.portunus();
        serving.args(&all).envs(env.iter().copied());
        let process = self.own(command, serving);
        wait_for("the server to be ready", || {
            if let Some(status) = process.has_ended() {
                panic!("{command} ended with {status}:\n{}", process.log());
            }
            match http(self.metrics, "GET", "/readyz", &[], "") {
                Ok((200, _)) => Ok(()),
                Ok((status, _)) => Err(format!("status {status}")),
                Err(error) => Err(error.to_string()),
            }
        });
        process
    }

    /// Starts an edge without waiting for anything.
    pub(crate) fn start_edge(&self, name: &str, args: &[&str]) -> Handle {
        let (server, state) = (format!("http://127.0.0.1:{}", self.control), self.arg(&format!("{name}-state")));
        let mut all = vec!["edge", "--name", name, "--server", &server, "--state-dir", &state];
        all.extend(args);
        self.start(name, &all)
    }

    /// Starts an edge and waits until the server sees it.
    pub(crate) fn edge(&self, name: &str) -> Handle {
        self.edge_with(name, &[])
    }

    pub(crate) fn edge_with(&self, name: &str, args: &[&str]) -> Handle {
        let edge = self.start_edge(name, args);
        self.wait_connected(name, true);
        edge
    }

    /// The operator's token.
    pub(crate) fn token(&self) -> String {
        fs::read_to_string(self.path("server-state/operator.token")).unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = self.portunus();
        command.args(args).env("PORTUNUS_STATE_DIR", self.path("server-state"));
        command.env("PORTUNUS_SERVER", format!("http://127.0.0.1:{}", self.operator));
        command
    }

    /// Runs a command of an operator, without a terminal.
    pub(crate) fn cli(&self, args: &[&str]) -> Said {
        self.cli_with(args, &[])
    }

    pub(crate) fn cli_with(&self, args: &[&str], env: &[(&str, &str)]) -> Said {
        let mut command = self.cli_command(args);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (out, err) = (thread::spawn(move || drain(out)), thread::spawn(move || drain(err)));
        let deadline = Instant::now() + LONG * 2;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{args:?} does not end: {} {}", out.join().unwrap(), err.join().unwrap());
            }
            thread::sleep(Duration::from_millis(2));
        };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let command = format!("portunus {}", args.join(" "));
        Said { code, out: out.join().unwrap(), err: err.join().unwrap(), command }
    }

    /// `plan -o json` of the tree.
    #[track_caller]
    pub(crate) fn plan(&self) -> Value {
        self.cli(&["plan", &self.tree_arg(), "-o", "json"]).exits(0).json()
    }

    /// `apply --yes` of the tree with more arguments.
    pub(crate) fn apply_with(&self, args: &[&str]) -> Said {
        let tree = self.tree_arg();
        let mut all = vec!["apply", &tree, "--yes"];
        all.extend(args);
        self.cli(&all)
    }

    /// `apply --yes` that succeeds.
    #[track_caller]
    pub(crate) fn apply(&self) {
        self.apply_with(&[]).exits(0);
    }

    /// Commits one file and applies the tree.
    #[track_caller]
    pub(crate) fn edit_and_apply(&self, file: &str, text: &str) {
        self.edit(file, text);
        self.apply();
    }

    /// Asks the API.
    pub(crate) fn api(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let token = format!("Bearer {}", self.token());
        http(self.operator, method, path, &[("Authorization", &token), ("Content-Type", "application/json")], body)
    }

    pub(crate) fn try_status(&self) -> Result<Value, String> {
        match self.api("GET", "/v1/status", "") {
            Ok((200, body)) => serde_json::from_str(&body).map_err(|error| format!("{error} in {body}")),
            Ok((status, body)) => Err(format!("{status}: {body}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The status as the API has it.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.try_status().unwrap()
    }

    /// Waits for a status that is as asked.
    #[track_caller]
    pub(crate) fn wait_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let status = self.try_status()?;
            if is_so(&status) { Ok(status) } else { Err(serde_json::to_string_pretty(&status).unwrap()) }
        })
    }

    #[track_caller]
    pub(crate) fn wait_connected(&self, edge: &str, connected: bool) {
        self.wait_status(&format!("{edge} connected: {connected}"), |status| {
            edge_of(status, edge).is_some_and(|edge| edge["connected"] == connected)
        });
    }

    /// Waits until the rule is in that state.
    #[track_caller]
    pub(crate) fn wait_rule(&self, edge: &str, rule: &str, state: &str) -> Value {
        let status = self.wait_status(&format!("{edge}/{rule} to be {state}"), |status| {
            rule_of(status, edge, rule).is_some_and(|rule| rule["state"] == state)
        });
        rule_of(&status, edge, rule).unwrap().clone()
    }

    /// Generation accepted and generation wanted.
    pub(crate) fn generations(&self, edge: &str) -> (u64, u64) {
        let status = self.status();
        let edge = edge_of(&status, edge).unwrap();
        (edge["generation"].as_u64().unwrap(), edge["desired_generation"].as_u64().unwrap())
    }

    /// `stats -o json` of a rule.
    #[track_caller]
    pub(crate) fn stats(&self, address: &str) -> Value {
        self.cli(&["stats", address, "--per-port", "--per-target", "-o", "json"]).exits(0).json()
    }

    /// Waits for counters that are as asked.
    #[track_caller]
    pub(crate) fn wait_stats(&self, address: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || {
            let stats = self.stats(address);
            if is_so(&stats) { Ok(stats) } else { Err(stats.to_string()) }
        })
    }

    /// The text of `/metrics` on a port.
    #[track_caller]
    pub(crate) fn scrape(port: u16) -> String {
        let (status, text) = http(port, "GET", "/metrics", &[], "").unwrap();
        assert_eq!(status, 200, "{text}");
        text
    }

    /// Follows `events -o json`.
    pub(crate) fn events(&self, args: &[&str]) -> Events {
        let mut all = vec!["events", "-o", "json"];
        all.extend(args);
        let mut command = self.cli_command(&all);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Events { child, lines: receiver }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Edges and servers end before their folders go.
        self.processes.lock().map(|mut processes| processes.clear()).ok();
    }
}

fn drain(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The edge in a status.
pub(crate) fn edge_of<'a>(status: &'a Value, edge: &str) -> Option<&'a Value> {
    status["edges"].as_array()?.iter().find(|one| one["name"] == edge)
}

/// The rule in a status.
pub(crate) fn rule_of<'a>(status: &'a Value, edge: &str, rule: &str) -> Option<&'a Value> {
    edge_of(status, edge)?["rules"].as_array()?.iter().find(|one| one["rule"] == rule)
}

/// One request over a connection of its own.
pub(crate) fn http(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<(u16, String)> {
    let host = format!("127.0.0.1:{port}");
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        write!(request, "Host: {host}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    request.push_str("\r\n");
    request.push_str(body);
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| std::io::Error::other(format!("no HTTP: {answer}")))
}

/// One `[[rule]]` with a listen port and a target port on this machine, and more keys where wanted.
pub(crate) fn rule(edge: &str, name: &str, listen: u16, target: u16, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nedges = [\"{edge}\"]\nlisten_port = {listen}\ntarget = \"127.0.0.1:{target}\"\n{more}\n"
    )
}

/// One `[[rule]]` over ranges of the same width.
#[expect(clippy::too_many_arguments, reason = "each is a key of the rule")]
pub(crate) fn range_rule(edge: &str, name: &str, listen: u16, target: u16, width: u16, more: &str) -> String {
    let (last, target_last) = (listen + width - 1, target + width - 1);
    format!(
        "[[rule]]\nname = \"{name}\"\nedges = [\"{edge}\"]\nlisten_ports = \"{listen}-{last}\"\n\
         target = \"127.0.0.1:{target}-{target_last}\"\n{more}\n"
    )
}
