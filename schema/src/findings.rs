//! What is found in a tree, gathered within a bound. Pure.
//!
//! Keeps: memory does not grow with the mistakes in the input; the same bytes give the same findings; no error is lost
//! silently, for what is not kept is counted; what only follows from a syntax error is left out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codes::TreeCode;
use crate::diagnostic::{self, Diagnostic, Severity, Span};

/// Findings of one run that are kept; more are counted. Nobody reads a thousand.
pub const MAX_FINDINGS: usize = 1000;

/// Asks work on a tree to end early, such as when a newer tree is there or the process ends.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// From now on [`Self::is_cancelled`] is true.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True if the work is not needed any more.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What makes two findings the same.
type Identity = (Arc<str>, Span, TreeCode, String);

/// The findings of one run, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    known: HashSet<Identity>,
    /// The lines with syntax errors, by file, as ranges of bytes in ascending order.
    broken: HashMap<Arc<str>, Vec<Span>>,
    made: usize,
    hidden: Hidden,
    /// What was found last and is not kept: whoever found it may still add to it.
    spare: Option<Diagnostic>,
    cancel: Cancel,
}

/// What is counted and not kept.
#[derive(Debug, Default)]
struct Hidden {
    errors: usize,
    warnings: usize,
    /// The code of the first.
    code: Option<TreeCode>,
}

impl Hidden {
    fn add(&mut self, found: &Diagnostic, count: usize) {
        match found.severity {
            Severity::Error => self.errors += count,
            Severity::Warning => self.warnings += count,
        }
        self.code.get_or_insert(found.code);
    }
}

impl Findings {
    /// Without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Without any, for work that may be cancelled.
    pub fn until(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), ..Self::default() }
    }

    /// True if the work that makes the findings is not needed any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Adds one.
    pub fn push(&mut self, found: Diagnostic) {
        self.add(found);
    }

    /// Adds one, to which more can be said.
    pub fn add(&mut self, found: Diagnostic) -> &mut Diagnostic {
        self.made += 1;
        if found.more > 0 {
            self.hidden.add(&found, found.more);
            return self.spare.insert(found);
        }
        if self.is_consequence(&found) || self.is_known(&found) {
            return self.spare.insert(found);
        }
        let list = match found.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if list.len() >= MAX_FINDINGS {
            self.hidden.add(&found, 1);
            return self.spare.insert(found);
        }
        if found.code == TreeCode::Syntax {
            note_line(&mut self.broken, &found);
        }
        self.known.extend(identity(&found));
        list.push(found);
        list.last_mut().expect("pushed above")
    }

    /// Adds all of these.
    pub fn extend(&mut self, found: impl IntoIterator<Item = Diagnostic>) {
        for one in found {
            self.push(one);
        }
    }

    /// Counts an error that nobody will see, where making it would be work. Only where [`Self::is_full`].
    pub fn count_error(&mut self, code: TreeCode) {
        self.made += 1;
        self.hidden.errors += 1;
        self.hidden.code.get_or_insert(code);
    }

    /// True if further errors are only counted.
    pub fn is_full(&self) -> bool {
        self.errors.len() >= MAX_FINDINGS
    }

    /// How many were made so far, kept or not: it grows with every finding.
    pub fn made(&self) -> usize {
        self.made
    }

    /// True if there is an error.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty() || self.hidden.errors > 0
    }

    /// True if one of those that are kept is such a finding, or if there are others.
    pub fn any(&self, is_it: impl Fn(&Diagnostic) -> bool) -> bool {
        self.hidden.errors > 0 || self.errors.iter().chain(&self.warnings).any(is_it)
    }

    /// What was found, sorted, and in the end how many more there are.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        diagnostic::sort(&mut self.warnings);
        let room = MAX_FINDINGS - self.errors.len();
        for over in self.warnings.drain(room.min(self.warnings.len())..) {
            self.hidden.add(&over, 1);
        }
        let mut found = self.errors;
        found.append(&mut self.warnings);
        diagnostic::sort(&mut found);
        found.extend(more(&self.hidden));
        found
    }

    /// What was found, in the order in which it was.
    pub fn into_found(mut self) -> Vec<Diagnostic> {
        let mut found = self.errors;
        found.append(&mut self.warnings);
        found.extend(more(&self.hidden));
        found
    }

    /// True for what only follows from a syntax error: what is on its line, and keys that seem to be missing in its
    /// file.
    fn is_consequence(&self, found: &Diagnostic) -> bool {
        if found.code == TreeCode::Syntax {
            return false;
        }
        let Some(lines) = self.broken.get(&found.path) else { return false };
        let Some(label) = &found.primary else { return found.code == TreeCode::MissingKey };
        let at = label.span.start;
        let after = lines.partition_point(|line| line.start <= at);
        found.code == TreeCode::MissingKey || (after > 0 && at <= lines[after - 1].end)
    }

    /// A mistake in `[defaults]` is found by every rule that inherits it.
    fn is_known(&self, found: &Diagnostic) -> bool {
        identity(found).is_some_and(|identity| self.known.contains(&identity))
    }
}

