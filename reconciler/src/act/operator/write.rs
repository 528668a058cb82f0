//! The half of the API that takes trees: validate, plan, apply. I/O.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::canonical::Digest;
use schema::check::{Checked, check_tree};
use schema::diagnostic::{Diagnostic, all_to_json};
use schema::ruleset::{self, RuleSet, TreeFiles};

use super::documents::{ApplyBody, PlanRequest, Problem, ValidateAnswer, ValidateRequest};
use super::heavy::heavy;
use super::identity::Who;
use super::{Failure, State, blast, body};
use crate::act::source;
use crate::decide::codes::ProblemCode;
use crate::decide::edges::Edges;
use crate::decide::fleet::{ApplyRequest, ApplyResult, Purpose, Refusal, TreeRead, touches};
use crate::decide::operators::Denied;
use crate::decide::plan::{
    self, Allowances, FORMAT_VERSION, FileDocument, InvalidPlan, LONGEST_LABEL, Plan, PlanDocument, PlanInput, Source,
};
use crate::decide::succession::{Ancestry, Succession};

/// How long an apply waits for its edges where the request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest time in which a confirmation can be asked for: a state on trial is not a place to stay.
const LONGEST_TRIAL: Duration = Duration::from_hours(1);
/// Ports that are held for a plan are kept from others: a review takes minutes.
const LONGEST_LEASE: Duration = Duration::from_mins(10);
/// The longest wait that can be asked for.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

pub(super) struct Uploaded {
    pub(super) source: Source,
    pub(super) ruleset: Option<Arc<RuleSet>>,
    pub(super) diagnostics: Vec<Diagnostic>,
    files: Arc<[FileDocument]>,
}

impl Uploaded {
    /// The form that the fleet takes; refused where the tree has errors.
    pub(super) fn into_read(self) -> Result<TreeRead, Failure> {
        if self.ruleset.is_none() {
            return Err(invalid_tree(&self.diagnostics));
        }
        Ok(TreeRead {
            source: self.source,
            ruleset: self.ruleset,
            diagnostics: all_to_json(&self.diagnostics),
            files: self.files,
            ancestry: None,
        })
    }
}

/// Checks an uploaded tree. Labels that are no paths inside a tree are refused as a whole.
pub(super) async fn check(
    state: &State,
    files: Vec<FileDocument>,
    source: Option<Source>,
    is_empty_allowed: bool,
) -> Result<Uploaded, Failure> {
    let limits = state.context.limits;
    if let Some(commit) = source.as_ref().and_then(|source| source.commit.as_deref())
        && !is_hash(commit)
    {
        let detail = format!(
            "`source.commit` is {:?}: expected the full hash of a commit, or null for a tree that has none",
            commit.chars().take(80).collect::<String>()
        );
        return Err(Failure::new(400, ProblemCode::BadRequest, "Not a commit", detail));
    }
    let work = move || -> Result<Uploaded, Failure> {
        let labelled = files.into_iter().map(|file| (file.path, file.text)).collect();
        let tree = source::from_upload(labelled)
            .map_err(|error| Failure::new(400, ProblemCode::BadRequest, "Not a tree", error.to_string()))?;
        let files = tree.sources();
        let digest = ruleset::tree_digest(&files);
        let documents = files.iter().map(FileDocument::from).collect();
        let tree = TreeFiles { files, problems: tree.diagnostics };
        let limits = schema::check::CheckLimits { allow_empty: is_empty_allowed, ..limits };
        let Checked { ruleset, diagnostics } = check_tree(&tree, &limits);
        let source = source.unwrap_or_else(|| Source::unversioned(digest)).bounded();
        let source = Source { digest, ..source };
        Ok(Uploaded { source, ruleset: ruleset.map(Arc::new), diagnostics, files: documents })
    };
    heavy(work).await?
}

