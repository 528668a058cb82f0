//! Says when a rule tree may have changed. I/O.
//!
//! Keeps: a signal is a hint and carries no data; events may be lost, doubled or late, and a slow periodic signal
//! covers that. The set of watched folders is made anew before each signal, so that what appears after the signal
//! is seen, and what appeared before it is there to be read. One owner, no task of its own.

mod debounce;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::{self, JoinHandle};
use tokio::time::{Instant, sleep_until};

use debounce::Debounce;
use snapshot::{TreeSnapshot, Wanted};

/// How patient the watcher is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A signal follows the last event by this.
    pub quiet: Duration,
    /// A signal follows the first event by no more than this.
    pub longest: Duration,
    /// Without any event, a signal comes this often.
    pub reread: Duration,
    /// Where the kernel cannot watch for us, we look this often.
    pub poll: Duration,
    /// With more folders than this we look ourselves, and leave the kernel's watches to others.
    pub max_watches: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(250),
            longest: Duration::from_secs(2),
            reread: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            // A quarter of the smallest limit per user that kernels of today come with (65,536 with enough memory).
            max_watches: 16_384,
        }
    }
}

/// Watches one directory, which need not exist yet.
#[derive(Debug)]
pub struct TreeWatcher {
    dir: Arc<Path>,
    patience: Patience,
    /// One place: a second event before the first was seen adds nothing.
    events: mpsc::Receiver<()>,
    event: mpsc::Sender<()>,
    debounce: Debounce,
    next_reread: Instant,
    next_poll: Instant,
    eyes: Eyes,
    job: Option<JoinHandle<Done>>,
    warned: bool,
}

/// What watches: the kernel, or (without a watcher) we ourselves by comparing scenes.
#[derive(Debug)]
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    scene: TreeSnapshot,
    fault: Option<String>,
}

/// What a job on the blocking threads brings back.
#[derive(Debug)]
enum Done {
    Opened(Eyes),
    Looked(TreeSnapshot),
}

impl TreeWatcher {
    /// Begins to watch. Whatever changes after this returned leads to a signal, so read the tree afterwards.
    pub async fn start(dir: PathBuf, patience: Patience) -> Self {
        // An absolute path, so that a later change of the working directory changes nothing here.
        let dir: Arc<Path> = std::path::absolute(&dir).unwrap_or(dir).into();
        let (event, events) = mpsc::channel(1);
        let (for_job, sender) = (dir.clone(), event.clone());
        let opened = finished(task::spawn_blocking(move || open(&for_job, &sender, patience.max_watches)).await).await;
        let now = Instant::now();
        let mut watcher = Self {
            dir,
            patience,
            events,
            event,
            debounce: Debounce::new(patience.quiet, patience.longest),
            next_reread: now + patience.reread,
            next_poll: now + patience.poll,
            eyes: Eyes { watcher: None, scene: opened.scene.clone(), fault: None },
            job: None,
            warned: false,
        };
        watcher.install(opened);
        watcher
    }

    /// Waits until the tree may have changed. Cancel-safe: nothing is lost if the future is dropped.
    pub async fn changed(&mut self) {
        loop {
            if let Some(job) = &mut self.job {
                let done = finished(job.await).await;
                self.job = None;
                match done {
                    Done::Opened(eyes) => {
                        self.install(eyes);
                        return;
                    }
                    Done::Looked(scene) if scene == self.eyes.scene => {}
                    Done::Looked(scene) => {
                        self.eyes.scene = scene;
                        self.debounce.event(Instant::now());
                    }
                }
            }
            let polls = self.eyes.watcher.is_none().then_some(self.next_poll);
            let wake = [Some(self.next_reread), self.debounce.due(), polls].into_iter().flatten().min();
            tokio::select! {
                Some(()) = self.events.recv() => self.debounce.event(Instant::now()),
                () = sleep_until(wake.unwrap_or(self.next_reread)) => self.awake(Instant::now()),
            }
        }
    }

