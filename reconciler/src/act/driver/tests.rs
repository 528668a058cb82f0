//! The order of what the driver writes, and what is left of it where the server dies.

mod cuts;

use super::*;
use crate::decide::record::Record;

/// Two steps that both end up at the front of the backlog and write the same key.
#[tokio::test]
async fn records_of_two_steps_under_one_key_are_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::open(&dir.path().join("state")).expect("a store"));
    let timings = Timings::new().expect("metrics");
    let (mut driver, _handle) = Driver::new(Fleet::default(), Arc::clone(&store), timings);
    let record =
        |value: &str| Effect::Persist(Record { key: "edge/a".to_owned(), value: value.into(), files: Arc::default() });
    driver.backlog.extend(vec![record("1")]);
    driver.backlog.extend(vec![record("2")]);
    driver.catch_up().await;
    assert_eq!(driver.disk_error, None);
    assert!(driver.backlog.is_empty());
    assert_eq!(store.get("edge/a").expect("readable").expect("there").value, b"2");
}

/// Written one after the other, as a server that runs for long applies them.
#[tokio::test]
async fn each_apply_forgets_what_is_too_old_and_the_ledger_keeps_all() {
    use crate::decide::kept;
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::open(&dir.path().join("state")).expect("a store"));
    let timings = Timings::new().expect("metrics");
    let (mut driver, _handle) = Driver::new(Fleet::default(), Arc::clone(&store), timings);
    let more = 20;
    for number in 0..kept::REVISIONS + more {
        let records = ["revision", "plan", "ledger", "used-plan"].map(|kind| {
            let key = format!("{kind}/{number:05}");
            Effect::Persist(Record { key, value: vec![b'x'; 50_000], files: Arc::default() })
        });
        driver.backlog.extend(records.into());
        driver.catch_up().await;
    }
    assert_eq!(driver.disk_error, None);
    let count = |prefix: &str| store.keys(prefix).expect("readable").len();
    assert_eq!(count("revision/"), kept::REVISIONS);
    assert_eq!(count("plan/"), kept::REVISIONS + more);
    assert_eq!(count("ledger/"), kept::REVISIONS + more);
    assert_eq!(store.keys("revision/").expect("readable").first().expect("some"), &format!("revision/{more:05}"));
}
