//! Real directories, with what people, editors and attackers leave in them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use schema::diagnostic::Position;
use tempfile::TempDir;

use super::*;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    for (label, text) in files {
        write(dir.path(), label, text);
    }
    dir
}

fn write(dir: &Path, label: &str, content: impl AsRef<[u8]>) {
    let path = dir.join(label);
    fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    fs::write(path, content).expect("a file");
}

fn labels(tree: &TreeFiles) -> Vec<&str> {
    tree.files.iter().map(|file| &*file.source.path).collect()
}

/// Path, code and message of every finding.
fn findings(tree: &TreeFiles) -> Vec<(&str, TreeCode, &str)> {
    tree.diagnostics.iter().map(|finding| (&*finding.path, finding.code, &*finding.message)).collect()
}

fn only_finding(tree: &TreeFiles) -> (&str, TreeCode, &str) {
    let all = findings(tree);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

#[test]
fn rule_files_are_read_recursively_in_path_order() {
    let dir = tree(&[
        ("b.toml", "b"),
        ("a/z.yaml", "z"),
        ("a.toml", "a"),
        ("a/b/c.yml", "c"),
        ("a-b/d.json", "d"),
        ("portunus.toml", "[tree]\nignore = [\"docs/**\"]\n"),
        ("docs/x.toml", ""),
        (".git/config.toml", ""),
        (".hidden.toml", ""),
        ("b.toml~", ""),
        ("#b.toml#", ""),
        ("4913", ""),
        ("README.md", ""),
    ]);
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(labels(&read), ["a-b/d.json", "a.toml", "a/b/c.yml", "a/z.yaml", "b.toml", "portunus.toml"]);
    assert_eq!(&*read.files[1].source.text, "a");
    assert!(read.diagnostics.is_empty() && !read.moved);
    assert_eq!(read.root, Some(dir.path().canonicalize().expect("exists")));
}

#[test]
fn links_out_dangling_and_looping_are_named_all_in_one_run() {
    let outside = tree(&[("secret.toml", "x"), ("notes.md", "x")]);
    let dir = tree(&[("a/ok.toml", "ok")]);
    let at = |name: &str| dir.path().join(name);
    symlink(outside.path().join("secret.toml"), at("out.toml")).expect("link");
    symlink(outside.path(), at("outdir")).expect("link");
    symlink(outside.path().join("notes.md"), at("notes.md")).expect("link");
    symlink("gone.toml", at("dangling.toml")).expect("link");
    symlink("self.toml", at("self.toml")).expect("link");
    symlink("..", at("a/up")).expect("link");
    symlink("a", at("again")).expect("link");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(labels(&read), ["a/ok.toml", "again/ok.toml"]);
    let found = findings(&read);
    assert!(found.iter().all(|(_, code, _)| *code == TreeCode::UnreadableFile));
    let expected = [
        ("a/up", "forms a loop"),
        ("again/up", "forms a loop"),
        ("dangling.toml", "does not exist"),
        ("out.toml", "out of the tree"),
        ("outdir", "out of the tree"),
        ("self.toml", "forms a loop"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((path, _, message), (link, reason)) in found.iter().zip(expected) {
        assert!(*path == link && message.contains(reason), "{path}: {message}");
    }
}

#[test]
fn folders_that_link_to_each_other_end_in_findings() {
    let dir = tree(&[]);
    for name in ["a", "b", "c"] {
        fs::create_dir(dir.path().join(name)).expect("folder");
    }
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
        symlink(format!("../{to}"), dir.path().join(from).join("next")).expect("link");
    }
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(read.diagnostics.len(), 3, "{:?}", findings(&read));
}

#[test]
fn a_config_map_and_its_swap_are_read() {
    let dir = tree(&[("..2026_01/web.toml", "v1"), ("..2026_02/web.toml", "v2")]);
    symlink("..2026_01", dir.path().join("..data")).expect("link");
    symlink("..data/web.toml", dir.path().join("web.toml")).expect("link");
    let first = read_stable(dir.path()).expect("a tree");
    assert_eq!((labels(&first), &*first.files[0].source.text), (vec!["web.toml"], "v1"));

    let before = look(dir.path()).expect("a look");
    symlink("..2026_02", dir.path().join("..data_tmp")).expect("link");
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).expect("swap");
    assert_ne!(before, look(dir.path()).expect("a look"));
    let second = read_stable(dir.path()).expect("a tree");
    assert_eq!((labels(&second), &*second.files[0].source.text), (vec!["web.toml"], "v2"));
    assert!(second.diagnostics.is_empty());
}

#[test]
fn the_tree_itself_may_be_a_link_that_is_swapped() {
    let dir = tree(&[("v1/a.toml", "1"), ("v2/a.toml", "2")]);
    let current = dir.path().join("current");
    symlink("v1", &current).expect("link");
    assert_eq!(&*read_stable(&current).expect("a tree").files[0].source.text, "1");
    symlink("v2", dir.path().join("next")).expect("link");
    fs::rename(dir.path().join("next"), &current).expect("swap");
    assert_eq!(&*read_stable(&current).expect("a tree").files[0].source.text, "2");
}

#[test]
fn a_save_by_rename_is_a_different_look_of_the_same_size() {
    let dir = tree(&[("a.toml", "a = 1"), ("README.md", "x")]);
    let before = look(dir.path()).expect("a look");
    write(dir.path(), "README.md", "longer");
    assert_eq!(before, look(dir.path()).expect("a look"));
    write(dir.path(), "a.toml.new", "a = 2");
    fs::rename(dir.path().join("a.toml.new"), dir.path().join("a.toml")).expect("rename");
    assert_ne!(before, look(dir.path()).expect("a look"));
    assert_eq!(&*read_stable(dir.path()).expect("a tree").files[0].source.text, "a = 2");
}

/// Saves a file as editors do.
fn save(dir: &Path, label: &str, content: &str) {
    write(dir, "new~", content);
    fs::rename(dir.join("new~"), dir.join(label)).expect("rename");
}

#[test]
fn a_tree_that_moves_while_it_is_read_is_read_again() {
    let dir = tree(&[("a.toml", "1")]);
    let mut moves = 1..=2;
    let read = settle(
        || read_once(dir.path(), &Cancel::default()),
        |_| {
            if let Some(round) = moves.next() {
                save(dir.path(), "a.toml", &format!("moved {round}"));
            }
            look(dir.path())
        },
    );
    let read = read.expect("a tree");
    assert_eq!((read.moved, &*read.files[0].source.text), (false, "moved 2"));
    assert!(read.diagnostics.is_empty());
}

#[test]
fn a_tree_that_never_settles_is_an_error_about_the_whole_tree() {
    let dir = tree(&[("a.toml", "1")]);
    let mut looks = 0;
    let read = settle(
        || read_once(dir.path(), &Cancel::default()),
        |_| {
            looks += 1;
            save(dir.path(), "a.toml", "moved");
            look(dir.path())
        },
    );
    let read = read.expect("a tree");
    assert!(read.moved && looks == ATTEMPTS);
    let (path, code, message) = only_finding(&read);
    assert!(path.is_empty() && code == TreeCode::UnreadableFile && message.contains("changes faster"), "{message}");
}

#[test]
fn a_file_that_is_not_the_one_looked_at_counts_as_moved() {
    let dir = tree(&[("a.toml", "a = 1")]);
    let path = dir.path().join("a.toml");
    let seen = Stamp::of(&fs::metadata(&path).expect("exists"));
    write(dir.path(), "b.toml", "a = 2");
    fs::rename(dir.path().join("b.toml"), &path).expect("rename");
    assert!(matches!(read_file("a.toml", &path, &seen, MAX_FILE_BYTES), Err(Unread::Moved)));
    fs::remove_file(&path).expect("remove");
    assert!(matches!(read_file("a.toml", &path, &seen, MAX_FILE_BYTES), Err(Unread::Moved)));
}

#[test]
fn pipes_and_sockets_are_refused_and_never_opened() {
    let dir = tree(&[("a.toml", "")]);
    mknodat(CWD, dir.path().join("pipe.toml"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    mknodat(CWD, dir.path().join("pipe.txt"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let _socket = UnixListener::bind(dir.path().join("socket.toml")).expect("a socket");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(labels(&read), ["a.toml"]);
    let found = findings(&read);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].2.contains("named pipe") && found[1].2.contains("socket"), "{found:?}");
}

#[test]
fn what_may_not_be_read_is_reported_in_the_words_of_the_system() {
    if rustix::process::geteuid().is_root() {
        #[expect(clippy::print_stderr, reason = "the one way to say why a test did not look")]
        {
            eprintln!("skipped: root may read every file");
        }
        return;
    }
    let dir = tree(&[("a.toml", ""), ("b/c.toml", "")]);
    fs::set_permissions(dir.path().join("a.toml"), fs::Permissions::from_mode(0o000)).expect("mode");
    fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o000)).expect("mode");
    let read = read_stable(dir.path()).expect("a tree");
    fs::set_permissions(dir.path().join("b"), fs::Permissions::from_mode(0o700)).expect("mode");
    let found = findings(&read);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|(_, _, message)| message.contains("permission denied")), "{found:?}");
}

