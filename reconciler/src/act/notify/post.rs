//! The task that owns all outboxes: it takes letters in, has them sent, and deletes what was accepted. I/O.
//!
//! Keeps: a letter is in the store until its receiver has accepted it; each notifier has one message on its way at most, and
//! none waits for another; letters that found no room on their way here are read from the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use schema::causes::with_causes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::receiver::{Receiver, ReceiverError};
use super::sending::{Answer, Clients, PostOrder, send};
use super::slot::{Slot, fits};
use super::waiting::{self, KeptNotices};
use crate::act::store::{Batch, Store, StoreError};
use crate::decide::notices::{
    DeliveryFailure, Desk, GivenUp, Letter, Notifier, NotifierDocument, NotifyTestAnswer, Outbox, Posted, StoreChange,
    test_message,
};

/// Steps whose letters may be on their way here; beyond it they are read from the store.
const LETTERS: usize = 1024;
/// Tests that wait, or are under way: people ask for them.
const TESTS: usize = 16;
/// Longest sleep without a deadline.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// How often a disk that took nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why there can be no notices.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A notifier cannot be used.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The letters could not be read.
    #[error("the waiting notices cannot be read")]
    Store(#[from] StoreError),
    /// No way out.
    #[error("notices cannot be sent")]
    Client(#[from] reqwest::Error),
}

/// Where the owner of the fleet hands letters over that are in the store.
#[derive(Debug, Clone)]
pub struct Mailbag {
    letters: mpsc::Sender<Vec<Posted>>,
    has_overflowed: Arc<AtomicBool>,
}

impl Mailbag {
    /// Hands letters over without waiting.
    pub(in crate::act) fn hand_over(&self, letters: Vec<Posted>) {
        if self.letters.try_send(letters).is_err() {
            self.has_overflowed.store(true, Ordering::Relaxed);
        }
    }
}

struct TestCall {
    name: String,
    by: String,
    reply: oneshot::Sender<Option<NotifyTestAnswer>>,
}

/// What others may ask about notices.
#[derive(Debug, Clone)]
pub struct NotifyHandle {
    documents: watch::Receiver<Arc<[NotifierDocument]>>,
    tests: mpsc::Sender<TestCall>,
}

impl std::fmt::Debug for TestCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestCall")
    }
}

impl NotifyHandle {
    /// All notifiers with what waits for them, by name.
    pub fn documents(&self) -> Arc<[NotifierDocument]> {
        Arc::clone(&self.documents.borrow())
    }

