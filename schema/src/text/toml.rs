//! TOML into the spanned tree, with the syntax errors of the whole file. Pure.
//!
//! Keeps: memory is bounded by the source and by what is kept of its errors, for a file is parsed piece by piece, and
//! a piece ends at a line that no bracket spans. Nesting and the parts of a key are bounded, as in YAML.

mod build;
mod tables;

use toml_parser::lexer::{Token, TokenKind};
use toml_parser::parser::{RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, Expected, ParseError, Source};

use super::{MAX_DEPTH, MAX_VALUES, Node, too_many_values, unreadable};
use crate::diagnostic::{SourceFile, Span};
use crate::findings::Findings;

use build::TomlBuilder;

/// Tokens of a piece, unless brackets go on.
const PIECE: usize = 4096;
/// Tokens of one value, each of which takes 24 bytes: four for each value of a list in one pair of brackets.
const LONGEST_PIECE: usize = MAX_VALUES * 4;

pub(super) fn parse<'a>(file: &'a SourceFile, diagnostics: &mut Findings) -> Node<'a> {
    let source = Source::new(&file.text);
    let mut builder = TomlBuilder::new(source);
    let mut piece: Vec<Token> = Vec::with_capacity(PIECE);
    let mut open = 0_usize;
    for token in source.lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => open += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => open = open.saturating_sub(1),
            _ => {}
        }
        piece.push(token);
        if piece.len() > LONGEST_PIECE || builder.values() > MAX_VALUES {
            let place = token.span();
            diagnostics.push(too_many_values(file, Span::new(place.start(), place.end())));
            return builder.finish(&mut Sink { file, diagnostics, last: None });
        }
        if piece.len() >= PIECE && open == 0 && token.kind() == TokenKind::Newline {
            if diagnostics.is_cancelled() {
                return Node { span: Span::default(), value: super::Value::Table(Vec::new()) };
            }
            take(&piece, source, &mut builder, &mut Sink { file, diagnostics, last: None });
            piece.clear();
        }
    }
    let mut sink = Sink { file, diagnostics, last: None };
    take(&piece, source, &mut builder, &mut sink);
    if builder.values() > MAX_VALUES {
        sink.diagnostics.push(too_many_values(file, Span::new(file.text.len(), file.text.len())));
    }
    builder.finish(&mut sink)
}

fn take<'a>(piece: &[Token], source: Source<'a>, builder: &mut TomlBuilder<'a>, sink: &mut Sink<'_>) {
    let mut whitespace = ValidateWhitespace::new(builder, source);
    let mut guard = RecursionGuard::new(&mut whitespace, MAX_DEPTH as u32);
    parse_document(piece, &mut guard, sink);
}

struct Sink<'f> {
    file: &'f SourceFile,
    diagnostics: &'f mut Findings,
    /// Where the last error was.
    last: Option<usize>,
}

impl ErrorSink for Sink<'_> {
    fn report_error(&mut self, error: ParseError) {
        if self.diagnostics.is_full() {
            self.diagnostics.count_error(crate::codes::TreeCode::Syntax);
            return;
        }
        let span = error.unexpected().map_or(Span::default(), |span| Span::new(span.start(), span.end()));
        // A missing quote also leaves the brackets around it open: one place, one error.
        if self.last.replace(span.start).is_some_and(|last| last == span.start) {
            return;
        }
        self.diagnostics.push(unreadable(self.file, span, &message(&error)));
    }
}

/// The sentence of an error, with what was expected instead.
fn message(error: &ParseError) -> String {
    let words: Option<Vec<String>> = error.expected().map(|all| all.iter().map(expected).collect());
    match words {
        None => error.description().to_owned(),
        Some(words) if words.is_empty() => format!("{}, expected nothing", error.description()),
        Some(words) => format!("{}, expected {}", error.description(), words.join(", ")),
    }
}

fn expected(what: &Expected) -> String {
    match what {
        Expected::Literal("\n") => "newline".to_owned(),
        Expected::Literal("`") => "'`'".to_owned(),
        Expected::Literal(text) if text.chars().all(|letter| letter.is_ascii_control()) => {
            format!("`{}`", text.escape_debug())
        }
        Expected::Literal(text) => format!("`{text}`"),
        Expected::Description(words) => (*words).to_owned(),
        _ => "etc".to_owned(),
    }
}

#[cfg(test)]
mod tests;
