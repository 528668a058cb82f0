//! What a person at the console of `serve` and `up` reads beside the log: why a save is not applied. I/O.
//!
//! Keeps: a tree that is rejected is shown as `validate` shows it, once; a log that programs read stays one line an event.

use reconciler::act::driver::{FleetHandle, Numbered};
use reconciler::decide::fleet::{Notice, Verdict};
use reconciler::decide::plan::{FileDocument, RailVerdict};
use schema::diagnostic::{DiagnosticJson, Severity, SourceFile};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing::warn;

use crate::cli::LogFormat;
use crate::output::say;
use crate::render::{diagnostic, rails, style};

/// Findings that become lines of a log for programs; more are counted.
const MOST_LINES: usize = 20;

/// What was found in the followed tree, and what came of it.
struct Seen {
    diagnostics: Vec<DiagnosticJson>,
    files: Vec<SourceFile>,
    verdict: Verdict,
}

/// Shows what becomes of the followed tree for as long as the server runs.
pub(crate) async fn watch(fleet: FleetHandle, mut notices: Receiver<Numbered>, format: LogFormat) {
    loop {
        match notices.recv().await {
            Ok((.., notice)) if matches!(&*notice, Notice::Tree { .. }) => {
                let Some(seen) = look(&fleet).await else { continue };
                match format {
                    LogFormat::Text => {
                        if let Some(text) = text(&seen) {
                            say(text);
                        }
                    }
                    LogFormat::Json => lines(&seen),
                }
            }
            // A notice that was missed is followed by another one before long, or by none: then the log has its line.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn look(fleet: &FleetHandle) -> Option<Seen> {
    let attempt = fleet.read(|view| {
        let attempt = view.fleet.attempt()?;
        Some((attempt.diagnostics.clone(), attempt.files.clone(), attempt.verdict.clone()))
    });
    let (diagnostics, files, verdict) = attempt.await.ok()??;
    let is_named = |file: &&FileDocument| {
        let in_related = |found: &DiagnosticJson| found.related.iter().any(|place| *place.file == *file.path);
        diagnostics.iter().any(|found| *found.file == *file.path || in_related(found))
    };
    let files =
        files.iter().filter(is_named).map(|file| SourceFile::new(file.path.clone(), file.text.clone())).collect();
    Some(Seen { diagnostics, files, verdict })
}

/// What a person reads; `None` where there is nothing beyond the log.
fn text(seen: &Seen) -> Option<String> {
    let mut text = String::new();
    if !seen.diagnostics.is_empty() {
        text = diagnostic::all_from_json(&seen.diagnostics, &seen.files);
    }
    if let Verdict::Railed { rails } = &seen.verdict {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&railed(rails));
    }
    (!text.is_empty()).then_some(text)
}

/// The rails that hold the tree, and what to do.
fn railed(rails: &[RailVerdict]) -> String {
    let lines: Vec<String> = rails.iter().map(|rail| format!("\n  {}", rails::line(rail))).collect();
    let held = format!("{}: the followed tree is not applied{}", style::warning("held"), lines.concat());
    let flags: Option<Vec<&str>> = rails.iter().map(|rail| rail.allow.as_deref()).collect();
    match flags {
        Some(flags) => {
            let help = style::help("help");
            format!("{held}\n{help}: if it is meant, run `portunus apply DIR {}`", flags.join(" "))
        }
        None => held,
    }
}

/// The same for programs: one line for each finding and each rail.
fn lines(seen: &Seen) {
    let errors = seen.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    for found in errors.clone().take(MOST_LINES) {
        let (line, column) = (found.line.unwrap_or_default(), found.column.unwrap_or_default());
        let hint = found.hint.as_deref().unwrap_or_default();
        warn!(file = found.file, line, column, code = found.code, message = found.message, hint, "error in the tree");
    }
    let more = errors.count().saturating_sub(MOST_LINES);
    if more > 0 {
        warn!(more, "there are more errors in the tree");
    }
    if let Verdict::Railed { rails } = &seen.verdict {
        for rail in rails {
            warn!(rail = rail.name, reason = rail.in_words(), "a rail holds the tree");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tripped_rail_is_told_in_words_with_the_command_that_lifts_it() {
        let rail = RailVerdict {
            name: "max_removed_percent".to_owned(),
            limit: 30,
            actual: 60,
            tripped: true,
            allow: Some("--allow-removals 3".to_owned()),
            message: "edge-01: 3 of 5 rules".to_owned(),
        };
        let seen = Seen { diagnostics: Vec::new(), files: Vec::new(), verdict: Verdict::Railed { rails: vec![rail] } };
        let shown = anstream::adapter::strip_str(&text(&seen).expect("a text")).to_string();
        assert_eq!(
            shown,
            "held: the followed tree is not applied\n  max_removed_percent: 60 % where 30 % are allowed, edge-01: 3 of 5 \
             rules; `--allow-removals 3` allows it\nhelp: if it is meant, run `portunus apply DIR --allow-removals 3`"
        );
        let warning = DiagnosticJson {
            severity: Severity::Warning,
            code: "empty_file".to_owned(),
            message: "empty".to_owned(),
            file: "a.toml".to_owned(),
            line: None,
            column: None,
            hint: None,
            related: Vec::new(),
        };
        let warned = Seen { diagnostics: vec![warning], ..seen };
        let shown = anstream::adapter::strip_str(&text(&warned).expect("a text")).to_string();
        assert!(shown.contains("1 warning\nheld: "), "{shown}");
        let seen = Seen { diagnostics: Vec::new(), ..warned };
        let applied = Seen { verdict: Verdict::Applied, ..seen };
        assert_eq!(text(&applied), None);
    }
}