fn identity(found: &Diagnostic) -> Option<Identity> {
    let label = found.primary.as_ref()?;
    Some((found.path.clone(), label.span, found.code, found.message.clone()))
}

/// Notes the line of a syntax error. Errors come in the order of their places, nearly, so that a line is looked for
/// once.
fn note_line(broken: &mut HashMap<Arc<str>, Vec<Span>>, found: &Diagnostic) {
    let lines = broken.entry(found.path.clone()).or_default();
    let Some(label) = &found.primary else { return };
    let text = &*label.file.text;
    let at = label.span.start.min(text.len());
    let after = lines.partition_point(|line| line.start <= at);
    if after > 0 && at <= lines[after - 1].end {
        return;
    }
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length);
    lines.insert(after, Span::new(start, end));
}

fn more(hidden: &Hidden) -> Option<Diagnostic> {
    let count = hidden.errors + hidden.warnings;
    let code = hidden.code?;
    let message = format!("and {count} more: at most {MAX_FINDINGS} findings are listed");
    let mut found = Diagnostic::without_place(code, "", message);
    found.more = count;
    Some(if hidden.errors == 0 { found.as_warning() } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;

    fn file() -> SourceFile {
        SourceFile::new("a.toml", "a = 1\n".repeat(3000))
    }

    fn error(file: &SourceFile, at: usize) -> Diagnostic {
        Diagnostic::error(TreeCode::UnknownKey, file, Span::new(at, at + 1), format!("number {at}"))
    }

    #[test]
    fn a_thousand_are_kept_and_the_others_counted() {
        let file = file();
        let mut findings = Findings::new();
        findings.extend((0..2500).map(|at| error(&file, at)));
        assert_eq!(findings.made(), 2500);
        let found = findings.into_sorted();
        assert_eq!(found.len(), MAX_FINDINGS + 1);
        let last = found.last().expect("not empty");
        assert!(last.message.starts_with("and 1500 more"), "{}", last.message);
        assert_eq!((last.more, last.severity, &*last.path), (1500, Severity::Error, ""));

        // Added to others, they count as what they are.
        let mut again = Findings::new();
        again.extend(found);
        again.push(error(&file, 2600));
        assert_eq!(again.into_sorted().last().map(|found| found.more), Some(1501));
    }

    #[test]
    fn warnings_never_take_the_place_of_an_error() {
        let file = file();
        let mut findings = Findings::new();
        findings.extend((0..1500).map(|at| error(&file, at).as_warning()));
        assert!(!findings.has_errors());
        findings.push(error(&file, 2000));
        let found = findings.into_sorted();
        assert_eq!(found.len(), MAX_FINDINGS + 1);
        assert_eq!(found.iter().filter(|one| one.severity == Severity::Error && one.more == 0).count(), 1);
        let last = found.last().expect("not empty");
        assert_eq!((last.more, last.severity), (501, Severity::Warning));
    }

    #[test]
    fn the_same_finding_counts_once() {
        let file = file();
        let mut findings = Findings::new();
        findings.extend((0..50_000).map(|_| error(&file, 7)));
        assert_eq!(findings.into_sorted().len(), 1);
    }

    #[test]
    fn what_follows_from_a_syntax_error_is_left_out() {
        let file = file();
        let mut findings = Findings::new();
        findings.push(Diagnostic::error(TreeCode::Syntax, &file, Span::new(8, 9), "broken"));
        findings.push(error(&file, 6));
        findings.push(Diagnostic::error(TreeCode::MissingKey, &file, Span::new(600, 601), "missing"));
        findings.push(error(&file, 12));
        let codes: Vec<_> = findings.into_sorted().iter().map(|found| found.code).collect();
        assert_eq!(codes, [TreeCode::Syntax, TreeCode::UnknownKey]);
    }
}
