//! The problem documents of the API as people read them. I/O.

use crate::act::operator::documents::Problem;
use crate::decide::page::problem::{ProblemView, advice};

/// Lines that are shown; the rest is counted.
const SHOWN: usize = 30;

/// What the page shows of a problem.
pub(super) fn view(problem: &Problem) -> ProblemView {
    let rails = problem.rails.iter().filter(|rail| rail.tripped);
    let rails = rails.map(|rail| format!("{}: {} planned, at most {}", rail.name, rail.actual, rail.limit));
    let findings = problem.diagnostics.iter().map(|found| {
        let line = found.line.map_or_else(String::new, |line| format!(":{line}"));
        let place = if found.file.is_empty() { String::new() } else { format!("{}{line}: ", found.file) };
        format!("{place}{} ({})", found.message, found.code)
    });
    let mut lines: Vec<String> = problem.changes.iter().cloned().chain(rails).chain(findings).collect();
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    lines.extend((more > 0).then(|| format!("and {more} more")));
    ProblemView {
        status: problem.status,
        code: problem.code.clone(),
        title: problem.title.clone(),
        detail: problem.detail.clone(),
        lines,
        advice: advice(problem.status, &problem.code),
    }
}
