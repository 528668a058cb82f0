//! Findings with carets: `error[code]: …`, the place, every other place, and what to do. Pure.
//!
//! Keeps: the work grows with the findings and not with the size of their files; nothing in a file can reach the
//! terminal as a control sequence.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use schema::diagnostic::{Diagnostic, DiagnosticJson, Label, LineIndex, Severity, SourceFile};

use super::style;
use super::words::count;
use crate::output::{clean, is_harmful};

/// Places of one file that are closer than this are shown in one piece, with a gap where lines are left out.
const ONE_PIECE: usize = 64 << 10;
/// A line that is longer is not shown: its place is.
const LONGEST_LINE: usize = 4 << 10;
/// Wide enough for the sentences of the tool; long lines are cut around the caret.
const WIDTH: usize = 120;

/// All findings and the line that sums them up.
pub(crate) fn all(diagnostics: &[Diagnostic]) -> String {
    let mut files = Files::default();
    for label in diagnostics.iter().flat_map(|found| found.primary.iter().chain(&found.related)) {
        files.add(&label.file);
    }
    let mut text = String::new();
    for found in diagnostics {
        text.push_str(&one(found, &files));
        text.push_str("\n\n");
    }
    text + &summary(diagnostics.iter().map(|found| found.severity))
}

/// Findings of a server; carets are drawn where the files are at hand.
pub(crate) fn all_from_json(diagnostics: &[DiagnosticJson], files: &[SourceFile]) -> String {
    let by_path: HashMap<&str, &SourceFile> = files.iter().map(|file| (&*file.path, file)).collect();
    let label = |path: &str, line: u32, column: u32, text: &str| -> Option<Label> {
        let file = by_path.get(path)?;
        let span = word_at(&file.text, line, column)?;
        Some(Label { file: (*file).clone(), span: span.into(), text: text.to_owned() })
    };
    let found: Vec<Diagnostic> = diagnostics
        .iter()
        .map(|found| Diagnostic {
            severity: found.severity,
            code: schema::codes::TreeCode::parse(&found.code).unwrap_or(schema::codes::TreeCode::InvalidValue),
            message: found.message.clone(),
            path: found.file.as_str().into(),
            primary: found.line.zip(found.column).and_then(|(line, column)| label(&found.file, line, column, "")),
            related: found
                .related
                .iter()
                .filter_map(|place| label(&place.file, place.line, place.column, &place.message))
                .collect(),
            help: found.hint.clone(),
            more: 0,
        })
        .collect();
    all(&found)
}

/// `2 errors, 1 warning`
pub(crate) fn summary(severities: impl Iterator<Item = Severity>) -> String {
    let (mut errors, mut warnings) = (0_u32, 0_u32);
    for severity in severities {
        match severity {
            Severity::Error => errors += 1,
            Severity::Warning => warnings += 1,
        }
    }
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(style::error(count(errors, "error")).to_string());
    }
    if warnings > 0 {
        parts.push(style::warning(count(warnings, "warning")).to_string());
    }
    parts.join(", ")
}

/// One finding, without a final line end.
fn one(found: &Diagnostic, files: &Files<'_>) -> String {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(clean(&found.message)).id(found.code.as_str()));
    let mut places: Vec<(&Label, bool)> = found.primary.iter().map(|label| (label, true)).collect();
    places.extend(found.related.iter().map(|label| (label, false)));
    if found.primary.is_none() && !found.path.is_empty() {
        group = group.element(Origin::path(clean(&found.path)));
    }
    while let Some((first, _)) = places.first() {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            places.iter().copied().partition(|(label, _)| label.file.path == first.file.path);
        places = elsewhere;
        let whole = here.iter().map(|(label, _)| span_of(label)).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
        let fits = whole.is_some_and(|whole| whole.len() <= ONE_PIECE);
        for piece in here.chunks(if fits { here.len() } else { 1 }) {
            group = match snippet(piece, files) {
                Some(snippet) => group.element(snippet),
                None => group.element(origin(piece[0].0, files)),
            };
        }
    }
    if let Some(help) = &found.help {
        group = group.element(Level::HELP.message(clean_lines(help)));
    }
    Renderer::styled().term_width(WIDTH).render(&[group])
}