#[test]
fn a_file_of_9_mib_is_refused_unread() {
    let dir = tree(&[("b.toml", "")]);
    let file = File::create(dir.path().join("a.toml")).expect("a file");
    file.set_len(9 << 20).expect("sparse");
    let read = read_stable(dir.path()).expect("a tree");
    let (path, code, message) = only_finding(&read);
    assert_eq!((path, code), ("a.toml", TreeCode::FileTooLarge));
    assert!(message.contains("8 MiB"), "{message}");
    assert_eq!(labels(&read), ["b.toml"]);
}

#[test]
fn a_file_of_exactly_8_mib_is_read() {
    let dir = tree(&[("a.toml", &"#".repeat(8 << 20))]);
    assert_eq!(labels(&read_stable(dir.path()).expect("a tree")), ["a.toml"]);
}

#[test]
fn a_byte_that_is_not_utf8_is_named_with_its_place() {
    let dir = tree(&[]);
    write(dir.path(), "a.toml", b"a = 1\nb = \"\xff\"\n");
    write(dir.path(), "b.toml", b"\xff\xfea\0");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(read.diagnostics[0].code, TreeCode::NotUtf8);
    assert_eq!(read.diagnostics[0].position(), Some(Position { line: 2, column: 6 }));
    assert!(read.diagnostics[0].message.contains("0xff at offset 11 in line 2"), "{}", read.diagnostics[0].message);
    assert!(read.diagnostics[1].help.as_deref().is_some_and(|help| help.contains("UTF-16")));
}

