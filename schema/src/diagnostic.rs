//! What is wrong with a tree, and where: collected, spanned, coded. Pure.
//!
//! Nothing here renders: the tool draws carets, the API and `-o json` take [`Diagnostic::to_json`].

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codes::TreeCode;

/// A half-open range of bytes in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A span from a range of byte offsets.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self::new(range.start, range.end)
    }
}

/// One file of a tree, as text. Its path is relative to the tree, with `/` between the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The label of the file in every message.
    pub path: Arc<str>,
    /// The whole content.
    pub text: Arc<str>,
}

impl SourceFile {
    /// A file from its label and content.
    pub fn new(path: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Line and column, both from 1, of a byte offset; the column counts characters.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.bytes().filter(|byte| *byte == b'\n').count() as u32 + 1,
            column: before[line_start..].chars().count() as u32 + 1,
        }
    }
}

/// Where the lines of one file start, for many positions: [`SourceFile::position`] reads the file each time.
#[derive(Debug)]
pub struct LineIndex<'f> {
    text: &'f str,
    starts: Vec<usize>,
    /// Characters before each block of the text; empty for ASCII, where a byte is a character.
    blocks: Vec<usize>,
}

/// Bytes of a block: what is counted again for one position at most.
const BLOCK: usize = 1024;

impl<'f> LineIndex<'f> {
    /// Reads the file once.
    pub fn new(file: &'f SourceFile) -> Self {
        let text: &str = &file.text;
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let blocks = if text.is_ascii() { Vec::new() } else { block_counts(text) };
        Self { text, starts, blocks }
    }

    /// The same as [`SourceFile::position`].
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = self.characters_before(offset) - self.characters_before(self.starts[line - 1]);
        Position { line: line as u32, column: column as u32 + 1 }
    }

    fn characters_before(&self, offset: usize) -> usize {
        if self.blocks.is_empty() {
            return offset;
        }
        let block = offset / BLOCK;
        self.blocks[block] + count_characters(&self.text.as_bytes()[block * BLOCK..offset])
    }
}

/// Characters that begin in these bytes: all but the continuation bytes of UTF-8.
fn count_characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

fn block_counts(text: &str) -> Vec<usize> {
    let mut counts = vec![0];
    for block in text.as_bytes().chunks(BLOCK) {
        counts.push(counts.last().expect("never empty") + count_characters(block));
    }
    counts
}

/// A place in a file, both numbers from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// How bad it is. Only errors stop a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The tree is refused.
    Error,
    /// The tree is accepted; a person should look.
    Warning,
}

/// A place with a few words about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file; its text is shared, so a label is cheap.
    pub file: SourceFile,
    /// What the caret underlines.
    pub span: Span,
    /// A few words beside the caret, may be empty.
    pub text: String,
}

/// One finding. `primary` is `None` only for findings about the tree as a whole or a file that has no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The code, one of CONTRACT's list.
    pub code: TreeCode,
    /// One sentence without a final full stop.
    pub message: String,
    /// The label of the file, also where there is no text to point into; empty for the whole tree.
    pub path: Arc<str>,
    /// The place itself.
    pub primary: Option<Label>,
    /// Other places that belong to it: the first of two clashing rules.
    pub related: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// How many findings it stands for that are not listed; 0 for a finding of its own.
    pub more: usize,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: TreeCode, file: &SourceFile, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            path: file.path.clone(),
            primary: Some(Label { file: file.clone(), span, text: String::new() }),
            related: Vec::new(),
            help: None,
            more: 0,
        }
    }

    /// An error about a file without usable text, or (with an empty path) about the whole tree.
    pub fn without_place(code: TreeCode, path: impl Into<Arc<str>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            path: path.into(),
            primary: None,
            related: Vec::new(),
            help: None,
            more: 0,
        }
    }

    /// The same finding as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Words beside the caret.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(primary) = &mut self.primary {
            primary.text = text.into();
        }
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// A second place.
    #[must_use]
    pub fn related(mut self, file: &SourceFile, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Label { file: file.clone(), span, text: text.into() });
        self
    }

    /// Where it starts, if it has a place.
    pub fn position(&self) -> Option<Position> {
        self.primary.as_ref().map(|label| label.file.position(label.span.start))
    }

    /// The form of CONTRACT §4, with `hint` and `related` added where there are any.
    pub fn to_json(&self) -> DiagnosticJson {
        self.json_with(&mut |label| label.file.position(label.span.start))
    }

    fn json_with(&self, position_of: &mut impl FnMut(&Label) -> Position) -> DiagnosticJson {
        let position = self.primary.as_ref().map(&mut *position_of);
        DiagnosticJson {
            severity: self.severity,
            code: self.code.as_str().to_owned(),
            message: self.message.clone(),
            file: self.path.to_string(),
            line: position.map(|at| at.line),
            column: position.map(|at| at.column),
            hint: self.help.clone(),
            related: self
                .related
                .iter()
                .map(|label| {
                    let at = position_of(label);
                    RelatedJson {
                        message: label.text.clone(),
                        file: label.file.path.to_string(),
                        line: at.line,
                        column: at.column,
                    }
                })
                .collect(),
        }
    }
}

