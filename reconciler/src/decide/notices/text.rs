//! The sentences of a message: alike news become one sentence, and what is too long is cut and counted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schema::name::EdgeName;

use super::{News, NewsKind};
use crate::decide::render::words::count;

/// Places that a sentence about many of them names.
const NAMED: usize = 8;
/// Lines of details below one sentence.
const DETAILS: usize = 20;

/// What a message says: a sentence for each kind of news in the order in which they came, with its details below it.
pub fn paragraphs(items: &[News], more: u64) -> Vec<String> {
    let mut order: Vec<(NewsKind, Option<&str>)> = Vec::new();
    let mut groups: BTreeMap<(NewsKind, Option<&str>), Vec<&News>> = BTreeMap::new();
    let mut paragraphs: Vec<(usize, String)> = Vec::new();
    for (place, news) in items.iter().enumerate() {
        if news.kind == NewsKind::Single {
            paragraphs.push((place, within(&news.text)));
            continue;
        }
        let key = (news.kind, news.target.as_deref());
        let group = groups.entry(key).or_default();
        if group.is_empty() {
            order.push(key);
        }
        group.push(news);
    }
    let place_of = |first: &News| items.iter().position(|one| std::ptr::eq(one, first)).unwrap_or_default();
    for (kind, target) in order {
        let group = &groups[&(kind, target)];
        let text = if let [one] = group.as_slice() { within(&one.text) } else { together(kind, target, group) };
        paragraphs.push((place_of(group[0]), text));
    }
    paragraphs.sort_by_key(|(place, _)| *place);
    let mut all: Vec<String> = paragraphs.into_iter().map(|(_, text)| text).collect();
    if more > 0 {
        all.push(format!("… and {more} more"));
    }
    all
}

/// A text with at most so many lines of details.
fn within(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= DETAILS + 1 {
        return text.to_owned();
    }
    let rest = lines.len() - DETAILS - 1;
    format!("{}\n… and {}", lines[..=DETAILS].join("\n"), count(rest as u64, "more line"))
}

fn together(kind: NewsKind, target: Option<&str>, group: &[&News]) -> String {
    let places: BTreeSet<String> = group.iter().map(|news| news.place()).collect();
    let edges: BTreeSet<&str> = group.iter().filter_map(|news| news.edge.as_ref()).map(EdgeName::as_str).collect();
    let (rules, on) = (count(places.len() as u64, "rule"), count(edges.len() as u64, "edge"));
    let verb = if places.len() == 1 { "is" } else { "are" };
    let of_rules = |what: &str| format!("{rules} on {on} {verb} {what}");
    let target = target.unwrap_or_default();
    let head = match kind {
        NewsKind::RuleDown => of_rules("down"),
        NewsKind::RuleUp => of_rules("up again"),
        NewsKind::TargetDown => format!("{target} is down in {rules} on {on}"),
        NewsKind::TargetUp => format!("{target} is up again in {rules} on {on}"),
        NewsKind::EdgeOffline => format!("{on} {verb} offline"),
        NewsKind::EdgeBack => format!("{on} {verb} connected again"),
        NewsKind::DriftBegan => of_rules("not as applied"),
        NewsKind::DriftEnded => of_rules("as applied again"),
        NewsKind::Single => String::new(),
    };
    let named: Vec<&str> = places.iter().take(NAMED).map(String::as_str).collect();
    let rest = places.len().saturating_sub(NAMED);
    let beyond = if rest == 0 { String::new() } else { format!(", … and {rest} more") };
    format!("{head}: {}{beyond}", named.join(", "))
}

/// The paragraphs within so many units, as `size` counts those of a text; what is left out is counted. Each one is
/// written by `write`, so that escapes count.
pub(super) fn cut(
    paragraphs: &[String],
    most: usize,
    size: impl Fn(&str) -> usize,
    write: impl Fn(&str) -> String,
) -> String {
    // Room for the line that counts the rest.
    let room = most.saturating_sub(32);
    let mut text = String::new();
    for (place, paragraph) in paragraphs.iter().enumerate() {
        let separator = if text.is_empty() { "" } else { "\n" };
        let written = write(paragraph);
        if size(&text) + size(separator) + size(&written) <= room {
            text.push_str(separator);
            text.push_str(&written);
            continue;
        }
        let rest = paragraphs.len() - place;
        if text.is_empty() {
            text = shortened(paragraph, room, &size, &write);
            return if rest > 1 { format!("{text}\n… and {} more", rest - 1) } else { text };
        }
        return format!("{text}\n… and {rest} more");
    }
    text
}

/// As many lines of a paragraph as there is room for, or as much of its first line.
fn shortened(paragraph: &str, room: usize, size: &impl Fn(&str) -> usize, write: &impl Fn(&str) -> String) -> String {
    let lines: Vec<&str> = paragraph.lines().collect();
    for kept in (2..=lines.len()).rev() {
        let written = write(&lines[..kept].join("\n"));
        if size(&written) <= room {
            return format!("{written}\n… and {}", count((lines.len() - kept) as u64, "more line"));
        }
    }
    let first = lines.first().copied().unwrap_or_default();
    let mut length = first.chars().count();
    loop {
        let part: String = first.chars().take(length).collect();
        let written = write(&part);
        if size(&written) < room || length == 0 {
            return format!("{written}…");
        }
        length = length.saturating_sub(1 + length / 16);
    }
}
