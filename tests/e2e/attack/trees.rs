//! What a file can hold that is no good tree: in an upload, in the followed tree, and as mutants of a good one.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::arena::Place;
use super::dice::Dice;
use crate::support::http;

/// How long a junk file stays before the next.
const STAY: Duration = Duration::from_millis(400);

/// A file name's ending, and some junk.
fn junk(dice: &mut Dice) -> (&'static str, String) {
    let count = [1000, 10_000, 100_000][dice.below(3)];
    let numbered = |line: fn(usize) -> String| (0..count).map(line).collect::<String>();
    match dice.below(10) {
        0 => ("toml", "= = =\n".repeat(count * 10)),
        1 => ("toml", "[[rule]]\nx = 1\n".repeat(count)),
        2 => ("toml", numbered(|number| format!("k{number} = 1\n"))),
        3 => ("toml", format!("a = {}", "[".repeat(count))),
        4 => ("toml", format!("{}a = 1\n", "a.".repeat(count))),
        5 => ("yaml", format!("rule:\n{}", "- name: a\n  x: [1, {y: 2}]\n".repeat(count))),
        6 => ("yaml", format!("a: {}", "{".repeat(count))),
        7 => ("yaml", format!("a: &a [{}]\nb: [*a, *a]\n", "x, ".repeat(count))),
        8 => ("json", format!("{{\"rule\": [{}{{}}]}}", "{\"x\": [1, {}]},\n".repeat(count))),
        _ => ("json", "[".repeat(count)),
    }
}

fn post(place: &Place, path: &str, body: &str) -> Option<(u16, String)> {
    let token = format!("Bearer {}", place.token);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
    // No answer at all is what an attacker gets now and then.
    http(place.operator, "POST", path, &headers, body).ok()
}

/// An operator's tools gone mad: trees of junk, and bodies that are none.
pub(super) fn uploads(place: &Place, dice: &mut Dice) -> u64 {
    let (ending, text) = junk(dice);
    let body = match dice.below(5) {
        0 => "[".repeat(100_000),
        1 => json!({ "files": (0..5000).map(|number| json!({ "path": format!("f{number}.toml"), "text": "= =" })).collect::<Vec<_>>() }).to_string(),
        2 => json!({ "files": text }).to_string(),
        _ => json!({ "files": [{ "path": format!("a.{ending}"), "text": text }] }).to_string(),
    };
    let path = *dice.pick(&["/v1/validate", "/v1/plan", "/v1/apply"]);
    if let Some((status, answer)) = post(place, path, &body) {
        assert!(status < 500, "{path}: {status} {answer}");
    }
    1
}

/// A file in the followed tree, which comes, changes and goes.
pub(super) fn files(place: &Place, dice: &mut Dice) -> u64 {
    let (ending, text) = junk(dice);
    let path = place.tree.join(format!("junk.{ending}"));
    fs::write(&path, text).unwrap();
    thread::sleep(STAY);
    fs::write(&path, [dice.byte(); 1000]).unwrap();
    thread::sleep(STAY / 4);
    fs::remove_file(path).unwrap();
    1
}

fn good() -> String {
    let mut text = "[[edge]]\nname = \"e\"\nlabels = { a = \"b\" }\n\n[defaults]\nedges = [\"e\"]\n".to_owned();
    for number in 1..8 {
        write!(
            text,
            "\n[[rule]]\nname = \"r{number}\"\nlisten_ports = \"{number}000-{number}009\"\nbalance = \"round-robin\"\n\
             targets = [{{ host = \"a.example\", ports = \"100-109\", priority = 1 }}, {{ host = \"::1\", ports = \"200-209\" }}]\n\
             [rule.health]\nkind = \"http\"\npath = \"/up\"\nexpect_status = \"200-399\"\nexpect_body = \"o.k\"\nport = 80\n"
        )
        .unwrap();
    }
    text
}

/// A tree in which a few bytes, words or lines are not what they were: a verdict comes, whichever it is.
pub(super) fn mutants(place: &Place, dice: &mut Dice) -> u64 {
    let mut files = Vec::new();
    for number in 0..20 {
        files.push(json!({ "path": format!("f{number}.toml"), "text": mutant(good().into_bytes(), dice) }));
    }
    let count = files.len() as u64;
    let answer = post(place, "/v1/validate", &json!({ "files": files }).to_string());
    if let Some((status, answer)) = answer {
        assert_eq!(status, 200, "{answer}");
        let verdict: Value = serde_json::from_str(&answer).unwrap();
        assert!(verdict["valid"].is_boolean(), "{answer}");
    }
    count
}

fn mutant(mut text: Vec<u8>, dice: &mut Dice) -> String {
    const WORDS: [&str; 12] = [
        "-1",
        "99999999999999999999",
        "[",
        "}",
        "\"\"\"",
        "nan",
        "rule",
        "\u{0}",
        "'",
        "1979-05-27",
        "[[rule]]",
        "\u{feff}",
    ];
    for _ in 0..=dice.below(4) {
        let (at, to) = (dice.below(text.len()), dice.below(text.len()));
        let (from, to) = (at.min(to), at.max(to).min(at.min(to) + 60));
        match dice.below(5) {
            0 => text[at] = dice.byte(),
            1 => drop(text.drain(from..to)),
            2 => {
                let copy = text[from..to].to_vec();
                drop(text.splice(at..at, copy));
            }
            3 => drop(text.splice(from..to, dice.pick(&WORDS).bytes())),
            _ => text.truncate(at.max(1)),
        }
        if text.is_empty() {
            text.push(b'\n');
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
