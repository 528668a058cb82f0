//! Repositories made by the `git` command, so that what counts is what git does.

mod clean;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;

use super::super::directory::read_stable;
use super::*;

struct Repo {
    dir: TempDir,
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
        .envs([("GIT_AUTHOR_NAME", "Ann Author"), ("GIT_AUTHOR_EMAIL", "ann@example.org")])
        .envs([("GIT_COMMITTER_NAME", "Carl"), ("GIT_COMMITTER_EMAIL", "carl@example.org")])
        .envs([("GIT_AUTHOR_DATE", "2026-01-01T10:00:00+0200"), ("GIT_COMMITTER_DATE", "2026-01-02T10:00:00+0200")])
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

impl Repo {
    fn new(files: &[(&str, &str)]) -> Self {
        let repo = Self { dir: TempDir::new().expect("a folder") };
        repo.git(&["init", "-q", "-b", "main"]);
        for (label, text) in files {
            repo.write(label, text);
        }
        repo
    }

    fn committed(files: &[(&str, &str)]) -> Self {
        let repo = Self::new(files);
        repo.commit();
        repo
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, args: &[&str]) -> String {
        git(self.path(), args)
    }

    fn write(&self, label: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(label);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, content).expect("a file");
    }

    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn link(&self, target: &str, label: &str) {
        symlink(target, self.path().join(label)).expect("link");
    }
}

fn of(dir: &Path) -> Provenance {
    tried(dir, &UserConfig::default()).expect("readable")
}

/// For a user with a configuration of their own.
fn tried(dir: &Path, user: &UserConfig) -> Result<Provenance, GitError> {
    provenance_for(dir, &read_stable(dir).expect("a tree"), user)
}

fn dirty(dir: &Path) -> Vec<String> {
    of(dir).dirty
}

#[test]
fn a_clean_tree_has_commit_branch_author_and_time() {
    let repo = Repo::new(&[("rules/a.toml", "a"), ("portunus.toml", "")]);
    let commit = repo.commit();
    let expected = Provenance {
        in_git: true,
        commit: Some(commit),
        reference: Some("main".into()),
        author: Some("Ann Author <ann@example.org>".into()),
        subject: Some("x".into()),
        committed_at: Some("2026-01-02T08:00:00Z".into()),
        ..Provenance::default()
    };
    assert_eq!(of(repo.path()), expected);
    assert_eq!(expected.vcs(), "git");
    let below = Provenance { folder: Some("rules".into()), ..expected };
    assert_eq!(of(&repo.path().join("rules")), below);
}

#[test]
fn changed_untracked_staged_and_gone_files_are_dirty() {
    let repo = Repo::committed(&[
        ("same.toml", "1"),
        ("changed.toml", "1"),
        ("gone.toml", "1"),
        ("sub/gone.yaml", "1"),
        ("portunus.toml", ""),
        ("notes.md", "1"),
        (".hidden.toml", "1"),
    ]);
    repo.write("changed.toml", "2");
    repo.write("staged.toml", "1");
    repo.git(&["add", "staged.toml"]);
    repo.write("new.toml", "1");
    repo.write("portunus.toml", "# x\n");
    repo.write("notes.md", "2");
    repo.write(".hidden.toml", "2");
    repo.write("other.md", "1");
    fs::remove_file(repo.path().join("gone.toml")).expect("removed");
    fs::remove_dir_all(repo.path().join("sub")).expect("removed");
    let expected = ["changed.toml", "gone.toml", "new.toml", "portunus.toml", "staged.toml", "sub/gone.yaml"];
    assert_eq!(dirty(repo.path()), expected);
}

#[test]
fn only_files_below_the_tree_count() {
    let repo = Repo::committed(&[("rules/a.toml", "1"), ("other/b.toml", "1"), ("rules/docs/c.toml", "1")]);
    repo.write("other/b.toml", "2");
    repo.write("rules/portunus.toml", "[tree]\nignore = [\"docs/**\"]\n");
    repo.commit();
    repo.write("other/b.toml", "3");
    repo.write("rules/docs/c.toml", "2");
    assert_eq!(dirty(&repo.path().join("rules")), Vec::<String>::new());
}

#[test]
fn an_ignored_file_of_git_is_still_untracked_to_us() {
    let repo = Repo::committed(&[(".gitignore", "local.toml\n")]);
    repo.write("local.toml", "1");
    assert_eq!(dirty(repo.path()), ["local.toml"]);
}

#[test]
fn a_file_that_git_is_told_to_assume_unchanged_is_compared_all_the_same() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    repo.git(&["update-index", "--assume-unchanged", "a.toml"]);
    repo.write("a.toml", "2");
    assert_eq!(dirty(repo.path()), ["a.toml"]);
}

