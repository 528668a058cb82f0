//! Following the tree: what a new revision leads to in each mode. Pure.
//!
//! Keeps: bad input never removes anything. A tree with errors, over a rail or not committed is recorded as an attempt, and
//! what was applied last stays in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::name::EdgeName;
use schema::ruleset::{EdgeRules, RuleSet};
use serde::{Deserialize, Serialize};

use super::beginning::Start;
use super::cut_off::most_failed;
use super::step::Step;
use super::{Applied, Fleet, Mode, Notice, Purpose, TreeRead};
use crate::decide::drift::drift;
use crate::decide::plan::{
    Allowances, FileDocument, Plan, PlanDocument, PlanInput, RailVerdict, Source, Uncommitted, plan_without_drift,
};
use crate::decide::remote::RemoteView;
use crate::decide::succession::{Ancestry, Succession};
use crate::decide::view::EdgeView;

/// The result of reading the followed tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Verdict {
    /// It has errors; the last good revision stays in force.
    Invalid,
    /// It is in force.
    Applied,
    /// It differs from its commit, and nothing allows that.
    Dirty,
    /// It has no commit, and nothing allows that.
    NoCommit {
        /// True in a repository that has no commit yet.
        in_git: bool,
    },
    /// Rails hold it back.
    Railed {
        /// The tripped ones.
        rails: Vec<RailVerdict>,
    },
    /// The mode leaves it to an operator.
    Waiting,
    /// Its rollout was stopped; it goes on by an apply, or with another tree.
    Stopped {
        /// Which wave failed, and where.
        reason: String,
    },
    /// A rollback is held, and the tree has not moved since.
    Held,
    /// Applying is frozen.
    Frozen,
}

impl Verdict {
    /// The result, as one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Applied => "applied",
            Self::Dirty => "dirty",
            Self::NoCommit { .. } => "no_commit",
            Self::Railed { .. } => "railed",
            Self::Waiting => "waiting",
            Self::Stopped { .. } => "stopped",
            Self::Held => "held",
            Self::Frozen => "frozen",
        }
    }

    fn of_uncommitted(why: &Uncommitted) -> Self {
        match why {
            Uncommitted::Dirty { .. } => Self::Dirty,
            Uncommitted::NoCommit { in_git } => Self::NoCommit { in_git: *in_git },
        }
    }
}

/// The followed tree as it was read last.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its provenance and digest.
    pub source: Source,
    /// When it was read.
    pub at: Timestamp,
    /// Its findings.
    pub diagnostics: Vec<DiagnosticJson>,
    /// The result.
    pub verdict: Verdict,
    /// What applying it would change, where it is valid and not in force.
    pub plan: Option<Box<PlanDocument>>,
    /// Its files, where something was found in them.
    pub files: Arc<[FileDocument]>,
}

impl Fleet {
    pub(super) fn tree_read(&mut self, tree: TreeRead, step: &mut Step) {
        let is_known = self.attempt.as_ref().is_some_and(|attempt| {
            attempt.source.is_same(&tree.source)
                && attempt.diagnostics == tree.diagnostics
                && matches!(attempt.verdict, Verdict::Applied | Verdict::Invalid)
        });
        if is_known {
            return;
        }
        let before = self.attempt.take();
        if before.is_none() {
            self.share_rules(&tree);
        }
        self.attempt = Some(Attempt {
            source: tree.source.clone(),
            at: step.now,
            diagnostics: tree.diagnostics.clone(),
            verdict: if tree.ruleset.is_some() { Verdict::Waiting } else { Verdict::Invalid },
            plan: None,
            files: if tree.diagnostics.is_empty() { Arc::default() } else { tree.files.clone() },
        });
        self.followed = tree.ruleset.is_some().then_some(tree);
        self.follow(step);
        let after = self.attempt.as_ref().expect("set above");
        let is_news = before.as_ref().is_none_or(|before| {
            (before.source.digest, &before.verdict) != (after.source.digest, &after.verdict)
                || before.source.commit != after.source.commit
        });
        if is_news {
            step.emit(Notice::Tree {
                digest: after.source.digest,
                commit: after.source.commit.clone(),
                verdict: after.verdict.clone(),
            });
        }
    }

    /// What the store gave back are rules of its own. Where they are the tree's, they are kept once from now on, and
    /// comparing them with the next tree is comparing pointers.
    fn share_rules(&mut self, tree: &TreeRead) {
        for (name, wanted) in tree.ruleset.iter().flat_map(|ruleset| &ruleset.edges) {
            if let Some(view) = self.edges.get_mut(name) {
                view.share(wanted);
            }
        }
    }

    /// What the remote said of itself; told where it fails, answers again or names another commit.
    pub(super) fn remote_seen(&mut self, view: RemoteView, step: &mut Step) {
        let told = |view: &RemoteView| (view.error.is_some(), view.commit.clone());
        // A first look that is still under way is not news.
        let is_known = view.error.is_some() || view.commit.is_some();
        if is_known && self.remote.as_ref().map(told) != Some(told(&view)) {
            step.emit(Notice::Remote {
                url: view.url.clone(),
                reference: view.reference.clone(),
                commit: view.commit.clone(),
                error: view.error.clone(),
            });
        }
        self.remote = Some(view);
    }