    /// Starts the job that is due: opening the eyes anew, after which a signal follows, or a look.
    fn awake(&mut self, now: Instant) {
        let (dir, event, max_watches) = (self.dir.clone(), self.event.clone(), self.patience.max_watches);
        if self.debounce.take(now) || now >= self.next_reread {
            self.debounce.clear();
            self.next_reread = now + self.patience.reread;
            self.job = Some(task::spawn_blocking(move || Done::Opened(open(&dir, &event, max_watches))));
        } else if now >= self.next_poll {
            self.next_poll = now + self.patience.poll;
            self.job = Some(task::spawn_blocking(move || Done::Looked(TreeSnapshot::of(&dir))));
        }
    }

    fn install(&mut self, eyes: Eyes) {
        match &eyes.fault {
            Some(reason) if !self.warned => {
                let poll_secs = self.patience.poll.as_secs_f64();
                tracing::warn!(tree = %self.dir.display(), reason, poll_secs, "file events are not available; polling \
                    instead");
            }
            None if self.warned => tracing::info!(tree = %self.dir.display(), "file events are available again"),
            _ => {}
        }
        self.warned = eyes.fault.is_some();
        self.eyes = eyes;
    }
}

/// The result of a job that is never aborted: it ends, or its panic goes on here, or the runtime goes down.
async fn finished<T>(joined: Result<T, task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

/// Watches what the tree consists of now. Blocking.
fn open(dir: &Path, event: &mpsc::Sender<()>, max_watches: usize) -> Eyes {
    let mut scene = TreeSnapshot::of(dir);
    // A folder that appears between the look and the watch would be missed; it shows in a second look.
    for _ in 0..3 {
        let watcher = match watch(&scene.wanted, event, max_watches) {
            Ok(watcher) => watcher,
            Err(fault) => return Eyes { watcher: None, scene, fault: Some(fault) },
        };
        let again = TreeSnapshot::of(dir);
        let settled = again.wanted == scene.wanted;
        scene = again;
        if settled {
            return Eyes { watcher: Some(watcher), scene, fault: None };
        }
    }
    // Still moving: as good as an event, which leads to another round once it is quiet.
    event.try_send(()).ok();
    match watch(&scene.wanted, event, max_watches) {
        Ok(watcher) => Eyes { watcher: Some(watcher), scene, fault: None },
        Err(fault) => Eyes { watcher: None, scene, fault: Some(fault) },
    }
}

/// One watch per folder, not recursive: what lies in ignored folders costs nothing, and links are ours to follow.
fn watch(wanted: &Wanted, event: &mpsc::Sender<()>, max_watches: usize) -> Result<RecommendedWatcher, String> {
    let folders = wanted.folders().count();
    if folders > max_watches {
        return Err(format!("there are {folders} folders, but at most {max_watches} can be watched"));
    }
    let (filter, event) = (wanted.clone(), event.clone());
    let handler = move |seen| hear(seen, &filter, &event);
    let mut watcher = notify::recommended_watcher(handler).map_err(|error| error.to_string())?;
    for folder in wanted.folders() {
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Err(error) if is_exhausted(&error) => return Err(error.to_string()),
            // Gone again, or not ours to watch: the look after this, or the slow re-read, covers it.
            Err(_) | Ok(()) => {}
        }
    }
    Ok(watcher)
}

/// Takes one event of the kernel in.
fn hear(seen: notify::Result<Event>, filter: &Wanted, event: &mpsc::Sender<()>) {
    if seen.map_or(true, |seen| is_relevant(&seen, filter)) {
        // Full means that a signal is on its way already, closed that nobody waits any more.
        event.try_send(()).ok();
    }
}

fn is_exhausted(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        notify::ErrorKind::Io(error) => {
            let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC];
            exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
        }
        _ => false,
    }
}

/// Our own reading must not look like a change, and in folders that we share, only some names concern us.
fn is_relevant(event: &Event, wanted: &Wanted) -> bool {
    if event.need_rescan() || event.paths.is_empty() {
        return true;
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.paths.iter().any(|path| wanted.concerns(path))
}

#[cfg(test)]
mod tests;
