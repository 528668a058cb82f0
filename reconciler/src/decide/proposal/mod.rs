//! Proposals: a rule changed in the text of its file, as people review it. Pure.
//!
//! Keeps: nothing is written anywhere; what a proposal leaves alone stays byte for byte, line ends and comments
//! included; a place that cannot be changed by itself is refused with what to do instead.

mod patch;
mod place;
mod target;

use std::sync::Arc;

use schema::diagnostic::SourceFile;
use schema::ruleset::Origin;
use schema::spec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::plan::{FileDocument, Source};
pub use patch::{hunks, patch, patch_at};
pub use place::{NoPlace, RuleText, rule_text};
pub use target::{NewTarget, with_target};

/// The longest text of one rule that is taken.
pub const MAX_TEXT: usize = 256 << 10;

/// What is to become of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleEdit {
    /// Its text is another one; without text it is removed.
    Text(String),
    /// It has one more target, the last one.
    Target(NewTarget),
}

/// Why a rule cannot be changed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotEditable {
    /// Its text cannot be taken out of the file.
    #[error(transparent)]
    Place(#[from] NoPlace),
    /// Its targets are written in a way that nothing can be added to.
    #[error(
        "the targets of the rule are written in a form that a target cannot be added to: edit the text of the rule"
    )]
    Targets,
    /// The text would not be one rule.
    #[error("the text is longer than {MAX_TEXT} bytes: edit the file itself")]
    TooLong,
}

/// A file with a rule that was changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedFile {
    /// The file as it was.
    pub before: FileDocument,
    /// The file as it would be.
    pub after: FileDocument,
    /// The text of the rule before.
    pub old_rule: String,
    /// The text of the rule afterwards.
    pub new_rule: String,
    /// The line on which that text begins, in both.
    pub line: u32,
}

impl EditedFile {
    /// The change as people read it, with nothing of the file around the rule.
    pub fn shown(&self) -> String {
        hunks(&with_end(&self.old_rule), &with_end(&self.new_rule), self.line)
    }

    /// The change as `git apply` takes it at the root of the repository.
    pub fn patch(&self, source: &Source) -> String {
        patch(&source.path_of(&self.before.path), &self.before.text, &self.after.text)
    }

    /// The same without a line that may belong to somebody else; `None` where git would need one to find the place.
    pub fn patch_of_rule(&self, source: &Source) -> Option<String> {
        let (before, after) = (&*self.before.text, &*self.after.text);
        let start = before.split_inclusive('\n').take(self.line as usize - 1).map(str::len).sum::<usize>();
        let rest = before.get(start..)?.strip_prefix(self.old_rule.as_str())?;
        let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let end = before.len() - rest.len() + line + harmless(&rest[line..]);
        let new_end = after.len().checked_sub(before.len() - end)?;
        let (old, new) = (before.get(start..end)?, after.get(start..new_end)?);
        // Without a line below it, git looks for a change at the end of the file only.
        let is_placed = end == before.len() || old.lines().last() == new.lines().last();
        is_placed.then(|| patch_at(&source.path_of(&self.before.path), old, new, self.line))
    }
}

/// How many bytes of what follows a rule say nothing about others: blank lines, and the head of the next rule.
fn harmless(text: &str) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        let is_head = line.trim_end() == "[[rule]]";
        if !is_head && !line.trim().is_empty() {
            break;
        }
        length += line.len();
        if is_head {
            break;
        }
    }
    length
}

