//! Every word that the API can answer with is explained, and the committed page has them all.

use std::fs;
use std::path::{Path, PathBuf};

use reconciler::decide::glossary;
use schema::{codes, reference};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The codes in `new(404, "not_found", …)` and `(404, "not_found".to_owned(), …)`.
fn codes_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('(') {
        let Some((number, rest)) = text[at + 1..].trim_start().split_once(',') else { continue };
        let is_status =
            number.len() == 3 && number.starts_with(['4', '5']) && number.bytes().all(|b| b.is_ascii_digit());
        let code = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(code, _)| code);
        let is_code = |code: &&str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        found.extend(code.filter(|code| is_status && is_code(code)).map(str::to_owned));
    }
    found
}

#[test]
fn every_code_of_a_problem_is_explained() {
    let mut files = Vec::new();
    for folder in ["src/act", "../src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let mut codes: Vec<String> = files.iter().flat_map(|file| codes_in(&fs::read_to_string(file).unwrap())).collect();
    codes.sort();
    codes.dedup();
    assert!(codes.len() > 20, "the API has more codes: {codes:?}");
    let is_known = |code: &&String| {
        glossary::explain(code).next().is_some() || codes::explain(code).is_some() || reference::explain(code).is_ok()
    };
    let unknown: Vec<&String> = codes.iter().filter(|code| !is_known(code)).collect();
    assert!(unknown.is_empty(), "`explain` does not know {unknown:?}");
}

#[test]
fn every_kind_of_event_and_the_verdicts_of_a_plan_are_explained() {
    let stream = concat!(env!("CARGO_MANIFEST_DIR"), "/src/act/operator/stream.rs");
    let text = fs::read_to_string(stream).unwrap();
    let kinds = text.split_once("fn kind(").and_then(|(_, rest)| rest.split_once("\n}")).expect("the kinds").0;
    let mut words: Vec<&str> = kinds.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(words.len() > 10, "{words:?}");
    words.extend(["snapshot", "blocked", "rejected"]);
    let unknown: Vec<&&str> = words.iter().filter(|word| glossary::explain(word).next().is_none()).collect();
    assert!(unknown.is_empty(), "`explain` does not know {unknown:?}");
}

#[test]
fn the_committed_page_is_what_the_program_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/words.md");
    let page = glossary::markdown();
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(path, &page).expect("docs/ can be written");
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/words.md is old: run the tests with PORTUNUS_UPDATE_GOLDEN=1");
}
