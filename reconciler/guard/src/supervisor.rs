//! What watches over the long-lived tasks and threads of a process, and says which of them has ended. Tasks, threads.
//!
//! Keeps: none of them ends unnoticed: until the end is asked for, a return and a drop count as much as a panic does; a
//! panic counts even then. A panic names its part before whatever returned because of it.

use std::any::Any;
use std::convert::Infallible;
use std::fmt::{self, Display};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a part that has merely returned waits for the panic that made it return: unwinding takes microseconds.
const OVERTAKING: Duration = Duration::from_millis(100);

/// Names a file that tests of a whole process write: one line with the name of the part that is to panic. Only binaries
/// that `cargo test` builds look for it.
#[cfg(feature = "testing")]
pub const KILL_FILE: &str = "PORTUNUS_TESTING_KILL_FILE";

/// Panics if a test of a whole process asks for it in the file of `KILL_FILE`: for a program without a supervisor.
#[cfg(feature = "testing")]
pub fn obey_test(part: &str) {
    let asked = std::env::var_os(KILL_FILE).and_then(|file| std::fs::read_to_string(file).ok());
    assert!(asked.is_none_or(|asked| asked.trim() != part), "killed by a test");
}

/// Panics if a test of a whole process asks for it; nobody can ask this binary.
#[cfg(not(feature = "testing"))]
pub const fn obey_test(_part: &str) {}

/// How a part has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// By a panic, which said this.
    Panicked(String),
    /// By an error that it cannot live with.
    Failed(String),
    /// It has returned, or was dropped, although nobody asked for the end.
    Returned,
}

/// A part of the process has ended while the rest relies on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Which part, for people.
    pub part: String,
    /// How it has ended.
    pub how: How,
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        match &self.how {
            How::Panicked(text) => write!(f, "{part} panicked: {text}; this is a bug, restart the process"),
            How::Failed(text) => write!(f, "{part} failed: {text}"),
            How::Returned => write!(f, "{part} ended unexpectedly; this is a bug, restart the process"),
        }
    }
}

impl std::error::Error for Failed {}

