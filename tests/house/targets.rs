//! Every source file is compiled: a test in a file that nobody declares passes for ever. I/O: reads the work tree.
//!
//! Keeps: a file counts as compiled only where a target of cargo leads to it, module by module.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::code;
use crate::workspace::{assert_none, file, files, metadata, root};

/// The files of the tree by path.
type Sources<'a> = BTreeMap<&'a str, &'a str>;

/// A module that a file declares: its name, and the path that an attribute gives it.
#[derive(Debug, PartialEq, Eq)]
struct Declared<'a> {
    name: String,
    path: Option<&'a str>,
}

/// The modules that are files of their own.
fn declared(text: &str) -> Vec<Declared<'_>> {
    let mut found = Vec::new();
    let mut path = None;
    for (line, original) in code(text).lines().zip(text.lines()) {
        let line = line.trim();
        if line.starts_with("#[path") {
            path = original.split('"').nth(1);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = match words.as_slice() {
            [.., "mod", name] => name.strip_suffix(';'),
            _ => None,
        };
        if let Some(name) = name {
            found.push(Declared { name: name.to_owned(), path: path.take() });
        } else if !line.is_empty() && !line.starts_with("#[") {
            path = None;
        }
    }
    found
}

/// Follows `.` and `..` in a path of the tree.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a declared module may be, seen from the file that declares it.
fn places(from: &str, is_root: bool, module: &Declared<'_>) -> Vec<String> {
    let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
    if let Some(path) = module.path {
        return vec![plain(&format!("{folder}/{path}"))];
    }
    let own = name.trim_end_matches(".rs");
    let below = if is_root || own == "mod" { folder.to_owned() } else { format!("{folder}/{own}") };
    vec![plain(&format!("{below}/{}.rs", module.name)), plain(&format!("{below}/{}/mod.rs", module.name))]
}

/// The files that no root leads to.
fn orphans(sources: &Sources<'_>, roots: &[String]) -> Vec<String> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<(String, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
    while let Some((path, is_root)) = open.pop() {
        let Some(text) = sources.get(path.as_str()).filter(|_| !seen.contains(&path)) else { continue };
        for module in declared(text) {
            open.extend(places(&path, is_root, &module).into_iter().map(|place| (place, false)));
        }
        seen.insert(path);
    }
    sources.keys().filter(|path| !seen.contains(**path)).map(|path| (*path).to_owned()).collect()
}

/// The first file of every target: those of the workspace as cargo knows them, those of packages beside it by custom.
fn roots() -> Vec<String> {
    let prefix = format!("{}/", root().display());
    let packages = metadata()["packages"].as_array().expect("packages").iter();
    let targets = packages.flat_map(|package| package["targets"].as_array().expect("targets"));
    let paths = targets.filter_map(|target| target["src_path"].as_str()?.strip_prefix(&prefix).map(str::to_owned));
    let manifests = files().iter().filter_map(|file| file.path.strip_suffix("Cargo.toml"));
    let beside = manifests.flat_map(|folder| ["src/main.rs", "src/lib.rs"].map(|file| format!("{folder}{file}")));
    paths.chain(beside).collect()
}

#[test]
fn every_source_file_belongs_to_a_target() {
    let rust = files().iter().filter(|file| file.is_rust());
    let sources: Sources<'_> = rust.map(|file| (file.path.as_str(), file.text())).collect();
    assert!(file("src/main.rs").is_rust() && roots().contains(&"src/main.rs".to_owned()));
    assert_none("files that no target of cargo leads to", &orphans(&sources, &roots()));
}

#[test]
fn a_file_that_nobody_declares_is_found() {
    let sources: Sources<'_> = [
        ("tests/e2e/main.rs", "mod cuts;\n// mod relay;\nconst TEXT: &str = \"mod quoted;\";\npub(crate) mod deep;\n"),
        ("tests/e2e/cuts.rs", "#[cfg(test)]\n#[path = \"../other/shared.rs\"]\nmod shared;\n"),
        ("tests/e2e/deep/mod.rs", "mod below;\nmod inline {}\n"),
        ("tests/e2e/deep/below.rs", "mod tests;\n"),
        ("tests/e2e/deep/below/tests.rs", ""),
        ("tests/e2e/relay.rs", ""),
        ("tests/e2e/quoted.rs", ""),
        ("tests/e2e/inline.rs", ""),
        ("tests/other/shared.rs", ""),
        ("tests/other/tests.rs", ""),
    ]
    .into();
    let found = orphans(&sources, &["tests/e2e/main.rs".to_owned()]);
    assert_eq!(found, ["tests/e2e/inline.rs", "tests/e2e/quoted.rs", "tests/e2e/relay.rs", "tests/other/tests.rs"]);
}
