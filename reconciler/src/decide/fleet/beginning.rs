//! What an apply begins with: its result, in which every edge is still to answer, and all of its records. Pure.
//!
//! Keeps: the line of the ledger, the tree, the plan and what is in force are recorded in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::EdgeName;

use super::run::rule_result;
use super::step::Step;
use super::{Applied, ApplyResult, EdgeOutcome, EdgeResult, Fleet, Hold, Outcome, Purpose, RolloutTerms, TreeRead};
use crate::decide::ledger::{self, Entry};
use crate::decide::plan::{Plan, PlanDocument, RuleChange};
use crate::decide::record::{Record, RecordedPlan};
use crate::decide::view::EdgeView;

/// What an apply needs.
pub(super) struct Start<'a> {
    pub(super) tree: &'a TreeRead,
    pub(super) plan: &'a Plan,
    /// The edges that are not at rest under the tree.
    pub(super) moved: &'a BTreeSet<EdgeName>,
    pub(super) purpose: &'a Purpose,
    pub(super) actor: &'a str,
    /// Who the client says it acts for.
    pub(super) applied_by: Option<&'a str>,
    pub(super) is_automatic: bool,
    pub(super) allow_offline: bool,
    pub(super) wait_healthy: bool,
    pub(super) confirm_within: Option<Duration>,
    pub(super) quiet_window: Duration,
    pub(super) seal: Option<Digest>,
    pub(super) overridden: Vec<String>,
    pub(super) timeout: Duration,
    /// A failed edge brings all of them back to what they ran before.
    pub(super) is_brought_back: bool,
}

/// How long an automatic apply is shown as running while an edge does not answer; it goes on healing afterwards.
const AUTOMATIC_TIMEOUT: Duration = Duration::from_mins(1);

impl<'a> Start<'a> {
    /// What the server applies because it follows the tree.
    pub(super) fn automatic(
        tree: &'a TreeRead,
        plan: &'a Plan,
        moved: &'a BTreeSet<EdgeName>,
        purpose: &'a Purpose,
    ) -> Self {
        Self {
            tree,
            plan,
            moved,
            purpose,
            actor: "watch",
            applied_by: None,
            is_automatic: true,
            allow_offline: true,
            wait_healthy: false,
            confirm_within: None,
            quiet_window: Duration::ZERO,
            seal: None,
            overridden: Vec::new(),
            timeout: AUTOMATIC_TIMEOUT,
            is_brought_back: false,
        }
    }
}

/// Which edges an apply reaches at once, by their new generations, and which ones later.
pub(super) struct Reach {
    pub(super) generations: BTreeMap<EdgeName, u64>,
    pub(super) unreached: BTreeSet<EdgeName>,
}

impl Fleet {
    pub(super) fn begin(
        &self,
        start: &Start<'_>,
        generations: &BTreeMap<EdgeName, u64>,
        now: Timestamp,
    ) -> ApplyResult {
        let mut edges: BTreeMap<EdgeName, Vec<&RuleChange>> = BTreeMap::new();
        for change in &start.plan.changes {
            edges.entry(change.edge.clone()).or_default().push(change);
        }
        for edge in generations.keys() {
            edges.entry(edge.clone()).or_default();
        }
        let nothing = EdgeView::default();
        let edges = edges
            .into_iter()
            .map(|(name, changes)| {
                let view = self.edges.get(&name).unwrap_or(&nothing);
                EdgeResult {
                    outcome: if view.connected { EdgeOutcome::Waiting } else { EdgeOutcome::Offline },
                    generation: view.desired_generation(),
                    code: String::new(),
                    message: String::new(),
                    rules: changes.into_iter().map(|change| rule_result(view, change)).collect(),
                    edge: name,
                }
            })
            .collect();
        ApplyResult {
            id: self.head.next_apply(),
            plan_id: start.plan.plan_id,
            digest: start.tree.source.digest,
            commit: start.tree.source.commit.clone(),
            actor: start.actor.to_owned(),
            applied_by: start.applied_by.map(str::to_owned),
            continues: match start.purpose {
                Purpose::Continue { apply } => Some(apply.clone()),
                Purpose::Apply | Purpose::Rollback { .. } | Purpose::Resume { .. } => None,
            },
            outcome: Outcome::Running,
            started_at: now,
            finished_at: None,
            stopped: None,
            paused: None,
            repeated: false,
            edges,
        }
    }

