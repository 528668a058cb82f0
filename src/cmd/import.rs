//! `import`: rules of upstream Portunus into a rule tree, with a report of what could not be carried over. I/O.
//!
//! Keeps: no file is replaced without a word; nothing is written where anything would stand in the way; exit 5 says
//! that something is missing.

use std::fs;
use std::path::{Path, PathBuf};

use reconciler::act::source::foreign;
use reconciler::decide::plan::FORMAT_VERSION;
use schema::diagnostic::SourceFile;
use serde::Serialize;

use crate::cli::{Format, ImportArgs};
use crate::failure::{Exit, Failure};
use crate::import::{self, Finding, Imported, Kind};
use crate::input;
use crate::output::{clean, print, print_value, say};
use crate::render::style;
use crate::render::words::count;
use crate::replace::replace;
use crate::tree;

/// What `import -o json` prints.
#[derive(Serialize)]
struct ImportDocument<'a> {
    format_version: &'static str,
    kind: &'static str,
    /// False if something could not be carried over.
    complete: bool,
    #[serde(flatten)]
    imported: &'a Imported,
}

pub(crate) fn run(args: &ImportArgs) -> Result<Exit, Failure> {
    let inputs = args.portunus.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let limits = tree::limits(args.range.range_rule_max_ports, false);
    let imported = import::import(&inputs, &args.edge, limits).map_err(Failure::InvalidTree)?;
    let is_text = args.looks.output == Format::Text;
    if imported.rules > 0
        && let Some(out) = &args.out
    {
        write(out, &imported, args.allow_overwrite)?;
    } else if is_text {
        let texts: Vec<&str> = imported.files.iter().map(|file| file.text.as_str()).collect();
        print(&texts.join("\n"))?;
    }
    if !is_text {
        let complete = imported.is_complete();
        let answer = ImportDocument { format_version: FORMAT_VERSION, kind: "import", complete, imported: &imported };
        print_value(args.looks.output, &answer)?;
    }
    report(&imported, args.out.as_deref());
    Ok(match (imported.rules, imported.is_complete()) {
        (0, _) => Exit::Error,
        (_, true) => Exit::Done,
        (_, false) => Exit::Partial,
    })
}

fn read(path: &Path) -> Result<SourceFile, Failure> {
    let (label, bytes) = input::read(path, input::IMPORT)?;
    let text = foreign::text(&label, bytes).map_err(|found| Failure::InvalidTree(vec![*found]))?;
    Ok(SourceFile::new(label, text))
}

/// Writes all files, or none where one would be replaced.
fn write(out: &Path, imported: &Imported, is_overwriting: bool) -> Result<(), Failure> {
    let paths: Vec<PathBuf> = imported.files.iter().map(|file| out.join(&file.path)).collect();
    let there: Vec<String> =
        paths.iter().filter(|path| path.symlink_metadata().is_ok()).map(|path| path.display().to_string()).collect();
    if !there.is_empty() && !is_overwriting {
        let there = there.join(", ");
        return Err(Failure::Other(format!(
            "nothing was written: {there} exists; add --allow-overwrite to replace it"
        )));
    }
    fs::create_dir_all(out).map_err(Failure::writing(out))?;
    for (path, file) in paths.iter().zip(&imported.files) {
        replace(path, file.text.as_bytes(), 0o644).map_err(Failure::writing(path))?;
    }
    Ok(())
}

/// Says what became of what is not there as it stood.
fn report(imported: &Imported, out: Option<&Path>) {
    for finding in &imported.findings {
        say(line(finding));
    }
    if imported.more.sum() > 0 {
        say(format!("and {} more that are not listed", imported.more.sum()));
    }
    let number = |kind| imported.number(kind);
    let rules = count(imported.rules as u64, "rule");
    let edges = count(imported.files.len() as u64, "edge");
    let place = out.filter(|_| imported.rules > 0).map(|out| format!(" in {}", out.display())).unwrap_or_default();
    let place = clean(&place);
    let (dropped, changed, ignored) = (number(Kind::Dropped), number(Kind::Changed), number(Kind::Ignored));
    say(format!("{rules} of {edges}{place}; {dropped} dropped, {changed} changed, {ignored} ignored."));
}

fn line(finding: &Finding) -> String {
    let kind = match finding.kind {
        Kind::Dropped => style::error(finding.kind.as_str()),
        Kind::Changed => style::warning(finding.kind.as_str()),
        Kind::Ignored => style::faint(finding.kind.as_str()),
    };
    let place = format!("{}:{}:{}", finding.file, finding.line, finding.column);
    let parts = [finding.rule.as_str(), finding.key.as_str()];
    let what: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let colon = if what.is_empty() { "" } else { ": " };
    format!("{kind}: {}: {}{colon}{}", clean(&place), clean(&what.join(" ")), clean(&finding.reason))
}
