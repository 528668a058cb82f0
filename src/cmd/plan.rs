//! `plan`: what applying a tree would change, asked from a server or made here against a saved status. I/O.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use reconciler::act::checked_tree::CheckedTree;
use reconciler::act::operator::documents::PlanRequest;
use reconciler::act::source::{foreign, git};
use reconciler::decide::codes::ProblemCode;
use reconciler::decide::drift::{Drift, DriftKind};
use reconciler::decide::plan::{Action, Allowances, FileDocument, PlanDocument, PlanFile, PlanInput, plan};
use reconciler::decide::status::{RevisionStatus, StatusDocument, edges_of};
use reconciler::decide::succession::{Ancestry, Succession};
use schema::diagnostic::{SourceFile, all_to_json};

use crate::cli::{AllowArgs, PlanArgs, PlanFormat};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::{clean, length, print, print_value, say};
use crate::render::{self, diagnostic};
use crate::replace::replace;
use crate::tree::{self, NO_RANGE_LIMIT};

pub(crate) async fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    // A server has a limit of its own and applies it.
    let default_range = if args.live.is_some() { None } else { Some(NO_RANGE_LIMIT) };
    let limits = tree::limits(args.range.range_rule_max_ports.or(default_range), args.allow.allow_empty);
    let tree = tree::read_valid(&args.dir, limits)?;
    let document = if let Some(live) = &args.live {
        against_file(live, &args.dir, &tree, &args.allow)?
    } else {
        let lease = args.prove.then_some(args.lease);
        ask(&Client::new(&args.server)?, &args.dir, &tree, &args.allow, lease).await?
    };
    if let Some(out) = &args.out {
        write_plan_file(out, &document, &tree)?;
    }
    print_plan(args.output, &document)?;
    if args.output.plain() == crate::cli::Format::Text
        && let Some(warnings) = diagnostic::warnings(&tree.diagnostics)
    {
        say(warnings);
    }
    if let Some(out) = &args.out {
        let out = out.display().to_string();
        say(format!("The plan is in {0}; apply it with `portunus apply {0}`.", clean(&out)));
    }
    Ok(exit_of(&document, args.detailed_exitcode))
}

/// Asks the server for the plan of a tree. With a lease, edges reserve what it needs for so long.
pub(crate) async fn ask(
    client: &Client,
    dir: &Path,
    tree: &CheckedTree,
    allow: &AllowArgs,
    lease: Option<Duration>,
) -> Result<PlanDocument, Failure> {
    let revision: RevisionStatus = client.get("/v1/revision").await?;
    let request = PlanRequest {
        files: tree.files.iter().map(FileDocument::from).collect(),
        source: Some(tree.source.clone()),
        allowances: allowances(allow),
        prove_secs: lease.map(|lease| lease.as_secs()),
        ancestry: ancestry(dir, revision.last_commit(), tree),
    };
    client.post("/v1/plan", &request).await.map_err(|failure| with_places(failure, &tree.files))
}

/// What the repository of the tree knows of its commit and the one in force.
fn ancestry(dir: &Path, applied: Option<&str>, tree: &CheckedTree) -> Option<Ancestry> {
    // A repository that cannot be asked has no answer, and the plan reports it.
    git::ancestry(dir, applied?, tree.source.commit.as_deref()?).ok().flatten()
}

/// Errors that only the server finds are drawn into the local files.
pub(crate) fn with_places(failure: Failure, files: &[SourceFile]) -> Failure {
    match failure {
        Failure::Problem(problem) if problem.code == ProblemCode::InvalidTree => {
            Failure::InvalidTreeThere(problem.diagnostics, files.to_vec())
        }
        other => other,
    }
}

/// What the flags allow.
pub(crate) fn allowances(args: &AllowArgs) -> Allowances {
    Allowances {
        removals: args.allow_removals,
        rebinds: args.allow_rebinds,
        drops: args.allow_drops,
        empty: args.allow_empty,
        dirty: args.allow_dirty,
        non_descendant: args.allow_non_descendant,
    }
}

