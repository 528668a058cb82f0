//! The reference page: every table and every code as Markdown. Pure.

use std::fmt::Write as _;

use super::type_of;
use crate::codes::{CodeDoc, RuleCode, TreeCode};
use crate::counters::{CounterKind, ROWS};
use crate::fields::{Concern, Field, TABLES, Table};

/// The whole page, as committed in docs/reference.md.
pub fn markdown() -> String {
    let mut page = "# Reference\n\nMade from the field table and the codes that the program itself uses; \
                    `portunus explain KEY` prints the same for one key or code.\n"
        .to_owned();
    for table in TABLES {
        section(&mut page, table);
    }
    codes(&mut page, "Errors in a tree", TreeCode::ALL.iter().map(|code| code.doc()));
    codes(&mut page, "Reasons why an edge does not run a rule", RuleCode::ALL.iter().map(|code| code.doc()));
    page.push_str(&counters());
    page
}

/// Every counter, with its key in JSON and its series.
pub(super) fn counters() -> String {
    let mut text =
        "\n## What is counted of a rule\n\n`portunus stats -o json` and the API have the key, `/metrics` the series, \
                    with the labels `client`, `rule` and `owner`.\n\n\
                    | key | series | labels | kind | meaning |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in ROWS {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let words: Vec<String> =
            row.words[..row.known].iter().map(|word| format!("`{}`", row.split(word).join(" "))).collect();
        let labels =
            if words.is_empty() { String::new() } else { format!("{}: {}", labels.join(", "), words.join(", ")) };
        let kind = match row.kind {
            CounterKind::Counter => "counter",
            CounterKind::Gauge => "gauge",
        };
        let only = row
            .protocol
            .map_or_else(String::new, |protocol| format!(" {} rules only.", protocol.as_str().to_uppercase()));
        let line = format!("| `{}` | `{}` | {labels} | {kind} | {}{only} |\n", row.key, row.series, cell(row.help));
        text.push_str(&line.replace("|  |", "| |"));
    }
    text
}

fn section(page: &mut String, table: &Table) {
    let mut line = |text: String| writeln!(page, "{text}").expect("a string grows as needed");
    line(format!("\n## `{}`\n\n{}\n", table.header, table.doc));
    if table.name == "defaults" {
        let without: Vec<String> =
            table.without.iter().map(|index| format!("`{}`", table.fields[*index].key)).collect();
        line(format!("Accepts every key of `[[rule]]` except {}.", without.join(", ")));
        return;
    }
    line("| key | type | default | meaning |\n|---|---|---|---|".to_owned());
    for (_, field) in table.own_fields() {
        let default = match (field.required, field.default) {
            (true, _) => "required".to_owned(),
            (false, "") => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let cells = [format!("`{}`", field.key), cell(&type_of(field.kind)), cell(&default), cell(&meaning(field))];
        line(format!("| {} |", cells.join(" | ")).replace("|  |", "| |"));
    }
}

fn meaning(field: &Field) -> String {
    let mut text = field.doc.to_owned();
    match field.concern {
        Concern::All => {}
        Concern::Tcp => text.push_str(" TCP rules only."),
        Concern::Udp => text.push_str(" UDP rules only."),
    }
    write!(text, " Example: `{} = {}`", field.key, field.example).expect("a string grows as needed");
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn codes(page: &mut String, title: &str, codes: impl Iterator<Item = CodeDoc>) {
    write!(page, "\n## {title}\n\n| code | meaning | what to do |\n|---|---|---|\n").expect("a string grows as needed");
    for code in codes {
        writeln!(page, "| `{}` | {} | {} |", code.code, cell(code.meaning), cell(code.remedy))
            .expect("a string grows as needed");
    }
}
