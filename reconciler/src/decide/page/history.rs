//! The history: its entries as a list, one with its plan, and the way back to it. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::filter::FilterForm;
use super::plan::{AllowanceBox, NamedFact, PlanView};
use super::query::ViewQuery;
use super::styled::{StyledPiece, styled};
use super::words::{Badge, Moment, count, lasting, short_hash};
use crate::decide::ledger::{HistoryEntry, LedgerAction};
use crate::decide::plan::{PlannedChange, Summary};
use crate::decide::record::RecordedPlan;
use crate::decide::render;

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its number.
    pub id: u64,
    /// `apply`, `rollback`, `freeze`
    pub action: &'static str,
    /// How it ended.
    pub outcome: Badge,
    /// When.
    pub at: Moment,
    /// The commit, shortened; empty of what has none.
    pub commit: String,
    /// The subject of the commit, or what happened.
    pub subject: String,
    /// Why, beside the subject of a commit.
    pub why: String,
    /// Who wrote the commit.
    pub author: String,
    /// Who did it.
    pub who: String,
    /// `+1 ~2 -0`
    pub changes: String,
}

/// The path of the view.
pub const PATH: &str = "/ui/history";

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// What is asked for.
    pub filter: FilterForm,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
    /// The newest first.
    pub rows: Vec<HistoryRow>,
    /// Where older ones are; empty on the last page.
    pub older: String,
    /// How many the operator may not see, in words.
    pub hidden: String,
}

/// At most so many entries on a page.
pub const PER_PAGE: usize = 50;

/// The list of entries, newest first; one more than fits on a page says that there are older ones.
pub fn list(query: &ViewQuery, entries: &[HistoryEntry], hidden: u64, now: Timestamp) -> HistoryView {
    let actions = LedgerAction::ALL.map(|action| (action.as_str(), action.as_str()));
    let actions: Vec<(&str, &str)> = [("", "all")].into_iter().chain(actions).collect();
    let filter = FilterForm::new(PATH, query, &["before"])
        .select(query, ("action", "Action"), &actions)
        .text(query, ("edge", "Edge", "fra-*"))
        .text(query, ("rule", "Rule", "web-*"))
        .text(query, ("since", "Since", "2d"));
    let empty =
        if filter.is_used { "No entry matches. Remove a filter to see more." } else { "Nothing has happened yet." };
    let shown = &entries[..entries.len().min(PER_PAGE)];
    let older = match shown.last() {
        Some(last) if entries.len() > PER_PAGE => query.with("before", &last.entry.id.to_string()).on(PATH),
        _ => String::new(),
    };
    HistoryView {
        filter,
        empty: empty.to_owned(),
        rows: shown.iter().map(|found| row(found, now)).collect(),
        older,
        hidden: hidden_in_words(hidden),
    }
}

fn row(found: &HistoryEntry, now: Timestamp) -> HistoryRow {
    let entry = &found.entry;
    let happened = [&entry.note, &entry.why].into_iter().find(|text| !text.is_empty()).cloned();
    let subject = found.subject.clone().or(happened).unwrap_or_default();
    HistoryRow {
        id: entry.id,
        action: entry.action.as_str(),
        outcome: outcome_badge(found),
        at: Moment::new(entry.at, now),
        commit: entry.commit.as_deref().map(|commit| short_hash(commit).to_owned()).unwrap_or_default(),
        why: Some(&entry.why).filter(|why| !subject.contains(why.as_str())).cloned().unwrap_or_default(),
        subject,
        author: entry.author.as_deref().map(name_of).unwrap_or_default(),
        who: who(&entry.actor, found.applied_by.as_deref()),
        changes: found.summary.as_ref().map(changes_in_words).unwrap_or_default(),
    }
}

/// The name of `Ada Lovelace <ada@example.org>`.
fn name_of(author: &str) -> String {
    let name = author.split(" <").next().unwrap_or(author);
    if name.is_empty() { author.to_owned() } else { name.to_owned() }
}

/// `3 entries outside of your limits are not shown.`
pub fn hidden_in_words(hidden: u64) -> String {
    match hidden {
        0 => String::new(),
        1 => "1 entry outside of your limits is not shown.".to_owned(),
        number => format!("{number} entries outside of your limits are not shown."),
    }
}

/// The operator, and whom it says it acted for.
pub fn who(actor: &str, applied_by: Option<&str>) -> String {
    applied_by.map_or_else(|| actor.to_owned(), |claimed| format!("{actor} as {claimed}"))
}

/// The mark of how an entry ended.
pub fn outcome_badge(found: &HistoryEntry) -> Badge {
    let word = found.entry.outcome.replace('_', " ");
    let word = if found.held { format!("{word}, held") } else { word };
    match found.entry.outcome.as_str() {
        "started" => Badge::info("running"),
        "applied" | "unfrozen" | "released" => Badge::up(word),
        "partial" | "interrupted" | "frozen" | "override" | "rule_added" | "unsettled" => Badge::warn(word),
        "returned" => Badge::down(word),
        _ => Badge::off(word),
    }
}

