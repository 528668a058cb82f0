//! What git calls clean, which repositories are refused, and what is shown of odd ones.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use tempfile::TempDir;

use super::super::*;
use super::{Repo, dirty, git, of, tried};

#[test]
fn somebody_elses_repository_is_an_error_that_names_the_way_out_and_safe_directory_counts() {
    if !rustix::process::geteuid().is_root() {
        #[expect(clippy::print_stderr, reason = "the one way to say why a test did not look")]
        {
            eprintln!("skipped: only root can give a repository away");
        }
        return;
    }
    let repo = Repo::committed(&[("rules/a.toml", "1")]);
    let rules = repo.path().join("rules");
    chown(repo.path().join(".git"), Some(65534), None).expect("given away");
    let strict = UserConfig::default();
    let refused = tried(&rules, &strict).expect_err("it belongs to another user");
    let words = refused.to_string();
    assert!(matches!(refused, GitError::Foreign { .. }) && words.contains("safe.directory"), "{words}");
    let top = repo.path().canonicalize().expect("exists");
    let lenient = UserConfig { safe_directories: vec![top.to_str().expect("text").into()], ..UserConfig::default() };
    let found = tried(&rules, &lenient).expect("the user trusts it");
    assert!(found.commit.is_some() && found.dirty.is_empty());
}

#[test]
fn an_entry_that_leads_to_no_repository_is_an_error_and_never_no_repository() {
    let outer = Repo::committed(&[("b.toml", "1")]);
    for content in ["gitdir: /nowhere\n", "garbage", ""] {
        outer.write("inner/a.toml", "1");
        outer.write("inner/.git", content);
        let refused = tried(&outer.path().join("inner"), &UserConfig::default()).expect_err("it leads nowhere");
        assert!(refused.to_string().contains("inner/.git"), "{content:?}: {refused}");
    }
    fs::remove_file(outer.path().join("inner/.git")).expect("removed");
    fs::create_dir(outer.path().join("inner/.git")).expect("a folder");
    tried(&outer.path().join("inner"), &UserConfig::default()).expect_err("an empty folder holds no repository");
    symlink("/nowhere", outer.path().join("inner/.git2")).expect("a link");
    fs::remove_dir(outer.path().join("inner/.git")).expect("removed");
    fs::rename(outer.path().join("inner/.git2"), outer.path().join("inner/.git")).expect("renamed");
    tried(&outer.path().join("inner"), &UserConfig::default()).expect_err("a link that leads nowhere");
}

#[test]
fn a_submodule_below_the_tree_is_refused_whether_it_is_there_or_not() {
    let inner = Repo::committed(&[("a.toml", "1")]);
    let outer = Repo::committed(&[("rules/b.toml", "1")]);
    let url = inner.path().to_str().expect("text");
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "rules/shared"]);
    outer.commit();
    let rules = outer.path().join("rules");
    assert_eq!(of(&rules).submodules, ["shared"]);
    outer.git(&["submodule", "--quiet", "deinit", "-f", "--all"]);
    assert_eq!(of(&rules).submodules, ["shared"], "an empty folder");
    fs::remove_dir(rules.join("shared")).expect("removed");
    assert_eq!(of(&rules).submodules, ["shared"], "no folder");
    outer.write("rules/portunus.toml", "[tree]\nignore = [\"shared/**\"]\n");
    assert!(of(&rules).submodules.is_empty(), "what the tree ignores is not its concern");
}

#[test]
fn line_endings_and_ident_are_clean_where_git_says_so() {
    let configured = |key: &str, value: &str, files: &[(&str, &str)]| {
        let repo = Repo::committed(files);
        repo.git(&["config", key, value]);
        repo
    };
    let repo = configured("core.autocrlf", "true", &[("a.toml", "x = 1\n"), ("b.toml", "y = 1\n")]);
    fs::remove_file(repo.path().join("a.toml")).expect("removed");
    repo.git(&["checkout", "-q", "a.toml"]);
    assert_eq!(fs::read_to_string(repo.path().join("a.toml")).expect("a file"), "x = 1\r\n");
    assert_eq!(dirty(repo.path()), Vec::<String>::new());
    repo.write("b.toml", "y = 2\r\n");
    assert_eq!(dirty(repo.path()), ["b.toml"]);

    let repo = Repo::committed(&[("a.toml", "x = 1\n")]);
    repo.write("a.toml", "x = 1\r\n");
    assert_eq!(dirty(repo.path()), ["a.toml"], "without a setting, git would store it as it is");
    let user = UserConfig { auto_crlf: Some("input".into()), ..UserConfig::default() };
    assert!(tried(repo.path(), &user).expect("readable").dirty.is_empty(), "the user's configuration counts");

    for attributes in ["*.toml text\n", "*.toml eol=crlf\n", "*.toml text=auto\n", "* text=auto eol=lf\n"] {
        let repo = Repo::committed(&[(".gitattributes", attributes), ("a.toml", "x = 1\n")]);
        repo.write("a.toml", "x = 1\r\n");
        assert_eq!(dirty(repo.path()), Vec::<String>::new(), "{attributes}");
    }
    let repo = Repo::committed(&[(".gitattributes", "*.toml ident\n"), ("a.toml", "# $Id$\n")]);
    fs::remove_file(repo.path().join("a.toml")).expect("removed");
    repo.git(&["checkout", "-q", "a.toml"]);
    let text = fs::read_to_string(repo.path().join("a.toml")).expect("a file");
    assert!(text.starts_with("# $Id: "), "git expands it: {text}");
    assert_eq!(dirty(repo.path()), Vec::<String>::new());
}

