//! A real database file in a real directory.

mod torn;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tempfile::TempDir;

use super::*;

fn state() -> TempDir {
    TempDir::new().expect("a folder")
}

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path()).expect("a store")
}

fn value(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.get(key).expect("readable").map(|versioned| versioned.value)
}

#[test]
fn what_was_committed_is_there_after_reopening_with_its_version() {
    let dir = state();
    let version = open(&dir).commit(&Batch::new().put("edge/a", "1").put("meta/lineage", "x")).expect("committed");
    let store = open(&dir);
    assert_eq!(store.get("edge/a").expect("readable"), Some(Versioned { version, value: b"1".to_vec() }));
    assert_eq!(value(&store, "edge/b"), None);
    let later = store.commit(&Batch::new().put("edge/b", "2")).expect("committed");
    assert!(later > version);
}

#[test]
fn a_conflict_leaves_everything_unchanged() {
    let dir = state();
    let store = open(&dir);
    let first = store.commit(&Batch::new().put("a", "1").put("b", "1")).expect("committed");
    let batch = Batch::new().put_if("a", Expect::Version(first), "2").delete("b").put_if("c", Expect::Version(9), "3");
    let error = store.commit(&batch).expect_err("c is not there");
    assert!(matches!(&error, StoreError::Conflict { key } if key == "c"), "{error}");
    let all = store.list("").expect("readable");
    let expected = |key: &str| (key.to_owned(), Versioned { version: first, value: b"1".to_vec() });
    assert_eq!(all, [expected("a"), expected("b")]);
}

#[test]
fn expectations_hold_or_refuse() {
    let dir = state();
    let store = open(&dir);
    let absent = Batch::new().put_if("a", Expect::Absent, "1");
    let first = store.commit(&absent).expect("nothing there");
    assert!(matches!(store.commit(&absent), Err(StoreError::Conflict { .. })));
    let second = store.commit(&Batch::new().put_if("a", Expect::Version(first), "2")).expect("as expected");
    assert!(matches!(
        store.commit(&Batch::new().delete_if("a", Expect::Version(first))),
        Err(StoreError::Conflict { .. })
    ));
    store.commit(&Batch::new().delete_if("a", Expect::Version(second))).expect("as expected");
    assert_eq!(value(&store, "a"), None);
}

#[test]
fn a_key_made_anew_does_not_look_unchanged() {
    let dir = state();
    let store = open(&dir);
    let first = store.commit(&Batch::new().put("a", "1")).expect("committed");
    store.commit(&Batch::new().delete("a")).expect("committed");
    let again = store.commit(&Batch::new().put_if("a", Expect::Absent, "1")).expect("committed");
    assert!(again > first);
    let stale = Batch::new().put_if("a", Expect::Version(first), "2");
    assert!(matches!(store.commit(&stale), Err(StoreError::Conflict { .. })));
}

#[test]
fn a_list_holds_the_prefix_in_key_order_and_nothing_else() {
    let dir = state();
    let store = open(&dir);
    let keys = ["ledger/000000000002", "ledger/000000000010", "ledger/000000000001", "ledges/1", "edge/z", "ledger"];
    let batch = keys.iter().fold(Batch::new(), |batch, key| batch.put(*key, "x"));
    store.commit(&batch).expect("committed");
    let listed: Vec<_> = store.list("ledger/").expect("readable").into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, ["ledger/000000000001", "ledger/000000000002", "ledger/000000000010"]);
    assert!(store.list("nothing/").expect("readable").is_empty());
}

#[test]
fn a_batch_that_names_a_key_twice_is_refused() {
    let dir = state();
    let store = open(&dir);
    let error = store.commit(&Batch::new().put("a", "1").delete("a")).expect_err("ambiguous");
    assert!(matches!(error, StoreError::KeyTwice { .. }));
    assert_eq!(value(&store, "a"), None);
}

#[test]
fn a_second_server_on_the_same_state_is_refused_by_name() {
    let dir = state();
    let first = open(&dir);
    let error = Store::open(dir.path()).expect_err("in use");
    assert!(matches!(&error, StoreError::InUse { path } if path == dir.path()), "{error:?}");
    drop(first);
    open(&dir);
}

#[test]
fn the_directory_is_0700_and_the_file_0600() {
    let dir = state();
    let path = dir.path().join("state");
    drop(Store::open(&path).expect("a store"));
    let mode = |path: &Path| fs::metadata(path).expect("exists").mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(FILE))), (0o700, 0o600));
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
    drop(Store::open(&path).expect("tightened"));
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = state();
    let store = open(&dir);
    {
        let database = store.database.read().expect("not poisoned");
        let transaction = database.as_ref().expect("open").begin_write().expect("a transaction");
        transaction.open_table(STORE).expect("a table").insert(FORMAT_KEY, FORMAT + 1).expect("written");
        transaction.commit().expect("committed");
    }
    drop(store);
    for _ in 0..2 {
        let error = Store::open(dir.path()).expect_err("too new");
        assert!(matches!(error, StoreError::NewerFormat { found: 2, .. }), "{error:?}");
    }
}