#[test]
fn a_byte_order_mark_and_an_executable_bit_make_nothing_dirty() {
    let repo = Repo::committed(&[("bom.toml", "\u{feff}a = 1\n"), ("x.toml", "1")]);
    fs::set_permissions(repo.path().join("x.toml"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    assert_eq!(dirty(repo.path()), Vec::<String>::new());
    repo.write("bom.toml", "a = 1\n");
    assert_eq!(dirty(repo.path()), ["bom.toml"]);
}

#[test]
fn links_are_compared_with_the_commit_and_their_targets_too() {
    let repo = Repo::new(&[("v1/a.toml", "1"), ("v2/a.toml", "1"), ("shared/b.toml", "1")]);
    repo.link("v1", "current");
    repo.link("shared/b.toml", "b.toml");
    repo.commit();
    assert_eq!(dirty(repo.path()), Vec::<String>::new());

    repo.write("shared/b.toml", "2");
    assert_eq!(dirty(repo.path()), ["b.toml", "shared/b.toml"]);
    repo.write("shared/b.toml", "1");

    fs::remove_file(repo.path().join("current")).expect("removed");
    repo.link("v2", "current");
    assert_eq!(dirty(repo.path()), ["current", "current/a.toml"]);
    fs::remove_file(repo.path().join("current")).expect("removed");
    assert_eq!(dirty(repo.path()), ["current"]);
    repo.link("v1", "current");

    repo.link("v1/a.toml", "untracked.toml");
    assert_eq!(dirty(repo.path()), ["untracked.toml"]);
}

#[test]
fn a_repository_without_commits_is_all_dirty() {
    let repo = Repo::new(&[("a.toml", "1")]);
    let found = of(repo.path());
    assert!(found.in_git && found.commit.is_none() && found.author.is_none());
    assert_eq!((found.reference.as_deref(), found.dirty), (Some("main"), vec!["a.toml".to_owned()]));
}

#[test]
fn a_detached_head_has_no_reference() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    repo.git(&["checkout", "-q", "--detach"]);
    let found = of(repo.path());
    assert!(found.reference.is_none() && found.commit.is_some());
}

#[test]
fn outside_of_a_repository_there_is_no_vcs() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("a.toml"), "").expect("a file");
    assert_eq!(of(dir.path()), Provenance::default());
    assert_eq!(of(dir.path()).vcs(), "none");
    assert!(git_paths(dir.path()).is_none());
}

#[test]
fn a_linked_worktree_has_its_own_head() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    let other = TempDir::new().expect("a folder");
    let path = other.path().join("tree");
    repo.git(&["worktree", "add", "-q", "-b", "feature/x", path.to_str().expect("text")]);
    let found = of(&path);
    assert_eq!((found.reference.as_deref(), &found.dirty), (Some("feature/x"), &Vec::new()));
    let paths = git_paths(&path).expect("a repository");
    let top = repo.path().canonicalize().expect("exists");
    let expected = [".git/worktrees/tree/HEAD", ".git/packed-refs", ".git/refs/heads/feature/x"];
    assert_eq!(paths, expected.map(|path| top.join(path)));
}

#[test]
fn a_submodule_is_its_own_repository() {
    let inner = Repo::committed(&[("a.toml", "1")]);
    let outer = Repo::committed(&[("b.toml", "1")]);
    let url = inner.path().to_str().expect("text");
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "rules"]);
    outer.commit();
    let commit = inner.git(&["rev-parse", "HEAD"]);
    let found = of(&outer.path().join("rules"));
    assert_eq!((found.commit, found.dirty), (Some(commit), Vec::new()));
    assert!(git_paths(&outer.path().join("rules")).is_some());
}

#[test]
fn packed_objects_and_references_are_read() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    let first = repo.git(&["rev-parse", "HEAD"]);
    repo.write("a.toml", "2");
    let second = repo.commit();
    repo.git(&["gc", "-q"]);
    repo.git(&["pack-refs", "--all"]);
    assert_eq!(of(repo.path()).commit, Some(second.clone()));
    assert!(is_descendant(repo.path(), &first, &second).expect("readable"));
}

#[test]
fn descent_is_decided_along_merges_and_not_across_branches() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    let base = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.write("side.toml", "1");
    let side = repo.commit();
    repo.git(&["checkout", "-q", "main"]);
    repo.write("main.toml", "1");
    let main = repo.commit();
    repo.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    let merge = repo.git(&["rev-parse", "HEAD"]);
    let descends = |ancestor: &str, commit: &str| is_descendant(repo.path(), ancestor, commit).expect("readable");
    assert!(descends(&base, &side) && descends(&side, &merge) && descends(&main, &merge) && descends(&base, &base));
    assert!(!descends(&side, &main) && !descends(&merge, &base));
    assert!(!descends(&"0".repeat(40), &main), "an ancestor that is not there");
    assert!(matches!(is_descendant(repo.path(), "main", &main), Err(GitError::Hash { .. })));
    assert!(is_descendant(repo.path(), &base, &"1".repeat(40)).is_err(), "a commit that is not there");
}

#[test]
fn nothing_that_the_repository_configures_is_run() {
    let repo = Repo::new(&[("a.toml", "1"), (".gitattributes", "*.toml filter=evil diff=evil\n")]);
    repo.commit();
    let mark = repo.path().join("mark");
    let evil = format!("touch {}; cat", mark.display());
    for key in ["filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv", "core.pager"] {
        repo.git(&["config", key, &evil]);
    }
    repo.git(&["config", "core.fsmonitor", &evil]);
    repo.git(&["config", "core.hooksPath", "."]);
    repo.write("a.toml", "2");
    assert_eq!(dirty(repo.path()), ["a.toml"]);
    assert!(!mark.exists());
}

#[test]
fn a_damaged_repository_is_an_error_and_no_panic() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    let files = read_stable(repo.path()).expect("a tree");
    let commit = repo.git(&["rev-parse", "HEAD"]);
    let object = repo.path().join(".git/objects").join(&commit[..2]).join(&commit[2..]);
    fs::remove_file(&object).expect("removed");
    fs::write(&object, "garbage").expect("written");
    assert!(matches!(provenance(repo.path(), &files), Err(GitError::Read { .. })));
    fs::write(repo.path().join(".git/config"), "[core\n").expect("written");
    assert!(matches!(provenance(repo.path(), &files), Err(GitError::Open { .. } | GitError::Read { .. })));
}
