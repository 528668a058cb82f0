//! A plan as the page shows it: where the tree comes from, the plan's own text, and what to do next. Pure.

use jiff::Timestamp;

use super::styled::{StyledPiece, styled};
use super::words::{Badge, Moment, count, short_hash};
use crate::decide::fleet::Mode;
use crate::decide::plan::{PlanDocument, RailVerdict, Source};
use crate::decide::render::{self, Length};

/// More changes are grouped, as in the text plan.
const IN_FULL: usize = 60;

/// One fact about something, in a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFact {
    /// What it is about.
    pub name: &'static str,
    /// What is so.
    pub value: String,
    /// A moment instead of the value.
    pub moment: Option<Moment>,
}

impl NamedFact {
    /// A text.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: value.into(), moment: None }
    }

    /// A point in time.
    pub fn at(name: &'static str, moment: Moment) -> Self {
        Self { name, value: String::new(), moment: Some(moment) }
    }
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanView {
    /// Whether it could be applied.
    pub verdict: Badge,
    /// Where the tree comes from.
    pub facts: Vec<NamedFact>,
    /// The text plan.
    pub text: Vec<StyledPiece>,
    /// How much of it the operator may not see, in words; empty where it sees all.
    pub hidden: String,
    /// Its identity.
    pub id: String,
}

/// The view of a plan.
pub fn view(plan: &PlanDocument, now: Timestamp) -> PlanView {
    let changes = plan.summary.changes();
    let verdict = if plan.is_railed() {
        Badge::down("stopped by a rail")
    } else if plan.frozen.is_some() {
        Badge::warn("frozen")
    } else if plan.uncommitted.is_some() && !plan.dirty_allowed {
        Badge::warn("not committed")
    } else if changes == 0 {
        Badge::up("nothing to change")
    } else if plan.summary.reject > 0 {
        Badge::warn("partly rejected")
    } else {
        Badge::info(count(changes.into(), "change"))
    };
    let mut facts = source_facts(&plan.source);
    facts.push(NamedFact::at("made", Moment::new(plan.created_at, now)));
    let hidden = match plan.hidden {
        0 => String::new(),
        number => format!("{} outside of your limits is not shown.", count(number, "item")),
    };
    // Each change in full, as long as a person would read that.
    let length = if plan.changes.len() <= IN_FULL { Length::Full } else { Length::Brief };
    let text = render::plan::text(plan, length);
    PlanView { verdict, facts, text: styled(&text), hidden, id: plan.plan_id.to_string() }
}

/// Commit, subject, author and folder of a tree.
pub fn source_facts(source: &Source) -> Vec<NamedFact> {
    let mut facts = Vec::new();
    let name = match &source.commit {
        Some(commit) => format!("{}{}", short_hash(commit), if source.dirty { " with changes" } else { "" }),
        None => format!("no commit, {}", short_hash(&source.digest.to_string())),
    };
    facts.push(NamedFact::text("revision", name));
    let more = [("subject", &source.subject), ("author", &source.author), ("branch", &source.reference)];
    facts.extend(more.into_iter().filter_map(|(name, value)| Some(NamedFact::text(name, value.clone()?))));
    facts.extend(source.folder.clone().map(|folder| NamedFact::text("folder", folder)));
    facts
}

/// One thing that can be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// A sentence.
    pub text: String,
    /// A command that does it; empty where there is none.
    pub command: String,
    /// Where a link leads, and its words.
    pub link: Option<(String, &'static str)>,
}

/// What the fleet stands in, as far as it decides what comes next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// What the server does by itself.
    pub mode: Option<Mode>,
    /// True if a rollback is held.
    pub is_held: bool,
    /// True if the operator may apply.
    pub may_apply: bool,
}

/// What to do about the plan of the followed tree.
pub fn next_steps(plan: &PlanDocument, standing: Standing) -> Vec<NextStep> {
    let step = |text: &str, command: &str| NextStep { text: text.to_owned(), command: command.to_owned(), link: None };
    let mut steps = Vec::new();
    for rail in plan.rails.iter().filter(|rail| rail.tripped) {
        let text = format!("The rail {} stops it. Commit a smaller change, or allow exactly this one:", rail.name);
        let command = rail.allow.as_ref().map_or_else(String::new, |allow| format!("portunus apply {allow}"));
        steps.push(NextStep { text, command, link: None });
    }
    if plan.uncommitted.is_some() {
        steps.push(step("Commit the tree.", "git commit"));
    }
    if plan.frozen.is_some() {
        steps.push(step("End the freeze; nothing is applied until then.", "portunus unfreeze --why TEXT"));
    }
    if standing.is_held {
        let link = standing.may_apply.then(|| ("/ui/resume".to_owned(), "Resume"));
        let text = "A revision is held. Resume to apply the followed tree again.".to_owned();
        steps.push(NextStep { text, command: "portunus resume".to_owned(), link });
    }
    if !steps.is_empty() {
        return steps;
    }
    if plan.summary.changes() == 0 {
        steps.push(step("Nothing to do: the running state is the one of the tree.", ""));
        return steps;
    }
    steps.push(match standing.mode {
        Some(Mode::Apply) => {
            step("Nothing to do: the server applies the tree automatically and retries what failed.", "")
        }
        Some(Mode::Off | Mode::Plan | Mode::Heal) => {
            step("Apply the tree; in this mode the server waits for an operator.", "portunus apply")
        }
        None => step("Apply the tree.", "portunus apply"),
    });
    steps
}

