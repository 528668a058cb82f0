//! Who may depend on whom: portunus → reconciler, edge → schema, guard. I/O: asks cargo.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{code, production};
use crate::workspace::{MEMBERS, assert_none, files, packages};

/// The workspace crates that each of them depends on, tests and build scripts included.
fn dependencies() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let name_of = |package: &'static serde_json::Value| package["name"].as_str().expect("a name");
    packages()
        .iter()
        .filter(|package| MEMBERS.contains(&name_of(package)))
        .map(|package| {
            let own = name_of(package);
            let direct = package["dependencies"].as_array().expect("a list").iter().map(name_of);
            // A crate that takes its own test builders is not another crate.
            (own, direct.filter(|name| MEMBERS.contains(name) && *name != own).collect())
        })
        .collect()
}

#[test]
fn the_direction_is_tool_then_reconciler_and_edge_then_schema_and_guard() {
    let of = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
    let expected = BTreeMap::from([
        ("portunus", of(&["portunus-edge", "portunus-reconciler", "portunus-schema"])),
        ("portunus-edge", of(&["portunus-guard", "portunus-schema"])),
        ("portunus-guard", of(&[])),
        ("portunus-reconciler", of(&["portunus-guard", "portunus-schema"])),
        ("portunus-schema", of(&[])),
    ]);
    assert_eq!(dependencies(), expected);
}

/// The folders of the operator API and of its page, and the file that starts them.
const API: [&str; 3] = ["reconciler/src/act/operator/", "reconciler/src/act/page/", "reconciler/src/act/server.rs"];

#[test]
fn nothing_below_the_operator_api_imports_from_it() {
    let is_below = |path: &str| path.starts_with("reconciler/src/") && !API.iter().any(|home| path.starts_with(home));
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| file.is_rust() && !file.is_test() && is_below(&file.path)) {
        let code = code(file.text());
        for (number, line) in production(&code).lines().enumerate() {
            if ["act::operator::", "super::operator::"].iter().any(|path| line.contains(path)) {
                findings.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert_none("files below the operator API import from it", &findings);
}
