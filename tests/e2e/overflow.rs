//! The kernel's queue of file events overflows: 16 places, 5000 writes, and what runs is what is on the disk.
//!
//! The length of the queue is one number for the whole machine, read when a watcher is made. It is changed only by root
//! in CI, where the machine is thrown away, and for no longer than a server takes to start.

use std::fs;
use std::time::{Duration, Instant};

use crate::peers::{Echo, answers, refuses};
use crate::support::{World, ports, rule, skip, wait_until};

const LIMIT: &str = "/proc/sys/fs/inotify/max_queued_events";
const QUEUE: usize = 16;
const WRITES: u16 = 5000;
const FILES: u16 = 50;
/// A server reads its tree so often without any event.
const REREAD: Duration = Duration::from_secs(30);

/// The short queue, as long as it lives.
struct ShortQueue(String);

impl ShortQueue {
    /// Why there is none, in words.
    fn new() -> Result<Self, String> {
        if std::env::var_os("CI").is_none() {
            return Err(format!("{LIMIT} is changed in CI only (`.ci/run` sets CI)"));
        }
        let before = fs::read_to_string(LIMIT).map_err(|error| format!("{LIMIT} cannot be read: {error}"))?;
        fs::write(LIMIT, QUEUE.to_string()).map_err(|error| format!("{LIMIT} cannot be changed: {error}"))?;
        Ok(Self(before))
    }
}

impl Drop for ShortQueue {
    fn drop(&mut self) {
        fs::write(LIMIT, self.0.trim()).expect("what was changed can be changed back");
    }
}

fn has_watcher(process: u32) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    open.flatten().any(|one| fs::read_link(one.path()).is_ok_and(|to| to.to_string_lossy().contains("inotify")))
}

#[test]
fn an_overflow_of_16_places_by_5000_writes_ends_in_what_is_on_the_disk() {
    let world = World::new();
    let (port, target) = (ports(FILES + 1), Echo::start().port);
    // Outside of git, so that a tree counts without a commit.
    fs::remove_dir_all(world.tree().join(".git")).unwrap();
    let place = |number: u16, more: &str| rule("edge-01", &format!("r{number}"), port + number, target, more);
    for number in 0..FILES {
        world.write(&format!("{number}.toml"), place(number, "max_connections = 1"));
    }
    let short = match ShortQueue::new() {
        Ok(short) => short,
        Err(reason) => return skip(&reason),
    };
    let begun = Instant::now();
    let server = world.follow_uncommitted();
    wait_until("the server to watch its tree", || has_watcher(server.id()));
    drop(short);
    world.edge("edge-01");
    world.wait_rule("edge-01", "r49", "active");

    // Nobody takes events out of the queue. What fills it is nothing that would make the server look.
    server.signal("STOP");
    for number in 0..4 * QUEUE {
        fs::read(world.tree().join(format!("{}.toml", number % 2))).unwrap();
    }
    for write in 0..WRITES {
        let number = write % FILES;
        world.write(&format!("{number}.toml"), place(number, &format!("max_connections = {}", 2 + write / FILES)));
    }
    // One rule less and one more.
    fs::remove_file(world.tree().join("0.toml")).unwrap();
    world.write("new.toml", place(FILES, ""));
    server.signal("CONT");
    wait_until("the new rule to serve", || answers(port + FILES) == Some(target));
    let took = begun.elapsed();
    let last = u64::from(1 + WRITES / FILES);
    let status = world.wait_status("everything on disk to run", |status| {
        let rules = status["edges"][0]["rules"].as_array().unwrap();
        let is_last = |rule: &serde_json::Value| {
            rule["state"] == "active" && (rule["rule"] == "r50" || rule["spec"]["max_connections"] == last)
        };
        rules.len() == usize::from(FILES) && rules.iter().all(is_last)
    });
    assert!(refuses(port), "{status}");
    assert_eq!(world.cli(&["plan", &world.tree_arg(), "-o", "json"]).exits(0).json()["changes"], serde_json::json!([]));
    if took >= REREAD {
        return skip(&format!(
            "{took:?}: on a machine that slow the periodic look may have been faster than the overflow"
        ));
    }
    // It hears again: a change is seen without waiting for the periodic look.
    let changed = Instant::now();
    world.write("0.toml", place(0, ""));
    wait_until("the change to serve", || answers(port) == Some(target));
    assert!(changed.elapsed() < REREAD, "{:?}", changed.elapsed());
}