/// The page of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanPageView {
    /// What was asked for; empty for the followed tree.
    pub revision: String,
    /// The plan.
    pub plan: Option<PlanView>,
    /// Why there is none.
    pub problem: Option<FailedView>,
    /// What to do.
    pub next: Vec<NextStep>,
}

/// Why something could not be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedView {
    /// A few words.
    pub title: String,
    /// A sentence.
    pub detail: String,
    /// What is wrong with the tree.
    pub findings: Vec<Finding>,
}

/// One finding in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error or warning.
    pub badge: Badge,
    /// Its code.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// `file:line:column`
    pub place: String,
    /// The line of the file; empty where it is not known.
    pub line: String,
    /// Blanks up to the place, and a caret.
    pub caret: String,
    /// What to do.
    pub hint: String,
    /// Other places, with words.
    pub related: Vec<String>,
}

/// Findings as `validate` lists them; the text of a file is shown where it is at hand, from its first line on.
pub fn findings(
    found: &[schema::diagnostic::DiagnosticJson],
    text_of: impl Fn(&str, u32) -> Option<String>,
) -> Vec<Finding> {
    use schema::diagnostic::Severity;
    let place = |file: &str, line: Option<u32>, column: Option<u32>| {
        let numbers = line.into_iter().chain(column).map(|number| format!(":{number}"));
        format!("{file}{}", numbers.collect::<String>())
    };
    let finding = |one: &schema::diagnostic::DiagnosticJson| {
        let line = one.line.and_then(|line| text_of(&one.file, line)).unwrap_or_default();
        let column = one.column.unwrap_or(1).saturating_sub(1) as usize;
        // Tabs are as wide in the line of the caret as above it.
        let indent: String = line.chars().take(column).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
        Finding {
            badge: match one.severity {
                Severity::Error => Badge::down("error"),
                Severity::Warning => Badge::warn("warning"),
            },
            code: one.code.clone(),
            message: one.message.clone(),
            place: place(&one.file, one.line, one.column),
            caret: if line.is_empty() { String::new() } else { format!("{indent}^") },
            line,
            hint: one.hint.clone().unwrap_or_default(),
            related: one
                .related
                .iter()
                .map(|other| format!("{}: {}", place(&other.file, Some(other.line), Some(other.column)), other.message))
                .collect(),
        }
    };
    found.iter().map(finding).collect()
}

/// A rail that a person can lift for exactly this plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowanceBox {
    /// The field of the form.
    pub name: &'static str,
    /// The figure that it allows.
    pub value: String,
    /// What it allows, in words.
    pub words: String,
}

/// The rails that stop a plan and can be lifted.
pub fn allowance_boxes(rails: &[RailVerdict]) -> Vec<AllowanceBox> {
    let known = [
        ("--allow-removals", "allow_removals", "removals"),
        ("--allow-rebinds", "allow_rebinds", "rebinds"),
        ("--allow-drops", "allow_drops", "dropped connections"),
    ];
    let of = |rail: &RailVerdict| {
        let allow = rail.allow.as_deref()?;
        let whole = [
            ("--allow-empty", "allow_empty", "Allow a tree without rules"),
            (
                "--allow-non-descendant",
                "allow_non_descendant",
                "Allow a commit that does not descend from the one in force",
            ),
        ];
        if let Some((_, name, words)) = whole.into_iter().find(|(known, ..)| *known == allow) {
            return Some(AllowanceBox { name, value: "true".to_owned(), words: words.to_owned() });
        }
        let (flag, value) = allow.split_once(' ')?;
        let (_, name, words) = known.into_iter().find(|(known, ..)| *known == flag)?;
        Some(AllowanceBox {
            name,
            value: value.to_owned(),
            words: format!("Allow exactly {value} {words} ({})", rail.name),
        })
    };
    rails.iter().filter(|rail| rail.tripped).filter_map(of).collect()
}
