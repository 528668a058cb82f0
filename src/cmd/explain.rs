//! `explain`: what a key or a code means.

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
    let text = reference::explain(topic).map_err(|alike| {
        let alike: Vec<String> = alike.iter().map(|name| format!("`{name}`")).collect();
        Failure::Other(match alike.as_slice() {
            [] => format!("there is no key and no code `{topic}`; `portunus explain rule` lists the keys of a rule"),
            alike => format!("there is no key and no code `{topic}`; did you mean {}?", alike.join(" or ")),
        })
    })?;
    match args.looks.output {
        Format::Text => print(&text)?,
        format => _ = print_value(format, &Explanation { kind: "explanation", topic, text })?,
    }
    Ok(Exit::Done)
}
