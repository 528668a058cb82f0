//! A proposal: the form with a text or a new target, what is wrong with it, and the changed rule with its plan. Pure.

use jiff::Timestamp;
use schema::name::RuleName;
use serde_json::{Map, Value};

use super::head::link;
use super::plan::{FailedView, Finding, NamedFact, PlanView, findings, source_facts, view as plan_view};
use super::styled::{StyledPiece, diff_pieces};
use crate::decide::plan::Source;
use crate::decide::proposal::{NewTarget, Proposal, RuleSource};
use schema::diagnostic::DiagnosticJson;

/// Lines of the field with a rule's text.
const FEWEST_LINES: usize = 12;
const MOST_LINES: usize = 40;

/// What was typed into the form of a new target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetFields {
    /// The host.
    pub host: String,
    /// A port or a range.
    pub ports: String,
    /// The weight; may be empty.
    pub weight: String,
    /// The priority; may be empty.
    pub priority: String,
}

impl TargetFields {
    /// The target, or which field is not a number.
    pub fn read(&self) -> Result<NewTarget, String> {
        let number = |name: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("the {name} `{text}` is not a number from 0 to 255")),
        };
        Ok(NewTarget {
            host: self.host.trim().to_owned(),
            ports: self.ports.trim().to_owned(),
            weight: number("weight", &self.weight)?,
            priority: number("priority", &self.priority)?,
        })
    }
}

/// The page of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalView {
    /// `EDGE/RULE`
    pub place: String,
    /// The page of the rule, if there is one.
    pub rule: Option<String>,
    /// What the addresses of its forms begin with.
    pub base: String,
    /// Where the form goes.
    pub action: String,
    /// True for one more target, false for an edit of the text.
    pub is_target: bool,
    /// The file.
    pub file: String,
    /// The line on which the rule begins.
    pub line: u32,
    /// The tree that it is in.
    pub facts: Vec<NamedFact>,
    /// The text, as it is or as it was typed.
    pub text: String,
    /// Lines of its field.
    pub rows: usize,
    /// The new target, as it was typed.
    pub target: TargetFields,
    /// What is wrong with it.
    pub problem: Option<FailedView>,
    /// What it comes to.
    pub result: Option<ProposalResult>,
}

/// A proposal that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalResult {
    /// The changed lines.
    pub diff: Vec<StyledPiece>,
    /// The patch; `None` where it would show a line outside of the operator's limits.
    pub patch: Option<String>,
    /// The file name of the download.
    pub download: String,
    /// Where the download is asked for.
    pub patch_action: String,
    /// The plan.
    pub plan: PlanView,
    /// The form that runs it for a while; `None` for an operator who may not.
    pub run: Option<OverrideForm>,
}

/// The form of a break-glass rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverrideForm {
    /// Where it goes.
    pub action: String,
    /// The name of the rule.
    pub name: String,
    /// Its port or ports.
    pub listen: String,
    /// How long, in seconds.
    pub ttl_secs: String,
    /// Why.
    pub why: String,
    /// The rest of the rule, as JSON.
    pub spec: String,
    /// What went wrong with the first try; empty at the beginning.
    pub problem: String,
}

/// How long an override can be chosen to last.
pub const LIFETIMES: [(&str, &str); 5] =
    [("900", "15 minutes"), ("3600", "1 hour"), ("14400", "4 hours"), ("86400", "1 day"), ("604800", "7 days")];

impl ProposalView {
    /// The form at the beginning.
    pub fn form(edge: &str, rule: &str, is_target: bool, source: &RuleSource) -> Self {
        let lines = source.text.lines().count();
        Self {
            place: format!("{edge}/{rule}"),
            rule: link(&format!("/ui/rules/{edge}/{rule}")),
            base: format!("/ui/rules/{edge}/{rule}"),
            action: format!("/ui/rules/{edge}/{rule}/{}", if is_target { "add-target" } else { "edit" }),
            is_target,
            file: source.file.clone(),
            line: source.line,
            facts: source_facts(&source.source),
            text: source.text.replace("\r\n", "\n"),
            rows: (lines + 2).clamp(FEWEST_LINES, MOST_LINES),
            target: TargetFields::default(),
            problem: None,
            result: None,
        }
    }

