//! Follows a remote: the clock or a webhook makes it look, and the fleet decides what comes of the commit. I/O.
//!
//! Keeps: a remote that fails removes nothing, and its failure is shown; a look ends in bounded time; webhooks during
//! a look lead to one more look and no more.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gix::{ObjectId, Repository};
use jiff::Timestamp;
use schema::check::{CheckLimits, Memo};
use schema::findings::Cancel;
use tokio::sync::Notify;
use tokio::task::{self, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::RemoteConfig;
use super::clone::{self, RemoteError};
use super::transport::Interrupt;
use crate::act::driver::{FleetHandle, Stopped};
use crate::act::follow::{Ancestries, check, with_causes};
use crate::act::source::commit::read_commit;
use crate::decide::fleet::{Event, TreeRead};
use crate::decide::remote::{RemoteView, pause};

/// Webhooks cannot make it look more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long a look may take to notice that the server ends.
const ENDING: Duration = Duration::from_secs(1);
/// Longer errors are cut where they are shown.
const MAX_ERROR: usize = 1000;

/// Makes a follower look at once.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Any number of calls before the look that they lead to are one.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits for a call.
    pub(in crate::act) async fn woken(&self) {
        self.0.notified().await;
    }
}

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

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("commit {commit} cannot be read from the clone")]
    Read { commit: ObjectId, source: Box<gix::Error> },
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
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
                Err(error) => {
                    note_failure(&mut view, &error);
                    if last.is_none() {
                        last = self.cached(&memo).await;
                    }
                }
            }
            if self.tell(&view, last.as_ref(), &mut ancestries).await.is_err() {
                return;
            }
            let next = pause(self.config.interval, view.failures);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.woken() => debug!("the remote is looked at before its time"),
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

    async fn look(
        &self,
        known: Option<ObjectId>,
        memo: &Arc<Mutex<Memo>>,
        shutdown: &CancellationToken,
    ) -> Result<Looked, LookError> {
        let interrupt = Interrupt::default();
        let (config, dir, limits, inner) = (self.config.clone(), self.dir.clone(), self.limits, interrupt.clone());
        let memo = memo.clone();
        let mut job: JoinHandle<Result<Looked, LookError>> = task::spawn_blocking(move || {
            let (repository, commit) = clone::look(&config, &dir, &inner)?;
            let read =
                if known == Some(commit) { None } else { Some(read(&config, &repository, commit, limits, &memo)) };
            match read.transpose() {
                Ok(tree) => Ok(Looked { commit, tree }),
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

    /// What the clone holds from an earlier look, while the remote is away.
    async fn cached(&self, memo: &Arc<Mutex<Memo>>) -> Option<(ObjectId, TreeRead)> {
        let (config, dir, limits, memo) = (self.config.clone(), self.dir.clone(), self.limits, memo.clone());
        let job = task::spawn_blocking(move || {
            let (repository, commit) = clone::cached(&config, &dir)?;
            let tree = read(&config, &repository, commit, limits, &memo).ok()?;
            Some((commit, tree))
        });
        let found = joined(job.await);
        if let Some((commit, _)) = &found {
            info!(%commit, "the remote does not answer; what it held before is followed");
        }
        found
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
    limits: CheckLimits,
    memo: &Mutex<Memo>,
) -> Result<TreeRead, gix::Error> {
    let (mut provenance, tree) = read_commit(repository, commit, config.path.as_str())?;
    provenance.reference = Some(config.reference.short().to_owned());
    // One look at a time holds it; one that panicked left at most an empty one.
    let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(check(provenance, &tree, limits, Some(&mut memo), &Cancel::default()).into_read())
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
        warn!(remote = view.url, error = text, "the remote cannot be followed; what is in force stays");
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
