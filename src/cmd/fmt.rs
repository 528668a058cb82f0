//! `fmt`: canonical formatting of TOML files. I/O.
//!
//! Keeps: a file that is formatted already is not written; one that cannot be formatted does not keep the others
//! from it.

use std::fs;
use std::path::{Path, PathBuf};

use reconciler::act::source::{self, BOM, MAX_FILE_BYTES};
use schema::codes::TreeCode;
use schema::diagnostic::{Diagnostic, DiagnosticJson, Label, Severity, SourceFile, all_to_json};
use serde::Serialize;
use similar::TextDiff;

use crate::cli::{FmtArgs, Format};
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::{clean, print, print_value, say};
use crate::render::words::{self, count};
use crate::render::{diagnostic, style};
use crate::replace::rewrite;

/// What `fmt -o json` prints.
#[derive(Serialize)]
struct FmtDocument {
    format_version: &'static str,
    kind: &'static str,
    /// Files that were rewritten; with `--check`: that would be.
    changed: Vec<String>,
    unchanged: usize,
    diagnostics: Vec<DiagnosticJson>,
}

/// One file to format.
struct Work {
    /// Where it is written.
    path: PathBuf,
    /// As it is shown.
    label: String,
    /// As the formatter takes it: its label says whether it is the file of rails.
    source: SourceFile,
    has_mark: bool,
}

#[derive(Default)]
struct Outcome {
    changed: Vec<String>,
    unchanged: usize,
    /// Differences, with `--check`.
    shown: String,
    diagnostics: Vec<Diagnostic>,
}

pub(crate) fn run(args: &FmtArgs) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut works = Vec::new();
    for path in &args.paths {
        if path.is_dir() {
            of_tree(path, &mut works, &mut outcome.diagnostics)?;
        } else {
            works.extend(of_file(path, &mut outcome.diagnostics)?);
        }
    }
    for work in works {
        one(&work, args.check, &mut outcome)?;
    }
    report(args, &outcome)?;
    let has_errors = outcome.diagnostics.iter().any(|found| found.severity == Severity::Error);
    Ok(match (has_errors, args.check && !outcome.changed.is_empty()) {
        (true, _) => Exit::Error,
        (false, true) => Exit::Changes,
        (false, false) => Exit::Done,
    })
}

fn is_toml(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn of_tree(dir: &Path, works: &mut Vec<Work>, diagnostics: &mut Vec<Diagnostic>) -> Result<(), Failure> {
    let tree =
        source::directory::read_stable(dir).map_err(|error| Failure::InvalidTree(vec![error.to_diagnostic()]))?;
    if tree.moved {
        return Err(Failure::Moving(dir.to_owned()));
    }
    diagnostics.extend(tree.diagnostics.into_iter().filter(|found| is_toml(&found.path)));
    works.extend(tree.files.into_iter().filter(|file| is_toml(&file.source.path)).map(|file| Work {
        path: dir.join(&*file.source.path),
        label: file.source.path.to_string(),
        source: file.source,
        has_mark: file.bom,
    }));
    Ok(())
}

fn of_file(path: &Path, diagnostics: &mut Vec<Diagnostic>) -> Result<Option<Work>, Failure> {
    let label = path.to_string_lossy().into_owned();
    if !is_toml(&label) {
        return Err(Failure::Usage(format!("{} is not a TOML file; `fmt` formats TOML files only", clean(&label))));
    }
    let size = fs::metadata(path).map_err(Failure::reading(path))?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("the file has {size} bytes; at most {MAX_FILE_BYTES} (8 MiB) are read");
        diagnostics.push(Diagnostic::without_place(TreeCode::FileTooLarge, label, message));
        return Ok(None);
    }
    let text = match String::from_utf8(input::read(path, MAX_FILE_BYTES)?.1) {
        Ok(text) => text,
        Err(error) => {
            diagnostics.push(source::directory::not_utf8(&label, &error));
            return Ok(None);
        }
    };
    let plain = text.strip_prefix(BOM).unwrap_or(&text);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let source = SourceFile::new(name, plain);
    Ok(Some(Work { path: path.to_owned(), label, source, has_mark: plain.len() < text.len() }))
}

fn one(work: &Work, is_check: bool, outcome: &mut Outcome) -> Result<(), Failure> {
    let formatted = match schema::format::format(&work.source) {
        Ok(formatted) => formatted,
        Err(found) => {
            outcome.diagnostics.extend(found.into_iter().map(|found| relabelled(found, &work.label)));
            return Ok(());
        }
    };
    if formatted == *work.source.text && !work.has_mark {
        outcome.unchanged += 1;
        return Ok(());
    }
    if is_check {
        outcome.shown.push_str(&difference(&work.label, &work.source.text, &formatted));
    } else {
        rewrite(&work.path, formatted.as_bytes()).map_err(Failure::writing(&work.path))?;
    }
    outcome.changed.push(work.label.clone());
    Ok(())
}

/// The finding under the name that the person used.
fn relabelled(mut found: Diagnostic, label: &str) -> Diagnostic {
    let rename = |place: &mut Label| place.file.path = label.into();
    found.primary.iter_mut().for_each(rename);
    found.related.iter_mut().for_each(rename);
    found.path = label.into();
    found
}

fn difference(label: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let unified = diff.unified_diff().header(label, &format!("{label} (formatted)")).to_string();
    let mut text = String::with_capacity(unified.len());
    for line in unified.lines() {
        let shown = clean(line);
        match line.as_bytes().first() {
            Some(b'-') => text.push_str(&style::removed(shown).to_string()),
            Some(b'+') => text.push_str(&style::added(shown).to_string()),
            _ => text.push_str(&shown),
        }
        text.push('\n');
    }
    text
}

fn report(args: &FmtArgs, outcome: &Outcome) -> Result<(), Failure> {
    if args.looks.output != Format::Text {
        let answer = FmtDocument {
            format_version: reconciler::decide::plan::FORMAT_VERSION,
            kind: "formatted",
            changed: outcome.changed.clone(),
            unchanged: outcome.unchanged,
            diagnostics: all_to_json(&outcome.diagnostics),
        };
        print_value(args.looks.output, &answer)?;
        return Ok(());
    }
    if args.check {
        print(&outcome.shown)?;
    } else {
        print(&words::lines(outcome.changed.iter().map(|label| clean(label))))?;
    }
    if !outcome.diagnostics.is_empty() {
        say(diagnostic::all(&outcome.diagnostics));
    }
    let changed = count(outcome.changed.len() as u64, "file");
    match (args.check, outcome.changed.is_empty()) {
        (true, false) => say(format!("{changed} would change; run `portunus fmt` to format")),
        (false, false) => say(format!("{changed} formatted, {} unchanged", outcome.unchanged)),
        (_, true) => say(format!("{} formatted already", count(outcome.unchanged as u64, "file"))),
    }
    Ok(())
}
