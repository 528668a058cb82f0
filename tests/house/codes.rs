//! A code of a rule is written down once, in `schema/src/codes.rs`; everything else names it. I/O: reads the sources.
//!
//! Keeps: a code that is misspelt does not compile.

use crate::source::production;
use crate::workspace::{assert_none, file, files};

/// Where the codes are defined.
const CODES: &str = "schema/src/codes.rs";
/// Words that name something else as well: `stale_generation` is a kind of drift.
const HOMONYMS: [&str; 1] = ["stale_generation"];

/// The codes of rules as the table writes them.
fn codes() -> Vec<&'static str> {
    let (_, table) = file(CODES).text().split_once("    RuleCode {").expect("the codes of rules");
    let rows = table.lines().filter_map(|line| line.trim().split_once(" = \""));
    let codes: Vec<&str> = rows.filter_map(|(_, rest)| rest.split('"').next()).collect();
    codes.into_iter().filter(|code| !HOMONYMS.contains(code)).collect()
}

#[test]
fn no_code_of_a_rule_is_written_out_elsewhere() {
    let codes = codes();
    assert!(codes.len() > 10 && codes.contains(&"port_in_use"), "the table is where it was: {codes:?}");
    let is_source =
        |path: &str| path.split('/').any(|part| part == "src") && !path.starts_with("bench") && path != CODES;
    let mut findings = Vec::new();
    for file in files().iter().filter(|file| file.is_rust() && !file.is_test() && is_source(&file.path)) {
        for (number, line) in production(file.text()).lines().enumerate() {
            let words = line.split("//").next().unwrap_or_default().split('"').skip(1).step_by(2);
            let written = words.filter(|word| codes.contains(word));
            findings.extend(written.map(|code| format!("{}:{}: \"{code}\"", file.path, number + 1)));
        }
    }
    assert_none("codes are written out instead of named", &findings);
}
