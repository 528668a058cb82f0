//! The series that a scrape holds: their kinds, their help, and the values that their labels have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::promql::{Uses, labels_of_template, uses};

/// Labels that Prometheus itself adds to what it scrapes.
const OWN: [&str; 2] = ["job", "instance"];

/// One series of a scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    pub(super) kind: String,
    pub(super) help: String,
    /// Its labels, with the values that they have.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
    /// Who serves it.
    pub(super) ports: BTreeSet<&'static str>,
    has_rows: bool,
}

/// The series by name.
pub(super) type Scrape = BTreeMap<String, Series>;

/// Takes in the text of a port.
pub(super) fn add(to: &mut Scrape, text: &str, port: &'static str) {
    let mut family = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut family);
            let series = to.entry(name.to_owned()).or_default();
            help.clone_into(&mut series.help);
            series.ports.insert(port);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kind.clone_into(&mut to.entry(name.to_owned()).or_default().kind);
        } else {
            add_row(to, line, &family);
        }
    }
}

fn add_row(to: &mut Scrape, line: &str, family: &str) {
    let Some((row, _value)) = line.rsplit_once(' ') else { return };
    let (name, labels) = row.split_once('{').unwrap_or((row, ""));
    let kind = to.get(family).map(|series| series.kind.clone()).unwrap_or_default();
    // A histogram has three names.
    let series = to.entry(name.to_owned()).or_default();
    series.has_rows = true;
    if series.kind.is_empty() {
        series.kind = format!("part of a {kind}");
    }
    for pair in labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once("=\"").expect("a label");
        series.labels.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
    }
}

/// What an expression and its templates use that the scrape does not have.
pub(super) fn missing(expression: &str, templates: &[&str], scrape: &Scrape) -> Vec<String> {
    let Uses { selected, groups, unknown } = uses(expression);
    let mut findings: Vec<String> = unknown.iter().map(|name| format!("{name} is not a series of portunus")).collect();
    findings.extend(selected.is_empty().then(|| "it reads no series".to_owned()));
    let shown: BTreeSet<String> = templates.iter().flat_map(|text| labels_of_template(text)).collect();
    for each in &selected {
        let Some(series) = scrape.get(&each.series).filter(|series| series.has_rows) else {
            findings.push(format!("there is no series {}", each.series));
            continue;
        };
        for (label, words) in &each.labels {
            match series.labels.get(label) {
                None => findings.push(format!("{} has no label {label}", each.series)),
                Some(values) => findings.extend(
                    words
                        .iter()
                        .filter(|word| !values.contains(*word))
                        .map(|word| format!("{}: {label} is never {word}", each.series)),
                ),
            }
        }
        let known = |label: &&String| series.labels.contains_key(*label) || OWN.contains(&label.as_str());
        let used = groups.iter().chain(&shown).filter(|label| !known(label));
        findings.extend(used.map(|label| format!("{} has no label {label}", each.series)));
    }
    findings
}

/// The page that documents all series.
pub(super) fn page(scrape: &Scrape) -> String {
    let mut page =
        "# Metrics\n\nMade from what the metrics ports serve. The server's port is 7081 by default and has the \
        series of all rules on all edges; an edge serves its own process, with `portunus edge --metrics-listen`. \
        `client` is the name of an edge. [operations.md](operations.md#dashboards-and-alerts) has dashboards and alert \
        rules, [reference.md](reference.md#what-is-counted-of-a-rule) the counters of a rule with their words.\n\n\
        | series | served by | kind | labels | meaning |\n|---|---|---|---|---|\n"
            .to_owned();
    for (name, series) in scrape.iter().filter(|(_, series)| !series.help.is_empty()) {
        let labels: BTreeSet<&String> = match series.kind.as_str() {
            "histogram" => {
                scrape.get(&format!("{name}_bucket")).map(|part| part.labels.keys().collect()).unwrap_or_default()
            }
            _ => series.labels.keys().collect(),
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let ports: Vec<&str> = series.ports.iter().copied().collect();
        let (ports, labels, help) = (ports.join(", "), labels.join(", "), series.help.replace('|', "\\|"));
        writeln!(page, "| `{name}` | {ports} | {} | {labels} | {help} |", series.kind).unwrap();
    }
    page
}