/// Prints a plan as it was asked for.
fn print_plan(format: PlanFormat, document: &PlanDocument) -> Result<(), Failure> {
    match format {
        PlanFormat::Text | PlanFormat::Wide => print(&render::plan::text(document, length())),
        PlanFormat::Markdown => print(&render::plan_markdown::text(document)),
        PlanFormat::Json | PlanFormat::Yaml => print_value(format.plain(), document).map(drop),
    }
}

/// What stops the apply counts before what it would leave out, and that before what it would do. A tree that is not
/// committed and a freeze are shown, and have no exit code of their own.
fn exit_of(document: &PlanDocument, is_detailed: bool) -> Exit {
    let is_rejected = document.changes.iter().any(|change| change.action == Action::Reject);
    let differs = !document.changes.is_empty() || document.drift.iter().any(|drift| drift.kind.is_acted_on());
    if document.is_railed() {
        Exit::Refused
    } else if is_rejected {
        Exit::Partial
    } else if is_detailed && differs {
        Exit::Changes
    } else {
        Exit::Done
    }
}

fn write_plan_file(path: &Path, document: &PlanDocument, tree: &CheckedTree) -> Result<(), Failure> {
    let file = PlanFile::new(document.clone(), &tree.files);
    let mut bytes = serde_json::to_vec(&file).map_err(|error| Failure::Other(error.to_string()))?;
    bytes.push(b'\n');
    replace(path, &bytes, 0o600).map_err(Failure::writing(path))
}

fn against_file(path: &Path, dir: &Path, tree: &CheckedTree, allow: &AllowArgs) -> Result<PlanDocument, Failure> {
    let status = read_status(path)?;
    let edges = edges_of(&status).map_err(|error| {
        Failure::Other(format!("{} is not a status to plan against: {}", path.display(), input::shown(&error)))
    })?;
    let ruleset = tree.ruleset.as_deref().expect("only valid trees get here");
    let mut document = PlanDocument::from(plan(&PlanInput {
        ruleset,
        source: &tree.source,
        edges: &edges,
        lineage: &status.lineage,
        rails: status.revision.rails.as_ref(),
        succession: Succession {
            applied: status.revision.last_commit(),
            known: ancestry(dir, status.revision.last_commit(), tree).as_ref(),
        },
        allowances: &allowances(allow),
        diagnostics: &all_to_json(&tree.diagnostics),
        now: Timestamp::now(),
    }));
    pass_on(&status.drift, &mut document.drift);
    Ok(document)
}

/// Adds what only the server that saved the status could know: a saved status holds no second opinion of what
/// should run.
fn pass_on(saved: &[Drift], drift: &mut Vec<Drift>) {
    let key = |one: &Drift| (one.edge.clone(), one.rule.clone(), one.kind);
    let mut known: BTreeSet<_> = drift.iter().map(key).collect();
    for one in saved {
        let is_of_server = matches!(one.kind, DriftKind::Missing | DriftKind::Extra | DriftKind::Changed);
        if is_of_server && known.insert(key(one)) {
            drift.push(one.clone());
        }
    }
    drift.sort_by(|a, b| (&a.edge, &a.rule, a.kind).cmp(&(&b.edge, &b.rule, b.kind)));
}

fn read_status(path: &Path) -> Result<StatusDocument, Failure> {
    let (label, bytes) = input::read(path, input::STATUS)?;
    let text = foreign::text(&label, bytes).map_err(|found| Failure::Other(format!("{label}: {}", found.message)))?;
    // A list would be read as the fields of a status in their order.
    if text.trim_ascii_start().bytes().next().is_some_and(|first| first != b'{') {
        return Err(Failure::Other(format!("{label} is not a saved `status -o json`: expected an object")));
    }
    let status: StatusDocument = serde_json::from_str(&text).map_err(|error| {
        Failure::Other(format!("{label} is not a saved `status -o json`: {}", input::shown(&error)))
    })?;
    if !matches!(status.kind.as_str(), "" | "status") {
        return Err(Failure::Other(format!(
            "{label} is a document of kind `{}`, not a saved `status -o json`",
            input::shown(&status.kind)
        )));
    }
    Ok(status)
}
