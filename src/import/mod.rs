//! Rules of upstream Portunus as a rule tree: one TOML file per edge, and a report of what could not be carried over.
//! Pure.
//!
//! Keeps: what is given out is a valid tree; nothing is left out without a finding that says where and why.

mod agree;
mod drafts;
mod owners;
mod place;
mod rates;
mod read;
mod rule;
mod target;
mod valid;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use schema::check::{CheckLimits, Checked, check_tree};
use schema::diagnostic::{Diagnostic, Severity, SourceFile};
use schema::findings::{Findings, MAX_FINDINGS};
use schema::name::EdgeName;
use schema::ruleset::TreeFiles;
use schema::{format, spec};
use serde::Serialize;
use serde_json::{Map, Value};

use drafts::{Draft, Drafts};
use owners::Owners;
use place::FilePosition;

/// What became of something that the tree does not hold as it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// It is not in the tree.
    Dropped,
    /// It is there in another form.
    Changed,
    /// It says nothing about what is forwarded: a reading, a count, the version of a document.
    Ignored,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Changed => "changed",
            Self::Ignored => "ignored",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: u32,
    /// From 1.
    pub(crate) column: u32,
    /// `EDGE/RULE`; empty where it concerns none.
    pub(crate) rule: String,
    /// The key; empty where it concerns the rule or the file as a whole.
    pub(crate) key: String,
    pub(crate) reason: String,
}

/// One file of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A tree, and what is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Imported {
    pub(crate) files: Vec<File>,
    pub(crate) rules: usize,
    /// In the order of the input, the first [`MAX_FINDINGS`] of each kind.
    pub(crate) findings: Vec<Finding>,
    /// Those that are only counted.
    #[serde(skip_serializing_if = "More::is_none")]
    pub(crate) more: More,
}

impl Imported {
    /// True if everything that is configuration is in the tree.
    pub(crate) fn is_complete(&self) -> bool {
        self.number(Kind::Dropped) == 0
    }

    /// How many findings of a kind there are.
    pub(crate) fn number(&self, kind: Kind) -> u64 {
        self.findings.iter().filter(|finding| finding.kind == kind).count() as u64 + self.more.of(kind)
    }
}

/// Findings that are counted and not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct More {
    dropped: u64,
    changed: u64,
    ignored: u64,
}

impl More {
    fn of(self, kind: Kind) -> u64 {
        match kind {
            Kind::Dropped => self.dropped,
            Kind::Changed => self.changed,
            Kind::Ignored => self.ignored,
        }
    }

    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Dropped => self.dropped += 1,
            Kind::Changed => self.changed += 1,
            Kind::Ignored => self.ignored += 1,
        }
    }

    pub(crate) fn sum(self) -> u64 {
        self.dropped + self.changed + self.ignored
    }

    fn is_none(&self) -> bool {
        self.sum() == 0
    }
}

/// What is gathered on the way.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    edges: BTreeMap<EdgeName, Drafts>,
    /// Clients whose edges have another name, which was said.
    renamed: HashSet<String>,
    global: Map<String, Value>,
    owners: Owners,
    findings: Vec<Finding>,
    kept: More,
    more: More,
}

impl Gathered {
    fn dropped(&mut self, at: FilePosition<'_>, rule: &str, key: &str, reason: impl Into<String>) {
        self.find(Finding::new(Kind::Dropped, at, rule, key, reason.into()));
    }

    fn changed(&mut self, at: FilePosition<'_>, rule: &str, key: &str, reason: impl Into<String>) {
        self.find(Finding::new(Kind::Changed, at, rule, key, reason.into()));
    }

    fn ignored(&mut self, at: FilePosition<'_>, rule: &str, key: &str, reason: impl Into<String>) {
        self.find(Finding::new(Kind::Ignored, at, rule, key, reason.into()));
    }

    fn find(&mut self, finding: Finding) {
        let kind = finding.kind;
        if self.kept.of(kind) >= MAX_FINDINGS as u64 {
            self.more.add(kind);
            return;
        }
        self.kept.add(kind);
        self.findings.push(finding);
    }
}

impl Finding {
    fn new(kind: Kind, at: FilePosition<'_>, rule: &str, key: &str, reason: String) -> Self {
        let (file, position) = (at.file().to_owned(), at.position());
        let (line, column) = (position.line, position.column);
        Self { kind, file, line, column, rule: rule.to_owned(), key: key.to_owned(), reason }
    }
}

/// Reads the files, whose rules belong to `edge` where they name none. Errors are those of files that are not JSON,
/// TOML or YAML.
pub(crate) fn import(inputs: &[SourceFile], edge: &EdgeName, limits: CheckLimits) -> Result<Imported, Vec<Diagnostic>> {
    let mut gathered = Gathered::default();
    let mut errors = Findings::new();
    for input in inputs {
        read::read(input, edge, limits, &mut gathered, &mut errors);
    }
    if errors.has_errors() {
        return Err(errors.into_found());
    }
    let Gathered { edges, global, owners, findings, more, .. } = gathered;
    let rules = edges.values().map(|drafts| drafts.rules().len()).sum();
    let mut files: Vec<File> = edges.iter().map(|(edge, drafts)| file(edge, drafts.rules(), &global)).collect();
    files.extend(owners.text().map(|text| owners_file(&edges, &text)));
    files.retain(|file| !file.text.is_empty());
    if rules > 0 {
        let sources = files.iter().map(|file| SourceFile::new(&*file.path, &*file.text)).collect();
        let Checked { ruleset, diagnostics } = check_tree(&TreeFiles { files: sources, problems: Vec::new() }, &limits);
        if ruleset.is_none() {
            return Err(diagnostics.into_iter().filter(|found| found.severity == Severity::Error).collect());
        }
    }
    Ok(Imported { files, rules, findings, more })
}

/// The file of the owners; an edge of that name has its own.
fn owners_file(edges: &BTreeMap<EdgeName, Drafts>, text: &str) -> File {
    let is_taken = edges.keys().any(|edge| edge.as_str() == "owners");
    let path = if is_taken { "owner-limits.toml" } else { "owners.toml" };
    let text = format::format(&SourceFile::new(path, text)).unwrap_or_else(|_| text.to_owned());
    File { path: path.to_owned(), text }
}

/// The file of one edge.
fn file(edge: &EdgeName, drafts: &[Draft], global: &Map<String, Value>) -> File {
    // A file of that very name would hold rails.
    let path = if edge.as_str() == "portunus" { "edge-portunus.toml".to_owned() } else { format!("{edge}.toml") };
    let mut text = format!("# Rules of the edge {edge}, from upstream Portunus.\n");
    if *edge == EdgeName::local() && !global.is_empty() {
        text.push_str("\n[global]\n");
        for (key, value) in global {
            writeln!(text, "{key} = {value}").expect("a string grows as needed");
        }
    }
    let placed = (*edge != EdgeName::local()).then_some(edge);
    for draft in drafts {
        text.push('\n');
        text.push_str(&spec::to_toml(&draft.rule, placed));
        if !draft.enabled {
            text.push_str("enabled = false\n");
        }
    }
    let text = format::format(&SourceFile::new(&*path, &*text)).unwrap_or(text);
    File { path, text }
}

#[cfg(test)]
mod same;
#[cfg(test)]
mod tests;
