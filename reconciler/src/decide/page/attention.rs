//! What needs a person's eye, the worst first. Pure.

use jiff::Timestamp;

use super::head::{self, drift_in_words, target_of};
use super::words::{Badge, Moment, count};
use crate::decide::drift::DriftKind;
use crate::decide::fleet::Verdict;
use crate::decide::status::RevisionStatus;
use crate::decide::summary::{DownTarget, FleetSummary};

/// Errors of the followed tree that are listed.
const SHOWN_ERRORS: usize = 5;

/// One thing to look at.
#[derive(Debug, Clone)]
pub struct Attention {
    /// What kind.
    pub state: Badge,
    /// What it is.
    pub text: String,
    /// More of it.
    pub detail: String,
    /// `since`, `last seen`
    pub at_word: &'static str,
    /// When.
    pub at: Option<Moment>,
    /// Where to see more.
    pub link: Option<String>,
}

impl Attention {
    fn new(state: Badge, text: impl Into<String>) -> Self {
        Self { state, text: text.into(), detail: String::new(), at_word: "", at: None, link: None }
    }
}

/// The worst first: what does not serve, what is not known, what people decided.
pub(super) fn attention(summary: &FleetSummary, now: Timestamp) -> Vec<Attention> {
    let mut items = Vec::new();
    if let Some(line) = summary.ledger_broken {
        let text = format!("The ledger was changed outside of the server from entry {line} on");
        let detail = "Run `portunus history --verify`.".to_owned();
        items.push(Attention { detail, ..Attention::new(Badge::down("ledger"), text) });
    }
    items.extend(summary.down.iter().map(|down| down_target(down, now)));
    let unreached = summary.rules.down_first.iter().filter(|rule| {
        // A rule that is down because of a listed target is in that line.
        !summary.down.iter().any(|down| down.rule.as_deref() == Some(rule.as_str()))
    });
    items.extend(unreached.map(|rule| Attention {
        link: head::link(&format!("/ui/rules/{rule}")),
        ..Attention::new(Badge::down("down"), format!("Rule {rule}"))
    }));
    for (edge, seen) in &summary.edges.offline {
        items.push(Attention {
            at_word: "last seen",
            at: seen.map(|seen| Moment::new(seen, now)),
            link: head::link(&format!("/ui/edges/{edge}")),
            ..Attention::new(Badge::down("offline"), format!("Edge {edge}"))
        });
    }
    let more = summary.edges.all.saturating_sub(summary.edges.connected + summary.edges.offline.len() as u64);
    if more > 0 {
        let text = format!("{} more", count(more, "edge"));
        items.push(Attention { link: head::link("/ui/edges"), ..Attention::new(Badge::down("offline"), text) });
    }
    items.extend(held(summary, now));
    for (kind, number) in summary.drift.iter().filter(|(kind, _)| **kind != DriftKind::EdgeOffline) {
        // Overrides of targets are among those of rules.
        let is_override = *kind == DriftKind::Override;
        let badge = Badge::warn(if is_override { "override" } else { "drift" });
        items.push(Attention {
            detail: if is_override { overrides(*number, summary.target_overrides) } else { String::new() },
            link: head::link("/ui/drift"),
            ..Attention::new(badge, drift_in_words(*kind, *number))
        });
    }
    if summary.target_overrides > 0 && !summary.drift.contains_key(&DriftKind::Override) {
        let text = count(summary.target_overrides, "target override");
        items.push(Attention { link: head::link("/ui/drift"), ..Attention::new(Badge::warn("override"), text) });
    }
    items
}

/// `3 of targets, 1 break-glass rule`
fn overrides(all: u64, of_targets: u64) -> String {
    let of_targets = of_targets.min(all);
    let parts = [(of_targets, "target override"), (all - of_targets, "break-glass rule")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0).map(|(number, one)| count(number, one));
    parts.collect::<Vec<_>>().join(", ")
}

fn down_target(down: &DownTarget, now: Timestamp) -> Attention {
    let text = match &down.rule {
        Some(rule) => format!("{} in {rule}", down.target),
        None => format!("{} in {} on {}", down.target, count(down.rules, "rule"), count(down.edges, "edge")),
    };
    let detail = down.last.as_ref().map(|last| target_of(&last.code, &last.detail)).unwrap_or_default();
    let link = match &down.rule {
        Some(rule) => head::link(&format!("/ui/rules/{rule}")),
        None => head::link("/ui/rules?health=down"),
    };
    Attention {
        detail,
        at_word: "since",
        at: down.since.map(|since| Moment::new(since, now)),
        link,
        ..Attention::new(Badge::down("down"), text)
    }
}

/// What keeps the followed tree out.
fn held(summary: &FleetSummary, now: Timestamp) -> Vec<Attention> {
    let revision = &summary.revision;
    let mut items = Vec::new();
    if revision.held {
        let reason = if revision.reason.is_empty() { "another revision is held" } else { &revision.reason };
        let detail = if revision.hold.is_some() { "It is held until git moves or an operator resumes." } else { "" };
        items.push(Attention {
            detail: detail.to_owned(),
            link: head::link("/ui/plan"),
            ..Attention::new(Badge::warn("held"), capital(reason))
        });
    } else if revision.verdict == Some(Verdict::Waiting) && is_other(revision) {
        let text = "A newer tree waits for an apply";
        items.push(Attention { link: head::link("/ui/plan"), ..Attention::new(Badge::info("waiting"), text) });
    }
    for error in revision.errors.iter().take(SHOWN_ERRORS) {
        let place = error.line.map_or_else(|| error.file.clone(), |line| format!("{}:{line}", error.file));
        items.push(Attention { detail: place, ..Attention::new(Badge::down("error"), capital(&error.message)) });
    }
    let more = revision.errors.len().saturating_sub(SHOWN_ERRORS) as u64;
    if more > 0 {
        items.push(Attention::new(Badge::down("error"), format!("{} more", count(more, "error"))));
    }
    if let Some(error) = revision.remote.as_ref().and_then(|remote| remote.error.as_ref()) {
        let at = revision.remote.as_ref().and_then(|remote| remote.attempted_at);
        items.push(Attention {
            detail: error.clone(),
            at_word: "tried",
            at: at.map(|at| Moment::new(at, now)),
            ..Attention::new(Badge::warn("remote"), "The repository cannot be read")
        });
    }
    items
}

/// True if the tree that was read last is not the one in force.
pub(super) fn is_other(revision: &RevisionStatus) -> bool {
    revision.attempted.as_ref().map(|attempted| attempted.digest) != revision.digest
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
