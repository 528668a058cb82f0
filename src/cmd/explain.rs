//! `explain`: what a key, a code or another word of an output means.

use reconciler::decide::glossary::{self, Meaning};
use schema::reference;
use serde::Serialize;

use crate::cli::{ExplainArgs, Format};
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value};

#[derive(Serialize)]
struct Explanation<'a> {
    kind: &'static str,
    topic: &'a str,
    text: String,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let topic = args.topic.as_str();
    let words: Vec<String> = glossary::explain(topic).map(in_words).collect();
    let text = match (reference::explain(topic), words.as_slice()) {
        (Ok(text), []) => text,
        (Ok(text), words) => format!("{text}\n{}", words.join("\n")),
        (Err(_), [_, ..]) => words.join("\n"),
        (Err(alike), []) => return Err(unknown(topic, alike)),
    };
    match args.looks.output {
        Format::Text => print(&text)?,
        format => _ = print_value(format, &Explanation { kind: "explanation", topic, text })?,
    }
    Ok(Exit::Done)
}

fn in_words(meaning: &Meaning) -> String {
    format!("{} ({})\n  {}\n", meaning.word, meaning.topic, meaning.text)
}

fn unknown(topic: &str, mut alike: Vec<String>) -> Failure {
    let near = |meaning: &&Meaning| meaning.word.eq_ignore_ascii_case(topic);
    alike.extend(glossary::ALL.iter().filter(near).map(|meaning| meaning.word.to_owned()));
    alike.dedup();
    let alike: Vec<String> = alike.iter().take(3).map(|name| format!("`{name}`")).collect();
    Failure::Other(match alike.as_slice() {
        [] => format!(
            "there is no key, no code and no other word `{topic}` to explain; `portunus explain rule` lists the keys \
             of a rule"
        ),
        alike => format!("there is no key or code `{topic}`; did you mean {}?", alike.join(" or ")),
    })
}
