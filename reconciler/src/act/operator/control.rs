//! What operators decide about the fleet as a whole: rollback, resume, freeze, and the sign of life of who applies.
//! I/O.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::audit::Noted;
use super::documents::{FreezeAnswer, FreezeBody, ResumeAnswer, ResumeBody, RollbackBody, UnfreezeBody};
use super::heavy::heavy;
use super::identity::Who;
use super::ledger::{named, revision};
use super::reasons::{self, MAX_ORDER};
use super::write::{check, claim, plan_of, refused, seen, wait, with_ancestry};
use super::{Failure, State, body};
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{ApplyRequest, Control, Event, Freeze, Lock, Mode, Purpose, TreeRead};
use crate::decide::operators::Touch;
use crate::decide::plan::{Allowances, PlanDocument};
use crate::decide::record::Revision;

/// The longest freeze that ends by itself.
const LONGEST_FREEZE: Duration = Duration::from_hours(24 * 365);

/// A recorded revision, checked again: the rule language and the limits may have moved on since.
pub(super) async fn recorded(state: &State, revision: Revision) -> Result<TreeRead, Failure> {
    check(state, revision.files, Some(revision.source), true).await?.into_read()
}

/// What was applied once needs no word to be applied as dirty, empty or older than what is in force.
pub(super) fn of_recorded(allowances: Allowances) -> Allowances {
    Allowances { empty: true, dirty: true, non_descendant: true, ..allowances }
}

pub(super) async fn rollback(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let (request, _place): (RollbackBody, _) = body::tree(&state, &headers, request).await?;
    who.may(request.dry_run, None)?;
    let store = state.context.store.clone();
    let name = request.revision.clone();
    let applied_by = claim(request.applied_by)?;
    let in_force = state.context.fleet.read(|view| view.fleet.applied().map(|applied| applied.source.digest)).await?;
    let tree = recorded(&state, heavy(move || named(&store, in_force, &name)).await??).await?;
    if request.plan.as_ref().is_some_and(|plan| plan.source.digest != tree.source.digest) {
        let detail = format!("{} is no longer the revision that was planned", request.revision);
        return Err(Failure::new(409, ProblemCode::Stale, "The plan is stale", detail));
    }
    let allowances = of_recorded(request.allowances);
    let purpose = Purpose::Rollback { why: request.why, hold: !request.no_hold };
    if request.dry_run {
        let plan = plan_of(&state, &who, tree, allowances, &purpose).await?;
        return Ok((Extension(Noted(None)), Json(PlanDocument::from(plan))).into_response());
    }
    let (timeout, allow_offline) = (wait(request.timeout_secs), request.allow_offline);
    let begun = at_once(&who, purpose, tree, allowances);
    let request = ApplyRequest { plan: seen(request.plan)?, applied_by, timeout, allow_offline, ..begun };
    let result = state.context.fleet.apply(request).await?.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(result)).into_response())
}

pub(super) async fn resume(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    request: Body,
) -> Result<Json<ResumeAnswer>, Failure> {
    // It may hold a plan, which is as long as its fleet is large.
    let request: ResumeBody = body::read(request, state.context.max_body).await?;
    let applied_by = claim(request.applied_by)?;
    let why = reasons::short(request.why)?;
    let (mode, hold, followed, applied) = state
        .context
        .fleet
        .read(|view| {
            let applied = view.fleet.applied().map(|applied| applied.source.clone());
            (view.fleet.mode(), view.fleet.hold().cloned(), view.fleet.followed().cloned(), applied)
        })
        .await?;
    let is_follower = mode == Mode::Apply;
    let (tree, allowances) = match (&hold, followed) {
        (Some(_), Some(followed)) if is_follower => {
            (Some(with_ancestry(&state, followed, None).await?), request.allowances)
        }
        (Some(_), _) => (None, request.allowances),
        (None, _) => (in_force(&state, applied.map(|source| source.digest)).await?, of_recorded(request.allowances)),
    };
    let Some(tree) = tree else {
        // What follows from it is not known before.
        who.may(false, Some(&[Touch::Fleet("the hold of the whole fleet")]))?;
        state.context.fleet.control(who.actor(), Control::Release { why }).await?.map_err(refused)?;
        return Ok(Json(ResumeAnswer { released: hold, apply: None }));
    };
    if request.plan.as_ref().is_some_and(|plan| plan.source.digest != tree.source.digest) {
        let detail = "the tree that would be applied is another one than was planned";
        return Err(Failure::new(409, ProblemCode::Stale, "The plan is stale", detail));
    }
    let (timeout, allow_offline) = (wait(request.timeout_secs), request.allow_offline);
    let begun = at_once(&who, Purpose::Resume { why }, tree, allowances);
    let request = ApplyRequest { plan: seen(request.plan)?, applied_by, timeout, allow_offline, ..begun };
    let result = state.context.fleet.apply(request).await?.map_err(refused)?;
    Ok(Json(ResumeAnswer { released: hold, apply: Some(result) }))
}

