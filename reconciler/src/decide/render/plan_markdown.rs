//! A plan as Markdown for a comment on a pull request. Pure.
//!
//! Keeps: the first line is a stable marker, so that a bot finds its own comment; nothing of a user's file can
//! format, mention or link; the text stays below [`LIMIT`] bytes, and what is left out is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::decide::plan::{Action, PlanDocument, PlannedChange};
use schema::spec::FieldChange;
use serde_json::Value;

use super::change::{impact, place, reason};
use super::difference::{Difference, difference};
use super::plan::{
    blockers, edge_mark, incomplete, rejected_heading, rejections, remarks, rollout_heading, source, verdict,
    wave_words,
};
use super::words::{count, listed};
use super::{drift, new_rule};

/// A comment on a pull request may have 65,536 characters; some are left for what a bot adds.
pub const LIMIT: usize = 60_000;
/// Kept for the closing lines.
const TAIL: usize = 2_000;
/// One change never takes more than this, however many fields it has.
const LARGEST_CHANGE: usize = 8_000;
/// What stands in the way, and what is to note, is counted from then on: most of it is said of each change again.
const SHOWN_LINES: usize = 20;
/// More waves are counted: the changes need the room.
const SHOWN_WAVES: usize = 16;
const MARKER: &str = "<!-- portunus-plan -->";

/// The whole comment.
pub fn text(plan: &PlanDocument) -> String {
    let mut text = format!("{MARKER}\n### {}\n", escape(&verdict(plan)));
    if let Some(gap) = incomplete(plan) {
        writeln!(text, "\n{}", escape(&gap)).expect("a string grows as needed");
    }
    push_list(&mut text, "**Blocked**", &blockers(plan));
    push_list(&mut text, &format!("**{}**", rejected_heading(plan)), &rejections(plan));
    push_list(&mut text, "**To note**", &remarks(plan));
    push_waves(&mut text, plan);
    let blocks: Vec<String> = plan.changes.iter().map(one).collect();
    let heading = |change: &PlannedChange| {
        let mark = edge_mark(plan.base.edges.get(&change.edge));
        let mark = mark.map(|mark| format!(" ({})", escape(&mark))).unwrap_or_default();
        format!("\n#### {}{mark}\n\n", code(change.edge.as_str()))
    };
    let room = LIMIT.saturating_sub(TAIL + text.len());
    let shown = choose(&plan.changes, room, |index| blocks[index].len(), |change| heading(change).len());
    let mut edge = None;
    for index in &shown {
        let change = &plan.changes[*index];
        if edge != Some(&change.edge) {
            text.push_str(&heading(change));
            edge = Some(&change.edge);
        }
        text.push_str(&blocks[*index]);
    }
    if shown.len() < plan.changes.len() {
        push_left_out(&mut text, plan, &shown);
    }
    if plan.summary.unchanged > 0 && !plan.changes.is_empty() {
        write!(text, "\n{} unchanged.\n", count(plan.summary.unchanged, "rule")).expect("a string grows as needed");
    }
    push_drift(&mut text, plan);
    push_hints(&mut text, plan);
    if plan.source.commit.is_some() {
        let source = source(&plan.source);
        let line = format!("\n<sub>{}</sub>\n", escape(&source));
        if text.len() + line.len() <= LIMIT {
            text.push_str(&line);
        }
    }
    text
}

fn push_waves(text: &mut String, plan: &PlanDocument) {
    for (index, wave) in plan.waves.iter().enumerate().take(SHOWN_WAVES) {
        if index == 0 {
            write!(text, "\n**{}**\n\n", escape(&rollout_heading(&plan.waves))).expect("a string grows as needed");
        }
        let edges = code(&listed(&wave.edges, 8));
        writeln!(text, "- wave {}: {}", wave.wave, wave_words(wave, &edges)).expect("a string grows as needed");
    }
    if plan.waves.len() > SHOWN_WAVES {
        writeln!(text, "- and {} more", plan.waves.len() - SHOWN_WAVES).expect("a string grows as needed");
    }
}

/// Which changes are shown where not all have room: those that take something away first, each kind in the order of
/// the plan. They are also shown in that order.
fn choose(
    changes: &[PlannedChange],
    room: usize,
    size: impl Fn(usize) -> usize,
    heading: impl Fn(&PlannedChange) -> usize,
) -> BTreeSet<usize> {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|index| urgency(changes[*index].action));
    let mut shown = BTreeSet::new();
    let mut edges = BTreeSet::new();
    let mut used = 0;
    for index in order {
        let change = &changes[index];
        let head = if edges.contains(&change.edge) { 0 } else { heading(change) };
        used += size(index) + head;
        if used > room {
            break;
        }
        edges.insert(&change.edge);
        shown.insert(index);
    }
    shown
}

/// Lower is shown first.
const fn urgency(action: Action) -> u8 {
    match action {
        Action::Reject => 0,
        Action::Remove => 1,
        Action::Rebind => 2,
        Action::Retry => 3,
        Action::Move => 4,
        Action::Update => 5,
        Action::Activate => 6,
    }
}

/// Says what is missing, by kind, and where it is to be seen.
fn push_left_out(text: &mut String, plan: &PlanDocument, shown: &BTreeSet<usize>) {
    let missing = plan.changes.iter().enumerate().filter(|(index, _)| !shown.contains(index));
    let mut kinds: BTreeMap<Action, u32> = BTreeMap::new();
    let mut edges = BTreeSet::new();
    for (_, change) in missing {
        *kinds.entry(change.action).or_default() += 1;
        edges.insert(&change.edge);
    }
    let left_out = kinds.values().sum::<u32>();
    let kinds: Vec<String> = kinds.iter().map(|(action, number)| format!("{number} {}", action.as_str())).collect();
    write!(
        text,
        "\n**{} left out** for length: {} on {}. `portunus plan` shows all, as text or with `-o json`.\n",
        count(left_out, "change"),
        kinds.join(", "),
        count(edges.len() as u64, "edge")
    )
    .expect("a string grows as needed");
}