/// A hint may be text of several lines to paste.
fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn origin<'a>(label: &'a Label, files: &Files<'_>) -> Origin<'a> {
    let at = files.position(label);
    Origin::path(clean(&label.file.path)).line(at.line as usize).char_column(at.column as usize)
}

/// The lines around some places of one file; `None` if a line is too long to be shown.
fn snippet<'a>(
    piece: &[(&'a Label, bool)],
    files: &Files<'_>,
) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
    let file = &piece[0].0.file;
    let text: &'a str = &piece[0].0.file.text;
    let spans: Vec<Range<usize>> = piece.iter().map(|(label, _)| span_of(label)).collect();
    let from = spans.iter().map(|span| span.start).min()?;
    let to = spans.iter().map(|span| span.end).max()?;
    let start = text[..from].rfind('\n').map_or(0, |at| at + 1);
    let end = text[to..].find('\n').map_or(text.len(), |at| to + at);
    let shown = &text[start..end];
    if shown.split('\n').any(|line| line.len() > LONGEST_LINE) {
        return None;
    }
    let first_line = files.line(file, start);
    let annotations = piece.iter().zip(spans).map(|((label, is_primary), span)| {
        let kind = if *is_primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        let annotation = kind.span(span.start - start..span.end - start);
        if label.text.is_empty() { annotation } else { annotation.label(clean(&label.text)) }
    });
    Some(
        Snippet::source(without_controls(shown))
            .path(clean(&file_of(piece).path))
            .line_start(first_line)
            .fold(true)
            .annotations(annotations),
    )
}

fn file_of<'a>(piece: &[(&'a Label, bool)]) -> &'a SourceFile {
    &piece[0].0.file
}

/// What the caret underlines: never beyond its first line, and always between characters.
fn span_of(label: &Label) -> Range<usize> {
    let text = &*label.file.text;
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (boundary(label.span.start), boundary(label.span.end.max(label.span.start)));
    let first_line = text[start..end].find('\n').map_or(end, |at| start + at);
    let first_line = if text[start..first_line].ends_with('\r') { first_line - 1 } else { first_line };
    start..first_line.max(start)
}

/// The renderer shows one-byte control characters as pictures; others become a character of the same length, so
/// that the carets stay where they are.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_long = |letter: char| letter.len_utf8() > 1 && is_harmful(letter);
    if !text.chars().any(is_long) {
        return Cow::Borrowed(text);
    }
    let replaced = |letter: char| match letter.len_utf8() {
        2 if is_long(letter) => '·',
        3 if is_long(letter) => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    Cow::Owned(text.chars().map(replaced).collect())
}

/// The word at a place, to underline what a server pointed at.
fn word_at(text: &str, line: u32, column: u32) -> Option<Range<usize>> {
    let mut start = 0;
    for _ in 1..line {
        start += text[start..].find('\n')? + 1;
    }
    let rest = &text[start..];
    let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let at = rest.char_indices().nth(column as usize - 1).map_or(rest.len(), |(at, _)| at);
    let word = &rest[at..];
    let quoted = word.strip_prefix('"').and_then(|inside| inside.find('"')).map(|end| end + 2);
    let length = quoted.unwrap_or_else(|| {
        word.find(|letter: char| !letter.is_alphanumeric() && !"_-.".contains(letter)).unwrap_or(word.len())
    });
    Some(start + at..start + at + length)
}

/// The line starts of every file that is pointed into, each read once.
#[derive(Default)]
struct Files<'f>(HashMap<&'f str, LineIndex<'f>>);

impl<'f> Files<'f> {
    fn add(&mut self, file: &'f SourceFile) {
        self.0.entry(&*file.path).or_insert_with(|| LineIndex::new(file));
    }