#[test]
fn a_file_behind_a_filter_is_named_as_one() {
    let repo =
        Repo::committed(&[("a.toml", "x = 1\n"), ("b.toml", "y = 1\n"), (".gitattributes", "a.toml filter=x\n")]);
    repo.write("a.toml", "x = 2\n");
    repo.write("b.toml", "y = 2\n");
    let found = of(repo.path());
    assert_eq!(
        (found.dirty, found.filtered),
        (vec!["a.toml".to_owned(), "b.toml".to_owned()], vec!["a.toml".to_owned()])
    );
}

#[test]
fn a_repository_with_sha_256_is_read_and_one_with_reftable_says_what_to_do() {
    let dir = TempDir::new().expect("a folder");
    git(dir.path(), &["init", "-q", "-b", "main", "--object-format=sha256"]);
    let repo = Repo { dir };
    repo.write("a.toml", "1");
    let commit = repo.commit();
    assert_eq!((commit.len(), of(repo.path()).commit), (64, Some(commit.clone())));
    repo.write("a.toml", "2");
    assert_eq!(dirty(repo.path()), ["a.toml"]);
    let next = repo.commit();
    assert!(is_descendant(repo.path(), &commit, &next).expect("readable"));

    // A fleet moves from one kind of repository to the other: neither knows a commit of the other.
    let old = Repo::committed(&[("a.toml", "1")]);
    let before = old.git(&["rev-parse", "HEAD"]);
    for (repo, own, foreign) in [(&repo, &next, &before), (&old, &before, &next)] {
        let answer = |ancestor: &str, commit: &str| ancestry(repo.path(), ancestor, commit).expect("readable");
        assert_eq!(answer(foreign, own).map(|known| known.descends), Some(false));
        assert_eq!(answer(own, foreign), None);
        assert!(!is_descendant(repo.path(), own, foreign).expect("readable"));
    }

    let dir = TempDir::new().expect("a folder");
    git(dir.path(), &["init", "-q", "-b", "main", "--ref-format=reftable"]);
    let repo = Repo { dir };
    repo.write("a.toml", "1");
    repo.commit();
    let refused = tried(repo.path(), &UserConfig::default()).expect_err("reftable");
    assert!(refused.to_string().contains("git refs migrate"), "{refused}");
}

#[test]
fn a_broken_author_line_is_shown_as_far_as_it_goes() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    for (line, shown) in [
        ("Ann <ann@example.org> yesterday", "Ann <ann@example.org>"),
        ("Ann <ann@example.org", "Ann <ann@example.org"),
        ("Ann without a mail", "Ann without a mail"),
    ] {
        let text = format!("tree {tree}\nauthor {line}\ncommitter C <c@example.org> 1767340800 +0000\n\nx\n");
        fs::write(repo.path().join("object"), text).expect("a file");
        let commit = repo.git(&["hash-object", "-t", "commit", "-w", "--literally", "object"]);
        fs::remove_file(repo.path().join("object")).expect("removed");
        repo.git(&["update-ref", "refs/heads/main", &commit]);
        let found = of(repo.path());
        assert_eq!((found.commit, found.author.as_deref()), (Some(commit), Some(shown)));
        assert_eq!(found.subject.as_deref(), Some("x"));
    }
}

#[test]
fn a_shallow_clone_says_how_much_it_has() {
    let repo = Repo::committed(&[("a.toml", "1")]);
    for text in ["2", "3", "4"] {
        repo.write("a.toml", text);
        repo.commit();
    }
    assert_eq!(of(repo.path()).shallow, None);
    let dir = TempDir::new().expect("a folder");
    let url = format!("file://{}", repo.path().display());
    git(dir.path(), &["clone", "-q", "--depth", "2", &url, "clone"]);
    assert_eq!(of(&dir.path().join("clone")).shallow, Some(2));
}