    /// Looks at the followed tree again and applies it if the mode, the rails and the operators leave it to us.
    pub(super) fn follow(&mut self, step: &mut Step) {
        let Some(tree) = self.followed.clone() else { return };
        let ruleset = tree.ruleset.as_ref().expect("only valid trees are kept as followed");
        let allowances =
            Allowances { dirty: self.allow_dirty, non_descendant: self.allow_non_descendant, ..Allowances::default() };
        let (mut plan, moved) = plan_without_drift(&PlanInput {
            ruleset,
            source: &tree.source,
            edges: &self.edges,
            lineage: &self.lineage,
            rails: self.applied.as_ref().map(|applied| &applied.rails),
            succession: self.succession(tree.ancestry.as_ref()),
            allowances: &allowances,
            diagnostics: &tree.diagnostics,
            now: step.now,
        });
        let verdict = self.verdict_on(&tree, &plan, &moved, step);
        if let Some(attempt) = &mut self.attempt {
            attempt.plan = (verdict != Verdict::Applied).then(|| {
                plan.drift = drift(&self.edges);
                Box::new(PlanDocument::from(plan))
            });
            attempt.verdict = verdict;
        }
    }

    /// What becomes of the followed tree now; it is put in force where that is left to the server.
    fn verdict_on(&mut self, tree: &TreeRead, plan: &Plan, moved: &BTreeSet<EdgeName>, step: &mut Step) -> Verdict {
        let ruleset = tree.ruleset.as_ref().expect("only valid trees are kept as followed");
        let is_operators_turn = self.lock(step.now).is_some();
        let is_in_force = self.is_in_force(tree.source.digest);
        // A rollout of this very tree that a restart cut off goes on within what was decided when it began.
        let continued = self.to_continue().filter(|applied| applied.source.digest == tree.source.digest);
        let continued = continued.map(|applied| (applied.apply_id.clone(), applied.rollout.clone()));
        let is_early = continued.is_some() && !self.may_continue(ruleset, step.now);
        if continued.is_some() && !is_early {
            // Where what it reached is not well, it is stopped now, which the verdict below says.
            self.check_reached(most_failed(ruleset), step).ok();
        }
        let stopped = self.applied.as_ref().and_then(|applied| applied.stopped.as_ref());
        if let Some(stopped) = stopped.filter(|stopped| stopped.digest == tree.source.digest) {
            return Verdict::Stopped { reason: stopped.reason.clone() };
        }
        if is_in_force && (is_early || !self.has_undecided_edges(ruleset, tree)) {
            return Verdict::Applied;
        }
        if self.is_held_back(tree, step) {
            return Verdict::Held;
        }
        if self.mode == Mode::Apply && self.frozen.is_some() {
            return Verdict::Frozen;
        }
        if self.mode != Mode::Apply || is_operators_turn {
            return Verdict::Waiting;
        }
        if continued.is_none()
            && let Some(held) = self.held_by_itself(tree, plan)
        {
            return held;
        }
        let (purpose, allow_offline) = match continued {
            Some((apply, rollout)) => {
                (Purpose::Continue { apply }, rollout.is_none_or(|rollout| rollout.allow_offline))
            }
            None => (Purpose::Apply, true),
        };
        self.put_in_force(&Start { allow_offline, ..Start::automatic(tree, plan, moved, &purpose) }, step);
        Verdict::Applied
    }

    /// Why the tree is not for the server to apply: it is not committed, or over a rail.
    fn held_by_itself(&self, tree: &TreeRead, plan: &Plan) -> Option<Verdict> {
        if let Some(why) = tree.source.uncommitted().filter(|_| !self.allow_dirty) {
            return Some(Verdict::of_uncommitted(&why));
        }
        let tripped = plan.rails.iter().filter(|rail| rail.tripped);
        let rails: Vec<RailVerdict> = tripped.cloned().map(RailVerdict::from).collect();
        (!rails.is_empty()).then_some(Verdict::Railed { rails })
    }

    /// True if putting the tree in force once more would decide something: an edge that nothing was decided for, or
    /// a provenance that is not the recorded one, such as the commit of files that were applied before it.
    fn has_undecided_edges(&self, ruleset: &RuleSet, tree: &TreeRead) -> bool {
        let is_undecided = |view: Option<&EdgeView>, wanted: Option<&EdgeRules>| {
            view.is_none_or(|view| view.desired.is_none())
                && (wanted.is_some() || view.is_some_and(|view| !view.running().is_empty()))
        };
        // A server that ended in the middle of a rollout goes on with it, and an edge that an operator's apply left out
        // is caught up with.
        let is_behind = |view: Option<&EdgeView>, wanted: Option<&EdgeRules>| {
            let wanted = wanted.into_iter().flatten().map(|(_, placed)| &placed.rule);
            let decided = view.and_then(|view| view.desired.as_ref());
            decided.is_some_and(|desired| !desired.wanted.values().map(|placed| &placed.rule).eq(wanted))
        };
        let all = || self.edges.beside(&ruleset.edges).map(|(_, view, wanted)| (view, wanted));
        let is_cut_off = self.mode == Mode::Apply
            && self.rollout.run.is_none()
            && all().any(|(view, wanted)| is_behind(view, wanted));
        let is_other_source = self.applied.as_ref().is_some_and(|applied| !applied.source.is_same(&tree.source));
        is_cut_off
            || (self.mode == Mode::Apply && (is_other_source || self.hold.is_some()))
            || all().any(|(view, wanted)| is_undecided(view, wanted))
    }

    /// How a commit of which this is known stands to the one in force.
    pub(super) fn succession<'a>(&'a self, known: Option<&'a Ancestry>) -> Succession<'a> {
        let applied = self.applied.as_ref().and_then(Applied::last_commit);
        Succession { applied, known }
    }

    /// True if that tree was applied last.
    pub(super) fn is_in_force(&self, digest: Digest) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.source.digest == digest)
    }
}
