//! `bisect`: puts recorded revisions in force, one after the other, until a command has told which was the first bad
//! one, and then puts back what was in force at the beginning. I/O.
//!
//! Keeps: whatever happens, the way back is gone; where that fails, it is said what is in force and what was.

mod road;
mod search;

use std::cell::Cell;
use std::fmt::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use reconciler::act::operator::documents::HistoryDetail;
use reconciler::decide::ledger::{Entry, HistoryEntry};
use reconciler::decide::plan::{FORMAT_VERSION, PlannedChange, Summary};
use reconciler::decide::status::StatusDocument;
use schema::canonical::Digest;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::apply::is_confirmed;
use super::plan::allowances;
use crate::cli::BisectArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, clean, print, print_value, say};
use crate::render::words::{count, short_hash, time};
use crate::render::{self, style};
use crate::signals::unless_interrupted;
use road::{Arrival, Return, Road};
use search::{Search, Verdict};

/// What git and its friends take for `cannot be told`.
const SKIP: i32 = 125;

/// Between two looks at whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// How often the way back is begun anew while the server cannot be reached, and after how long: a minute in all.
const ABSENT: u32 = 120;
const AGAIN: Duration = Duration::from_millis(500);

/// The command while it runs; it ends with the search.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One try, as `-o json` lists it.
#[derive(Serialize)]
struct Step {
    digest: Digest,
    commit: Option<String>,
    /// `good`, `bad` or `skipped`
    verdict: &'static str,
    /// Of the command, where it ran.
    exit: Option<i32>,
    /// Why it was passed over.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

/// A revision that may be the first bad one.
#[derive(Serialize)]
struct Suspect {
    digest: Digest,
    commit: Option<String>,
    author: Option<String>,
    apply_id: String,
    at: Timestamp,
    actor: String,
    /// What its apply was to change, where that is kept.
    summary: Option<Summary>,
    changes: Vec<PlannedChange>,
}

/// What `bisect -o json` prints.
#[derive(Serialize)]
struct BisectDocument {
    format_version: &'static str,
    kind: &'static str,
    /// True if there is one suspect, which is the first bad revision.
    found: bool,
    suspects: Vec<Suspect>,
    steps: Vec<Step>,
    /// What was in force at the beginning.
    origin: Digest,
    /// True if that is in force again.
    returned: bool,
}

pub(crate) async fn run(args: &BisectArgs) -> Result<Exit, Failure> {
    if !args.yes && !can_ask() {
        return Err(Failure::Usage("nothing was sent: there is no terminal to confirm on; add --yes".to_owned()));
    }
    let client = Client::new(&args.server)?;
    let history: Vec<HistoryEntry> = client.get("/v1/history").await?;
    let status: StatusDocument = client.get("/v1/status").await?;
    let in_force = status.revision.digest;
    let mut search = Search::new(&history, &args.good, args.bad.as_deref(), in_force)
        .map_err(|error| Failure::Other(error.to_string()))?;
    let origin = in_force.ok_or_else(|| Failure::Other("nothing was applied yet".to_owned()))?;
    say(format!(
        "{} may be the first bad one: about {}, each of which puts a revision in force.",
        count(search.left() as u64, "revision"),
        count(u64::from(search.left().next_power_of_two().ilog2()), "step")
    ));
    if !args.yes && !is_confirmed("Live traffic will run on them. Start?").await? {
        say("Nothing was changed.");
        return Ok(Exit::Error);
    }
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| Failure::Other(format!("signals cannot be handled: {error}")))?;
    let mut road = Road {
        client: &client,
        wait: &args.wait,
        applied_by: args.actor.label(),
        allowances: allowances(&args.allow),
        origin,
        held: status.revision.hold.map(|hold| hold.why),
        visited: [origin].into(),
        asked: Cell::new(false),
    };
    let mut steps = Vec::new();
    let interrupted = || Failure::Interrupted("the search was cancelled".to_owned());
    let searched = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
        result = walk(args, &mut search, &mut road, &mut steps) => result,
    };
    let back = go_back(&road).await;
    searched?;
    let suspects = suspects(&client, search.suspects()).await;
    let found = suspects.len() == 1;
    let returned = matches!(back, Ok(Return::Back));
    let is_railed = steps.iter().any(|(_, is_rail)| *is_rail);
    let steps = steps.into_iter().map(|(step, _)| step).collect();
    let answer =
        BisectDocument { format_version: FORMAT_VERSION, kind: "bisect", found, suspects, steps, origin, returned };
    if !print_value(args.looks.output, &answer)? {
        print(&text(&answer))?;
    }
    Ok(exit_of(back, found, is_railed))
}