#[test]
fn a_byte_order_mark_is_taken_off_and_remembered() {
    let dir = tree(&[("a.toml", "\u{feff}a = 1"), ("b.toml", "b = 1"), ("c.toml", "\u{feff}\u{feff}")]);
    let read = read_stable(dir.path()).expect("a tree");
    let seen: Vec<_> = read.files.iter().map(|file| (&*file.source.text, file.bom)).collect();
    assert_eq!(seen, [("a = 1", true), ("b = 1", false), ("\u{feff}", true)]);
}

#[test]
fn a_name_that_is_not_utf8_is_reported() {
    let dir = tree(&[]);
    fs::write(dir.path().join(OsStr::from_bytes(b"a\xff.toml")), "").expect("a file");
    let read = read_stable(dir.path()).expect("a tree");
    assert!(only_finding(&read).2.contains("not UTF-8"));
}

#[test]
fn a_directory_that_vanished_or_is_none_is_an_error_with_its_name() {
    let dir = tree(&[("a.toml", "")]);
    let gone = dir.path().join("gone");
    let error = read_stable(&gone).expect_err("nothing there").to_diagnostic();
    assert_eq!((error.code, &*error.path), (TreeCode::UnreadableFile, ""));
    assert!(error.message.contains("gone") && error.message.contains("no such file"), "{}", error.message);
    let error = read_stable(&dir.path().join("a.toml")).expect_err("a file");
    assert!(matches!(error, SourceError::NotADirectory { .. }));
}

