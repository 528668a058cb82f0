//! One more target in the text of a rule, written as the targets beside it are. Pure.
//!
//! Keeps: only lines of the rule's targets change; a form that is not understood is refused and never guessed.

use std::ops::Range;

use schema::diagnostic::SourceFile;
use schema::ruleset::Origin;
use schema::text::{Entry, Node, Syntax, Value};
use serde::{Deserialize, Serialize};

use super::place::{end_of, is_flow, is_header, parsed, rule_in};
use super::{NoPlace, NotEditable, uses_crlf};

/// A target that a rule does not have yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewTarget {
    /// An IP address or a DNS name.
    pub host: String,
    /// A port, or a range `LO-HI`.
    pub ports: String,
    /// 0 to 99, lower is preferred; 0 if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// 0 to 100; 100 if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
}

/// A piece of a file that is replaced.
struct Replacement {
    at: Range<usize>,
    with: String,
}

/// The file with one more target in the rule that stands there.
pub fn with_target(file: &SourceFile, origin: &Origin, target: &NewTarget) -> Result<String, NotEditable> {
    let missing = || NoPlace::Missing { file: file.path.to_string(), line: origin.line };
    let root = parsed(file).ok_or_else(missing)?;
    let rule = rule_in(&root, file, origin).ok_or_else(missing)?;
    let Value::Table(entries) = &rule.value else { return Err(NotEditable::Targets) };
    let writer = TargetWriter::of(file, rule);
    let named = |key: &str| entries.iter().find(|entry| entry.key == key);
    let made = match (named("target"), named("targets")) {
        (Some(only), None) => writer.instead_of(only, target),
        (None, Some(Entry { node, .. })) => match &node.value {
            Value::Array(items) if !items.is_empty() => writer.behind(items, target),
            _ => None,
        },
        _ => None,
    };
    let mut made = made.ok_or(NotEditable::Targets)?;
    made.sort_by_key(|one| std::cmp::Reverse(one.at.start));
    let mut text = file.text.to_string();
    for one in made {
        text.replace_range(one.at, &one.with);
    }
    Ok(text)
}

/// How the file is written.
struct TargetWriter<'f> {
    text: &'f str,
    syntax: Syntax,
    newline: &'static str,
    /// True if the rule itself is in braces.
    is_inline: bool,
}

impl<'f> TargetWriter<'f> {
    fn of(file: &'f SourceFile, rule: &Node<'_>) -> Self {
        let syntax = Syntax::of_path(&file.path).unwrap_or(Syntax::Toml);
        let newline = if uses_crlf(&file.text) { "\r\n" } else { "\n" };
        Self { text: &file.text, syntax, newline, is_inline: is_flow(&file.text, rule) && !is_header(&file.text, rule) }
    }

    /// `{ host = "10.0.0.5", port = 443 }`
    fn braces(&self, target: &NewTarget) -> String {
        let pairs: Vec<String> = pairs(target).into_iter().map(|(key, value)| self.pair(key, &value)).collect();
        let pairs = pairs.join(", ");
        if self.syntax == Syntax::Json { format!("{{{pairs}}}") } else { format!("{{ {pairs} }}") }
    }

    fn pair(&self, key: &str, value: &str) -> String {
        match self.syntax {
            Syntax::Toml => format!("{key} = {value}"),
            Syntax::Yaml => format!("{key}: {value}"),
            Syntax::Json => format!("\"{key}\": {value}"),
        }
    }

    /// `target = …` becomes a list of two.
    fn instead_of(&self, only: &Entry<'_>, target: &NewTarget) -> Option<Vec<Replacement>> {
        let Value::String(known) = &only.node.value else { return None };
        let items = [self.braces(&known_target(known)?), self.braces(target)];
        let line = self.line_of(only.key_span.start);
        let indent = self.indent_of(line.clone());
        let is_own_line = self.text[line.start..only.key_span.start].trim_matches([' ', '\t', '-']).is_empty();
        let step = if indent.contains('\t') { "\t" } else { "  " };
        // Of a mapping behind a dash, the keys stand further in than the line.
        let column = self.text[line.start..only.key_span.start].chars().count();
        let base = if self.syntax == Syntax::Yaml { " ".repeat(column) } else { indent.to_owned() };
        let nl = self.newline;
        let is_one_line = self.is_inline && !(self.syntax == Syntax::Json && is_own_line);
        let list = if is_one_line {
            format!("[{}]", items.join(", "))
        } else if self.syntax == Syntax::Yaml {
            let items = items.join(&format!("{nl}{base}{step}- "));
            return Some(self.replaced(only, &format!("targets:{nl}{base}{step}- {items}")));
        } else {
            let comma = if self.syntax == Syntax::Toml { "," } else { "" };
            let items = items.join(&format!(",{nl}{base}{step}"));
            format!("[{nl}{base}{step}{items}{comma}{nl}{base}]")
        };
        let with = match self.syntax {
            Syntax::Toml => format!("targets = {list}"),
            Syntax::Yaml => format!("targets: {list}"),
            Syntax::Json => format!("\"targets\": {list}"),
        };
        Some(self.replaced(only, &with))
    }