fn exit_of(back: Result<Return, Failure>, found: bool, is_railed: bool) -> Exit {
    match (back, found, is_railed) {
        (Err(failure), ..) => failure.exit(),
        (Ok(Return::Partial), ..) => Exit::Partial,
        (Ok(Return::Back | Return::Overtaken), true, _) => Exit::Done,
        (Ok(Return::Back | Return::Overtaken), false, true) => Exit::Refused,
        (Ok(Return::Back | Return::Overtaken), false, false) => Exit::Error,
    }
}

/// Tries one revision after the other until nothing is left to try.
async fn walk(
    args: &BisectArgs,
    search: &mut Search,
    road: &mut Road<'_>,
    steps: &mut Vec<(Step, bool)>,
) -> Result<(), Failure> {
    check_good(args, search.good(), road).await?;
    while let Some(entry) = search.next().cloned() {
        let number = steps.len() + 1;
        say(format!("{} {}", style::strong(format!("Step {number}:")), revision(&entry)));
        let why = format!("bisect: step {number} between {} and the bad one", args.good);
        let (verdict, exit, reason, is_rail) = match road.to(entry.digest, why).await? {
            Arrival::Not { reason, is_rail } => (Verdict::Skipped, None, reason, is_rail),
            Arrival::There => {
                stays(road, entry.digest).await?;
                let code = ask(args, &entry).await?;
                stays(road, entry.digest).await?;
                let verdict = match code {
                    0 => Verdict::Good,
                    SKIP => Verdict::Skipped,
                    _ => Verdict::Bad,
                };
                (verdict, Some(code), String::new(), false)
            }
        };
        search.tell(entry.digest, verdict);
        let verdict = match verdict {
            Verdict::Good => "good",
            Verdict::Bad => "bad",
            Verdict::Skipped => "skipped",
        };
        let detail = exit.map_or_else(|| reason.clone(), |code| format!("the command exited with {code}"));
        say(format!("  {}: {}", style::strong(verdict), clean(&detail)));
        steps.push((Step { digest: entry.digest, commit: entry.commit, verdict, exit, reason }, is_rail));
    }
    Ok(())
}

/// A command that calls the good revision bad tells nothing of the others.
async fn check_good(args: &BisectArgs, good: &Entry, road: &mut Road<'_>) -> Result<(), Failure> {
    say(format!("{} {}", style::strong("Check:"), revision(good)));
    let why = format!("bisect: whether {} is good", args.good);
    match road.to(good.digest, why).await? {
        Arrival::Not { reason, .. } => say(format!("  {}: {}", style::strong("skipped"), clean(&reason))),
        Arrival::There => {
            stays(road, good.digest).await?;
            let code = ask(args, good).await?;
            stays(road, good.digest).await?;
            match code {
                0 => say(format!("  {}", style::strong("good"))),
                SKIP => say(format!("  {}: the command exited with {SKIP}", style::strong("skipped"))),
                code => {
                    let reason = format!("the command exited with {code} for {}, which was given as good", args.good);
                    return Err(Failure::Other(reason));
                }
            }
        }
    }
    Ok(())
}

/// What the command tells counts only of the revision that it saw.
async fn stays(road: &Road<'_>, digest: Digest) -> Result<(), Failure> {
    if road.is_at(digest).await? {
        return Ok(());
    }
    let reason = "another revision was put in force during the search, so that it cannot go on; `portunus freeze` or \
                  a quiet repository keep others out";
    Err(Failure::Other(reason.to_owned()))
}