    /// The same with what was typed.
    #[must_use]
    pub fn with_typed(self, text: &str, target: TargetFields) -> Self {
        let text = text.replace("\r\n", "\n");
        let rows = (text.lines().count() + 2).clamp(FEWEST_LINES, MOST_LINES);
        if self.is_target { Self { target, ..self } } else { Self { text, rows, ..self } }
    }

    /// The same with why it is not a proposal.
    #[must_use]
    pub fn failed(self, title: &str, detail: &str, found: &[DiagnosticJson], source: &Source) -> Self {
        let text = (!self.is_target).then(|| self.text.clone());
        let (file, first) = (self.file.clone(), self.line);
        let line_of = |path: &str, line: u32| {
            let typed = text.as_deref().filter(|_| source.path_of(path) == file)?;
            typed.lines().nth(line.checked_sub(first)? as usize).map(str::to_owned)
        };
        let findings: Vec<Finding> = findings(found, line_of);
        let problem = FailedView { title: title.to_owned(), detail: detail.to_owned(), findings };
        Self { problem: Some(problem), ..self }
    }

    /// The same with what it comes to.
    #[must_use]
    pub fn proposed(self, proposal: &Proposal, may_run: bool, now: Timestamp) -> Self {
        let rule = self.place.split_once('/').map_or("rule", |(_, rule)| rule).to_owned();
        let run = (may_run && !proposal.spec.is_empty()).then(|| OverrideForm {
            action: format!("{}/override", self.base),
            name: beside(&rule),
            spec: Value::Object(without_place(proposal.spec.clone())).to_string(),
            ttl_secs: "3600".to_owned(),
            ..OverrideForm::default()
        });
        let result = ProposalResult {
            diff: diff_pieces(&proposal.diff),
            patch: proposal.patch.clone(),
            download: format!("{rule}.patch"),
            patch_action: format!("{}/patch", self.base),
            plan: plan_view(&proposal.plan, now),
            run,
        };
        Self { result: Some(result), ..self }
    }
}

/// A name for a rule that runs beside another one.
fn beside(rule: &str) -> String {
    const SUFFIX: &str = "-proposal";
    const LONGEST: usize = 63;
    let start: String = rule.chars().take(LONGEST - SUFFIX.len()).collect();
    format!("{start}{SUFFIX}")
}

/// The rule without what an override chooses anew.
fn without_place(mut spec: Map<String, Value>) -> Map<String, Value> {
    for key in ["name", "listen_port", "listen_ports"] {
        spec.remove(key);
    }
    spec
}

/// The rule of an override: what the form keeps, under a name and on ports of its own.
pub fn override_rule(form: &OverrideForm) -> Result<Map<String, Value>, String> {
    let mut spec: Map<String, Value> = serde_json::from_str(&form.spec)
        .map_err(|_| "the form does not hold a rule: load the page again".to_owned())?;
    RuleName::new(form.name.trim()).map_err(|error| error.to_string())?;
    spec.insert("name".to_owned(), form.name.trim().into());
    match form.listen.trim() {
        "" => return Err("a free port is required: an override cannot take a port of the tree".to_owned()),
        text if text.contains('-') => _ = spec.insert("listen_ports".to_owned(), text.into()),
        text => {
            let port: u16 = text.parse().map_err(|_| format!("`{text}` is not a port"))?;
            spec.insert("listen_port".to_owned(), port.into());
        }
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_has_a_name_and_ports_of_its_own() {
        let form = OverrideForm {
            name: " web-now ".to_owned(),
            listen: "8443".to_owned(),
            spec: r#"{"target": "a:1"}"#.to_owned(),
            ..OverrideForm::default()
        };
        let rule = override_rule(&form).expect("a rule");
        assert_eq!(Value::Object(rule), serde_json::json!({"name": "web-now", "listen_port": 8443, "target": "a:1"}));
        for (listen, name) in [("", "web"), ("x", "web"), ("80", "Not A Name"), ("70000", "web")] {
            let form = OverrideForm { listen: listen.to_owned(), name: name.to_owned(), ..form.clone() };
            assert!(override_rule(&form).is_err(), "{listen} {name}");
        }
        assert_eq!(beside(&"a".repeat(63)).len(), 63);
    }

    #[test]
    fn a_field_that_is_no_number_is_named() {
        let fields = TargetFields {
            host: "a".to_owned(),
            ports: "1".to_owned(),
            weight: "lots".to_owned(),
            ..TargetFields::default()
        };
        assert!(fields.read().expect_err("no number").contains("weight `lots`"));
    }
}
