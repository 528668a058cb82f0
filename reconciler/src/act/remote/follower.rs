//! Follows a remote: the clock or a webhook makes it look, and the fleet decides what comes of the commit. I/O.
//!
//! Keeps: a remote that fails removes nothing, and its failure is shown; a look ends in bounded time; webhooks during
//! a look lead to one more look and no more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::{ObjectId, Repository};
use jiff::Timestamp;
use schema::causes::with_causes;
use schema::check::{CheckLimits, Memo};
use schema::findings::Cancel;
use tokio::task::{self, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::RemoteConfig;
use super::clone::{self, RemoteError};
use super::transport::Interrupt;
use crate::act::ancestries::Ancestries;
use crate::act::checked_tree::{MOST_CANCELLED, check};
use crate::act::driver::{FleetHandle, Stopped};
use crate::act::source::TreeFiles;
use crate::act::source::commit::read_commit;
use crate::act::source::git::Provenance;
use crate::act::wake::Wake;
use crate::decide::fleet::{Event, TreeRead};
use crate::decide::remote::{RemoteView, pause};

/// Webhooks cannot make it look more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long a look may take to notice that the server ends.
const ENDING: Duration = Duration::from_secs(1);
/// Longer errors are cut where they are shown.
const MAX_ERROR: usize = 1000;

/// One follower.
#[derive(Debug)]
pub struct Follower {
    /// What is followed.
    pub config: RemoteConfig,
    /// Where the clone is kept.
    pub dir: PathBuf,
    /// Limits of the rule language.
    pub limits: CheckLimits,
    /// Who decides.
    pub fleet: FleetHandle,
    /// What makes it look before its time.
    pub wake: Wake,
}

/// What a look brought.
struct Looked {
    commit: ObjectId,
    /// `None` where the commit is the one that was read before.
    tree: Option<TreeRead>,
}

/// What a fetch brought.
struct Fetched {
    commit: ObjectId,
    /// `None` where the commit is the one that was read before.
    unchecked: Option<(Provenance, TreeFiles)>,
}

/// How a check ended.
enum Checked {
    Done(TreeRead),
    /// A newer commit is there.
    Overtaken(Fetched),
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("commit {commit} cannot be read from the clone")]
    Read { commit: ObjectId, source: Box<gix::Error> },
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the server ends")]
    Ended,
}

