//! A commit is read as its checkout is: both readings are compared, file by file and finding by finding.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::super::directory::read_stable;
use super::*;

struct Repo(TempDir);

impl Repo {
    fn new() -> Self {
        let repo = Self(TempDir::new().expect("a folder"));
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ann Author", "-c", "user.email=ann@example.org"])
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn write(&self, label: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(label);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, content).expect("a file");
        self
    }

    fn link(&self, target: &str, label: &str) -> &Self {
        symlink(target, self.0.path().join(label)).expect("a link");
        self
    }

    fn commit(&self) -> ObjectId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"]).parse().expect("a hash")
    }

    fn read(&self, folder: &str) -> (Provenance, TreeFiles) {
        let id = self.commit();
        let repository = gix::open_opts(self.0.path(), gix::open::Options::isolated()).expect("a repository");
        read_commit(&repository, id, folder).expect("readable")
    }

    /// What the commit holds, which is what its checkout holds.
    #[track_caller]
    fn labels(&self, folder: &str) -> (Vec<String>, Vec<String>) {
        let (_, tree) = self.read(folder);
        let checkout = read_stable(&self.0.path().join(folder)).expect("a tree");
        assert_eq!(tree.files, checkout.files);
        let places = |tree: &TreeFiles| tree.diagnostics.iter().map(|one| (one.code, one.path.clone())).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = (places(&tree), places(&checkout));
        assert_eq!(ours, theirs);
        let labels = tree.files.iter().map(|file| file.source.path.to_string()).collect();
        (labels, tree.diagnostics.iter().map(|one| format!("{}: {}", one.path, one.message)).collect())
    }
}

#[test]
fn the_same_files_belong_to_a_commit_as_to_its_checkout() {
    let repo = Repo::new();
    repo.write("b.toml", "\u{feff}b = 1\n").write("a/z.yaml", "z: 1\n").write("a-b.toml", "").write("a.json", "{}");
    repo.write(".hidden.toml", "").write(".d/x.toml", "").write("b.toml~", "").write("docs/x.toml", "bad");
    repo.write("README.md", "# no rule").write("portunus.toml", "[tree]\nignore = [\"docs/**\"]\n");
    let (labels, problems) = repo.labels("");
    assert_eq!(labels, ["a-b.toml", "a.json", "a/z.yaml", "b.toml", "portunus.toml"]);
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_folder_of_the_repository_is_a_tree_with_settings_of_its_own() {
    let repo = Repo::new();
    repo.write("x.toml", "x = 1\n").write("portunus.toml", "[tree]\nignore = [\"*.toml\"]\n");
    repo.write("fleet/prod/a.toml", "").write("fleet/prod/sub/b.toml", "");
    assert_eq!(repo.labels("fleet/prod").0, ["a.toml", "sub/b.toml"]);
    let (provenance, tree) = repo.write("more.txt", "").read("fleet/test");
    assert_eq!((provenance.in_git, tree.files.len()), (true, 0));
    assert_eq!(&*tree.diagnostics[0].message, "the commit has no folder `fleet/test`");
    assert_eq!(provenance.author.as_deref(), Some("Ann Author <ann@example.org>"));
}

#[test]
fn the_folder_may_be_named_through_a_committed_link() {
    let repo = Repo::new();
    repo.write("v1/rules/a.toml", "a = 1\n").link("v1", "current").link("v1/rules", "live").link("/etc", "out");
    assert_eq!(repo.labels("current/rules").0, ["a.toml"]);
    assert_eq!(repo.write("more.txt", "").labels("live").0, ["a.toml"]);
    let (_, tree) = repo.write("again.txt", "").read("out");
    assert_eq!(&*tree.diagnostics[0].message, "the commit has no folder `out`");
}

#[test]
fn links_are_followed_inside_the_tree_and_nowhere_else() {
    let repo = Repo::new();
    repo.write("out.toml", "out = 1\n").write("t/real/a.toml", "a = 1\n").write("t/real/deep/b.toml", "b = 1\n");
    repo.link("real/a.toml", "t/file.toml").link("real", "t/folder").link("./real/../real/deep/", "t/round");
    repo.link("file.toml", "t/chain.toml").link("folder/deep/b.toml", "t/through.toml");
    repo.link("../out.toml", "t/out.toml").link("/etc", "t/etc").link("missing.toml", "t/gone.toml");
    repo.link("loop.toml", "t/loop.toml").link("..", "t/real/up").link("real/a.toml", "t/not-taken");
    let (labels, problems) = repo.labels("t");
    let expected = [
        "chain.toml",
        "file.toml",
        "folder/a.toml",
        "folder/deep/b.toml",
        "real/a.toml",
        "real/deep/b.toml",
        "round/b.toml",
        "through.toml",
    ];
    assert_eq!(labels, expected);
    let says = |text: &str| problems.iter().any(|problem| problem.starts_with(text));
    assert!(says("out.toml: the symbolic link leads out") && says("etc: the symbolic link leads out"), "{problems:?}");
    assert!(says("gone.toml: the target of the symbolic link") && says("loop.toml: the symbolic link forms a loop"));
    assert!(says("real/up: the symbolic link forms a loop"), "{problems:?}");
}

#[test]
fn files_that_cannot_be_taken_are_findings() {
    let repo = Repo::new();
    repo.write("a.toml", [0xff, 0xfe, 0x00]).write("b.toml", vec![b'#'; (8 << 20) + 1]).write("c.toml", "");
    let name = OsStr::from_bytes(b"d\xff.toml");
    fs::write(repo.0.path().join(Path::new(name)), "").expect("a file");
    let (labels, problems) = repo.labels("");
    assert_eq!((labels, problems.len()), (vec!["c.toml".to_owned()], 3));
}

#[test]
fn a_submodule_is_a_finding_and_not_an_empty_folder() {
    let repo = Repo::new();
    repo.write("a.toml", "");
    let id = repo.commit().to_string();
    repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},shared")]);
    repo.git(&["commit", "-q", "-m", "x"]);
    let head: ObjectId = repo.git(&["rev-parse", "HEAD"]).parse().expect("a hash");
    let repository = gix::open_opts(repo.0.path(), gix::open::Options::isolated()).expect("a repository");
    let (_, tree) = read_commit(&repository, head, "").expect("readable");
    assert_eq!((&*tree.diagnostics[0].path, tree.files.len()), ("shared", 1));
}

#[test]
fn a_commit_has_the_lists_that_its_rules_name() {
    let repo = Repo::new();
    let rule = |list: &str| format!("[[rule]]\nname = \"a\"\naccess = {{ allow_file = \"{list}\" }}\n");
    repo.write("a.toml", rule("lists/office.txt")).write("lists/office.txt", "10.0.0.0/8\n").write("other.txt", "x");
    repo.write("b.toml", rule("linked.txt")).link("lists/office.txt", "linked.txt");
    repo.write("c.toml", rule("missing.txt")).write("d.toml", rule("out.txt")).link("/etc/hostname", "out.txt");
    repo.write("e.toml", rule("lists"));
    let (labels, problems) = repo.labels("");
    let rules = ["a.toml", "b.toml", "c.toml", "d.toml", "e.toml"];
    assert_eq!(labels, [&rules[..], &["linked.txt", "lists/office.txt"]].concat());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("lists: ") && problems[1].starts_with("out.txt: "), "{problems:?}");
}