    fn replaced(&self, entry: &Entry<'_>, with: &str) -> Vec<Replacement> {
        // A key of JSON stands in quotes, which are part of its place, and so may one of TOML.
        vec![Replacement { at: entry.key_span.start..end_of(self.text, &entry.node), with: with.to_owned() }]
    }

    /// One more behind the last.
    fn behind(&self, items: &[Node<'_>], target: &NewTarget) -> Option<Vec<Replacement>> {
        let last = items.last()?;
        if self.syntax == Syntax::Toml && is_header(self.text, last) {
            return Some(vec![self.header(last, target)]);
        }
        if is_flow(self.text, last) {
            let line = self.line_of(last.span.start);
            let before = &self.text[line.start..last.span.start];
            if self.syntax == Syntax::Yaml && before.trim_start().starts_with('-') {
                return Some(vec![self.dashed(last, before, &self.braces(target))]);
            }
            return Some(self.listed(last, &self.braces(target)));
        }
        if self.syntax != Syntax::Yaml {
            return None;
        }
        let line = self.line_of(last.span.start);
        let before = &self.text[line.start..last.span.start];
        let is_dashed = before.trim_start().starts_with('-') && before.trim_matches([' ', '-']).is_empty();
        let indent = " ".repeat(before.chars().count());
        let keys: Vec<String> = pairs(target).into_iter().map(|(key, value)| self.pair(key, &value)).collect();
        let text = keys.join(&format!("{}{indent}", self.newline));
        is_dashed.then(|| vec![self.dashed(last, before, &text)])
    }

    /// `- …` on lines of its own.
    fn dashed(&self, last: &Node<'_>, before: &str, text: &str) -> Replacement {
        let end = self.line_of(end_of(self.text, last)).end;
        Replacement { at: end..end, with: format!("{}{before}{text}", self.newline) }
    }

    /// `[[rule.targets]]` behind the last one.
    fn header(&self, last: &Node<'_>, target: &NewTarget) -> Replacement {
        let header_line = self.line_of(last.span.start);
        let indent = self.indent_of(header_line);
        let end = self.line_of(deepest_end(last)).end;
        let nl = self.newline;
        let mut with = format!("{nl}{nl}{indent}{}", self.text[last.span.start..last.span.end].trim());
        for (key, value) in pairs(target) {
            with.push_str(nl);
            with.push_str(indent);
            with.push_str(&self.pair(key, &value));
        }
        Replacement { at: end..end, with }
    }

    /// Behind the last one in brackets: on a line of its own where the last one has one.
    fn listed(&self, last: &Node<'_>, item: &str) -> Vec<Replacement> {
        let (start, end) = (last.span.start, last.span.end);
        let line = self.line_of(start);
        let is_own_line = self.text[line.start..start].trim().is_empty();
        let last_line = self.line_of(end);
        let rest = &self.text[end..last_line.end];
        let has_comma = rest.trim_start().starts_with(',');
        let behind = rest.trim_start().trim_start_matches(',').trim_start();
        // A comment stays with the target that it stands behind.
        if !is_own_line || !(behind.is_empty() || behind.starts_with('#')) {
            return vec![Replacement { at: end..end, with: format!(", {item}") }];
        }
        let indent = self.indent_of(line);
        let comma = if has_comma { "," } else { "" };
        let added = format!("{}{indent}{item}{comma}", self.newline);
        let mut made = vec![Replacement { at: last_line.end..last_line.end, with: added }];
        if !has_comma {
            if end == last_line.end {
                made[0].with.insert(0, ',');
            } else {
                made.push(Replacement { at: end..end, with: ",".to_owned() });
            }
        }
        made
    }

    /// The line around a byte, without its end.
    fn line_of(&self, at: usize) -> Range<usize> {
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        let end = if self.text[..end].ends_with('\r') && end > at { end - 1 } else { end };
        start..end
    }

    fn indent_of(&self, line: Range<usize>) -> &'f str {
        let line = &self.text[line];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }
}

/// Where the last value of a table ends.
fn deepest_end(node: &Node<'_>) -> usize {
    let inner = match &node.value {
        Value::Table(entries) => entries.iter().map(|entry| deepest_end(&entry.node)).max(),
        Value::Array(items) => items.iter().map(deepest_end).max(),
        _ => None,
    };
    inner.unwrap_or(0).max(node.span.end)
}

/// The keys of a target with their values, as TOML, YAML and JSON write them alike.
fn pairs(target: &NewTarget) -> Vec<(&'static str, String)> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut pairs = vec![("host", text(&target.host))];
    pairs.push(match target.ports.trim().parse::<u32>() {
        Ok(port) => ("port", port.to_string()),
        Err(_) => ("ports", text(target.ports.trim())),
    });
    pairs.extend(target.priority.map(|number| ("priority", number.to_string())));
    pairs.extend(target.weight.map(|number| ("weight", number.to_string())));
    pairs
}

/// `HOST:PORTS` as a target.
fn known_target(text: &str) -> Option<NewTarget> {
    let (host, ports) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => text.rsplit_once(':')?,
    };
    Some(NewTarget { host: host.to_owned(), ports: ports.to_owned(), ..NewTarget::default() })
}