/// Watches over the parts of one process; clones are the same.
#[derive(Debug, Clone)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    failed: watch::Sender<Option<Failed>>,
    is_ending: AtomicBool,
    /// The part that a test wants to panic.
    #[cfg(feature = "testing")]
    killed: watch::Sender<Option<String>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// One that watches over nothing yet.
    pub fn new() -> Self {
        let new = Self(Arc::new(Inner {
            failed: watch::Sender::new(None),
            is_ending: AtomicBool::new(false),
            #[cfg(feature = "testing")]
            killed: watch::Sender::new(None),
        }));
        #[cfg(feature = "testing")]
        new.obey_file();
        new
    }

    /// The end was asked for: parts may return from now on. To be called before any of them is asked to.
    pub fn ending(&self) {
        self.0.is_ending.store(true, Ordering::Release);
    }

    /// Waits until a part has ended that should not have.
    pub async fn failed(&self) -> Failed {
        let mut state = self.0.failed.subscribe();
        // The sender lives as long as this handle, so neither wait fails.
        _ = state.wait_for(Option::is_some).await;
        let is_cause = |state: &Option<Failed>| state.as_ref().is_some_and(|failed| failed.how != How::Returned);
        _ = timeout(OVERTAKING, state.wait_for(is_cause)).await;
        let failed = state.borrow().clone();
        failed.expect("waited for above, and never taken back")
    }

    /// The part that has ended so far, if one has.
    pub fn has_failed(&self) -> Option<Failed> {
        self.0.failed.borrow().clone()
    }

    /// A task that lasts until the end is asked for. It counts from now on, polled or not.
    pub fn lasting<P: Display, T: Future<Output = ()> + Send>(
        &self,
        part: P,
        task: T,
    ) -> impl Future<Output = ()> + Send + use<P, T> {
        self.serving(part.to_string(), task.map(Ok::<(), Infallible>))
    }

    /// The same for one that may fail.
    pub fn serving<E: Display + Send, T: Future<Output = Result<(), E>> + Send>(
        &self,
        part: String,
        task: T,
    ) -> impl Future<Output = ()> + Send + use<E, T> {
        let mut watched = self.watched(part);
        async move {
            #[cfg(feature = "testing")]
            let task = watched.supervisor.clone().or_killed(watched.part.clone(), task);
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => watched.ended(How::Failed(error.to_string())),
                Err(panic) => watched.ended(How::Panicked(words(&*panic))),
            }
        }
    }

    /// Starts a thread that works until the end is asked for.
    pub fn thread(
        &self,
        part: impl Display,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let mut watched = self.watched(part.to_string());
        thread::Builder::new().name(name).spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                watched.ended(How::Panicked(words(&*panic)));
            }
        })
    }

    fn watched(&self, part: String) -> Watched {
        Watched { supervisor: self.clone(), part, how: How::Returned }
    }

    fn note(&self, part: &str, how: How) {
        if how == How::Returned && self.0.is_ending.load(Ordering::Acquire) {
            return;
        }
        self.0.failed.send_if_modified(|state| {
            let is_first = state.as_ref().is_none_or(|known| known.how == How::Returned && how != How::Returned);
            if is_first {
                *state = Some(Failed { part: part.to_owned(), how });
            }
            is_first
        });
    }

    /// Makes a task panic at its next turn.
    #[cfg(feature = "testing")]
    pub fn kill(&self, part: impl Display) {
        self.0.killed.send_replace(Some(part.to_string()));
    }

    /// Waits until a test wants a part to panic, and says which.
    #[cfg(feature = "testing")]
    pub async fn killing(&self) -> String {
        let mut killed = self.0.killed.subscribe();
        // The sender lives as long as this handle.
        _ = killed.wait_for(Option::is_some).await;
        killed.borrow().clone().unwrap_or_default()
    }

    /// Kills the part that the file of [`KILL_FILE`] names, once it does: for tests of a whole process.
    #[cfg(feature = "testing")]
    fn obey_file(&self) {
        let Some(file) = std::env::var_os(KILL_FILE) else { return };
        let inner = Arc::downgrade(&self.0);
        thread::spawn(move || {
            while let Some(inner) = inner.upgrade() {
                match std::fs::read_to_string(&file) {
                    Ok(part) if part.ends_with('\n') => {
                        inner.killed.send_replace(Some(part.trim().to_owned()));
                        return;
                    }
                    _ => drop(inner),
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
    }

    #[cfg(feature = "testing")]
    async fn or_killed<T>(self, part: String, task: impl Future<Output = T>) -> T {
        let mut killed = self.0.killed.subscribe();
        tokio::select! {
            ended = task => ended,
            _ = killed.wait_for(|killed| killed.as_ref() == Some(&part)) => panic!("killed by a test"),
        }
    }
}

/// One part; says how it has ended when it is dropped.
struct Watched {
    supervisor: Supervisor,
    part: String,
    how: How,
}

impl Watched {
    fn ended(&mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.supervisor.note(&self.part, std::mem::replace(&mut self.how, How::Returned));
    }
}

/// Lets a panic of a task that serves one peer end this task alone; says what it said.
pub async fn contained<T>(task: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| words(&*panic))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(part: &str, how: How) -> Failed {
        Failed { part: part.to_owned(), how }
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named_with_what_it_said() {
        let supervisor = Supervisor::new();
        tokio::spawn(supervisor.lasting("the first", std::future::pending()));
        tokio::spawn(supervisor.lasting("the second", async { panic!("broken {}", 7) }));
        let expected = failed("the second", How::Panicked("broken 7".to_owned()));
        assert_eq!(supervisor.failed().await, expected);
        assert!(expected.to_string().starts_with("the second panicked: broken 7; "), "{expected}");
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_named() {
        let supervisor = Supervisor::new();
        let thread = supervisor.thread("the thread", "named".to_owned(), || panic!("broken"));
        assert_eq!(supervisor.failed().await, failed("the thread", How::Panicked("broken".to_owned())));
        thread.expect("it started").join().expect("its panic was caught");
    }

    #[tokio::test]
    async fn a_task_that_returns_is_aborted_or_never_begins_is_noticed() {
        let supervisor = Supervisor::new();
        tokio::spawn(supervisor.lasting("it", async {}));
        assert_eq!(supervisor.failed().await, failed("it", How::Returned));
        let supervisor = Supervisor::new();
        tokio::spawn(supervisor.lasting("it", std::future::pending())).abort();
        assert_eq!(supervisor.failed().await, failed("it", How::Returned));
        let supervisor = Supervisor::new();
        drop(supervisor.lasting("it", std::future::pending()));
        assert_eq!(supervisor.failed().await, failed("it", How::Returned));
    }

    #[tokio::test]
    async fn a_panic_names_its_part_before_those_that_returned_because_of_it() {
        let supervisor = Supervisor::new();
        drop(supervisor.lasting("the victim", std::future::pending()));
        let waiting = tokio::spawn({
            let supervisor = supervisor.clone();
            async move { supervisor.failed().await }
        });
        tokio::task::yield_now().await;
        tokio::spawn(supervisor.lasting("the cause", async { panic!("broken") }));
        assert_eq!(waiting.await.expect("no panic"), failed("the cause", How::Panicked("broken".to_owned())));
    }

    #[tokio::test]
    async fn once_the_end_was_asked_for_only_panics_and_errors_count() {
        let supervisor = Supervisor::new();
        supervisor.ending();
        supervisor.lasting("it", async {}).await;
        assert_eq!(supervisor.has_failed(), None);
        supervisor.serving("it".to_owned(), async { Err("no room") }).await;
        assert_eq!(supervisor.has_failed(), Some(failed("it", How::Failed("no room".to_owned()))));
    }

    #[tokio::test]
    async fn a_panic_for_the_sake_of_one_peer_is_contained() {
        assert_eq!(contained(async { 7 }).await, Ok(7));
        let broken = async { panic!("broken") };
        assert_eq!(contained::<()>(broken).await, Err("broken".to_owned()));
    }
}