fn push_list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    write!(text, "\n{title}\n\n").expect("a string grows as needed");
    let mut left_out = 0_u32;
    for (index, line) in lines.iter().enumerate() {
        let line = format!("- {}\n", escape(line));
        if left_out > 0 || index == SHOWN_LINES || text.len() + line.len() > LIMIT / 2 {
            left_out += 1;
        } else {
            text.push_str(&line);
        }
    }
    if left_out > 0 {
        writeln!(text, "- and {left_out} more").expect("a string grows as needed");
    }
}

/// One change: a line, and its fields folded away.
fn one(change: &PlannedChange) -> String {
    let mut text =
        format!("- {} {} {}", code(change.action.sign()), change.action.as_str(), code(change.rule.as_str()));
    let mut add = |words: String| text.push_str(&words);
    if let Some(previous) = &change.previous_rule {
        add(format!(", was {}", code(previous.as_str())));
    }
    for (verb, ranges) in
        [("bind", &change.ports.bind), ("keep", &change.ports.keep), ("release", &change.ports.release)]
    {
        if !ranges.is_empty() {
            add(format!(", {verb} {}", code(&listed(ranges, 8))));
        }
    }
    if let Some(listener) = new_rule::listener(change) {
        add(format!(", listen {}", code(&listener)));
    }
    if let Some(targets) = new_rule::targets(change) {
        add(format!(", to {}", code(&targets)));
    }
    if let Some(origin) = &change.origin {
        add(format!(" ({})", code(&place(origin))));
    }
    if let Some(reason) = reason(change) {
        add(format!("<br>{}", escape(&reason)));
    }
    if let Some(impact) = impact(change) {
        add(format!("<br>{}", escape(&impact)));
    }
    text.push('\n');
    let shown: Vec<&FieldChange> = new_rule::shown_fields(change).collect();
    if !shown.is_empty() {
        text.push_str(&fields(&shown));
    }
    text
}

fn fields(fields: &[&FieldChange]) -> String {
    let mut text = format!("  <details><summary>{}</summary>\n\n", count(fields.len() as u64, "field"));
    text.push_str("  | field | before | after |\n  |---|---|---|\n");
    for (index, field) in fields.iter().enumerate() {
        let row = match difference(&field.before, &field.after) {
            Difference::Line(before, after) => {
                format!("  | {} | {} | {} |\n", code(&field.path), code(&before), code(&after))
            }
            Difference::Lines(_) => {
                format!("  | {} | {} | {} |\n", code(&field.path), cell(&field.before), cell(&field.after))
            }
        };
        if text.len() + row.len() > LARGEST_CHANGE {
            let rest = count((fields.len() - index) as u64, "field");
            writeln!(text, "  | {rest} left out | | |").expect("a string grows as needed");
            break;
        }
        text.push_str(&row);
    }
    text + "\n  </details>\n"
}

/// A long value in a cell, with its own line breaks.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.lines().map(code).collect::<Vec<_>>().join("<br>"),
        value => code(&super::difference::shown(value)),
    }
}

fn push_hints(text: &mut String, plan: &PlanDocument) {
    for (index, hint) in plan.hints.iter().enumerate() {
        let place = code(&format!("{}/{}", hint.edge, hint.rule));
        let line = format!("\n> Hint: {place} {}\n", escape(&hint.message));
        if text.len() + line.len() + TAIL / 4 > LIMIT {
            write!(text, "\n> and {} more hints\n", plan.hints.len() - index).expect("a string grows as needed");
            break;
        }
        text.push_str(&line);
    }
}

fn push_drift(text: &mut String, plan: &PlanDocument) {
    if plan.drift.is_empty() {
        return;
    }
    let title = format!("Drift: {}", count(plan.drift.len() as u64, "deviation"));
    write!(text, "\n<details><summary>{title}</summary>\n\n").expect("a string grows as needed");
    for (index, drift) in plan.drift.iter().enumerate() {
        let words = drift::words(drift);
        let line = format!("- {} {} {}\n", code(&drift::place(drift)), drift.kind.as_str(), escape(&words));
        if text.len() + line.len() + TAIL / 4 > LIMIT {
            writeln!(text, "- and {} more", plan.drift.len() - index).expect("a string grows as needed");
            break;
        }
        text.push_str(&line);
    }
    text.push_str("\n</details>\n");
}

/// As code: mentions and links are not looked for in it.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<code>{}</code>", escape(text)) }
}

/// Every character that Markdown or HTML could read as more than itself becomes an entity.
fn escape(text: &str) -> String {
    let text = super::clean::clean(text);
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_inside_word = before.is_alphanumeric() && letters.peek().is_some_and(|next| next.is_alphanumeric());
        let is_link = letter == '/' && before == ':';
        if "&<>`*[]|\\#@~$".contains(letter) || is_link || (letter == '_' && !is_inside_word) {
            write!(escaped, "&#{};", u32::from(letter)).expect("a string grows as needed");
        } else {
            escaped.push(letter);
        }
        before = letter;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_formats_mentions_or_ends_a_cell() {
        let escaped = code("a|b`c`<img src=x>@team [x](y) \u{1b}\n");
        for bad in ['|', '`', '@', '[', ']', '\n', '\u{1b}'] {
            assert!(!escaped.contains(bad), "{bad:?} in {escaped}");
        }
        assert_eq!(escaped.matches('<').count(), 2, "{escaped}");
        assert_eq!(escape("_a_ a_b"), "&#95;a&#95; a_b");
    }
}
