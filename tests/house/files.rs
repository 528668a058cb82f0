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
        }),
    );
}

#[test]
fn nothing_is_left_to_be_written() {
    assert_none(
        "placeholders",
        &findings(|file| {
            let code = code(file.text());
            let macros = ["todo!", "unimplemented!", "dbg!"].into_iter().find(|name| code.contains(name));
            // One test is for those who have ten minutes; its short form is an ordinary one.
            let may_ignore = file.path == "tests/e2e/attack/mod.rs";
            let is_ignored = || (code.contains("#[ignore") && !may_ignore).then(|| "an ignored test".to_owned());
            macros.map(str::to_owned).or_else(is_ignored)
        }),
    );
}

#[test]
fn tests_wait_for_events() {
    assert_none(
        "tests that sleep",
        &findings(|file| {
            let code = code(file.text());
            // Helpers without a test of their own may poll what tells nobody, such as a port of another process.
            let is_with_tests = code.contains("#[test]") || code.contains("::test");
            let tests =
                if file.is_test() { Some(&*code) } else { code.split_once("#[cfg(test)]").map(|(_, tests)| tests) };
            let (line, _) = words(tests.filter(|_| is_with_tests)?).find(|(_, word)| *word == "sleep")?;
            (!code.contains("start_paused")).then(|| format!("sleeps, {line} lines into its tests"))
        }),
    );
}

/// Places that only the machine that built something has.
fn machine_paths() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let own = [".cargo", ".rustup"].map(|folder| format!("{home}/{folder}"));
    let set = ["CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"].map(|name| std::env::var(name).unwrap_or_default());
    let mut paths: Vec<String> = own.into_iter().chain(set).collect();
    paths.push(root().display().to_string());
    // A work tree at `/src` or `/app` says nothing about a machine, and its name is everywhere.
    paths.retain(|path| Path::new(path).is_absolute() && Path::new(path).components().count() > 2);
    paths.extend(["/home", "/Users", "/root"].map(|folder| format!("{folder}/")));
    paths
}

#[test]
fn no_file_names_a_registry_or_a_machine() {
    let registries = [concat!("crates", ".io"), concat!("static.rust-lang", ".org"), concat!("registry.npmjs", ".org")];
    let paths = machine_paths();
    let is_this_list = |file: &WorkFile| file.path == "tests/house/files.rs";
    let mut found = Vec::new();
    for file in files().iter().filter(|file| !is_this_list(file)) {
        let Some(text) = &file.text else { continue };
        // cargo itself writes where a crate comes from; tests/house/dependencies checks that.
        let registries: &[&str] = if file.path.ends_with("Cargo.lock") { &[] } else { &registries };
        for (number, line) in text.lines().enumerate() {
            let named =
                registries.iter().copied().chain(paths.iter().map(String::as_str)).find(|name| line.contains(name));
            found.extend(named.map(|name| format!("{}:{} names {name}", file.path, number + 1)));
        }
    }
    assert_none("names that only concern one machine", &found);
}