/// Runs the command; its exit code.
async fn ask(args: &BisectArgs, entry: &Entry) -> Result<i32, Failure> {
    let (program, arguments) = args.command.split_first().expect("clap asks for one word at least");
    let name = program.to_string_lossy();
    let mut command = Command::new(program);
    // Standard output is for the result.
    command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr());
    command.env("PORTUNUS_BISECT_DIGEST", entry.digest.to_string());
    command.env("PORTUNUS_BISECT_COMMIT", entry.commit.as_deref().unwrap_or_default());
    let cannot = |error: std::io::Error| Failure::Other(format!("the command {name} cannot be run: {error}"));
    let mut running = Running(command.spawn().map_err(cannot)?);
    let ended = loop {
        match running.0.try_wait().map_err(cannot)? {
            Some(ended) => break ended,
            None => sleep(LOOK).await,
        }
    };
    match ended.code() {
        // Above are 126 and 127, of a command that cannot be run or is not there, and signals.
        Some(code) if code <= SKIP => Ok(code),
        _ => Err(Failure::Other(format!("the command {name} gives no verdict: it ended with {ended}"))),
    }
}

/// Goes back, and says how that went.
async fn go_back(road: &Road<'_>) -> Result<Return, Failure> {
    say(format!("{} to {}", style::strong("Back"), road.origin.short()));
    let mut back = road.back().await;
    for _ in 0..ABSENT {
        // A server that restarts comes back, with the revision that was tried in force.
        if !matches!(back, Err(Failure::Unreachable { .. } | Failure::CutOff(_))) {
            break;
        }
        let pause = async {
            sleep(AGAIN).await;
            Ok(())
        };
        back = match unless_interrupted(pause, || "the restoration was cancelled".to_owned()).await {
            Ok(()) => road.back().await,
            Err(failure) => Err(failure),
        };
    }
    let warning = style::warning("warning");
    match &back {
        Ok(Return::Back) => {}
        Ok(Return::Partial) => say(format!("{warning}: some edges were not restored; `portunus status` shows which")),
        Ok(Return::Overtaken) => {
            say(format!("{warning}: another revision was put in force during the search, and stays"));
        }
        Err(failure) => say(format!(
            "{}: the revision that was in force at the beginning is not restored: {}; restore it with `portunus \
             rollback {}`",
            style::error("error"),
            clean(&failure.to_string()),
            road.origin
        )),
    }
    back
}

/// The suspects with what their applies changed; the search is not lost where that cannot be read.
async fn suspects(client: &Client, entries: &[Entry]) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    for entry in entries {
        let detail: Option<HistoryDetail> = client.get(&format!("/v1/history/{}", entry.id)).await.ok();
        let plan = detail.and_then(|detail| detail.plan);
        suspects.push(Suspect {
            digest: entry.digest,
            commit: entry.commit.clone(),
            author: entry.author.clone(),
            apply_id: entry.apply_id.clone(),
            at: entry.at,
            actor: entry.actor.clone(),
            summary: plan.as_ref().map(|plan| plan.summary),
            changes: plan.map(|plan| plan.changes).unwrap_or_default(),
        });
    }
    suspects
}

fn revision(entry: &Entry) -> String {
    match &entry.commit {
        Some(commit) => format!("commit {} ({})", short_hash(commit), entry.digest.short()),
        None => entry.digest.short(),
    }
}

fn text(answer: &BisectDocument) -> String {
    let mut text = match answer.suspects.as_slice() {
        [_] => "The first bad revision:\n".to_owned(),
        several => format!("The first bad revision is one of {}; the others could not be judged:\n", several.len()),
    };
    for suspect in &answer.suspects {
        write_suspect(&mut text, suspect, answer.found).expect("a string grows as needed");
    }
    if answer.returned {
        writeln!(text, "\nThe revision that was in force at the beginning is restored: {}", answer.origin).expect(
            "as \
            above",
        );
    }
    text
}

fn write_suspect(to: &mut String, suspect: &Suspect, is_alone: bool) -> std::fmt::Result {
    writeln!(to, "\n{}", style::strong(suspect.digest))?;
    if let Some(commit) = &suspect.commit {
        writeln!(to, "  commit  {}", clean(commit))?;
    }
    if let Some(author) = &suspect.author {
        writeln!(to, "  author  {}", clean(author))?;
    }
    writeln!(to, "  apply   {} at {} by {}", suspect.apply_id, time(suspect.at), clean(&suspect.actor))?;
    if let Some(summary) = &suspect.summary {
        writeln!(to, "  diff    {} on {}", count(summary.changes(), "change"), count(summary.edges, "edge"))?;
    }
    for change in suspect.changes.iter().filter(|_| is_alone) {
        write!(to, "\n{}\n{}", style::strong(&change.edge), render::change::change(change))?;
    }
    Ok(())
}
