//! What the dependencies may be: deny.toml says it, here it is checked without another tool. I/O: asks cargo.
//!
//! Keeps: deny.toml is the one list of licences and of banned crates.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::workspace::{MEMBERS, assert_none, file, metadata, packages};

struct Deny {
    allowed: BTreeSet<String>,
    exceptions: BTreeMap<String, BTreeSet<String>>,
    banned: BTreeSet<String>,
}

fn texts(value: &toml::Value) -> BTreeSet<String> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

fn deny() -> Deny {
    let deny: toml::Table = file("deny.toml").text().parse().expect("deny.toml is TOML");
    let crate_of = |entry: &toml::Value| entry["crate"].as_str().expect("a crate").to_owned();
    let exceptions = deny["licenses"]["exceptions"].as_array().expect("a list");
    Deny {
        allowed: texts(&deny["licenses"]["allow"]),
        exceptions: exceptions.iter().map(|entry| (crate_of(entry), texts(&entry["allow"]))).collect(),
        banned: deny["bans"]["deny"].as_array().expect("a list").iter().map(crate_of).collect(),
    }
}

fn text<'v>(package: &'v Value, key: &str) -> &'v str {
    package[key].as_str().unwrap_or_default()
}

/// True if the licences suffice for the expression: `OR` asks for one side, `AND` for both.
fn is_allowed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    // Before SPDX expressions, a slash was the way to write OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (verdict, rest) = any_of(&words, allowed);
    verdict && rest.is_empty()
}

fn any_of<'w>(words: &'w [&'w str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'w [&'w str]) {
    let (mut verdict, mut rest) = all_of(words, allowed);
    while let ["OR", more @ ..] = rest {
        let (next, after) = all_of(more, allowed);
        (verdict, rest) = (verdict || next, after);
    }
    (verdict, rest)
}

fn all_of<'w>(words: &'w [&'w str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'w [&'w str]) {
    let (mut verdict, mut rest) = one(words, allowed);
    while let ["AND", more @ ..] = rest {
        let (next, after) = one(more, allowed);
        (verdict, rest) = (verdict && next, after);
    }
    (verdict, rest)
}

fn one<'w>(words: &'w [&'w str], allowed: &dyn Fn(&str) -> bool) -> (bool, &'w [&'w str]) {
    match words {
        ["(", inner @ ..] => {
            let (verdict, rest) = any_of(inner, allowed);
            (verdict && rest.first() == Some(&")"), rest.get(1..).unwrap_or_default())
        }
        [licence, "WITH", exception, rest @ ..] => (allowed(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (allowed(licence), rest),
        [] => (false, words),
    }
}

#[test]
fn every_licence_is_allowed() {
    let deny = deny();
    let mut findings = Vec::new();
    for package in packages() {
        let name = text(package, "name");
        let own = deny.exceptions.get(name);
        let allowed = |licence: &str| deny.allowed.contains(licence) || own.is_some_and(|own| own.contains(licence));
        let licence = text(package, "license");
        // A crate with nothing but a licence file is named in the exceptions by whoever read that file.
        let is_fine = if licence.is_empty() { own.is_some() } else { is_allowed(licence, &allowed) };
        findings.extend((!is_fine).then(|| format!("{name} {}: `{licence}`", text(package, "version"))));
    }
    assert_none("licences that deny.toml does not allow", &findings);
}

#[test]
fn every_exception_is_needed() {
    let names: BTreeSet<&str> = packages().iter().map(|package| text(package, "name")).collect();
    let unused: Vec<String> = deny().exceptions.into_keys().filter(|name| !names.contains(name.as_str())).collect();
    assert_none("exceptions of deny.toml that no dependency needs", &unused);
}

#[test]
fn no_banned_crate_is_built() {
    let banned = deny().banned;
    assert!(banned.contains("openssl") && banned.contains("serde_yml") && banned.contains("ring"));
    // The lock file also names what only features would need that nobody enables.
    let tree = ["tree", "--locked", "--workspace", "--all-features", "--edges", "all", "--prefix", "none"];
    let output =
        Command::new(env!("CARGO")).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
        .collect();
    assert!(built.contains("tokio") && built.contains("portunus"), "{built:?}");
    let found: Vec<String> = banned.into_iter().filter(|name| built.contains(name)).collect();
    assert_none("banned crates", &found);
}

#[test]
fn dependencies_come_from_the_registry_with_a_version() {
    let registry = concat!("registry+https://github.com/rust-lang/crates", ".io-index");
    let mut findings = Vec::new();
    for package in packages() {
        let name = text(package, "name");
        let is_own = MEMBERS.contains(&name);
        findings.extend(
            (!is_own && text(package, "source") != registry).then(|| format!("{name} from `{}`", package["source"])),
        );
        for dependency in package["dependencies"].as_array().expect("a list").iter().filter(|_| is_own) {
            let is_path = dependency["path"].is_string();
            let is_open = text(dependency, "req").contains('*');
            findings.extend((!is_path && is_open).then(|| format!("{name} takes any {}", text(dependency, "name"))));
        }
    }
    assert_none("dependencies without a version or from elsewhere", &findings);
    let members = metadata()["workspace_members"].as_array().expect("a list").len();
    assert_eq!(members, MEMBERS.len(), "the workspace has the crates that this test knows");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let mit = |licence: &str| licence == "MIT";
    for good in ["MIT", "MIT/Apache-2.0", "A AND B OR MIT", "(A OR MIT) AND MIT", "A WITH x OR MIT"] {
        assert!(is_allowed(good, &mit), "{good}");
    }
    for bad in ["", "A", "MIT AND A", "(MIT", "MIT MIT", "MIT WITH x", "A OR B", "(MIT OR A) AND B"] {
        assert!(!is_allowed(bad, &mit), "{bad}");
    }
}
