//! Events that come in thousands, or not at all: a queue that overflows, a checkout of 500 files, a tree whose file
//! system goes away. What counts is what the fleet makes of the reads that follow.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::check::CheckLimits;
use schema::name::EdgeName;

use super::git as run_git;
use super::*;
use crate::act::checked_tree::read_and_check;
use crate::act::source::git;
use crate::decide::fleet::{Event as FleetEvent, Fleet, Mode, Restored};

const FILES: u16 = 500;
const WRITES: u16 = 5000;

fn rule_at(port: u16, target: u16) -> String {
    let (listen, target) = (format!("listen_port = {port}"), format!("target = \"127.0.0.1:{target}\""));
    format!("[[rule]]\nname = \"r{port}\"\nedges = [\"a\"]\n{listen}\n{target}\n")
}

fn write_all(dir: &Path, target: u16) {
    for port in 1..=FILES {
        fs::write(dir.join(format!("{port}.toml")), rule_at(port, target)).expect("a file");
    }
}

/// A fleet that follows a directory, without anything around it.
struct Follower {
    dir: std::path::PathBuf,
    fleet: Fleet,
    /// The revisions that were put in force, one after the other.
    applied: Vec<Digest>,
}

impl Follower {
    /// In git, only what is committed is applied; elsewhere, everything is.
    fn of(dir: &Path) -> Self {
        let is_in_git = git::git_paths(dir).is_some();
        let fleet = Fleet::new("here".to_owned(), Mode::Apply, !is_in_git, Restored::default());
        let mut follower = Self { dir: dir.to_owned(), fleet, applied: Vec::new() };
        follower.look();
        follower
    }

    /// Reads the tree as the server does after a signal.
    fn look(&mut self) {
        let tree = read_and_check(&self.dir, &CheckLimits::default());
        if tree.moved {
            return;
        }
        let mut tree = tree.into_read();
        let before = self.fleet.applied().and_then(|applied| applied.source.commit.as_deref());
        let commits = before.zip(tree.source.commit.as_deref());
        tree.ancestry = commits.and_then(|(before, now)| git::ancestry(&self.dir, before, now).expect("readable"));
        self.fleet.step(FleetEvent::Tree(tree), Timestamp::now());
        let applied = self.fleet.applied().map(|applied| applied.source.digest);
        if applied != self.applied.last().copied() {
            self.applied.extend(applied);
        }
    }

    /// Rules that are wanted on the one edge.
    fn wanted(&self) -> usize {
        let edge = EdgeName::new("a").expect("a name");
        self.fleet.edges().get(&edge).and_then(|view| view.desired.as_ref()).map_or(0, |desired| desired.wanted.len())
    }
}

/// A watcher that hears nothing of its tree any more, as one whose queue was full.
async fn deaf(dir: &Path) -> TreeWatcher {
    let mut watcher = TreeWatcher::start(dir.to_owned(), EVENTS_ONLY).await;
    watcher.eyes.watcher = None;
    // The kernel's events of before may still be on their way: into a channel that nobody has.
    (watcher.event, watcher.events) = mpsc::channel(1);
    watcher
}

#[tokio::test]
async fn an_overflow_after_which_5000_writes_were_lost_ends_in_what_is_on_the_disk() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("a.toml"), rule_at(1, 9000)).expect("a file");
    let mut follower = Follower::of(dir.path());
    let mut watcher = deaf(dir.path()).await;
    for write in 1..=WRITES {
        fs::write(dir.path().join(format!("{}.toml", write % 50)), rule_at(write % 50 + 1000, write)).expect("a file");
    }
    let lost = timeout(Duration::from_millis(100), watcher.changed()).await;
    assert!(lost.is_err(), "none of the writes was heard");
    // What the kernel says in the place of all that did not fit.
    hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &watcher.eyes.scene.wanted, &watcher.event);
    signal(&mut watcher).await;
    follower.look();
    let on_disk = read_and_check(dir.path(), &CheckLimits::default());
    assert_eq!(follower.applied.last(), Some(&on_disk.source.digest));
    assert_eq!(follower.wanted(), 51);
    // It hears again.
    assert!(watcher.eyes.watcher.is_some());
    fs::write(dir.path().join("a.toml"), rule_at(1, 9001)).expect("a file");
    signal(&mut watcher).await;
}

#[tokio::test]
async fn a_checkout_of_500_files_is_applied_at_most_twice_and_only_as_it_was_committed() {
    let dir = TempDir::new().expect("a folder");
    let rules = dir.path().join("rules");
    fs::create_dir(&rules).expect("a folder");
    run_git(dir.path(), &["init", "-q", "-b", "main"]);
    let mut committed = BTreeSet::new();
    for (branch, target) in [("old", 9000), ("new", 9001)] {
        run_git(dir.path(), &["checkout", "-q", "-b", branch]);
        write_all(&rules, target);
        run_git(dir.path(), &["add", "-A"]);
        run_git(dir.path(), &["commit", "-q", "-m", branch]);
        committed.insert(read_and_check(&rules, &CheckLimits::default()).source.digest);
    }
    run_git(dir.path(), &["checkout", "-q", "old"]);
    let mut watcher =
        TreeWatcher::start(rules.clone(), Patience { reread: EVENTS_ONLY.reread, ..Patience::default() }).await;
    let mut follower = Follower::of(&rules);
    assert_eq!(follower.applied.len(), 1);
    run_git(dir.path(), &["checkout", "-q", "new"]);
    let new = read_and_check(&rules, &CheckLimits::default()).source.digest;
    while follower.applied.last() != Some(&new) {
        signal(&mut watcher).await;
        follower.look();
        assert!(follower.applied.iter().all(|applied| committed.contains(applied)), "a tree that nobody committed");
    }
    // The one at the start is not of the checkout.
    assert!(follower.applied.len() <= 1 + 2, "{} reconciles", follower.applied.len() - 1);
    assert_eq!(follower.wanted(), usize::from(FILES));
}

/// A file system of its own, as long as it lives.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn at(dir: &'a Path) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // Busy only while somebody reads in it; then it goes when they are done.
        Command::new("umount").arg("-l").arg(self.0).status().expect("what was mounted can be unmounted");
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
async fn a_tree_whose_file_system_is_unmounted_removes_nothing_and_is_followed_again_when_it_is_back() {
    let dir = TempDir::new().expect("a folder");
    let Some(mount) = Mount::at(dir.path()) else {
        eprintln!("skipped: a tmpfs cannot be mounted without privileges");
        return;
    };
    fs::write(dir.path().join("a.toml"), rule_at(1, 9000)).expect("a file");
    // An unmount is not an event that is passed on: the slow re-read finds it.
    let patience = Patience { reread: Duration::from_millis(10), ..EVENTS_ONLY };
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), patience).await;
    let mut follower = Follower::of(dir.path());
    assert_eq!((follower.applied.len(), follower.wanted()), (1, 1));
    drop(mount);
    signal(&mut watcher).await;
    follower.look();
    assert_eq!((follower.applied.len(), follower.wanted()), (1, 1), "what was mounted last stays in force");
    let _mount = Mount::at(dir.path()).expect("it was possible before");
    fs::write(dir.path().join("a.toml"), rule_at(1, 9000) + &rule_at(2, 9000)).expect("a file");
    signal(&mut watcher).await;
    follower.look();
    assert_eq!((follower.applied.len(), follower.wanted()), (2, 2));
}