/// An apply that waits for nothing but its edges, and that no plan was seen for.
fn at_once(who: &Who, purpose: Purpose, tree: TreeRead, allowances: Allowances) -> ApplyRequest {
    ApplyRequest {
        purpose,
        tree,
        plan: None,
        seal: None,
        allowances,
        actor: who.actor(),
        authority: Some(who.authority(false)),
        applied_by: None,
        timeout: wait(None),
        allow_offline: false,
        rollback: false,
        wait_healthy: false,
        confirm_within: None,
        quiet_window: Duration::ZERO,
    }
}

/// The tree in force, from its record.
async fn in_force(state: &State, digest: Option<schema::canonical::Digest>) -> Result<Option<TreeRead>, Failure> {
    let Some(digest) = digest else { return Ok(None) };
    let store = state.context.store.clone();
    match heavy(move || revision(&store, digest)).await?? {
        Some(revision) => recorded(state, revision).await.map(Some),
        None => Ok(None),
    }
}

async fn frozen(state: &State) -> Result<Option<Freeze>, Failure> {
    Ok(state.context.fleet.read(|view| view.fleet.frozen().cloned()).await?)
}

pub(super) async fn freeze(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    request: Body,
) -> Result<Json<FreezeAnswer>, Failure> {
    let request: FreezeBody = body::read(request, MAX_ORDER).await?;
    let bad = |detail: &str| Failure::new(400, ProblemCode::BadRequest, "Not a freeze", detail);
    if request.why.trim().is_empty() {
        return Err(bad("a freeze needs a reason"));
    }
    let ttl = request.ttl_secs.map(Duration::from_secs);
    if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > LONGEST_FREEZE) {
        return Err(bad("a freeze lasts from one second to one year"));
    }
    let until = ttl.and_then(|ttl| Timestamp::now().checked_add(ttl).ok());
    decide(&state, &who, Control::Freeze { why: request.why, until }).await
}

pub(super) async fn unfreeze(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    request: Body,
) -> Result<Json<FreezeAnswer>, Failure> {
    let request: Option<UnfreezeBody> = body::read(request, MAX_ORDER).await?;
    decide(&state, &who, Control::Unfreeze { why: request.unwrap_or_default().why }).await
}

async fn decide(state: &State, who: &Who, control: Control) -> Result<Json<FreezeAnswer>, Failure> {
    let before = frozen(state).await?;
    state.context.fleet.control(who.actor(), control).await?.map_err(refused)?;
    Ok(Json(FreezeAnswer { frozen: frozen(state).await?, before }))
}

/// Keeps the lock of an apply for as long as its operator renews it.
pub(super) async fn heartbeat(
    Extract(state): Extract<State>,
    Path(id): Path<String>,
) -> Result<Json<Option<Lock>>, Failure> {
    let known = id.clone();
    let is_known = state.context.fleet.read(move |view| view.fleet.apply_result(&known).is_some()).await?;
    if !is_known {
        return Err(Failure::unknown("apply", id));
    }
    state.context.fleet.event(Event::Heartbeat { apply: id }).await?;
    Ok(Json(state.context.fleet.read(|view| view.fleet.lock(Timestamp::now())).await?))
}
