//! A code is written down once, in a file `codes.rs`; everything else names it. I/O: reads the sources.
//!
//! Keeps: a code that is misspelt does not compile.

use crate::source::production;
use crate::workspace::{WorkFile, assert_none, file, files};

/// The codes of files and rules.
const OF_RULES: &str = "schema/src/codes.rs";
/// The codes of problem documents, beside those.
const OF_PROBLEMS: &str = "reconciler/src/decide/codes.rs";
/// Where problem documents are made.
const API: [&str; 2] = ["reconciler/src/act/operator/", "reconciler/src/act/page/"];
/// The table of what words mean has all of them.
const GLOSSARY: &str = "reconciler/src/decide/glossary.rs";
/// Words that name something else as well, where they do: a kind of drift, a rail.
const HOMONYMS: [(&str, &str); 2] =
    [("reconciler/src/decide/drift.rs", "stale_generation"), ("reconciler/src/decide/plan/rail.rs", "empty_file")];

/// The codes of a table, by its name.
fn table(path: &str, name: &str) -> Vec<&'static str> {
    let (_, table) = file(path).text().split_once(&format!("{name} {{")).expect("the table");
    let (table, _) = table.split_once("\n}").expect("its end");
    let rows = table.lines().filter_map(|line| line.trim().split_once(" = \""));
    rows.filter_map(|(_, rest)| rest.split('"').next()).collect()
}

fn sources() -> impl Iterator<Item = &'static WorkFile> {
    let is_source = |file: &&WorkFile| {
        let mut parts = file.path.split('/');
        let is_test = file.is_test() || file.path.contains("/goldens/");
        file.is_rust() && !is_test && !file.path.starts_with("bench") && parts.any(|part| part == "src")
    };
    files().iter().filter(is_source)
}

/// Where a source writes one of these out.
fn written(file: &WorkFile, codes: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in production(file.text()).lines().enumerate() {
        let words = line.split("//").next().unwrap_or_default().split('"').skip(1).step_by(2);
        let is_other = |word: &str| HOMONYMS.contains(&(file.path.as_str(), word));
        let written = words.filter(|word| codes.contains(word) && !is_other(word));
        found.extend(written.map(|code| format!("{}:{}: \"{code}\"", file.path, number + 1)));
    }
    found
}

#[test]
fn no_code_of_a_tree_or_a_rule_is_written_out_elsewhere() {
    let codes = [table(OF_RULES, "    TreeCode"), table(OF_RULES, "    RuleCode")].concat();
    assert!(codes.contains(&"port_in_use") && codes.contains(&"port_clash"), "the tables are where they were");
    let others = sources().filter(|file| ![OF_RULES, OF_PROBLEMS, GLOSSARY].contains(&file.path.as_str()));
    let findings: Vec<String> = others.flat_map(|file| written(file, &codes)).collect();
    assert_none("codes are written out instead of named", &findings);
}

#[test]
fn no_code_of_a_problem_is_written_out_where_problems_are_made() {
    let codes = table(OF_PROBLEMS, "problem_codes!");
    assert!(codes.contains(&"bad_request"), "the table is where it was");
    let of_api = sources().filter(|file| API.iter().any(|folder| file.path.starts_with(folder)));
    let findings: Vec<String> = of_api.flat_map(|file| written(file, &codes)).collect();
    assert_none("codes are written out instead of named", &findings);
}
