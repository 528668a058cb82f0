//! What every file keeps: a header, a bounded size, no placeholders, no sleeping tests, no trace of a machine. I/O.

use std::path::Path;

use crate::source::{code, words};
use crate::workspace::{WorkFile, assert_none, files, root};

/// Lines from which on a header says why the file is so long.
const LONG: usize = 400;
const TOO_LONG: usize = 600;

fn rust_files() -> impl Iterator<Item = &'static WorkFile> {
    files().iter().filter(|file| file.is_rust())
}

fn findings(check: impl Fn(&WorkFile) -> Option<String>) -> Vec<String> {
    rust_files().filter_map(|file| check(file).map(|finding| format!("{}: {finding}", file.path))).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_none(
        "files without a header",
        &findings(|file| {
            let is_headed = file.text().lines().next().is_some_and(|line| line.starts_with("//! "));
            (!is_headed).then(|| "does not begin with `//! `".to_owned())
        }),
    );
}

#[test]
fn no_file_is_too_long() {
    assert_none(
        "files that are too long",
        &findings(|file| {
            let lines = file.text().lines().count();
            let header: Vec<&str> = file.text().lines().take_while(|line| line.starts_with("//!")).collect();
            let has_reason = header.join(" ").to_lowercase().contains("long because");
            if lines > TOO_LONG {
            return Some(format!("{lines} lines, at most {TOO_LONG} are possible"));
        }
        (lines > LONG && !has_reason)
            .then(|| format!("{lines} lines, and its header does not say `long because …`"))
    }
    assert_none("names that only concern one machine", &found);
}
