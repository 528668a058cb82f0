//! `apply`: shows the plan, asks, has the server apply it and follows until the edges have answered. I/O.
//!
//! Keeps: nothing is sent that was not shown; without `--yes` and without a terminal nothing is sent at all.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reconciler::act::operator::documents::{ApplyBody, Problem, RollbackScope};
use reconciler::decide::codes::ProblemCode;
use reconciler::decide::fleet::{ApplyResult, EdgeOutcome, Outcome, Refusal};
use reconciler::decide::plan::{Action, FORMAT_VERSION, FileDocument, PlanDocument, PlanFile};
use schema::canonical::Digest;
use schema::check::check_tree;
use schema::diagnostic::SourceFile;
use schema::ruleset::{RuleSet, TreeFiles};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::healthy::{self, Unhealthy};
use super::plan::{allowances, ask, with_places};
use crate::cli::{ApplyArgs, Format, Rollback};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::{can_ask, length, print, print_value, say};
use crate::progress::Progress;
use crate::render::{self, diagnostic};
use crate::signals::unless_interrupted;
use crate::tree::{self, NO_RANGE_LIMIT};

/// Above the wait that the server itself keeps to.
const GRACE: Duration = Duration::from_secs(30);
/// Streams that broke off are opened again so often.
const RECONNECTS: u32 = 3;
/// A fourth of the time after which the server gives the lock to others.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A rollout that takes longer goes on without an audience.
const LONGEST_ROLLOUT: Duration = Duration::from_hours(24);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What `apply -o json` and `rollback -o json` print.
#[derive(Serialize)]
struct ApplyDocument<'a> {
    format_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    result: &'a ApplyResult,
    plan: &'a PlanDocument,
    /// Rules that the apply left alone and that were not up in time.
    #[serde(skip_serializing_if = "<[Unhealthy]>::is_empty")]
    unhealthy: &'a [Unhealthy],
}

/// A plan with all that is needed to apply it.
struct Prepared {
    plan: PlanDocument,
    files: Vec<SourceFile>,
    ruleset: Option<Arc<RuleSet>>,
    seal: Option<Digest>,
}

pub(crate) async fn run(args: &ApplyArgs) -> Result<Exit, Failure> {
    let is_plan_file = args.path.is_file();
    let client = Client::new(&args.server)?;
    let must_ask = !is_plan_file && !args.yes;
    let prepared = match if is_plan_file { from_file(&args.path) } else { from_tree(args, &client).await } {
        Err(failure) if must_ask && !can_ask() => return Err(not_shown(failure)),
        prepared => prepared?,
    };
    let plan = &prepared.plan;
    if !is_agreed(args, plan, is_plan_file).await? {
        say("Nothing was applied.");
        return Ok(Exit::Error);
    }
    let body = body(args, &prepared);
    let started = Instant::now();
    let begun: ApplyResult = client.post("/v1/apply", &body).await.map_err(|failure| match failure {
        Failure::Interrupted(_) => {
            Failure::Interrupted("it is unknown whether the server applies it; check with `portunus status`".to_owned())
        }
        other => with_places(other, &prepared.files),
    })?;
    let id = begun.id.clone();
    let goes_on = || format!("the apply {id} continues on the server; `portunus status` shows its result");
    let timeout = args.timeout + args.confirm_within.unwrap_or_default() + args.quiet_window.unwrap_or_default();
    let wait = longest(&begun, timeout, prepared.ruleset.as_deref());
    let mut result = unless_interrupted(follow(&client, begun, wait), goes_on).await?;
    let mut unhealthy = Vec::new();
    if args.wait_healthy
        && result.outcome == Outcome::Applied
        && let Some(ruleset) = &prepared.ruleset
    {
        let waited = healthy::wait(&client, ruleset, started + args.timeout, args.allow_offline);
        unhealthy = unless_interrupted(waited, goes_on).await?;
        if !unhealthy.is_empty() {
            result.outcome = Outcome::Partial;
        }
    }
    report_with(args.looks.output, "apply", &result, plan, &unhealthy)
}

/// Shows the plan, and asks where somebody has to agree to it.
async fn is_agreed(args: &ApplyArgs, plan: &PlanDocument, is_plan_file: bool) -> Result<bool, Failure> {
    let must_ask = !is_plan_file && !args.yes;
    let is_text = args.looks.output == Format::Text;
    let is_dirty_allowed = plan.dirty_allowed || (plan.source.uncommitted().is_some() && args.allow.allow_dirty);
    // A plan file was made before this command, and knows nothing of its flags.
    let as_allowed = PlanDocument { dirty_allowed: is_dirty_allowed, ..plan.clone() };
    let shown = render::plan::text(&as_allowed, length());
    if is_text {
        print(&shown)?;
    }
    if must_ask && !can_ask() {
        if !is_text {
            say(&shown);
        }
        return Err(no_terminal());
    }
    if !is_plan_file {
        refuse_early(plan)?;
    }
    let is_hopeless = plan.changes.iter().all(|change| change.action == Action::Reject);
    if must_ask && !is_hopeless {
        if !is_text {
            say(&shown);
        }
        return is_confirmed("Apply these changes?").await;
    }
    Ok(true)
}