#[test]
fn settings_that_are_a_folder_select_nothing_and_break_nothing() {
    let dir = tree(&[("portunus.toml/x.toml", "[tree]\nignore = [\"**\"]\n"), ("a.toml", "")]);
    assert_eq!(labels(&read_stable(dir.path()).expect("a tree")), ["a.toml", "portunus.toml/x.toml"]);
}

#[test]
fn a_tree_whose_folders_nest_without_end_is_bounded() {
    let dir = tree(&[]);
    let deep = (0..70).fold(dir.path().to_owned(), |path, _| path.join("d"));
    fs::create_dir_all(&deep).expect("folders");
    write(&deep, "x.toml", "");
    let read = read_stable(dir.path()).expect("a tree");
    assert!(only_finding(&read).2.contains("deeper than 64"));
}

const WITH_LISTS: &str = "[[rule]]\nname = \"web\"\nlisten_port = 1\ntarget = \"a:1\"\n[rule.access]\n\
                          allow_file = \"lists/office.txt\"\ndeny_file = \"away.txt\"\n";

#[test]
fn lists_that_rules_name_belong_to_the_tree_and_other_files_do_not() {
    let dir = tree(&[
        ("b/web.toml", WITH_LISTS),
        ("lists/office.txt", "10.0.0.0/8"),
        ("lists/other.txt", "nobody names it"),
        ("away.txt", "192.0.2.0/24"),
    ]);
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(labels(&read), ["away.txt", "b/web.toml", "lists/office.txt"]);
    assert_eq!((findings(&read), read.moved), (vec![], false));
    assert_eq!(read.rule_files().count(), 1);
    fs::remove_file(dir.path().join("away.txt")).expect("removed");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!((labels(&read), findings(&read)), (vec!["b/web.toml", "lists/office.txt"], vec![]));
}

#[test]
fn a_list_may_be_larger_than_a_rule_file_and_never_leads_out() {
    let dir = tree(&[("web.toml", WITH_LISTS), ("lists/office.txt", "")]);
    write(dir.path(), "lists/office.txt", vec![b'#'; 9 << 20]);
    let outside = tree(&[("secret.txt", "x")]);
    symlink(outside.path().join("secret.txt"), dir.path().join("away.txt")).expect("a link");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!(labels(&read), ["lists/office.txt", "web.toml"]);
    let (path, code, message) = only_finding(&read);
    assert_eq!((path, code), ("away.txt", TreeCode::UnreadableFile));
    assert!(message.starts_with("the path leads out of the tree"), "{message}");
    write(dir.path(), "lists/office.txt", vec![b'#'; (32 << 20) + 1]);
    fs::remove_file(dir.path().join("away.txt")).expect("removed");
    let read = read_stable(dir.path()).expect("a tree");
    assert_eq!((only_finding(&read).0, only_finding(&read).1), ("lists/office.txt", TreeCode::FileTooLarge));
}

#[test]
fn a_list_that_changes_while_it_is_read_makes_the_tree_a_moving_one() {
    let dir = tree(&[("web.toml", WITH_LISTS), ("lists/office.txt", "10.0.0.0/8"), ("away.txt", "")]);
    let (_, before) = read_once(dir.path(), &Cancel::default()).expect("a tree");
    let lists = FileSelection::default().with_lists(["lists/office.txt".to_owned(), "away.txt".to_owned()].into());
    let again = |dir: &Path| look_at_lists(look(dir).expect("a look"), &lists);
    assert_eq!(again(dir.path()), before);
    write(dir.path(), "lists/office.txt", "10.0.0.0/9 # and more");
    assert_ne!(again(dir.path()), before);
}
