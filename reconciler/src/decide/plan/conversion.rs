//! A plan as its document, and back. Pure.
//!
//! Keeps: what a document loses on the way back is what follows from the rest of it.

use schema::net::ListenRange;

use super::document::{FORMAT_VERSION, PlanDocument, PlannedChange, Ports, RailVerdict, Remark};
use super::model::{Plan, PortChanges, ReasonCode, RuleChange};
use super::rail::{AllowFlag, Rail, RailKind};

/// Why a document is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// A listener that cannot be read.
    #[error("`{0}` is not a listener such as `*:80` or `127.0.0.1:53/udp`")]
    Listener(String),
    /// A rail of another version.
    #[error("this version does not know the rail `{0}`")]
    Rail(String),
    /// A flag of another version.
    #[error("this version does not know the flag `{0}`")]
    Flag(String),
}

impl From<Plan> for PlanDocument {
    fn from(plan: Plan) -> Self {
        let uncommitted = plan.source.uncommitted();
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            kind: "plan".to_owned(),
            plan_id: plan.plan_id,
            created_at: plan.created_at,
            expires_at: plan.expires_at,
            source: plan.source,
            base: plan.base,
            complete: plan.complete,
            applyable: plan.applyable,
            summary: plan.summary,
            changes: plan.changes.into_iter().map(PlannedChange::from).collect(),
            waves: plan.waves,
            drift: plan.drift,
            hints: plan.hints,
            rails: plan.rails.into_iter().map(RailVerdict::from).collect(),
            diagnostics: plan.diagnostics,
            dirty_allowed: plan.dirty_allowed,
            uncommitted: uncommitted.map(|why| Remark { code: why.code().to_owned(), message: why.message() }),
            not_followed: plan.not_followed,
            frozen: plan.frozen,
            hidden: plan.hidden,
            leases: plan.leases,
        }
    }
}

impl TryFrom<PlanDocument> for Plan {
    type Error = InvalidPlan;

    fn try_from(document: PlanDocument) -> Result<Self, InvalidPlan> {
        Ok(Self {
            plan_id: document.plan_id,
            created_at: document.created_at,
            expires_at: document.expires_at,
            source: document.source,
            base: document.base,
            complete: document.complete,
            applyable: document.applyable,
            summary: document.summary,
            changes: document.changes.into_iter().map(RuleChange::try_from).collect::<Result<_, _>>()?,
            waves: document.waves,
            drift: document.drift,
            hints: document.hints,
            rails: document.rails.into_iter().map(Rail::try_from).collect::<Result<_, _>>()?,
            diagnostics: document.diagnostics,
            dirty_allowed: document.dirty_allowed,
            not_followed: document.not_followed,
            frozen: document.frozen,
            hidden: document.hidden,
            leases: document.leases,
        })
    }
}

impl From<RuleChange> for PlannedChange {
    fn from(change: RuleChange) -> Self {
        Self {
            edge: change.edge,
            rule: change.rule,
            previous_rule: change.previous_rule,
            action: change.action,
            code: change.code.map(|code| code.as_str().to_owned()),
            message: change.message,
            ports: Ports::from(&change.ports),
            fields: change.fields,
            impact: change.impact,
            origin: change.origin,
            proof: change.proof,
        }
    }
}

impl TryFrom<PlannedChange> for RuleChange {
    type Error = InvalidPlan;

    fn try_from(change: PlannedChange) -> Result<Self, InvalidPlan> {
        Ok(Self {
            ports: PortChanges::try_from(&change.ports)?,
            edge: change.edge,
            rule: change.rule,
            previous_rule: change.previous_rule,
            action: change.action,
            code: change.code.as_deref().map(ReasonCode::read),
            message: change.message,
            fields: change.fields,
            impact: change.impact,
            origin: change.origin,
            proof: change.proof,
        })
    }
}

impl From<&PortChanges> for Ports {
    fn from(ports: &PortChanges) -> Self {
        let texts = |ranges: &[ListenRange]| ranges.iter().map(ToString::to_string).collect();
        Self { bind: texts(&ports.bind), keep: texts(&ports.keep), release: texts(&ports.release) }
    }
}

impl TryFrom<&Ports> for PortChanges {
    type Error = InvalidPlan;

    fn try_from(ports: &Ports) -> Result<Self, InvalidPlan> {
        let range = |text: &String| ListenRange::parse(text).ok_or_else(|| InvalidPlan::Listener(text.clone()));
        let ranges = |texts: &[String]| texts.iter().map(range).collect::<Result<_, _>>();
        Ok(Self { bind: ranges(&ports.bind)?, keep: ranges(&ports.keep)?, release: ranges(&ports.release)? })
    }
}

impl From<Rail> for RailVerdict {
    fn from(rail: Rail) -> Self {
        Self {
            name: rail.kind.as_str().to_owned(),
            limit: rail.limit,
            actual: rail.actual,
            tripped: rail.tripped,
            allow: rail.allow.map(|flag| flag.to_string()),
            message: rail.message,
        }
    }
}

impl TryFrom<RailVerdict> for Rail {
    type Error = InvalidPlan;

    fn try_from(verdict: RailVerdict) -> Result<Self, InvalidPlan> {
        let flag = |text: String| AllowFlag::parse(&text).ok_or(InvalidPlan::Flag(text));
        Ok(Self {
            kind: RailKind::parse(&verdict.name).ok_or(InvalidPlan::Rail(verdict.name))?,
            limit: verdict.limit,
            actual: verdict.actual,
            tripped: verdict.tripped,
            allow: verdict.allow.map(flag).transpose()?,
            message: verdict.message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::planned_activations;
    use super::*;

    #[test]
    fn a_document_is_read_back_as_the_plan_that_it_was_made_from() {
        let mut plan = planned_activations(&[("a", "web"), ("b", "dns")]);
        plan.changes[0].code = Some(ReasonCode::read("of_a_newer_edge"));
        plan.rails[0].allow = Some(AllowFlag::Removals(2));
        let document = PlanDocument::from(plan.clone());
        assert_eq!(Plan::try_from(document.clone()), Ok(plan));
        let text = serde_json::to_string(&document).expect("JSON");
        assert_eq!(serde_json::from_str::<PlanDocument>(&text).expect("a document"), document);
    }

    #[test]
    fn what_this_version_cannot_read_is_refused_by_name() {
        let document = PlanDocument::from(planned_activations(&[("a", "web")]));
        let mut bad = document.clone();
        bad.changes[0].ports.bind[0] = "*:web".to_owned();
        assert_eq!(Plan::try_from(bad), Err(InvalidPlan::Listener("*:web".to_owned())));
        let mut bad = document.clone();
        bad.rails[0].name = "max_moons".to_owned();
        assert_eq!(Plan::try_from(bad), Err(InvalidPlan::Rail("max_moons".to_owned())));
        let mut bad = document;
        bad.rails[0].allow = Some("--allow-moons 2".to_owned());
        assert_eq!(Plan::try_from(bad), Err(InvalidPlan::Flag("--allow-moons 2".to_owned())));
    }
}