impl Follower {
    /// Feeds what the remote holds into the fleet for as long as the server runs.
    pub async fn follow(self, shutdown: CancellationToken) {
        let mut view = RemoteView {
            url: self.config.address.to_string(),
            reference: self.config.reference.short().to_owned(),
            path: self.config.path.as_str().to_owned(),
            ..RemoteView::default()
        };
        let mut ancestries = Ancestries::default();
        let memo = Arc::new(Mutex::new(Memo::default()));
        let mut last: Option<(ObjectId, TreeRead)> = None;
        let dir = self.dir.clone();
        joined(task::spawn_blocking(move || clone::sweep(&dir)).await);
        loop {
            let started = Instant::now();
            view.attempted_at = Some(Timestamp::now());
            let known = last.as_ref().map(|(commit, _)| *commit);
            let looked = tokio::select! {
                looked = self.look(known, &memo, &shutdown) => looked,
                () = self.ended(&shutdown) => return,
            };
            match looked {
                Ok(Looked { commit, tree }) => {
                    note_success(&mut view, commit);
                    last = tree.map(|tree| (commit, tree)).or(last);
                }
                Err(LookError::Ended) => return,
                Err(error) => {
                    note_failure(&mut view, &error);
                    if last.is_none() {
                        last = self.cached(&memo, &shutdown).await;
                    }
                }
            }
            if self.tell(&view, last.as_ref(), &mut ancestries).await.is_err() {
                return;
            }
            let next = pause(self.config.interval, view.failures);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.woken() => debug!("the remote is fetched on request"),
                () = sleep(next) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(started + SHORTEST.min(self.config.interval)) => {}
            }
        }
    }

    /// Until the look in progress has had its time to notice that the server ends.
    async fn ended(&self, shutdown: &CancellationToken) {
        shutdown.cancelled().await;
        sleep(ENDING).await;
    }

    /// Fetches, and checks what is new.
    async fn look(
        &self,
        known: Option<ObjectId>,
        memo: &Arc<Mutex<Memo>>,
        shutdown: &CancellationToken,
    ) -> Result<Looked, LookError> {
        let fetched = self.fetch(known, shutdown).await?;
        self.check_newest(fetched, memo, shutdown).await
    }

    /// Checks what was fetched, or a commit that comes meanwhile: nobody waits for the check of one that is overtaken.
    async fn check_newest(
        &self,
        mut fetched: Fetched,
        memo: &Arc<Mutex<Memo>>,
        shutdown: &CancellationToken,
    ) -> Result<Looked, LookError> {
        let mut cancelled = 0;
        while let Some(unchecked) = fetched.unchecked.take() {
            let commit = fetched.commit;
            // A branch that always moves is still followed.
            let overtaking = (cancelled < MOST_CANCELLED).then_some(commit);
            match self.check(unchecked, overtaking, memo, shutdown).await? {
                Checked::Done(tree) => return Ok(Looked { commit, tree: Some(tree) }),
                Checked::Overtaken(newer) => {
                    info!(commit = %newer.commit, "a newer commit is there; the check of the one before is given up");
                    fetched = newer;
                    cancelled += 1;
                }
            }
        }
        Ok(Looked { commit: fetched.commit, tree: None })
    }

    /// Checks one tree, unless the remote holds another commit than the named one before that is done.
    async fn check(
        &self,
        (provenance, tree): (Provenance, TreeFiles),
        overtaking: Option<ObjectId>,
        memo: &Arc<Mutex<Memo>>,
        shutdown: &CancellationToken,
    ) -> Result<Checked, LookError> {
        let (limits, memo, cancel) = (self.limits, memo.clone(), Cancel::default());
        let flag = cancel.clone();
        let mut job = task::spawn_blocking(move || {
            // One check at a time holds it; one that panicked left at most an empty one.
            let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
            check(provenance, &tree, limits, Some(&mut memo), &flag).into_read()
        });
        loop {
            tokio::select! {
                done = &mut job => return Ok(Checked::Done(joined(done))),
                () = shutdown.cancelled() => {
                    cancel.cancel();
                    return Err(LookError::Ended);
                }
                () = self.hinted(), if overtaking.is_some() => {}
            }
            // A remote that does not answer now overtakes nothing.
            if let Ok(newer @ Fetched { unchecked: Some(_), .. }) = self.fetch(overtaking, shutdown).await {
                cancel.cancel();
                joined(job.await);
                return Ok(Checked::Overtaken(newer));
            }
        }
    }

    /// Until a webhook or the clock asks for a look.
    async fn hinted(&self) {
        tokio::select! {
            () = self.wake.woken() => {}
            () = sleep(self.config.interval.max(SHORTEST)) => {}
        }
    }

    async fn fetch(&self, known: Option<ObjectId>, shutdown: &CancellationToken) -> Result<Fetched, LookError> {
        let interrupt = Interrupt::default();
        let (config, dir, inner) = (self.config.clone(), self.dir.clone(), interrupt.clone());
        let mut job: JoinHandle<Result<Fetched, LookError>> = task::spawn_blocking(move || {
            let (repository, commit) = clone::look(&config, &dir, &inner)?;
            let read = if known == Some(commit) { None } else { Some(read(&config, &repository, commit)) };
            match read.transpose() {
                Ok(unchecked) => Ok(Fetched { commit, unchecked }),
                Err(source) => {
                    // Fetched, and not readable: the clone is damaged, and the next look makes it anew.
                    clone::discard(&dir)?;
                    Err(LookError::Read { commit, source: Box::new(source) })
                }
            }
        });
        let most = self.config.timeout;
        let in_time = tokio::select! {
            in_time = timeout(most, &mut job) => in_time.ok(),
            () = shutdown.cancelled() => None,
        };
        if let Some(done) = in_time {
            return joined(done);
        }
        interrupt.end();
        // The programs are killed, and requests have the same limit as the look: it ends.
        joined(job.await).map_err(|_| LookError::Timeout(most))
    }

    /// What the clone holds from an earlier look, while the remote cannot be reached.
    async fn cached(&self, memo: &Arc<Mutex<Memo>>, shutdown: &CancellationToken) -> Option<(ObjectId, TreeRead)> {
        let (config, dir) = (self.config.clone(), self.dir.clone());
        let job = task::spawn_blocking(move || {
            let (repository, commit) = clone::cached(&config, &dir)?;
            let unchecked = Some(read(&config, &repository, commit).ok()?);
            Some(Fetched { commit, unchecked })
        });
        let Looked { commit, tree } = self.check_newest(joined(job.await)?, memo, shutdown).await.ok()?;
        info!(%commit, "the remote does not answer; the last fetched commit is followed");
        tree.map(|tree| (commit, tree))
    }

    async fn tell(
        &self,
        view: &RemoteView,
        last: Option<&(ObjectId, TreeRead)>,
        ancestries: &mut Ancestries,
    ) -> Result<(), Stopped> {
        self.fleet.event(Event::Remote(Box::new(view.clone()))).await?;
        let Some((_, tree)) = last else { return Ok(()) };
        let mut tree = tree.clone();
        tree.ancestry = ancestries.of(&self.dir, tree.source.commit.as_deref(), &self.fleet).await;
        self.fleet.event(Event::Tree(tree)).await
    }
}

fn read(
    config: &RemoteConfig,
    repository: &Repository,
    commit: ObjectId,
) -> Result<(Provenance, TreeFiles), gix::Error> {
    let (mut provenance, tree) = read_commit(repository, commit, config.path.as_str())?;
    provenance.reference = Some(config.reference.short().to_owned());
    Ok((provenance, tree))
}

fn note_success(view: &mut RemoteView, commit: ObjectId) {
    let commit = commit.to_string();
    if view.error.take().is_some() {
        info!(remote = view.url, failures = view.failures, "the remote answers again");
    }
    if view.commit.as_ref() != Some(&commit) {
        info!(remote = view.url, reference = view.reference, commit, "the remote was fetched");
    }
    view.commit = Some(commit);
    view.fetched_at = Some(Timestamp::now());
    view.failures = 0;
    view.fetched += 1;
}

fn note_failure(view: &mut RemoteView, error: &LookError) {
    let text: String = with_causes(error).chars().take(MAX_ERROR).collect();
    if view.error.as_ref() != Some(&text) {
        warn!(remote = view.url, error = text, "the remote cannot be followed; the revision in force stays");
    }
    view.error = Some(text);
    view.failures += 1;
    view.failed += 1;
}

fn joined<T>(done: Result<T, task::JoinError>) -> T {
    match done {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