    /// Sends a test and waits for the answer; `None` for a name that no notifier has, and while the server ends.
    pub async fn test(&self, name: String, by: String) -> Option<NotifyTestAnswer> {
        let (reply, answer) = oneshot::channel();
        self.tests.send(TestCall { name, by, reply }).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// Owns the outboxes.
#[derive(Debug)]
pub struct PostOffice {
    store: Arc<Store>,
    clients: Clients,
    slots: BTreeMap<String, Slot>,
    letters: mpsc::Receiver<Vec<Posted>>,
    has_overflowed: Arc<AtomicBool>,
    /// Letters up to this one were taken in.
    newest: u64,
    tests: mpsc::Receiver<TestCall>,
    documents: watch::Sender<Arc<[NotifierDocument]>>,
    /// What the store does not know yet, by notifier and letter.
    changes: BTreeMap<(String, u64), StoreChange>,
    given_up: BTreeMap<String, GivenUp>,
    is_disk_failing: bool,
}

/// What the parts of a server need of its notices.
#[derive(Debug)]
pub struct Opened {
    /// The task.
    pub office: PostOffice,
    /// For those who ask.
    pub handle: NotifyHandle,
    /// For the owner of the fleet: where letters are written, and handed over.
    pub desk: Desk,
    /// See above.
    pub mailbag: Mailbag,
}

impl PostOffice {
    /// The same as [`Self::open`], off the async threads.
    pub async fn opened(store: Arc<Store>, notifiers: Vec<Notifier>) -> Result<Opened, NotifyError> {
        match tokio::task::spawn_blocking(move || Self::open(store, notifiers)).await {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Reads what waits, and the secrets of each notifier once, so that a wrong file ends the start. Blocks.
    pub fn open(store: Arc<Store>, notifiers: Vec<Notifier>) -> Result<Opened, NotifyError> {
        let KeptNotices { mut letters, mut given_up, told } = waiting::read(&store)?;
        let now = Timestamp::now();
        let newest = letters.values().flatten().map(|letter| letter.id).max().unwrap_or_default();
        let mut slots = BTreeMap::new();
        let mut changes = BTreeMap::new();
        for notifier in &notifiers {
            let name = notifier.name.clone();
            let shown = Receiver::open(notifier)?.address.shown();
            let mut outbox = Outbox::new(notifier.min_interval, notifier.kind.pause());
            let (fitting, others): (Vec<Letter>, Vec<Letter>) =
                letters.remove(&name).unwrap_or_default().into_iter().partition(|letter| fits(notifier.kind, letter));
            changes.extend(others.iter().map(|one| ((name.clone(), one.id), StoreChange::Delete(one.id))));
            outbox.restore(fitting, now);
            let (notifier, given_up) = (Arc::new(notifier.clone()), given_up.remove(&name));
            slots.insert(name, Slot { notifier, shown, outbox, given_up, is_failing: false });
        }
        for (name, orphans) in letters {
            warn!(notifier = name, notices = orphans.len(), "notices wait for a notifier that is not configured");
            let is_old = |letter: &&Letter| now.duration_since(letter.at).as_hours() >= 24;
            changes
                .extend(orphans.iter().filter(is_old).map(|one| ((name.clone(), one.id), StoreChange::Delete(one.id))));
        }
        let (letters_tx, letters) = mpsc::channel(LETTERS);
        let (tests_tx, tests) = mpsc::channel(TESTS);
        let (documents, documents_rx) = watch::channel(Arc::from([]));
        let has_overflowed = Arc::new(AtomicBool::new(false));
        let office = Self {
            store,
            clients: Clients::new()?,
            slots,
            letters,
            has_overflowed: Arc::clone(&has_overflowed),
            newest,
            tests,
            documents,
            changes,
            given_up: BTreeMap::new(),
            is_disk_failing: false,
        };
        office.publish();
        // Numbers continue over a restart, and over a clock that was set back.
        let last_id = newest.max(now.as_microsecond().unsigned_abs());
        Ok(Opened {
            office,
            handle: NotifyHandle { documents: documents_rx, tests: tests_tx },
            desk: Desk::new(notifiers.into(), told, last_id, now),
            mailbag: Mailbag { letters: letters_tx, has_overflowed },
        })
    }

    /// Runs until it is cancelled. What is on its way then is sent again after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sends = JoinSet::new();
        let mut tests: JoinSet<()> = JoinSet::new();
        loop {
            let now = Timestamp::now();
            self.read_missed().await;
            self.give_up(now);
            self.start(now, &mut sends);
            self.write().await;
            self.publish();
            let wait = self.wait(now);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(letters) = self.letters.recv() => self.take_in(letters),
                Some(call) = self.tests.recv(), if tests.len() < TESTS => self.test(call, &mut tests),
                Some(done) = sends.join_next() => match done {
                    Ok((name, outcome)) => self.settle(&name, outcome),
                    Err(failed) => std::panic::resume_unwind(failed.into_panic()),
                },
                Some(_) = tests.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        while let Some(Ok((name, outcome))) = sends.try_join_next() {
            self.settle(&name, outcome);
        }
        self.write().await;
    }

    fn wait(&self, now: Timestamp) -> Duration {
        let due = self.slots.values().filter_map(|slot| slot.outbox.next_due()).min();
        let wait =
            due.map_or(IDLE_TICK, |due| Duration::try_from(now.until(due).unwrap_or_default()).unwrap_or_default());
        let wait = wait.min(IDLE_TICK);
        if self.changes.is_empty() && self.given_up.is_empty() { wait } else { wait.min(RETRY) }
    }

    fn take_in(&mut self, letters: Vec<Posted>) {
        for Posted { to, letter } in letters {
            if letter.id <= self.newest {
                continue;
            }
            self.newest = letter.id;
            let Some(slot) = self.slots.get_mut(&to) else { continue };
            let changes = slot.outbox.add(letter);
            self.changes.extend(changes.into_iter().map(|change| ((to.clone(), change.id()), change)));
        }
    }

    /// Reads the letters that found no room on their way here.
    async fn read_missed(&mut self) {
        if !self.letters.is_empty() || !self.has_overflowed.swap(false, Ordering::Relaxed) {
            return;
        }
        let store = Arc::clone(&self.store);
        let read = match tokio::task::spawn_blocking(move || waiting::letters(&store)).await {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        match read {
            Ok(letters) => {
                let posted = |(to, letters): (String, Vec<Letter>)| {
                    letters.into_iter().map(move |letter| Posted { to: to.clone(), letter })
                };
                let mut all: Vec<Posted> = letters.into_iter().flat_map(posted).collect();
                all.sort_by_key(|posted| posted.letter.id);
                self.take_in(all);
            }
            Err(error) => {
                warn!(error = with_causes(&error), "the waiting notices cannot be read");
                self.has_overflowed.store(true, Ordering::Relaxed);
            }
        }
    }

    fn start(&mut self, now: Timestamp, sends: &mut JoinSet<(String, Result<Answer, DeliveryFailure>)>) {
        for (name, slot) in &mut self.slots {
            let Some(delivery) = slot.outbox.take(now) else { continue };
            let (clients, notifier, name) = (self.clients.clone(), Arc::clone(&slot.notifier), name.clone());
            sends.spawn(async move { (name, send(clients, notifier, PostOrder::Deliver(delivery)).await) });
        }
    }

    fn settle(&mut self, name: &str, outcome: Result<Answer, DeliveryFailure>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let now = Timestamp::now();
        let changes = match outcome {
            Ok(answer) => {
                debug!(notifier = name, status = answer.status, "notice delivered");
                if std::mem::take(&mut slot.is_failing) {
                    info!(notifier = name, "notices are delivered again");
                }
                slot.outbox.delivered(now)
            }
            Err(failure) => {
                if !std::mem::replace(&mut slot.is_failing, true) {
                    warn!(notifier = name, error = failure.message, "a notice cannot be delivered; it is retried");
                }
                slot.outbox.not_delivered(failure, now)
            }
        };
        self.changes.extend(changes.into_iter().map(|change| ((name.to_owned(), change.id()), change)));
    }

    fn give_up(&mut self, now: Timestamp) {
        for (name, slot) in &mut self.slots {
            let letters = slot.outbox.give_up(now);
            if letters.is_empty() {
                continue;
            }
            let not_tried = || "the server was not running when its day was over".to_owned();
            let error = slot.outbox.last_failure().map_or_else(not_tried, |failure| failure.message.clone());
            let notices: u64 = letters.iter().map(|letter| letter.content.count()).sum();
            error!(notifier = name, notices, error, "notices could not be delivered for a day and are given up");
            let count = slot.given_up.as_ref().map_or(0, |before| before.count) + notices;
            let given_up = GivenUp { count, at: now, error };
            slot.given_up = Some(given_up.clone());
            self.given_up.insert(name.clone(), given_up);
            let changes = letters.into_iter().map(|one| ((name.clone(), one.id), StoreChange::Delete(one.id)));
            self.changes.extend(changes);
        }
    }

    /// Makes what was settled durable; what the disk does not take waits.
    async fn write(&mut self) {
        if self.changes.is_empty() && self.given_up.is_empty() {
            return;
        }
        let batch = self.given_up.iter().fold(Batch::new(), |batch, (to, one)| waiting::with_given_up(batch, to, one));
        let batch = self
            .changes
            .iter()
            .fold(batch, |batch, ((to, _), change)| waiting::with_changes(batch, to, std::slice::from_ref(change)));
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || store.commit(&batch)).await {
            Ok(Ok(_)) => {
                self.changes.clear();
                self.given_up.clear();
                self.is_disk_failing = false;
            }
            Ok(Err(failed)) => {
                if !std::mem::replace(&mut self.is_disk_failing, true) {
                    error!(error = with_causes(&failed), "delivered notices cannot be deleted from the state");
                }
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn test(&self, call: TestCall, tests: &mut JoinSet<()>) {
        let TestCall { name, by, reply } = call;
        let Some(slot) = self.slots.get(&name) else {
            drop(reply.send(None));
            return;
        };
        let (clients, notifier, receiver) = (self.clients.clone(), Arc::clone(&slot.notifier), slot.shown.clone());
        let content = test_message(&name, &by, Timestamp::now());
        tests.spawn(async move {
            let kind = notifier.kind;
            let (delivered, status, answer) = match send(clients, notifier, PostOrder::Test(content)).await {
                Ok(answer) => (true, Some(answer.status), answer.text),
                Err(failure) => (false, None, failure.message),
            };
            // An operator who went away needs no answer.
            drop(reply.send(Some(NotifyTestAnswer { name, kind, receiver, delivered, status, answer })));
        });
    }

    fn publish(&self) {
        let documents: Arc<[NotifierDocument]> = self.slots.values().map(Slot::document).collect();
        self.documents.send_if_modified(|current| {
            let is_news = **current != *documents;
            *current = documents;
            is_news
        });
    }
}