/// A text whose last line ends, so that its last line is not shown as one without an end.
fn with_end(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// Changes the rule that stands at this place of a tree.
pub fn edited(files: &[FileDocument], origin: &Origin, edit: &RuleEdit) -> Result<EditedFile, NotEditable> {
    let missing = || NoPlace::Missing { file: origin.file.to_string(), line: origin.line };
    let before = files.iter().find(|file| file.path == origin.file).ok_or_else(missing)?;
    let file = SourceFile::new(before.path.clone(), before.text.clone());
    let place = rule_text(&file, origin)?;
    let old_rule = place.text(&file).to_owned();
    let (text, new_rule) = match edit {
        RuleEdit::Text(text) if text.len() > MAX_TEXT => return Err(NotEditable::TooLong),
        RuleEdit::Text(text) => {
            let new_rule = as_in(&file, text);
            (spliced(&file.text, place.span.clone(), &new_rule), new_rule)
        }
        RuleEdit::Target(target) => {
            let text = with_target(&file, origin, target)?;
            // Everything behind the rule is as it was.
            let end = text.len() - (file.text.len() - place.span.end);
            let new_rule = text.get(place.span.start..end).unwrap_or_default().to_owned();
            (text, new_rule)
        }
    };
    let after = FileDocument { path: before.path.clone(), text: Arc::from(text) };
    Ok(EditedFile { before: before.clone(), after, old_rule, new_rule, line: place.line })
}

/// What a form sends, with the line ends of the file and without an end of its own.
fn as_in(file: &SourceFile, text: &str) -> String {
    let plain = text.replace("\r\n", "\n");
    let plain = plain.trim_end_matches('\n');
    if uses_crlf(&file.text) { plain.replace('\n', "\r\n") } else { plain.to_owned() }
}

/// True if most lines end as those of Windows do.
fn uses_crlf(text: &str) -> bool {
    let (all, crlf) = (text.matches('\n').count(), text.matches("\r\n").count());
    crlf * 2 > all
}

fn spliced(text: &str, span: std::ops::Range<usize>, new: &str) -> String {
    let mut whole = String::with_capacity(text.len() + new.len());
    whole.push_str(&text[..span.start]);
    whole.push_str(new);
    let rest = &text[span.end..];
    // A rule without text leaves no line of its own behind.
    let is_line = whole.is_empty() || whole.ends_with('\n');
    let rest = if new.is_empty() && is_line {
        rest.strip_prefix("\r\n").or(rest.strip_prefix('\n')).unwrap_or(rest)
    } else {
        rest
    };
    whole.push_str(rest);
    whole
}

/// The text of a rule in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleSource {
    /// The tree: the followed one where it is valid, else the one in force.
    pub source: Source,
    /// The file, from the root of the repository; without one, from the root of the tree.
    pub file: String,
    /// The line on which the text begins.
    pub line: u32,
    /// The text of the rule, without the end of its last line.
    pub text: String,
}

/// A changed rule with its diff and its plan. Nothing is written: a person takes the patch to the repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proposal {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `proposal`
    pub kind: String,
    /// The tree that it changes: the followed one where it is valid, else the one in force.
    pub source: Source,
    /// The file, from the root of the repository; without one, from the root of the tree.
    pub file: String,
    /// The line on which the rule begins.
    pub line: u32,
    /// The text of the rule afterwards.
    pub text: String,
    /// The change of the rule's lines, for people.
    pub diff: String,
    /// The change of the file for `git apply`, with paths from the root of the repository; absent for an operator with
    /// limits, because the lines around the rule may belong to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The rule afterwards with the keys of the rule language; empty if it is removed from the edge.
    pub spec: Map<String, Value>,
    /// What applying the changed tree would do.
    pub plan: super::plan::PlanDocument,
}

/// The rule that stands there in a checked tree, as data.
pub fn spec_at(
    ruleset: &schema::ruleset::RuleSet,
    edge: &schema::name::EdgeName,
    file: &str,
    line: u32,
) -> Map<String, Value> {
    let of = |rules: Option<&schema::ruleset::EdgeRules>| {
        let is_there = |origin: &Origin| &*origin.file == file && origin.line == line;
        let found = rules?.values().find(|placed| placed.origin.as_ref().is_some_and(is_there))?;
        Some(spec::to_json(&found.rule))
    };
    of(ruleset.edges.get(edge)).or_else(|| of(ruleset.disabled.get(edge))).unwrap_or_default()
}

#[cfg(test)]
mod tests;