/// False for what cannot be the hash of a commit, such as the name of a branch: a tree that only claims to have a commit
/// would pass for committed.
fn is_hash(commit: &str) -> bool {
    (7..=64).contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn invalid_tree(diagnostics: &[Diagnostic]) -> Failure {
    let mut problem =
        Problem::new(422, ProblemCode::InvalidTree, "The tree has errors", "nothing was planned: the tree has errors");
    problem.diagnostics = all_to_json(diagnostics);
    Failure(Box::new(problem), None)
}

pub(super) async fn validate(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<ValidateAnswer>, Failure> {
    let (request, _place): (ValidateRequest, _) = body::tree(&state, &headers, request).await?;
    let tree = check(&state, request.files, None, false).await?;
    Ok(Json(ValidateAnswer {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "diagnostics".to_owned(),
        valid: tree.ruleset.is_some(),
        digest: Some(tree.source.digest),
        rules: tree.ruleset.as_ref().map_or(0, |ruleset| ruleset.rule_count()),
        edges: tree.ruleset.as_ref().map_or(0, |ruleset| ruleset.edges.len()),
        diagnostics: all_to_json(&tree.diagnostics),
    }))
}

pub(super) async fn plan(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    request: Body,
) -> Result<Json<PlanDocument>, Failure> {
    let (request, _place): (PlanRequest, _) = body::tree(&state, &headers, request).await?;
    let tree = check(&state, request.files, request.source, request.allowances.empty).await?.into_read()?;
    let tree = with_ancestry(&state, tree, request.ancestry).await?;
    let Some(secs) = request.prove_secs else {
        let plan = plan_of(&state, &who, tree, request.allowances, &Purpose::Apply).await?;
        return Ok(Json(plan.into()));
    };
    let lease = Duration::from_secs(secs);
    if lease.is_zero() || lease > LONGEST_LEASE {
        let detail = "a lease lasts from one second to ten minutes";
        return Err(Failure::new(400, ProblemCode::BadRequest, "Invalid duration of a lease", detail));
    }
    let ruleset = tree.ruleset.clone().expect("only valid trees are planned");
    let plan = plan_of(&state, &who, tree, request.allowances, &Purpose::Apply).await?;
    let names = plan.changes.iter().map(|change| change.edge.clone()).collect();
    let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
    let asked = heavy(move || plan::asked_for(&ruleset, &edges, &names)).await?;
    let answers = state.context.fleet.prove(asked, lease).await?;
    Ok(Json(plan.proven(&answers).into()))
}

/// The tree with what is known of its commit: by the repository that this server follows, else by who sent it.
pub(super) async fn with_ancestry(state: &State, tree: TreeRead, told: Option<Ancestry>) -> Result<TreeRead, Failure> {
    let applied = state
        .context
        .fleet
        .read(|view| view.fleet.applied().and_then(|applied| applied.last_commit().map(str::to_owned)));
    let (Some(applied), Some(commit), Some(dir)) =
        (applied.await?, tree.source.commit.clone(), state.context.repository.clone())
    else {
        return Ok(TreeRead { ancestry: told, ..tree });
    };
    // A repository that cannot be read knows nothing of it.
    let known = heavy(move || source::git::ancestry(&dir, &applied, &commit).ok().flatten()).await?;
    Ok(TreeRead { ancestry: known.or(told), ..tree })
}

/// What applying a valid tree would change now; refused as a whole where the operator may not change all of it.
pub(super) async fn plan_of(
    state: &State,
    who: &Who,
    tree: TreeRead,
    allowances: Allowances,
    purpose: &Purpose,
) -> Result<Plan, Failure> {
    let authority = who.authority(true);
    let permit = move |plan: &mut Plan, of: &PlannedFor<'_>| {
        authority.may(Some(&touches(plan, of.tree, of.edges, of.settings)))?;
        authority.caller.limits.leave_plan(of.edges, plan);
        Ok(())
    };
    planned(state, tree, allowances, purpose, permit).await
}

/// What a plan was made of.
pub(super) struct PlannedFor<'a> {
    pub(super) tree: &'a TreeRead,
    pub(super) edges: &'a Edges,
    pub(super) settings: Option<Digest>,
}

