//! What a backup keeps, and what is never restored.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use schema::canonical::Digest;
use tempfile::TempDir;

use super::archive::{InvalidArchive, Kind, Reader, Writer};
use super::restore::{RestoreError, restore};
use super::save::save;
use crate::act::state;
use crate::act::store::Batch;
use crate::decide::ledger::{Entry, Head};
use crate::decide::record::Record;

struct Scene {
    dir: TempDir,
    backup: PathBuf,
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A state with a ledger of three lines, a key in a folder, and a clone.
fn scene() -> Scene {
    let dir = TempDir::new().expect("a folder");
    let (folder, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let state = state::open(&folder).expect("opens");
    let mut head = Head::default();
    for number in 1..=3_u8 {
        let entry = Entry { digest: Digest::of(&[number]), outcome: "frozen".to_owned(), ..Entry::default() };
        let record = Record::ledger(&entry.chained(&mut head));
        state.store.commit(&Batch::new().put(record.key, record.value)).expect("written");
    }
    fs::create_dir(folder.join("ca")).expect("made");
    crate::act::private_file::create_private(&folder.join("ca/key"), b"secret").expect("written");
    for derived in ["git", "edge"] {
        fs::create_dir(folder.join(derived)).expect("made");
        fs::write(folder.join(derived).join("large"), "not kept").expect("written");
    }
    let mut file = fs::File::create(&backup).expect("made");
    save(&state.store, &folder, Timestamp::UNIX_EPOCH, &mut file).expect("saved");
    Scene { dir, backup }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o777
}

#[test]
fn a_restored_state_is_the_one_that_was_saved() {
    let scene = scene();
    let (from, to) = (scene.path("state"), scene.path("new/state"));
    let restored = restore(&scene.backup, &to).expect("restored");
    assert_eq!((restored.ledger_lines, restored.files), (3, 2));
    assert_eq!(restored.created_at, Some(Timestamp::UNIX_EPOCH));
    assert_eq!((mode(&to), mode(&to.join("ca")), mode(&to.join("ca/key"))), (0o700, 0o700, 0o600));
    assert_eq!(fs::read(to.join("ca/key")).expect("there"), b"secret");
    assert!(!to.join("git").exists() && !to.join("edge").exists());
    let (before, after) = (state::open(&from).expect("opens"), state::open(&to).expect("opens"));
    assert_eq!((&before.token, &before.lineage), (&after.token, &after.lineage));
    assert_eq!(before.store.list("").expect("readable"), after.store.list("").expect("readable"));
    // Versions go on, so that nobody takes an old one for a new one.
    let version = after.store.commit(&Batch::new().put("x", "y")).expect("written");
    assert_eq!(before.store.commit(&Batch::new().put("x", "y")).expect("written"), version);
    assert_eq!(fs::read_dir(scene.path("new")).expect("there").count(), 1, "nothing is left beside it");
}

#[test]
fn a_directory_with_anything_in_it_is_left_as_it_is() {
    let scene = scene();
    let to = scene.path("taken");
    fs::create_dir(&to).expect("made");
    restore(&scene.backup, &to).expect("an empty one is taken");
    let error = restore(&scene.backup, &to).expect_err("it is taken now").to_string();
    assert!(error.contains("is not empty"), "{error}");
    let file = scene.path("file");
    fs::write(&file, "").expect("written");
    assert!(matches!(restore(&scene.backup, &file), Err(RestoreError::Io { .. })));
}

#[test]
fn whatever_is_cut_or_changed_is_not_restored() {
    let scene = scene();
    let whole = fs::read(&scene.backup).expect("there");
    let (damaged, to) = (scene.path("damaged"), scene.path("to"));
    let refused = |bytes: &[u8]| {
        fs::write(&damaged, bytes).expect("written");
        let error = restore(&damaged, &to).expect_err("damaged");
        assert!(!to.exists(), "{error}");
        let RestoreError::Archive { reason, .. } = error else { panic!("{error}") };
        reason
    };
    for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        let reason = refused(&whole[..length]);
        assert!(matches!(reason, InvalidArchive::Foreign | InvalidArchive::Damaged(_)), "{length}: {reason}");
    }
    for at in (0..whole.len()).step_by(11) {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        refused(&changed);
    }
    assert!(matches!(refused(&[&whole[..], b"x"].concat()), InvalidArchive::Damaged(_)));
    let mut later = whole;
    later[7] = b'2';
    assert!(matches!(refused(&later), InvalidArchive::Version(version) if version == "02"));
    assert!(matches!(refused(b"hello, this is something else"), InvalidArchive::Foreign));
}

#[test]
fn a_name_that_leads_out_of_the_directory_is_refused() {
    let scene = scene();
    for name in ["../out", "/etc/out", "a/../../out", "", "."] {
        let file = scene.path("crafted");
        let mut writer = Writer::new(fs::File::create(&file).expect("made")).expect("begun");
        writer.entry(Kind::File, name, 0o600, b"x").expect("written");
        writer.finish().expect("ended");
        let error = restore(&file, &scene.path("to")).expect_err("it leads out");
        assert!(matches!(error, RestoreError::Content { .. }), "{name}: {error}");
        assert!(!scene.path("to").exists() && !scene.path("out").exists());
    }
    assert_eq!(fs::read_dir(scene.dir.path()).expect("there").count(), 3, "state, backup and the crafted file");
}

#[test]
fn a_ledger_that_was_changed_is_not_restored() {
    let scene = scene();
    let file = scene.path("crafted");
    let mut writer = Writer::new(fs::File::create(&file).expect("made")).expect("begun");
    let mut reader = Reader::new(fs::File::open(&scene.backup).expect("there")).expect("a backup");
    while let Some(mut entry) = reader.next_entry().expect("whole") {
        if entry.name.starts_with("ledger/") {
            entry.content = String::from_utf8(entry.content).expect("JSON").replace("frozen", "thawed").into_bytes();
        }
        writer.entry(entry.kind, &entry.name, entry.number, &entry.content).expect("written");
    }
    writer.finish().expect("ended");
    let error = restore(&file, &scene.path("to")).expect_err("changed").to_string();
    assert!(error.contains("line 1") && error.contains("hash chain"), "{error}");
}

#[test]
fn an_export_is_of_one_moment_and_the_store_goes_on() {
    let dir = TempDir::new().expect("a folder");
    let state = state::open(&dir.path().join("state")).expect("opens");
    state.store.commit(&Batch::new().put("a", "1")).expect("written");
    let export = state.store.export().expect("begun");
    state.store.commit(&Batch::new().put("a", "2").put("b", "2")).expect("written");
    let mut seen = Vec::new();
    let each = |key: &str, _, value: &[u8]| {
        seen.push((key.to_owned(), value.to_vec()));
        Ok::<(), ()>(())
    };
    export.each(each).expect("readable").expect("taken");
    let of = |key: &str| seen.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_slice());
    assert_eq!((of("a"), of("b")), (Some(&b"1"[..]), None));
}

#[test]
fn a_file_that_others_may_read_is_restored_closed() {
    let scene = scene();
    let state = scene.path("state");
    fs::write(state.join("note"), "x").expect("written");
    fs::set_permissions(state.join("note"), fs::Permissions::from_mode(0o644)).expect("mode");
    let store = state::open(&state).expect("opens").store;
    let mut file = fs::File::create(&scene.backup).expect("made");
    save(&store, &state, Timestamp::UNIX_EPOCH, &mut file).expect("saved");
    restore(&scene.backup, &scene.path("to")).expect("restored");
    assert_eq!(mode(&scene.path("to").join("note")), 0o600);
}