/// Every finding as JSON; each file is read once for all of its positions, one file after the other.
pub fn all_to_json(diagnostics: &[Diagnostic]) -> Vec<DiagnosticJson> {
    let mut labels: Vec<&Label> =
        diagnostics.iter().flat_map(|found| found.primary.iter().chain(&found.related)).collect();
    labels.sort_by_key(|label| (&*label.file.path, label.file.text.as_ptr()));
    let mut positions: HashMap<(*const u8, usize), Position> = HashMap::new();
    // An empty text has no address of its own, and all of its positions are the same.
    for of_file in labels.chunk_by(|a, b| a.file.path == b.file.path && Arc::ptr_eq(&a.file.text, &b.file.text)) {
        let index = LineIndex::new(&of_file[0].file);
        let place = |label: &&Label| (key_of(label), index.position(label.span.start));
        positions.extend(of_file.iter().map(place));
    }
    let mut position_of = |label: &Label| positions[&key_of(label)];
    diagnostics.iter().map(|found| found.json_with(&mut position_of)).collect()
}

/// A place, by the text that it is in.
fn key_of(label: &Label) -> (*const u8, usize) {
    (label.file.text.as_ptr(), label.span.start)
}

/// Sorts findings by file and place, so that the same tree gives the same text.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let place = |d: &Diagnostic| (d.path.clone(), d.primary.as_ref().map(|label| label.span));
        place(a).cmp(&place(b)).then_with(|| a.code.cmp(&b.code)).then_with(|| a.message.cmp(&b.message))
    });
}

/// True if any of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// A finding as `-o json` and the API carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticJson {
    /// Error or warning.
    pub severity: Severity,
    /// The code.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// The file, empty for the whole tree.
    pub file: String,
    /// Line from 1.
    pub line: Option<u32>,
    /// Column from 1.
    pub column: Option<u32>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Other places that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<RelatedJson>,
}

/// A second place of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelatedJson {
    /// A few words.
    pub message: String,
    /// The file.
    pub file: String,
    /// Line from 1.
    pub line: u32,
    /// Column from 1.
    pub column: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_and_survives_an_offset_inside_one() {
        let file = SourceFile::new("a.toml", "a = 1\nö = 2\n");
        assert_eq!(file.position(0), Position { line: 1, column: 1 });
        assert_eq!(file.position(6), Position { line: 2, column: 1 });
        assert_eq!(file.position(7), Position { line: 2, column: 1 });
        assert_eq!(file.position(8), Position { line: 2, column: 2 });
        assert_eq!(file.position(999), Position { line: 3, column: 1 });
    }

    #[test]
    fn a_line_index_agrees_with_the_file_at_every_offset() {
        let wide = format!("a = 1\n# {}\n\nö = 2\r\n{}", "ä".repeat(1500), "x".repeat(1500));
        for text in ["", "\n", "a = 1\nb", &wide] {
            let file = SourceFile::new("a.toml", text);
            let index = LineIndex::new(&file);
            for offset in 0..text.len() + 2 {
                assert_eq!(index.position(offset), file.position(offset), "{offset} of {text:?}");
            }
        }
    }
}