    pub(super) fn record_start(
        &mut self,
        start: &Start<'_>,
        result: &ApplyResult,
        reach: Reach,
        step: &mut Step,
    ) -> Entry {
        let Reach { generations, unreached } = reach;
        let applied = self.applied_now(start, result, unreached, step.now);
        step.persist(Record::revision(&start.tree.source, &start.tree.files));
        step.persist(Record::applied(&applied));
        self.applied = Some(applied);
        let (action, why) = match start.purpose {
            Purpose::Apply => (ledger::LedgerAction::Apply, String::new()),
            Purpose::Rollback { why, .. } => (ledger::LedgerAction::Rollback, why.clone()),
            Purpose::Resume { why } => (ledger::LedgerAction::Resume, why.clone()),
            Purpose::Continue { apply } => {
                (ledger::LedgerAction::Resume, format!("continues {apply}, which a restart of the server interrupted"))
            }
        };
        let is_held = matches!(start.purpose, Purpose::Rollback { hold: true, .. });
        let hold = is_held.then(|| Hold {
            digest: start.tree.source.digest,
            commit: start.tree.source.commit.clone(),
            by: start.actor.to_owned(),
            why: why.clone(),
            since: step.now,
            apply_id: result.id.clone(),
            followed: None,
        });
        let hold = hold.and_then(|hold| self.holding(hold));
        if hold != self.hold {
            step.persist(Record::hold(hold.as_ref()));
            self.hold = hold;
        }
        // What was decided before for edges that are offline is in the record of the apply that decided it.
        let document = PlanDocument::from(start.plan.clone());
        let (summary, _) = document.without_decided();
        let PlanDocument { mut changes, base, waves, .. } = document;
        changes.retain(|change| !base.has_decided(change));
        let recorded = RecordedPlan { summary, changes, waves };
        step.persist(Record::plan(&result.id, &recorded));
        let entry = Entry {
            at: step.now,
            apply_id: result.id.clone(),
            action,
            why,
            plan_id: result.plan_id,
            digest: result.digest,
            commit: result.commit.clone(),
            author: start.tree.source.author.clone(),
            subject: start.tree.source.subject.clone(),
            actor: start.actor.to_owned(),
            applied_by: start.applied_by.map(str::to_owned),
            summary: Some(summary),
            dirty: start.tree.source.dirty,
            outcome: "started".to_owned(),
            generations,
            overridden: start.overridden.clone(),
            ..Entry::default()
        }
        .chained(&mut self.head);
        step.persist(Record::ledger(&entry));
        entry
    }

    /// What is in force once the apply has begun.
    fn applied_now(
        &self,
        start: &Start<'_>,
        result: &ApplyResult,
        unreached: BTreeSet<EdgeName>,
        now: Timestamp,
    ) -> Applied {
        let ruleset = start.tree.ruleset.as_ref().expect("only valid trees are put in force");
        Applied {
            source: start.tree.source.clone(),
            rails: ruleset.rails,
            at: now,
            apply_id: result.id.clone(),
            actor: start.actor.to_owned(),
            applied_by: start.applied_by.map(str::to_owned),
            stopped: None,
            before: start
                .confirm_within
                .and(self.applied.clone())
                .map(|applied| Applied { before: None, ..applied }.into()),
            rollout: (!unreached.is_empty()).then(|| RolloutTerms::of(start, result).into()),
            cut_off: false,
            unreached,
            named: Arc::new(ruleset.names_of_edges()),
            labels: Arc::new(ruleset.labels()),
            settings: Some(start.tree.settings()),
            earlier_commit: match start.tree.source.commit {
                Some(_) => None,
                None => self.applied.as_ref().and_then(Applied::last_commit).map(str::to_owned),
            },
        }
    }
}
