//! Goes on with a rollout that a restart of the server cut off, in the modes that heal. I/O.
//!
//! Keeps: it begins after the edges that it reached have reported, or have had the time for it, and after the longest
//! time that a wave of it is watched; nobody is asked, for what it brings was decided before.

use std::sync::Arc;
use std::time::Duration;

use schema::canonical::Digest;
use schema::check::{CheckLimits, check_tree};
use schema::diagnostic::all_to_json;
use schema::ruleset::TreeFiles;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::driver::FleetHandle;
use super::store::Store;
use super::{revisions, source};
use crate::decide::fleet::{ApplyRequest, Continuation, Purpose, Refusal, RolloutTerms, TreeRead};
use crate::decide::plan::{Allowances, FileDocument};

/// Between two looks.
const AGAIN: Duration = Duration::from_millis(500);
/// How long edges have for coming back: an edge tries again within a few seconds.
const GRACE: Duration = Duration::from_secs(30);

/// Waits for the moment, goes on, and then stays idle until it is stopped.
pub(super) async fn go_on(fleet: FleetHandle, store: Arc<Store>, limits: CheckLimits, stop: CancellationToken) {
    let going = async {
        let from = Instant::now();
        let mut known: Option<(TreeRead, Duration)> = None;
        while let Ok(now) = fleet.read(|view| view.fleet.continuation()).await {
            match now {
                Continuation::Over => return,
                Continuation::Waits => {}
                Continuation::Ready { apply, digest, missing } => {
                    let Some((tree, soak)) = read_once(&mut known, &store, digest, limits).await else { return };
                    let is_awaited = missing > 0 && from.elapsed() < GRACE;
                    if !is_awaited && from.elapsed() >= soak && !begin(&fleet, tree, apply).await {
                        return;
                    }
                }
            }
            sleep(AGAIN).await;
        }
    };
    _ = stop.run_until_cancelled(going).await;
    stop.cancelled().await;
}

/// The tree of the rollout, and the longest time that a wave of it is watched.
async fn read_once(
    known: &mut Option<(TreeRead, Duration)>,
    store: &Arc<Store>,
    digest: Digest,
    limits: CheckLimits,
) -> Option<(TreeRead, Duration)> {
    if known.as_ref().is_none_or(|(tree, _)| tree.source.digest != digest) {
        let store = Arc::clone(store);
        let read = tokio::task::spawn_blocking(move || recorded(&store, digest, limits)).await.ok().flatten();
        let tree = read.or_else(|| {
            warn!(%digest, "an interrupted rollout cannot continue: its tree is no longer kept or no longer valid");
            None
        })?;
        let waves = tree.ruleset.iter().flat_map(|ruleset| &ruleset.rollout.waves);
        let soak = waves.map(|wave| wave.soak).max().unwrap_or_default();
        *known = Some((tree, soak));
    }
    known.clone()
}

/// False where it is not tried again.
async fn begin(fleet: &FleetHandle, tree: TreeRead, apply: String) -> bool {
    let terms = fleet.read(|view| {
        let applied = view.fleet.to_continue()?;
        Some((applied.rollout.clone()?, applied.applied_by.clone()))
    });
    let Ok(Some((terms, applied_by))) = terms.await else { return true };
    let RolloutTerms { allow_offline, wait_healthy, timeout, rollback, .. } = *terms;
    let request = ApplyRequest {
        purpose: Purpose::Continue { apply: apply.clone() },
        tree,
        plan: None,
        seal: None,
        allowances: Allowances { empty: true, dirty: true, non_descendant: true, ..Allowances::default() },
        actor: "server".to_owned(),
        authority: None,
        applied_by,
        timeout,
        allow_offline,
        rollback: false,
        wait_healthy,
        confirm_within: None,
        quiet_window: Duration::ZERO,
    };
    match fleet.apply(request).await {
        Ok(Ok(begun)) => {
            info!(apply, goes_on_as = begun.id, "a rollout that a restart interrupted continues");
            if rollback {
                warn!(apply, "it continues without `--rollback fleet`: a failure stops it and reverts nothing");
            }
            false
        }
        Ok(Err(Refusal::Frozen { .. } | Refusal::Locked { .. } | Refusal::StateNotWritable { .. })) => true,
        Ok(Err(refusal)) => {
            warn!(apply, ?refusal, "a rollout that a restart interrupted cannot continue");
            false
        }
        Err(_) => false,
    }
}

/// A tree that was applied, checked again: the rule language may have moved on since.
fn recorded(store: &Store, digest: Digest, limits: CheckLimits) -> Option<TreeRead> {
    let revision = revisions::read(store, digest).ok()??;
    let labelled = revision.files.into_iter().map(|file| (file.path, file.text)).collect();
    let tree = source::from_upload(labelled).ok()?;
    let files = tree.sources();
    let documents = files.iter().map(FileDocument::from).collect();
    let files = TreeFiles { files, problems: tree.diagnostics };
    let checked = check_tree(&files, &CheckLimits { allow_empty: true, ..limits });
    Some(TreeRead {
        source: revision.source,
        ruleset: Some(Arc::new(checked.ruleset?)),
        diagnostics: all_to_json(&checked.diagnostics),
        files: documents,
        ancestry: None,
    })
}