fn body(args: &ApplyArgs, prepared: &Prepared) -> ApplyBody {
    ApplyBody {
        files: prepared.files.iter().map(FileDocument::from).collect(),
        source: Some(prepared.plan.source.clone()),
        plan: Some(prepared.plan.clone()),
        seal: prepared.seal,
        allowances: allowances(&args.allow),
        // The plan says it.
        ancestry: None,
        timeout_secs: Some(args.timeout.as_secs()),
        allow_offline: args.allow_offline,
        applied_by: args.actor.label(),
        rollback: args.rollback.map(|Rollback::Fleet| RollbackScope::Fleet),
        wait_healthy: args.wait_healthy,
        confirm_within_secs: args.confirm_within.map(|within| within.as_secs()),
        quiet_window_secs: args.quiet_window.map(|window| window.as_secs()),
    }
}

/// Nobody can be asked, and nobody said that it need not be.
pub(crate) fn no_terminal() -> Failure {
    let what = "nothing was sent: there is no terminal to confirm the plan on";
    Failure::Usage(format!("{what}; add --yes, or apply a file that `portunus plan --out FILE` wrote"))
}

/// Where nobody could be asked anyway, a server that cannot be reached is not the first thing to see to.
pub(crate) fn not_shown(failure: Failure) -> Failure {
    match failure {
        Failure::Unreachable { .. } | Failure::WrongPort { .. } => {
            Failure::Usage(format!("{}; the plan cannot be shown: {failure}", no_terminal()))
        }
        other => other,
    }
}

/// Prints how an apply ended; its exit code.
pub(crate) fn report(
    format: Format,
    kind: &'static str,
    result: &ApplyResult,
    plan: &PlanDocument,
) -> Result<Exit, Failure> {
    report_with(format, kind, result, plan, &[])
}

fn report_with(
    format: Format,
    kind: &'static str,
    result: &ApplyResult,
    plan: &PlanDocument,
    unhealthy: &[Unhealthy],
) -> Result<Exit, Failure> {
    if format != Format::Text {
        print_value(format, &ApplyDocument { format_version: FORMAT_VERSION, kind, result, plan, unhealthy })?;
    } else if unhealthy.is_empty() {
        print(&render::apply::text(result, plan))?;
    } else {
        let lines: Vec<String> = unhealthy.iter().map(|one| format!("{}\n", one.line())).collect();
        print(&format!("\n{}{}", lines.concat(), render::apply::not_healthy(unhealthy.len())))?;
    }
    Ok(exit_of(result))
}

/// The exit code of what came of an apply.
pub(crate) fn exit_of(result: &ApplyResult) -> Exit {
    match result.outcome {
        Outcome::Applied => Exit::Done,
        _ => Exit::Partial,
    }
}

async fn from_tree(args: &ApplyArgs, client: &Client) -> Result<Prepared, Failure> {
    let tree = tree::read_valid(&args.path, tree::limits(Some(NO_RANGE_LIMIT), args.allow.allow_empty))?;
    let plan = ask(client, &args.path, &tree, &args.allow, None).await?;
    if let Some(warnings) = diagnostic::warnings(&tree.diagnostics).filter(|_| args.looks.output == Format::Text) {
        say(warnings);
    }
    Ok(Prepared { plan, files: tree.files, ruleset: tree.ruleset, seal: None })
}

fn from_file(path: &Path) -> Result<Prepared, Failure> {
    let text = input::read_text(path, input::PLAN)?;
    let file = PlanFile::read(&text).map_err(|error| {
        // A plan file that was cut or edited until it is none any more is still one that was edited.
        if text.trim_start().starts_with('{') && text.contains("\"plan_file\"") {
            Failure::Stale { path: path.to_owned(), reason: error.to_string() }
        } else {
            Failure::Other(format!("{} is neither a plan file nor a directory", path.display()))
        }
    })?;
    let files: Vec<SourceFile> =
        file.files.iter().map(|file| SourceFile::new(file.path.clone(), file.text.clone())).collect();
    let limits = tree::limits(Some(NO_RANGE_LIMIT), true);
    let checked = check_tree(&TreeFiles { files: files.clone(), problems: Vec::new() }, &limits);
    Ok(Prepared { plan: file.plan, files, ruleset: checked.ruleset.map(Arc::new), seal: Some(file.seal) })
}

/// What a command says where the server was not even asked.
const NOTHING_SENT: &str = "nothing was sent";