#[test]
fn garbage_instead_of_a_database_is_a_typed_error() {
    let dir = state();
    drop(open(&dir));
    for garbage in [&b"hello"[..], &vec![0xff; 100_000]] {
        fs::write(dir.path().join(FILE), garbage).expect("written");
        let error = Store::open(dir.path()).expect_err("garbage");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
}

/// Damage every page in turn: the store opens or says what is wrong, and never panics or hangs.
#[test]
fn damage_anywhere_in_the_file_never_panics() {
    let dir = state();
    let store = open(&dir);
    for round in 0..8 {
        let batch = (0..50).fold(Batch::new(), |batch, n| batch.put(format!("k/{round}/{n}"), vec![b'x'; 300]));
        store.commit(&batch).expect("committed");
    }
    drop(store);
    let path = dir.path().join(FILE);
    let good = fs::read(&path).expect("readable");
    let mut refused = 0;
    let mut probe = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let outcome = Store::open(dir.path()).and_then(|store| {
            store.list("")?;
            store.commit(&Batch::new().put("k/0/0", "y").delete("k/7/49"))
        });
        refused += u32::from(outcome.is_err());
    };
    for at in [0, 9, 64, 128, 192, 320].into_iter().chain((4096..good.len()).step_by(good.len() / 40)) {
        let mut bad = good.clone();
        let end = (at + 32).min(bad.len());
        bad[at..end].fill(0xa5);
        probe(&bad);
    }
    for length in [1, 100, 4096, good.len() / 2, good.len() - 1] {
        probe(&good[..length]);
    }
    assert!(refused > 5, "{refused}");
}

/// A bit in a value that nothing reads at a start.
#[test]
fn damage_in_a_value_that_is_not_read_refuses_the_start_each_time() {
    let dir = state();
    let store = open(&dir);
    for number in 0..20_u8 {
        let value = vec![b'a' + number; 20_000];
        store.commit(&Batch::new().put(format!("revision/{number:02}"), value)).expect("committed");
    }
    drop(store);
    let path = dir.path().join(FILE);
    let good = fs::read(&path).expect("readable");
    drop(open(&dir));
    for number in 0..20_u8 {
        let mut bad = good.clone();
        let run = vec![b'a' + number; 1000];
        let at = bad.windows(1000).position(|window| window == run).expect("the value is in the file");
        bad[at + 500] ^= 1;
        fs::write(&path, bad).expect("written");
        for _ in 0..2 {
            let error = Store::open(dir.path()).map(|_| ()).expect_err("damaged");
            assert!(matches!(error, StoreError::Corrupt { .. }), "{number}: {error:?}");
        }
    }
    fs::write(&path, good).expect("written");
    assert_eq!(open(&dir).keys("revision/").expect("readable").len(), 20);
}

#[test]
fn space_that_is_free_is_given_back_and_nothing_is_lost() {
    let dir = state();
    let store = open(&dir);
    let key = |number: usize| format!("revision/{number:03}");
    let put = (0..200).fold(Batch::new(), |batch, number| batch.put(key(number), vec![b'x'; 100_000]));
    store.commit(&put).expect("committed");
    assert!(!store.compact(Compaction::Serving).expect("nothing to do"), "all of it is in use");
    let full = store.bytes();
    store.commit(&(1..200).fold(Batch::new(), |batch, number| batch.delete(key(number)))).expect("committed");
    assert!(store.bytes() >= full, "what is deleted stays in the file");
    assert!(store.compact(Compaction::Serving).expect("compacted"));
    assert!(store.bytes() < full / 4, "{} of {full}", store.bytes());
    assert_eq!(value(&store, &key(0)).expect("kept").len(), 100_000);
    store.commit(&Batch::new().put("a", "1")).expect("goes on");
    drop(store);
    assert_eq!(open(&dir).keys("").expect("readable"), ["a".to_owned(), key(0)]);
}

#[test]
fn a_prefix_is_deleted_before_a_batch_writes_and_its_neighbours_are_not() {
    let dir = state();
    let store = open(&dir);
    let keys = ["a", "a.", "a/1", "a/2", "a0", "b"];
    store.commit(&keys.iter().fold(Batch::new(), |batch, key| batch.put(*key, "x"))).expect("committed");
    let left: Vec<String> =
        store.list_without(&["b", "a/"]).expect("readable").into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["a", "a.", "a0"]);
    store.commit(&Batch::new().put("a/2", "y").delete_prefix("a/")).expect("committed");
    let all: Vec<(String, Vec<u8>)> =
        store.list("").expect("readable").into_iter().map(|(key, found)| (key, found.value)).collect();
    let expected =
        ["a", "a.", "a/2", "a0", "b"].map(|key| (key.to_owned(), if key == "a/2" { b"y" } else { b"x" }.to_vec()));
    assert_eq!(all, expected);
}
