//! A server that dies between any two writes to its file, or whose machine does: a commit is there whole or not at all.

use std::sync::{Arc, Mutex};

use super::*;

/// What a database did to its file.
#[derive(Debug, Clone)]
enum Done {
    Length(u64),
    Bytes(u64, Vec<u8>),
    Synced,
    /// So many commits had returned.
    Committed(u64),
}

/// A file whose changes are written down.
#[derive(Debug)]
struct Recorded {
    file: FileBackend,
    log: Arc<Mutex<Vec<Done>>>,
}

impl Recorded {
    fn note(&self, done: Done) {
        self.log.lock().expect("no test panics with it").push(done);
    }
}

impl StorageBackend for Recorded {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(Done::Length(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Done::Synced);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Done::Bytes(offset, data.to_vec()));
        self.file.write(offset, data)
    }
}

fn apply(file: &mut Vec<u8>, done: &Done) {
    match done {
        Done::Length(length) => file.resize(*length as usize, 0),
        Done::Bytes(offset, bytes) => file[*offset as usize..][..bytes.len()].copy_from_slice(bytes),
        Done::Synced | Done::Committed(_) => {}
    }
}

/// What the file of a machine that lost its power holds: all up to the last sync, and of the rest only the newest.
fn without_power(log: &[Done], file: &[u8]) -> Vec<u8> {
    let synced = log.iter().rposition(|done| matches!(done, Done::Synced)).map_or(0, |place| place + 1);
    let mut left = file.to_vec();
    log[..synced].iter().for_each(|done| apply(&mut left, done));
    let unsynced = &log[synced..];
    // The length is the directory's, not the data's: it may be there before the bytes.
    unsynced.iter().filter(|done| matches!(done, Done::Length(_))).for_each(|done| apply(&mut left, done));
    if let Some(newest) = unsynced.iter().rfind(|done| matches!(done, Done::Bytes(..))) {
        apply(&mut left, newest);
    }
    left
}

/// The number of the last commit in a file, by all of its keys.
fn number_in(file: &[u8], after: &str) -> u64 {
    let dir = state();
    private_file::ensure_private_dir(dir.path()).expect("a private folder");
    private_file::create_private(&dir.path().join(FILE), file).expect("a file");
    let store = Store::open(dir.path()).unwrap_or_else(|error| panic!("{after}: {error:?}"));
    let number = |key: &str| value(&store, key).map(|value| String::from_utf8(value).expect("text"));
    let (one, other) = (number("edge/a"), number("meta/applied"));
    let text = one.clone().expect("the first commit was there before");
    assert_eq!(one, other, "{after}: two keys of one commit");
    let last = text.split(' ').next().and_then(|number| number.parse().ok()).expect("begins with its number");
    assert_eq!(value(&store, &format!("ledger/{last}")).is_some(), last > 0, "{after}: the line of {last}");
    assert_eq!(value(&store, &format!("ledger/{}", last + 1)), None, "{after}: a line of what is not there");
    // What is there can be gone on from.
    store.commit(&Batch::new().put("edge/b", "1")).expect("writable");
    last
}

#[test]
fn a_commit_is_whole_or_not_there_wherever_the_server_or_its_machine_dies() {
    const COMMITS: u64 = 4;
    let dir = state();
    open(&dir).commit(&Batch::new().put("edge/a", "0").put("meta/applied", "0")).expect("committed");
    let path = dir.path().join(FILE);
    let begin = fs::read(&path).expect("readable");
    let file = private_file::open_private(&path, OpenOptions::new().read(true).write(true)).expect("opens");
    let log = Arc::new(Mutex::new(Vec::new()));
    let backend = Recorded { file: FileBackend::new(file).expect("a file"), log: log.clone() };
    let (database, _) = open_database(backend).expect("a database");
    let store =
        Store { database: RwLock::new(Some(database)), path, compacted: AtomicU64::new(0), exports: Arc::default() };
    for number in 1..=COMMITS {
        // Each larger than the one before, up to several pages, so that the file grows.
        let text = format!("{number} {}", "x".repeat(3000 * number as usize));
        let batch = Batch::new().put("edge/a", text.as_bytes()).put("meta/applied", text.as_bytes());
        store.commit(&batch.put(format!("ledger/{number}"), "a line")).expect("committed");
        log.lock().expect("no test panics with it").push(Done::Committed(number));
    }
    let log = log.lock().expect("no test panics with it").clone();
    let syncs = log.iter().filter(|done| matches!(done, Done::Synced)).count();
    assert!(syncs as u64 >= COMMITS, "each commit is on disk when it returns");
    let (mut killed, mut promised, mut newest) = (begin.clone(), 0, 0);
    for (place, done) in log.iter().enumerate() {
        apply(&mut killed, done);
        if let Done::Committed(number) = done {
            promised = *number;
        }
        let after = format!("after {} of {} steps", place + 1, log.len());
        let found = number_in(&killed, &after);
        assert!((promised..=promised + 1).contains(&found) && found >= newest, "{after}: {found} of {promised}");
        newest = found;
        let found = number_in(&without_power(&log[..=place], &begin), &after);
        assert!((promised..=promised + 1).contains(&found), "{after} without power: {found} of {promised}");
    }
    assert_eq!((promised, newest), (COMMITS, COMMITS));
}
