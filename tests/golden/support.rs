//! Running the binary with nothing of the developer's environment, and comparing with files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use snapbox::Data;
use snapbox::assert::{Action, Assert};
use tempfile::TempDir;

/// The folder of this file.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What a run printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the process was not killed"),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// Both streams and the exit code as one text.
    pub(crate) fn session(&self) -> String {
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            text.push_str("--- standard error\n");
            text.push_str(&self.stderr);
        }
        text + &format!("--- exit {}\n", self.code)
    }
}

/// The binary in a folder, without any variable that it reads; its home is that folder.
pub(crate) fn portunus(cwd: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
    command.args(args).current_dir(cwd).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTUNUS_")) {
        command.env_remove(name);
    }
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "XDG_STATE_HOME", "PORTUNUS_STATE_DIR"] {
        command.env_remove(name);
    }
    command.env("HOME", cwd);
    command
}

/// Runs it to its end.
pub(crate) fn run(cwd: &Path, args: &[&str]) -> Ran {
    Ran::of(portunus(cwd, args).output().expect("the binary starts"))
}

/// Runs it with something on its standard input.
pub(crate) fn run_with_input(cwd: &Path, args: &[&str], input: &str) -> Ran {
    let mut command = portunus(cwd, args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // One that ends before it has read all of it says why in what it prints.
    _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    Ran::of(child.wait_with_output().expect("it ends"))
}

/// Compares with a file below the folder, or writes it.
pub(crate) fn assert_golden(actual: &str, path: &Path) {
    let is_update = std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| !value.is_empty() && value != "0");
    let action = if is_update { Action::Overwrite } else { Action::Verify };
    // As they are: `...` is what a folded snippet prints, not a wildcard.
    let expected = Data::read_from(&folder().join(path), Some(snapbox::data::DataFormat::Text)).raw();
    Assert::new().action(action).eq(Data::text(actual).raw(), expected);
}

/// The folders below a folder, by name.
pub(crate) fn cases(of: &str) -> Vec<String> {
    let entries = fs::read_dir(folder().join(of)).expect("the folder of the cases");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

/// A copy of a folder that no repository holds.
pub(crate) fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().expect("a folder");
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("a new folder");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A folder with these files.
pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    dir
}

/// A rule file of many rules, from port 10000 up.
pub(crate) fn many_rules(count: u16) -> String {
    let rule = |index: u16| {
        let port = 10_000 + index;
        format!("[[rule]]\nname = \"rule-{index}\"\nlisten_port = {port}\ntarget = \"127.0.0.1:1\"\n")
    };
    (0..count).map(rule).collect::<Vec<_>>().join("\n")
}