/// `+1 ~2 -0`, with the signs of a plan; kinds that are not among these three are shown where there are any.
pub fn changes_in_words(summary: &Summary) -> String {
    let mut text = format!("+{} ~{} -{}", summary.activate, summary.update, summary.remove);
    let others = [('±', summary.rebind), ('>', summary.moved), ('!', summary.reject), ('?', summary.retry)];
    for (sign, number) in others.into_iter().filter(|(_, number)| *number > 0) {
        write!(text, " {sign}{number}").expect("a string grows as needed");
    }
    text
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// Its number.
    pub id: u64,
    /// What it is about.
    pub action: &'static str,
    /// How it ended.
    pub outcome: Badge,
    /// Facts, the reason among them.
    pub facts: Vec<NamedFact>,
    /// What did not end as planned: the place, and how it ended.
    pub unplanned: Vec<(String, String)>,
    /// What was planned, as the text plan reads.
    pub plan: Vec<StyledPiece>,
    /// Why there is no plan; empty where there is one.
    pub no_plan: String,
    /// The page of the apply; empty for other actions.
    pub apply: String,
    /// Where it is rolled back to; empty where that cannot be, or the operator may not.
    pub rollback: String,
    /// True if the revision is held and the operator may end that.
    pub may_resume: bool,
    /// True if the chain of hashes does not hold here.
    pub is_broken: bool,
}

/// More changes are one page for the command line.
const SHOWN_CHANGES: usize = 500;
/// Places that are listed.
const SHOWN_PLACES: usize = 100;

/// The view of an entry.
pub fn one(found: &HistoryEntry, plan: Option<&RecordedPlan>, may_apply: bool, now: Timestamp) -> EntryView {
    let entry = &found.entry;
    let no_plan = match plan {
        Some(plan) if plan.changes.is_empty() => "There was nothing to change.",
        Some(_) => "",
        None if entry.is_start() => "The plan of this entry is no longer kept.",
        None => "This entry is about no plan.",
    };
    EntryView {
        id: entry.id,
        action: entry.action.as_str(),
        outcome: outcome_badge(found),
        facts: entry_facts(found, now),
        unplanned: unplanned(found),
        plan: plan.map(|plan| planned(&plan.changes)).unwrap_or_default(),
        no_plan: no_plan.to_owned(),
        apply: if entry.is_start() { format!("/ui/applies/{}", entry.apply_id) } else { String::new() },
        rollback: if entry.is_start() && may_apply {
            format!("/ui/history/{}/rollback", entry.id)
        } else {
            String::new()
        },
        may_resume: found.held && may_apply,
        is_broken: !found.intact,
    }
}

fn planned(changes: &[PlannedChange]) -> Vec<StyledPiece> {
    let mut text = String::new();
    let mut edge = None;
    for change in changes.iter().take(SHOWN_CHANGES) {
        if edge != Some(&change.edge) {
            edge = Some(&change.edge);
            let gap = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}\u{1b}[1m{}\u{1b}[0m", change.edge).expect("a string grows as needed");
        }
        text.push_str(&render::change::change(change));
    }
    let more = changes.len().saturating_sub(SHOWN_CHANGES);
    if more > 0 {
        writeln!(text, "\nand {}; `portunus history ID -o wide` shows all", count(more as u64, "more change"))
            .expect("a string grows as needed");
    }
    styled(&text)
}

fn entry_facts(found: &HistoryEntry, now: Timestamp) -> Vec<NamedFact> {
    let entry = &found.entry;
    let mut facts = vec![NamedFact::at("at", Moment::new(entry.at, now))];
    let mut text = |name: &'static str, value: String| {
        if !value.is_empty() {
            facts.push(NamedFact::text(name, value));
        }
    };
    text("took", found.finished_at.map(|end| lasting(end.duration_since(entry.at))).unwrap_or_default());
    let dirty = if entry.dirty { ", with changes that were not committed" } else { "" };
    let commit = entry.commit.as_ref().map(|commit| format!("{commit}{dirty}"));
    text("commit", commit.unwrap_or_else(|| if entry.is_start() { "no commit".to_owned() } else { String::new() }));
    text("subject", found.subject.clone().unwrap_or_default());
    text("author", entry.author.clone().unwrap_or_default());
    text("by", who(&entry.actor, found.applied_by.as_deref()));
    text("changes", found.summary.as_ref().map(changes_in_words).unwrap_or_default());
    text("why", entry.why.clone());
    text("what", entry.note.clone());
    text("overridden rails", entry.overridden.join(", "));
    if entry.is_start() {
        text("digest", entry.digest.to_string());
    }
    text("hash", entry.hash.to_string());
    facts.extend(entry.until.map(|until| NamedFact::at("until", Moment::new(until, now))));
    facts
}

/// Edges and rules that did not end as they were planned.
fn unplanned(found: &HistoryEntry) -> Vec<(String, String)> {
    let joined = |parts: &[&str]| {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
        parts.join(": ")
    };
    let mut all = Vec::new();
    for (edge, ended) in &found.entry.edges {
        if ended.outcome != crate::decide::fleet::EdgeOutcome::Done || !ended.message.is_empty() {
            all.push((edge.to_string(), joined(&[ended.outcome.in_words(), &ended.code, &ended.message])));
        }
        for rule in &ended.rules {
            let state = rule.state.map_or("gone", |state| state.as_str());
            all.push((format!("{edge}/{}", rule.rule), joined(&[state, &rule.code, &rule.message])));
        }
    }
    let more = all.len().saturating_sub(SHOWN_PLACES);
    all.truncate(SHOWN_PLACES);
    if more > 0 {
        all.push((format!("and {more} more"), "`portunus history ID -o json` has all".to_owned()));
    }
    all
}

/// What is shown before something is done that has a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmView {
    /// What is about to be done.
    pub heading: String,
    /// What it means.
    pub explanation: String,
    /// Where the form goes.
    pub action: String,
    /// The words of the button.
    pub button: &'static str,
    /// The reason so far.
    pub why: String,
    /// The plan.
    pub plan: PlanView,
    /// Rails that can be lifted for exactly this plan.
    pub allowances: Vec<AllowanceBox>,
    /// What went wrong with the first try; empty at the beginning.
    pub problem: String,
    /// Where to go instead.
    pub back: String,
}
