//! `GET /v1/plan`: what the followed tree, or a revision of the history, would change now. I/O.

use axum::extract::{Query, State as Extract};
use axum::{Extension, Json};
use schema::diagnostic::{DiagnosticJson, Severity};
use serde::Deserialize;

use super::control::{of_recorded, recorded};
use super::documents::Problem;
use super::heavy::heavy;
use super::identity::Who;
use super::ledger::{named, revision};
use super::write::{PlannedFor, planned, with_ancestry};
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{Purpose, TreeRead};
use crate::decide::plan::{Allowances, Plan, PlanDocument};

/// The query of the plan.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RevisionQuery {
    /// As a rollback names it; the followed tree if it is absent.
    revision: Option<String>,
}

pub(super) async fn plan(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(query): Query<RevisionQuery>,
) -> Result<Json<PlanDocument>, Failure> {
    let (tree, allowances, purpose) = if let Some(name) = query.revision {
        let store = state.context.store.clone();
        let applied = state.context.fleet.read(|view| view.fleet.applied().map(|applied| applied.source.digest));
        let applied = applied.await?;
        let tree = recorded(&state, heavy(move || named(&store, applied, &name)).await??).await?;
        (tree, of_recorded(Allowances::default()), Purpose::Rollback { why: String::new(), hold: false })
    } else {
        let tree = current(&state, &who).await?;
        (with_ancestry(&state, tree, None).await?, Allowances::default(), Purpose::Apply)
    };
    let limits = who.caller.limits.clone();
    let permit = move |plan: &mut Plan, of: &PlannedFor<'_>| {
        limits.leave_foreign_plan(of.edges, plan);
        Ok(())
    };
    Ok(Json(planned(&state, tree, allowances, &purpose, permit).await?.into()))
}

/// The followed tree; where none is followed, the one in force.
async fn current(state: &State, who: &Who) -> Result<TreeRead, Failure> {
    let invalid = state
        .context
        .fleet
        .read(|view| {
            let attempt = view.fleet.attempt()?;
            let is_error = |found: &&DiagnosticJson| found.severity == Severity::Error;
            let errors: Vec<DiagnosticJson> = attempt.diagnostics.iter().filter(is_error).cloned().collect();
            Some(errors).filter(|errors| !errors.is_empty())
        })
        .await?;
    if let Some(diagnostics) = invalid {
        let detail = "nothing was planned: the followed tree has errors, and the revision in force stays";
        let problem = Problem::new(422, ProblemCode::InvalidTree, "The followed tree has errors", detail);
        let diagnostics = if who.caller.limits.is_none() { diagnostics } else { Vec::new() };
        return Err(Failure(Box::new(Problem { diagnostics, ..problem }), None));
    }
    base(state).await
}

/// The tree that people work on: the followed one where it is valid, else the one in force.
pub(super) async fn base(state: &State) -> Result<TreeRead, Failure> {
    let read = state.context.fleet.read(|view| {
        let applied = view.fleet.applied().map(|applied| applied.source.digest);
        (view.fleet.followed().cloned(), applied)
    });
    let (followed, applied) = read.await?;
    if let Some(followed) = followed {
        return Ok(followed);
    }
    let none = || Failure::new(404, ProblemCode::NoTree, "No tree", "no tree is followed, and none was applied yet");
    let digest = applied.ok_or_else(none)?;
    let store = state.context.store.clone();
    let Some(found) = heavy(move || revision(&store, digest)).await?? else {
        return Err(Failure::revision_gone("the tree in force", ": apply it again"));
    };
    recorded(state, found).await
}