/// What applying a valid tree would change now, as far as `permit` leaves it to the operator.
pub(super) async fn planned(
    state: &State,
    tree: TreeRead,
    allowances: Allowances,
    purpose: &Purpose,
    permit: impl FnOnce(&mut Plan, &PlannedFor<'_>) -> Result<(), Denied> + Send + 'static,
) -> Result<Plan, Failure> {
    // As the fleet has it: a rollback goes back by its nature.
    let is_rollback = matches!(purpose, Purpose::Rollback { .. });
    let now = Timestamp::now();
    let is_apply = *purpose == Purpose::Apply;
    let digest = tree.source.digest;
    let (edges, lineage, (applied, settings), frozen, other) = state
        .context
        .fleet
        .read(move |view| {
            let applied = view.fleet.applied().map(|applied| (applied.rails, applied.last_commit().map(str::to_owned)));
            let other = view.fleet.follows_other_than(digest).filter(|_| is_apply);
            let applied = (applied, view.fleet.settings());
            (view.fleet.edges().clone(), view.fleet.lineage().to_owned(), applied, view.fleet.frozen().cloned(), other)
        })
        .await?;
    let timer = state.context.timings.plan.start_timer();
    let ruleset = tree.ruleset.clone().expect("only valid trees are planned");
    let planned = (ruleset.clone(), edges.clone());
    let mut plan = heavy(move || {
        let mut plan = plan::plan(&PlanInput {
            ruleset: &ruleset,
            source: &tree.source,
            edges: &edges,
            lineage: &lineage,
            rails: applied.as_ref().map(|(rails, _)| rails),
            succession: Succession {
                applied: applied.as_ref().and_then(|(_, commit)| commit.as_deref()).filter(|_| !is_rollback),
                known: tree.ancestry.as_ref(),
            },
            allowances: &allowances,
            diagnostics: &tree.diagnostics,
            now,
        });
        permit(&mut plan, &PlannedFor { tree: &tree, edges: &edges, settings })?;
        Ok(Plan {
            not_followed: other.map(|followed| Refusal::NotFollowed { followed }.message(now)),
            ..plan.under(frozen)
        })
    })
    .await?
    .map_err(|denied: Denied| Failure::denied(&denied))?;
    timer.observe_duration();
    blast::measure(state, planned, &mut plan).await;
    Ok(plan)
}

pub(super) async fn apply(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    headers: HeaderMap,
    request: Body,
) -> Result<(StatusCode, Json<ApplyResult>), Failure> {
    let (request, _place): (ApplyBody, _) = body::tree(&state, &headers, request).await?;
    let applied_by = claim(request.applied_by)?;
    let allowances: Allowances = request.allowances;
    let tree = check(&state, request.files, request.source, allowances.empty).await?.into_read()?;
    let tree = with_ancestry(&state, tree, request.ancestry).await?;
    if request.quiet_window_secs.is_some() && request.confirm_within_secs.is_some() {
        let detail = "a state on trial is in force at once and cannot wait for a quiet moment";
        return Err(Failure::new(
            400,
            ProblemCode::BadRequest,
            "A trial and a quiet window exclude each other",
            detail,
        ));
    }
    let request = ApplyRequest {
        purpose: Purpose::Apply,
        tree,
        plan: seen(request.plan)?,
        seal: request.seal,
        allowances,
        actor: who.actor(),
        authority: Some(who.authority(false)),
        applied_by,
        timeout: wait(request.timeout_secs),
        allow_offline: request.allow_offline,
        rollback: request.rollback.is_some(),
        wait_healthy: request.wait_healthy,
        confirm_within: confirm_within(request.confirm_within_secs)?,
        quiet_window: Duration::from_secs(request.quiet_window_secs.unwrap_or_default()).min(MAX_TIMEOUT),
    };
    let result = state.context.fleet.apply(request).await?.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(result)))
}

/// The plan that the person saw, as a client sends it back.
pub(super) fn seen(plan: Option<PlanDocument>) -> Result<Option<Plan>, Failure> {
    let unknown = |error: InvalidPlan| Failure::new(400, ProblemCode::BadRequest, "Not a plan", error.to_string());
    plan.map(Plan::try_from).transpose().map_err(unknown)
}

/// Whom a client says it acts for: a label that nothing proves, so it is only bounded.
pub(super) fn claim(applied_by: Option<String>) -> Result<Option<String>, Failure> {
    let Some(text) = applied_by.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bad =
        |detail: String| Failure::new(400, ProblemCode::BadRequest, "Invalid name of the applying person", detail);
    if text.chars().count() > LONGEST_LABEL {
        return Err(bad(format!("`applied_by` may have at most {LONGEST_LABEL} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(bad("`applied_by` must not contain control characters".to_owned()));
    }
    Ok(Some(text))
}

/// How long edges wait for a confirmation.
fn confirm_within(secs: Option<u64>) -> Result<Option<Duration>, Failure> {
    let within = secs.map(Duration::from_secs);
    if within.is_some_and(|within| within.is_zero() || within > LONGEST_TRIAL) {
        let detail = "the time for a confirmation is between one second and one hour";
        return Err(Failure::new(400, ProblemCode::BadRequest, "Invalid time for a confirmation", detail));
    }
    Ok(within)
}

/// How long an apply waits for its edges.
pub(super) fn wait(secs: Option<u64>) -> Duration {
    secs.map_or(DEFAULT_TIMEOUT, Duration::from_secs).min(MAX_TIMEOUT)
}

pub(super) fn refused(refusal: Refusal) -> Failure {
    Failure(Box::new(Problem::refused(refusal, "nothing was applied", Timestamp::now())), None)
}
