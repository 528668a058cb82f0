//! Wording that reads as translated, in documents, help, messages and comments. I/O: reads the work tree.
//!
//! Keeps: `english.txt` lists how often each pattern still occurs in each file. The numbers may only shrink, and
//! `PORTUNUS_UPDATE_GOLDEN=1` lowers them but never raises one. ARCHITECTURE.md ("Words") has the words to use instead.

use std::collections::BTreeMap;
use std::path::Path;

use crate::workspace::{WorkFile, assert_none, file, files, root};

/// How often each pattern occurs in each file.
type Counts = BTreeMap<(String, &'static str), usize>;

const LIST: &str = "tests/house/english.txt";

/// This file and its list quote the patterns.
const QUOTES: [&str; 3] = ["tests/house/english.rs", LIST, "ARCHITECTURE.md"];

/// Phrases that are wrong wherever they stand.
const PHRASES: &[&str] = &[
    "all the same",
    "are away",
    "are told",
    "as it stands",
    "as they stand",
    "be had",
    "bring back",
    "brings back",
    "brought back",
    "by a bug",
    "came about",
    "came of",
    "comes of",
    "for good",
    "for want of",
    "held no longer",
    "holds no",
    "is away",
    "is told",
    "kept no longer",
    "mend",
    "mended",
    "mends",
    "said so",
    "said to be",
    "say so",
    "says so",
    "to be said",
    "turned round",
    "what goes",
    "whoever",
];

/// `is no X` and `are no X` for `is not an X`; `there is no X` and `is no longer X` are English.
const NEGATIONS: &[&str] = &["are no", "is no", "was no", "were no"];

/// `too` at the end of a clause.
const TOO: &str = "too at the end";

#[test]
fn no_new_wording_reads_as_translated() {
    let mut counts = Counts::new();
    for file in files().iter().filter(|file| is_read(file)) {
        for pattern in found(file.text()) {
            *counts.entry((file.path.clone(), pattern)).or_default() += 1;
        }
    }
    let listed = listed(file(LIST).text());
    let rows: Vec<&(String, &'static str)> = counts.keys().chain(listed.keys()).collect();
    let mut findings = Vec::new();
    let mut is_lower = false;
    for row in rows.into_iter().collect::<std::collections::BTreeSet<_>>() {
        let (now, most) = (counts.get(row).copied().unwrap_or(0), listed.get(row).copied().unwrap_or(0));
        if now > most {
            findings.push(format!("{}: `{}` occurs {now} times, at most {most} are listed", row.0, row.1));
        }
        is_lower |= now < most;
    }
    assert_none("wording that reads as translated (ARCHITECTURE.md, `Words`)", &findings);
    if is_lower {
        let is_update = std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1");
        assert!(is_update, "fewer patterns occur than {LIST} lists: run the test with PORTUNUS_UPDATE_GOLDEN=1");
        let lines: Vec<String> =
            counts.iter().map(|((path, pattern), count)| format!("{path}: {pattern}: {count}\n")).collect();
        std::fs::write(root().join(LIST), lines.concat()).expect("the list can be written");
    }
}

/// Documents, sources, recipes and expected outputs.
fn is_read(file: &WorkFile) -> bool {
    let extension = Path::new(&file.path).extension().and_then(|extension| extension.to_str());
    let is_prose = matches!(extension, Some("md" | "rs" | "proto" | "txt" | "toml" | "yml" | "yaml"));
    is_prose && file.text.is_some() && !QUOTES.contains(&file.path.as_str()) && !file.path.ends_with("Cargo.toml")
}

fn listed(text: &str) -> Counts {
    let row = |line: &str| {
        let mut parts = line.splitn(3, ": ");
        let (path, pattern, count) = (parts.next()?, parts.next()?, parts.next()?);
        let mut known = PHRASES.iter().chain(NEGATIONS).chain([&TOO]);
        let pattern = *known.find(|known| **known == pattern)?;
        Some(((path.to_owned(), pattern), count.parse().ok()?))
    };
    text.lines().map(|line| row(line).unwrap_or_else(|| panic!("{LIST}: `{line}` is not a row"))).collect()
}

/// The patterns in a text, each as often as it occurs.
fn found(text: &str) -> Vec<&'static str> {
    let text = prose(text);
    let mut found = Vec::new();
    for phrase in PHRASES {
        found.extend(occurrences(&text, phrase).map(|_| *phrase));
    }
    for phrase in NEGATIONS {
        let is_bad = |(before, after): &(&str, &str)| {
            let next = after.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            !before.trim_end().ends_with("there") && !matches!(next, "" | "longer" | "more" | "less" | "later")
        };
        found.extend(occurrences(&text, phrase).filter(is_bad).map(|_| *phrase));
    }
    let ends = |(before, after): &(&str, &str)| {
        let is_degree = before.ends_with("not ") || before.ends_with("none ");
        !is_degree && after.starts_with(['.', ';', ',', ')', ':'])
    };
    found.extend(occurrences(&text, "too").filter(ends).map(|_| TOO));
    found
}

/// What stands before and after each occurrence of a phrase as whole words.
fn occurrences<'a>(text: &'a str, phrase: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.match_indices(phrase).filter_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + phrase.len()..]);
        (!before.ends_with(is_word) && !after.starts_with(is_word)).then_some((before, after))
    })
}

/// The text in lower case on one line, without the marks of comments and continued strings.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches(['/', '!', '#', '>']).trim_end_matches('\\');
        out.push_str(line.trim());
        out.push(' ');
    }
    out.to_lowercase()
}

#[test]
fn bad_sentences_are_found_and_good_ones_pass() {
    let bad = [
        ("`x` is no address of a server", "is no"),
        ("mend the selector", "mend"),
        ("the range 9-5 is turned round", "turned round"),
        ("it is tried\n    /// all the\n    /// same", "all the same"),
        ("over a restart, too.", TOO),
        ("as it \\\n    stands", "as it stands"),
        ("Whoever meets the bound", "whoever"),
    ];
    for (sentence, pattern) in bad {
        assert_eq!(found(sentence), [pattern], "{sentence}");
    }
    for sentence in
        ["there is no room", "it is no longer held", "too many of them", "recommend", "is_no_rule", "not too."]
    {
        assert!(found(sentence).is_empty(), "{sentence}");
    }
}
