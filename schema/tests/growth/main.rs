//! Checking a tree takes work in proportion to its size: every list of the language is doubled, and what is allocated for
//! it is counted. Work that allocates nothing shows in `cargo bench --bench growth`, which measures time.

mod shapes;

use std::fmt::Write as _;

use allocation_counter::measure;
use schema::check::{CheckLimits, check_tree};
use schema::codes::TreeCode;
use schema::diagnostic::{SourceFile, all_to_json};
use schema::findings::MAX_FINDINGS;
use schema::ruleset::TreeFiles;

use shapes::{BROKEN, Shape, VALID, file, rule_of};

/// The smallest list.
const FROM: usize = 1000;
/// The largest: twice doubled, which a debug build does within seconds.
const TO: usize = 4000;
/// The steepest growth. What is linear counts 1.0, for twice the entries are twice the work; what is quadratic 2.0.
const STEEP: f64 = 1.2;

/// Allocations and the bytes that were asked for.
fn work_of(files: Vec<SourceFile>) -> (u64, u64) {
    let tree = TreeFiles { files, problems: Vec::new() };
    let counted = measure(|| {
        let checked = check_tree(&tree, &CheckLimits::default());
        assert!(all_to_json(&checked.diagnostics).len() <= MAX_FINDINGS + 1);
    });
    (counted.count_total, counted.bytes_total)
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for with --nocapture")]
fn grows_with_its_size(shapes: &[Shape]) {
    let exponent = |small: u64, large: u64| (large as f64 / small as f64).ln() / ((TO / FROM) as f64).ln();
    let mut report = String::new();
    let mut steep = Vec::new();
    for (name, shape) in shapes {
        let (small, large) = (work_of(shape(FROM)), work_of(shape(TO)));
        let (allocations, bytes) = (exponent(small.0, large.0), exponent(small.1, large.1));
        writeln!(report, "{name:<36} {allocations:.2} {bytes:.2}").expect("a string grows as needed");
        steep.extend((allocations.max(bytes) > STEEP).then(|| format!("{name}: {allocations:.2}, {bytes:.2}")));
    }
    println!("exponents of allocations and bytes from {FROM} to {TO} entries\n{report}");
    assert!(steep.is_empty(), "steeper than {STEEP}: {steep:?}\n{report}");
}

#[test]
fn every_list_of_a_valid_tree_may_double() {
    grows_with_its_size(VALID);
}

#[test]
fn every_mistake_may_double() {
    grows_with_its_size(BROKEN);
}

#[test]
fn junk_is_counted_and_not_kept_and_gives_the_same_findings_each_time() {
    for (path, text) in [
        ("a.toml", "= = =\n".repeat(200_000)),
        ("a.toml", "k = 1\n".repeat(100_000)),
        ("a.yaml", "rule:\n".to_owned() + &"- x: 1\n".repeat(50_000)),
        ("a.json", format!("{{\"rule\": [{}{{\"x\": 1}}]}}", "{\"x\": 1}, ".repeat(50_000))),
    ] {
        let tree = TreeFiles { files: file(path, text), problems: Vec::new() };
        let checked = check_tree(&tree, &CheckLimits::default());
        assert!(checked.ruleset.is_none());
        assert_eq!(checked.diagnostics.len(), MAX_FINDINGS + 1, "{path}");
        let last = checked.diagnostics.last().expect("not empty");
        assert!(last.more > 40_000 && last.message.starts_with(&format!("and {} more", last.more)), "{}", last.message);
        assert!(checked.diagnostics.iter().any(|one| one.code != TreeCode::MissingKey));
        let again = check_tree(&tree, &CheckLimits::default());
        assert_eq!(all_to_json(&checked.diagnostics), all_to_json(&again.diagnostics));
    }
}

#[test]
fn a_check_that_is_cancelled_ends_without_a_result() {
    let tree = TreeFiles { files: file("a.toml", rule_of(1)), problems: Vec::new() };
    let cancel = schema::findings::Cancel::default();
    let limits = CheckLimits::default();
    assert!(schema::check::check_tree_until(&tree, &limits, None, &cancel).is_some());
    cancel.cancel();
    assert!(schema::check::check_tree_until(&tree, &limits, None, &cancel).is_none());
}