/// What the server would refuse is not asked about.
pub(crate) fn refuse_early(plan: &PlanDocument) -> Result<(), Failure> {
    if plan.applyable {
        return Ok(());
    }
    let refused = |refusal| Problem::refused(refusal, NOTHING_SENT, Timestamp::now());
    let problem = if let Some(freeze) = &plan.frozen {
        refused(Refusal::Frozen { freeze: freeze.clone() })
    } else if let Some(reason) = &plan.not_followed {
        let detail = format!("{NOTHING_SENT}: {reason}");
        Problem { detail, ..refused(Refusal::NotFollowed { followed: None }) }
    } else if plan.is_railed() {
        let rails = plan.rails.iter().filter(|rail| rail.tripped).cloned().collect();
        let uncommitted = plan.source.uncommitted().filter(|_| !plan.dirty_allowed);
        refused(Refusal::Rails { rails, uncommitted })
    } else if let Some(why) = plan.source.uncommitted() {
        refused(Refusal::Uncommitted { why })
    } else {
        // The server's word counts, whatever its reason is.
        return Ok(());
    };
    Err(Failure::Problem(Box::new(problem)))
}

/// Asks on the terminal.
pub(crate) async fn is_confirmed(question: &str) -> Result<bool, Failure> {
    say(format!("\n{question} [y/N]"));
    let answer = async {
        let read = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map(|_| answer)
        });
        let read = read.await.map_err(|error| Failure::Other(error.to_string()))?;
        read.map_err(|error| Failure::Other(format!("no answer: {error}")))
    };
    let answer = unless_interrupted(answer, || "nothing was sent".to_owned()).await?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// How long an apply can take: each edge of a rollout has its own time, and every wave is watched for a while.
fn longest(begun: &ApplyResult, timeout: Duration, ruleset: Option<&RuleSet>) -> Duration {
    let queued = begun.edges.iter().filter(|edge| edge.outcome == EdgeOutcome::Queued).count();
    let waves = ruleset.map(|ruleset| ruleset.rollout.waves.as_slice()).unwrap_or_default();
    let soak: Duration = waves.iter().map(|wave| wave.soak).sum();
    timeout.saturating_mul(1 + queued as u32).saturating_add(if queued == 0 { Duration::ZERO } else { soak })
}

/// How long an apply can take whose tree is not here: the server knows how long each wave is watched.
pub(crate) fn patience(begun: &ApplyResult, timeout: Duration) -> Duration {
    let is_rollout = begun.edges.iter().any(|edge| edge.outcome == EdgeOutcome::Queued);
    if is_rollout { LONGEST_ROLLOUT } else { timeout }
}

/// Says again and again that the operator is there, which keeps other operators out meanwhile.
async fn beat(client: &Client, id: &str) -> Infallible {
    loop {
        sleep(HEARTBEAT).await;
        // One that is lost makes the lock lapse sooner, and the apply goes on all the same.
        client.post::<serde_json::Value>(&format!("/v1/applies/{id}/heartbeat"), &serde_json::json!({})).await.ok();
    }
}

/// Waits for the end of the apply.
pub(crate) async fn follow(client: &Client, begun: ApplyResult, wait: Duration) -> Result<ApplyResult, Failure> {
    let id = begun.id.clone();
    let mut progress = Progress::new(&begun);
    if begun.outcome != Outcome::Running {
        progress.show(&begun);
        return Ok(begun);
    }
    let work = async {
        let mut failures = 0;
        loop {
            match follow_stream(client, &id, &mut progress).await {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => {}
                Err(failure) if failures == RECONNECTS => return Err(failure),
                Err(_) => failures += 1,
            }
            sleep(RECONNECT_AFTER).await;
        }
    };
    let lost = |failure: Failure| match failure {
        Failure::Unreachable { server, reason } => Failure::Unreachable {
            server,
            reason: format!("{reason}; the apply {id} had started; `portunus status` shows its result"),
        },
        // It had an id a moment ago, so the server is another process by now.
        Failure::Problem(problem) if problem.code == ProblemCode::NotFound => Failure::CutOff(id.clone()),
        other => other,
    };
    let ended = tokio::select! {
        ended = timeout(wait + GRACE, work) => ended,
        never = beat(client, &id) => match never {},
    };
    match ended {
        Ok(Ok(result)) if result.outcome == Outcome::Interrupted => Err(Failure::CutOff(id.clone())),
        Ok(result) => result.map_err(lost),
        // Edges wait, by someone's will: that is an end for a pipeline, and it says where the rollout stands.
        Err(_) if let Some(paused) = progress.into_paused() => Ok(paused),
        Err(_) => {
            Err(Failure::Other(format!("the apply {id} did not end in time; `portunus status` shows its progress")))
        }
    }
}

/// `None` if the stream ended before the apply did.
async fn follow_stream(client: &Client, id: &str, progress: &mut Progress) -> Result<Option<ApplyResult>, Failure> {
    let mut events = client.events(&format!("/v1/applies/{id}/events")).await?;
    while let Some(message) = events.next().await? {
        let result: ApplyResult = events.read(&message)?;
        progress.show(&result);
        if result.outcome != Outcome::Running {
            return Ok(Some(result));
        }
    }
    Ok(None)
}
