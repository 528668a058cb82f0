//! The work tree as the other modules see it: its files and what cargo says of it. I/O.
//!
//! Keeps: files that git ignores are not looked at; new ones are, before they are committed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// The crates of the workspace.
pub(crate) const MEMBERS: [&str; 5] =
    ["portunus", "portunus-edge", "portunus-guard", "portunus-reconciler", "portunus-schema"];

/// One file of the work tree.
pub(crate) struct WorkFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// The content, where it is text.
    pub(crate) text: Option<String>,
}

impl WorkFile {
    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// True for files that are built for tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests") || self.path.ends_with("/tests.rs")
    }

    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| panic!("{} is no text", self.path))
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that is committed or could be.
pub(crate) fn files() -> &'static [WorkFile] {
    static FILES: OnceLock<Vec<WorkFile>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut git = Command::new("git");
        // A clone that another user made is as good here.
        git.args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output = git.current_dir(root()).output().expect("git runs");
        assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
        let listed = String::from_utf8(output.stdout).expect("paths are text");
        let mut paths: Vec<&str> = listed.split_terminator('\0').collect();
        paths.sort_unstable();
        paths.dedup();
        // A file that is deleted and not yet committed is listed; a link is looked at where it leads.
        paths.into_iter().filter(|path| root().join(path).is_file()).map(read).collect()
    })
}

fn read(path: &str) -> WorkFile {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    WorkFile { path: path.to_owned(), text: String::from_utf8(bytes).ok() }
}

/// The file of that path.
pub(crate) fn file(path: &str) -> &'static WorkFile {
    files().iter().find(|file| file.path == path).unwrap_or_else(|| panic!("there is no {path}"))
}

/// What `cargo metadata` says, for the platform that the tests run on.
pub(crate) fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let version = cargo(&["-vV"]);
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
        // Packages of other platforms need not be downloaded.
        let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host];
        serde_json::from_str(&cargo(&args)).expect("cargo prints JSON")
    })
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

/// The packages of the dependency tree, the workspace's own included.
pub(crate) fn packages() -> &'static [Value] {
    metadata()["packages"].as_array().expect("packages")
}

/// Fails with every finding, not with the first.
#[track_caller]
pub(crate) fn assert_none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}