    fn position(&self, label: &Label) -> schema::diagnostic::Position {
        match self.0.get(&*label.file.path) {
            Some(index) => index.position(label.span.start),
            None => label.file.position(label.span.start),
        }
    }

    fn line(&self, file: &SourceFile, offset: usize) -> usize {
        let at = match self.0.get(&*file.path) {
            Some(index) => index.position(offset),
            None => file.position(offset),
        };
        at.line as usize
    }
}

/// Findings of a valid tree: warnings, if there are any.
pub(crate) fn warnings(diagnostics: &[Diagnostic]) -> Option<String> {
    let mut text = String::new();
    if !diagnostics.is_empty() {
        writeln!(text, "{}", all(diagnostics)).expect("a string grows as needed");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use schema::codes::TreeCode;
    use schema::diagnostic::Span;

    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn both_places_of_a_clash_are_shown_with_their_lines() {
        let file = SourceFile::new("web.toml", "a = 1\nb = 2\nc = 3\n");
        let found = Diagnostic::error(TreeCode::PortClash, &file, Span::new(12, 13), "clash")
            .label("here")
            .related(&file, Span::new(0, 1), "first here")
            .help("move one");
        let text = plain(&all(&[found]));
        assert!(text.starts_with("error[port_clash]: clash\n --> web.toml:3:1\n"), "{text}");
        assert!(text.contains("1 | a = 1\n") && text.contains("- first here"), "{text}");
        assert!(text.contains("3 | c = 3\n") && text.contains("^ here"), "{text}");
        assert!(text.contains("= help: move one"), "{text}");
        assert!(text.ends_with("\n\n1 error"), "{text}");
    }

    #[test]
    fn control_characters_of_a_file_are_made_visible() {
        let file = SourceFile::new("a.toml", "x = \"\u{1b}[2J\u{9b}2J\u{202e}\"\n");
        let found = Diagnostic::error(TreeCode::InvalidValue, &file, Span::new(0, 1), "bad \u{1b}]0;t\u{7}");
        let text = plain(&all(&[found]));
        assert!(!text.chars().any(|letter| letter != '\n' && is_harmful(letter)), "{text:?}");
        assert!(text.contains("bad \\u{1b}]0;t\\u{7}"), "{text}");
    }

    #[test]
    fn a_place_in_a_giant_line_is_named_without_the_line() {
        let file = SourceFile::new("a.json", format!("\n{}", "x".repeat(100_000)));
        let found = Diagnostic::error(TreeCode::Syntax, &file, Span::new(50_001, 50_002), "bad");
        assert_eq!(plain(&all(&[found])), "error[syntax]: bad\n--> a.json:2:50001\n\n1 error");
    }

    #[test]
    fn a_finding_at_the_end_of_a_file_and_one_without_a_place_are_shown() {
        let file = SourceFile::new("a.toml", "a = \n");
        let at_end = Diagnostic::error(TreeCode::Syntax, &file, Span::new(5, 99), "end");
        let whole = Diagnostic::without_place(TreeCode::NotUtf8, "b.toml", "no text");
        let text = plain(&all(&[at_end, whole]));
        assert!(text.contains(" --> a.toml:2:1\n"), "{text}");
        assert!(text.contains("error[not_utf8]: no text\n--> b.toml\n"), "{text}");
        assert!(text.ends_with("2 errors"), "{text}");
    }

    #[test]
    fn a_finding_of_a_server_gets_its_caret_from_the_local_file() {
        let file = SourceFile::new("a.toml", "x = 1\nports = \"1-9\"\n");
        let found = Diagnostic::error(TreeCode::RangeTooWide, &file, Span::new(14, 19), "too wide").to_json();
        let text = plain(&all_from_json(&[found], &[file]));
        assert!(text.contains("2 | ports = \"1-9\"\n  |         ^^^^^"), "{text}");
    }
}
