//! Which series and labels an expression of PromQL uses. It reads words, strings and brackets, and understands nothing
//! else; `promtool` judges whether the expression is one.

use std::collections::BTreeSet;

/// What an expression may use beside series and labels.
const WORDS: [&str; 36] = [
    "absent",
    "and",
    "avg",
    "bool",
    "bottomk",
    "by",
    "clamp_min",
    "count",
    "delta",
    "group_left",
    "group_right",
    "histogram_quantile",
    "ignoring",
    "increase",
    "irate",
    "label_values",
    "max",
    "min",
    "offset",
    "on",
    "or",
    "quantile",
    "rate",
    "round",
    "scalar",
    "sort",
    "sort_desc",
    "stddev",
    "sum",
    "time",
    "timestamp",
    "topk",
    "unless",
    "vector",
    "without",
    "abs",
];

/// A series that an expression reads, with the values that it asks labels for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) series: String,
    /// Label, and the words that it is compared with: one, or the alternatives of a pattern; none for a variable.
    pub(super) labels: Vec<(String, Vec<String>)>,
}

/// What an expression uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) selected: Vec<Selected>,
    /// Labels that it groups or joins by.
    pub(super) groups: BTreeSet<String>,
    /// Names that are neither.
    pub(super) unknown: Vec<String>,
}

/// Reads an expression.
pub(super) fn uses(expression: &str) -> Uses {
    let mut uses = Uses::default();
    let mut rest = expression.trim_start();
    while let Some(letter) = rest.chars().next() {
        if letter == '"' {
            rest = quoted(rest).1;
        } else if letter == '[' {
            // A duration, or a variable that stands for one.
            rest = rest.split_once(']').map_or("", |(_, after)| after);
        } else if letter.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let (word, after) = word(rest);
            rest = take(word, after.trim_start(), &mut uses);
        } else {
            rest = &rest[letter.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    uses
}

/// Takes in a word; what follows it is left.
fn take<'t>(word: &str, after: &'t str, uses: &mut Uses) -> &'t str {
    if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word) && after.starts_with('(') {
        let (inside, rest) = after[1..].split_once(')').expect("a closing bracket");
        uses.groups.extend(inside.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
        return rest;
    }
    if WORDS.contains(&word) {
        return after;
    }
    if !word.starts_with("portunus_") {
        uses.unknown.push(word.to_owned());
        return after;
    }
    let mut selected = Selected { series: word.to_owned(), labels: Vec::new() };
    let Some(mut rest) = after.strip_prefix('{') else {
        uses.selected.push(selected);
        return after;
    };
    while !rest.trim_start().starts_with('}') {
        let (label, after) = self::word(rest.trim_start_matches([',', ' ', '\n']));
        let operator = after.trim_start();
        let (is_pattern, value) = match operator.get(..2) {
            Some("=~" | "!~") => (true, operator[2..].trim_start()),
            Some("!=") => (false, operator[2..].trim_start()),
            _ => (false, operator[1..].trim_start()),
        };
        let (text, after) = quoted(value);
        let words = match (text.contains('$'), is_pattern) {
            (true, _) => Vec::new(),
            (false, true) => text.split('|').map(str::to_owned).collect(),
            (false, false) => vec![text.to_owned()],
        };
        selected.labels.push((label.to_owned(), words));
        rest = after;
    }
    uses.selected.push(selected);
    rest.trim_start().strip_prefix('}').expect("a closing brace")
}

/// The word that a text begins with, and the rest.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    text.split_at(end)
}

/// The string that a text begins with, and the rest.
fn quoted(text: &str) -> (&str, &str) {
    text.strip_prefix('"').and_then(|text| text.split_once('"')).unwrap_or_else(|| panic!("no string: {text}"))
}

/// The labels of a template: `{{client}}` of a legend, `{{ $labels.client }}` of an annotation.
pub(super) fn labels_of_template(text: &str) -> BTreeSet<String> {
    let parts = text.split("{{").skip(1).filter_map(|part| part.split_once("}}").map(|(inside, _)| inside.trim()));
    parts
        .filter_map(|inside| match inside.split_once("$labels.") {
            Some((_, label)) => Some(word(label).0.to_owned()),
            None => (word(inside).0 == inside).then(|| inside.to_owned()),
        })
        .collect()
}

#[test]
fn series_labels_and_groups_are_found() {
    let expression = "sum by (client, le) (rate(portunus_a_total{rule=~\"$rule\", state=~\"up|down\", mode=\"x\"}[5m])) \
        > 0.5 * 86400 unless on (client) portunus_b == 1 or up{job=\"a\"}";
    let uses = uses(expression);
    let label = |name: &str, words: &[&str]| (name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect());
    let first = Selected {
        series: "portunus_a_total".to_owned(),
        labels: vec![label("rule", &[]), label("state", &["up", "down"]), label("mode", &["x"])],
    };
    assert_eq!(uses.selected, [first, Selected { series: "portunus_b".to_owned(), labels: Vec::new() }]);
    assert_eq!(uses.groups, ["client", "le"].map(str::to_owned).into());
    assert_eq!(uses.unknown, ["up", "job"]);
    let labels =
        labels_of_template("{{client}} of {{ $labels.rule }}, {{ printf \"%.1f\" $value }}, {{ $labels.at | x }}");
    assert_eq!(labels, ["client", "rule", "at"].map(str::to_owned).into());
}
