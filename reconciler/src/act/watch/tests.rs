//! Real files and real events; each wait has a limit, and none is a guess about how long something takes.

mod storms;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use notify::event::{CreateKind, DataChange, Flag, ModifyKind};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::act::source::directory::read_stable;

/// Signals come from events only: the periodic one is an hour away.
const EVENTS_ONLY: Patience = Patience {
    quiet: Duration::from_millis(20),
    longest: Duration::from_millis(500),
    reread: Duration::from_hours(1),
    poll: Duration::from_hours(1),
    max_watches: 1000,
};

const POLLING: Patience = Patience { poll: Duration::from_millis(10), max_watches: 0, ..EVENTS_ONLY };

async fn signal(watcher: &mut TreeWatcher) {
    timeout(Duration::from_secs(20), watcher.changed()).await.expect("a signal");
}

/// Waits for signals until the tree reads as asked. A signal that never comes fails the test.
async fn until(watcher: &mut TreeWatcher, mut holds: impl FnMut() -> bool) {
    while !holds() {
        signal(watcher).await;
    }
}

fn text(dir: &Path) -> Option<String> {
    Some(read_stable(dir).ok()?.files.first()?.source.text.to_string())
}

fn git(dir: &Path, args: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .status()
        .expect("git runs");
    assert!(status.success(), "git {args:?}");
}

#[tokio::test]
async fn a_write_and_a_save_by_rename_each_give_a_signal() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("a.toml"), "1").expect("a file");
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), EVENTS_ONLY).await;
    fs::write(dir.path().join("a.toml"), "2").expect("a file");
    signal(&mut watcher).await;

    fs::write(dir.path().join("a.toml.new"), "3").expect("a file");
    fs::rename(dir.path().join("a.toml.new"), dir.path().join("a.toml")).expect("rename");
    signal(&mut watcher).await;
    until(&mut watcher, || text(dir.path()).as_deref() == Some("3")).await;
}

#[tokio::test]
async fn a_new_folder_is_watched_once_its_signal_came() {
    let dir = TempDir::new().expect("a folder");
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), EVENTS_ONLY).await;
    let sub = dir.path().join("a/b");
    fs::create_dir_all(&sub).expect("folders");
    let real = sub.canonicalize().expect("exists");
    while !watcher.eyes.scene.wanted.folders().any(|folder| folder == real) {
        signal(&mut watcher).await;
    }
    fs::write(sub.join("x.toml"), "1").expect("a file");
    signal(&mut watcher).await;
}

#[tokio::test]
async fn a_swapped_link_gives_a_signal_and_its_new_target_is_watched() {
    let dir = TempDir::new().expect("a folder");
    for version in ["v1", "v2"] {
        fs::create_dir(dir.path().join(version)).expect("folder");
        fs::write(dir.path().join(version).join("a.toml"), version).expect("a file");
    }
    let current = dir.path().join("current");
    symlink("v1", &current).expect("link");
    let mut watcher = TreeWatcher::start(current.clone(), EVENTS_ONLY).await;
    symlink("v2", dir.path().join("next")).expect("link");
    fs::rename(dir.path().join("next"), &current).expect("swap");
    signal(&mut watcher).await;
    assert_eq!(text(&current).as_deref(), Some("v2"));
    fs::write(dir.path().join("v2/a.toml"), "v2b").expect("a file");
    signal(&mut watcher).await;
}

#[tokio::test]
async fn a_config_map_swap_gives_a_signal() {
    let dir = TempDir::new().expect("a folder");
    for version in ["..1", "..2"] {
        fs::create_dir(dir.path().join(version)).expect("folder");
        fs::write(dir.path().join(version).join("a.toml"), version).expect("a file");
    }
    symlink("..1", dir.path().join("..data")).expect("link");
    symlink("..data/a.toml", dir.path().join("a.toml")).expect("link");
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), EVENTS_ONLY).await;
    symlink("..2", dir.path().join("..data_tmp")).expect("link");
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).expect("swap");
    fs::remove_dir_all(dir.path().join("..1")).expect("removed");
    until(&mut watcher, || text(dir.path()).as_deref() == Some("..2")).await;
    signal(&mut watcher).await;
}

