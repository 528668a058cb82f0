//! Commands that have ended, processes that run, and the event stream of one.
//!
//! Keeps: only a process that was started here, and is known to run still, is ever signalled; it is gone when its
//! handle is dropped, and says what it logged where a test fails.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{LONG, wait_for};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) command: String,
}

impl Said {
    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// The same, if it exited so.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// The same, if its words for people hold this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text) || self.out.contains(text), "expected `{text}`: {self}");
        self
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, out, err, command } = self;
        write!(f, "{command}\nexit {code}\n--- stdout\n{out}\n--- stderr\n{err}")
    }
}

/// A process that runs until its world ends.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    pub(crate) fn start(name: &str, command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        Self::start_with_stderr(name, command, log, file.into())
    }

    pub(crate) fn start_with_stderr(name: &str, mut command: Command, log: &Path, stderr: Stdio) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file).stderr(stderr).spawn().unwrap();
        Self { name: name.to_owned(), child: Mutex::new(child), log: log.to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// What it wrote by now.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal such as `TERM`, while the process is known to be ours.
    pub(crate) fn signal(&self, signal: &str) {
        let mut child = self.child.lock().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "{} has ended:\n{}", self.name, self.log());
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success(), "signal {signal} to {}", self.name);
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn has_ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for its end by itself: the exit code, or 128 and the signal.
    pub(crate) fn ended(&self) -> i32 {
        let status = wait_for(&format!("the end of {}", self.name), || self.has_ended().ok_or_else(|| self.log()));
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Asks it to end, and expects that it does so cleanly.
    pub(crate) fn stop(&self) {
        self.signal("TERM");
        assert_eq!(self.ended(), 0, "{} ends cleanly:\n{}", self.name, self.log());
    }

    /// The most memory that it has had, in KiB.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The memory that is its own, in KiB.
    pub(crate) fn anonymous(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How long it has computed so far; without its children.
    pub(crate) fn computed(&self) -> Duration {
        // Ticks in user mode and in the kernel are the twelfth and thirteenth word after the name in brackets.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let words = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2);
        let ticks: u64 = words.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // USER_HZ, which has been 100 on every Linux since 2.6.
        Duration::from_millis(ticks * 10)
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            child.kill().ok();
            child.wait().ok();
        }
        if thread::panicking() {
            // Where a test fails, what its processes said is half of the answer.
            let mut text = String::new();
            writeln!(text, "--- {} said", self.name).unwrap();
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            text.push_str(log.get(from..).unwrap_or(&log));
            std::io::stderr().write_all(text.as_bytes()).ok();
        }
    }
}

/// A running `events -o json`.
pub(crate) struct Events {
    pub(crate) child: Child,
    pub(crate) lines: mpsc::Receiver<String>,
}

impl Events {
    /// The next event.
    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        let line = self.lines.recv_timeout(LONG).expect("an event comes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next event that is as asked.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LONG;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) else { break };
            let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if is_so(&event) {
                return event;
            }
            seen.push(line);
        }
        panic!("no event of {what} among {seen:#?}");
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
