//! A type has a name of its own in its crate, and the words of the contract belong to one type each. I/O: reads the
//! sources.
//!
//! Keeps: a newcomer who searches for a name finds one definition.

use std::collections::BTreeMap;

use crate::source::{code, production};
use crate::workspace::{assert_none, files};

/// The sources of each crate. A folder below another one is a crate of its own.
const CRATES: [&str; 5] = ["edge/src/", "reconciler/guard/src/", "reconciler/src/", "schema/src/", "src/"];
/// Names that several types of a crate have, from before this test. Entries may be removed, never added.
const REPEATED: [(&str, &[&str]); 0] = [];
/// The nouns of the contract, as a type would be called.
const WORDS: [&str; 15] = [
    "Rule",
    "Edge",
    "Listener",
    "Target",
    "Pool",
    "Desired",
    "DesiredState",
    "Observed",
    "ObservedState",
    "Revision",
    "Generation",
    "Plan",
    "Change",
    "Drift",
    "Override",
];
/// Words that several crates use. Entries may be removed, never added.
const SHARED_WORDS: [&str; 0] = [];

/// Whether a line defines a type, and which. An indented `type` is one that a trait asks for.
fn defined(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let line = line.trim_start();
    // `pub(in super::super)` has a space inside.
    let rest = line.strip_prefix("pub").map_or(line, |rest| {
        let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
        rest.trim_start()
    });
    let mut words = rest.split_whitespace();
    let keyword = words.next()?;
    let defines = ["struct", "enum", "trait", "union"].contains(&keyword) || (keyword == "type" && !is_indented);
    let name = words.next().filter(|_| defines)?;
    let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    // A macro that defines types names them by a variable.
    (!name.is_empty()).then_some(name)
}

/// The places of each definition, by crate and name.
fn definitions() -> BTreeMap<(&'static str, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for file in files().iter().filter(|file| file.is_rust() && !file.is_test()) {
        let Some(home) = CRATES.iter().find(|home| file.path.starts_with(**home)) else { continue };
        let code = code(file.text());
        for (number, line) in production(&code).lines().enumerate() {
            if let Some(name) = defined(line) {
                found.entry((*home, name.to_owned())).or_default().push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    found
}

#[test]
fn a_type_has_a_name_of_its_own_in_its_crate() {
    let mut known: Vec<(&str, &str)> =
        REPEATED.iter().flat_map(|(home, names)| names.iter().map(|name| (*home, *name))).collect();
    let mut findings = Vec::new();
    for ((home, name), places) in definitions().iter().filter(|(_, places)| places.len() > 1) {
        let before = known.len();
        known.retain(|one| *one != (*home, name.as_str()));
        if known.len() == before {
            findings.push(format!("`{name}` is defined {} times: {}", places.len(), places.join(", ")));
        }
    }
    findings.extend(known.iter().map(|(home, name)| format!("take `{name}` of {home} off the list")));
    assert_none("types share a name", &findings);
}

#[test]
fn a_word_of_the_contract_is_one_type() {
    let definitions = definitions();
    let mut findings = Vec::new();
    for word in WORDS {
        let homes: Vec<&str> = definitions.keys().filter(|(_, name)| name == word).map(|(home, _)| *home).collect();
        match (homes.len() > 1, SHARED_WORDS.contains(&word)) {
            (true, false) => findings.push(format!("`{word}` is a type of {}", homes.join(" and "))),
            (false, true) => findings.push(format!("take `{word}` off the list")),
            _ => {}
        }
    }
    assert_none("crates share a word of the contract", &findings);
}

#[test]
fn definitions_are_found_and_uses_are_not() {
    let of = |line| defined(line);
    assert_eq!(of("pub(super) struct Rule<'a> {"), Some("Rule"));
    assert_eq!(of("    enum Stage {"), Some("Stage"));
    assert_eq!(of("pub(in super::super) struct Lane(u8);"), Some("Lane"));
    assert_eq!(of("type Lookup = Result<(), ()>;"), Some("Lookup"));
    assert_eq!(of("    type Err = NameError;"), None);
    assert_eq!(of("impl Rule {"), None);
    assert_eq!(of("let structure = 1;"), None);
}