#[tokio::test]
async fn commits_and_branches_give_signals_even_when_no_file_changes() {
    let dir = TempDir::new().expect("a folder");
    let rules = dir.path().join("rules");
    fs::create_dir(&rules).expect("folder");
    fs::write(rules.join("a.toml"), "1").expect("a file");
    git(dir.path(), &["init", "-q", "-b", "main"]);
    git(dir.path(), &["add", "-A"]);
    git(dir.path(), &["commit", "-q", "-m", "x"]);
    let mut watcher = TreeWatcher::start(rules.clone(), EVENTS_ONLY).await;
    git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "y"]);
    signal(&mut watcher).await;
    git(dir.path(), &["checkout", "-q", "-b", "feature/x"]);
    let branch = dir.path().canonicalize().expect("exists").join(".git/refs/heads/feature/x");
    while !watcher.eyes.scene.wanted.concerns(&branch) {
        signal(&mut watcher).await;
    }
    git(dir.path(), &["commit", "-q", "--allow-empty", "-m", "z"]);
    signal(&mut watcher).await;
}

#[tokio::test]
async fn a_tree_that_appears_vanishes_and_comes_back_is_noticed_each_time() {
    let dir = TempDir::new().expect("a folder");
    let tree = dir.path().join("not/yet/there");
    let mut watcher = TreeWatcher::start(tree.clone(), EVENTS_ONLY).await;
    for round in ["1", "2"] {
        fs::create_dir_all(&tree).expect("folders");
        fs::write(tree.join("a.toml"), round).expect("a file");
        until(&mut watcher, || text(&tree).as_deref() == Some(round)).await;
        let real = tree.canonicalize().expect("exists");
        while !watcher.eyes.scene.wanted.folders().any(|folder| folder == real) {
            signal(&mut watcher).await;
        }
        fs::remove_dir_all(dir.path().join("not")).expect("removed");
        signal(&mut watcher).await;
        while watcher.eyes.scene.wanted.folders().any(|folder| folder == real) {
            signal(&mut watcher).await;
        }
    }
}

#[tokio::test]
async fn without_the_kernels_watches_we_look_ourselves() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("a.toml"), "1").expect("a file");
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), POLLING).await;
    assert!(watcher.eyes.watcher.is_none() && watcher.warned);
    fs::write(dir.path().join("a.toml"), "22").expect("a file");
    signal(&mut watcher).await;
    assert_eq!(text(dir.path()).as_deref(), Some("22"));
    fs::create_dir(dir.path().join("sub")).expect("folder");
    fs::write(dir.path().join("sub/b.toml"), "3").expect("a file");
    signal(&mut watcher).await;
}

#[tokio::test]
async fn without_any_event_a_signal_comes_all_the_same() {
    let dir = TempDir::new().expect("a folder");
    let patience = Patience { reread: Duration::from_millis(10), ..EVENTS_ONLY };
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), patience).await;
    signal(&mut watcher).await;
    signal(&mut watcher).await;
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_no_signal() {
    let dir = TempDir::new().expect("a folder");
    let mut watcher = TreeWatcher::start(dir.path().to_owned(), EVENTS_ONLY).await;
    fs::write(dir.path().join("a.toml"), "1").expect("a file");
    let mut given_up = 0;
    let waited = timeout(Duration::from_secs(20), async {
        while timeout(Duration::from_millis(1), watcher.changed()).await.is_err() {
            given_up += 1;
        }
    });
    waited.await.expect("a signal");
    assert!(given_up > 0, "a signal cannot come before the quiet time");
}

#[test]
fn our_own_reading_is_no_change_and_an_overflow_is_one() {
    let dir = TempDir::new().expect("a folder");
    let top = dir.path().canonicalize().expect("exists");
    let wanted = TreeSnapshot::of(&top).wanted;
    let event = |kind, path: &Path| Event::new(kind).add_path(path.to_owned());
    let file = top.join("a.toml");
    for access in [AccessKind::Open(AccessMode::Any), AccessKind::Read, AccessKind::Close(AccessMode::Read)] {
        assert!(!is_relevant(&event(EventKind::Access(access), &file), &wanted));
    }
    let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let created = EventKind::Create(CreateKind::File);
    for kind in [closed, modified, created] {
        assert!(is_relevant(&event(kind, &file), &wanted));
        assert!(is_relevant(&event(kind, &top), &wanted));
        assert!(!is_relevant(&event(kind, &top.with_file_name("somebody-elses")), &wanted));
    }
    assert!(is_relevant(&Event::new(EventKind::Other).set_flag(Flag::Rescan), &wanted));
}
