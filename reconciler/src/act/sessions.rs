//! The sessions of the page and its sign-in links, shared by all requests. I/O.
//!
//! Keeps: an identifier or a code leaves this file once, to whom it is for; the lock is held for a look-up and never over an
//! await; what a session has open ends with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use tokio::sync::watch;

use super::operators::Operators;
use super::private_file::random_token;
use crate::decide::operators::SessionTable;
use crate::decide::operators::roster::Recognised;

/// How often what is open asks whether its session has been unused for too long.
const LOOK: Duration = Duration::from_mins(1);

/// A session, by the digest of its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionKey(Digest);

/// A cheap handle to all sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    table: Arc<Mutex<SessionTable>>,
    operators: Operators,
    /// Counts ends.
    ends: Arc<watch::Sender<u64>>,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(operators: Operators) -> Self {
        Self { table: Arc::default(), operators, ends: Arc::new(watch::Sender::new(0)) }
    }

    fn table(&self) -> MutexGuard<'_, SessionTable> {
        // Nothing in there panics; a table after a panic is whole as well.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs somebody in: the identifier of the new session, for its cookie.
    pub(super) fn begin(&self, who: Recognised) -> Result<String, getrandom::Error> {
        let id = random_token()?;
        self.table().begin(Digest::of(id.as_bytes()), who, &self.operators.roster(), Timestamp::now());
        // One of them may have given way.
        self.ends.send_modify(|ends| *ends += 1);
        Ok(id)
    }

    /// The session of one of these identifiers, and whose it is.
    pub(super) fn find<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Option<(SessionKey, Recognised)> {
        let (roster, now) = (self.operators.roster(), Timestamp::now());
        let mut table = self.table();
        ids.map(|id| Digest::of(id.as_bytes())).find_map(|id| Some((SessionKey(id), table.find(&id, &roster, now)?)))
    }

    /// Signs out.
    pub(super) fn end(&self, key: SessionKey) {
        self.table().end(&key.0);
        self.ends.send_modify(|ends| *ends += 1);
    }

    /// Returns once the session has ended, for whatever reason.
    pub(super) fn ended(&self, key: SessionKey) -> impl Future<Output = ()> + Send + use<> {
        let (sessions, mut ends) = (self.clone(), self.ends.subscribe());
        async move {
            while sessions.table().is_live(&key.0, &sessions.operators.roster(), Timestamp::now()) {
                // Both are reasons to look again.
                _ = tokio::time::timeout(LOOK, ends.changed()).await;
            }
        }
    }

    /// What the next page of the session is to say.
    pub(super) fn set_note(&self, key: SessionKey, note: String) {
        self.table().set_note(&key.0, note);
    }

    /// What this page is to say.
    pub(super) fn take_note(&self, key: SessionKey) -> Option<String> {
        self.table().take_note(&key.0)
    }

    /// The code of a new sign-in link for the operator of the state directory.
    pub fn new_link(&self) -> Result<String, getrandom::Error> {
        let code = random_token()?;
        self.table().add_link(Digest::of(code.as_bytes()), Timestamp::now());
        Ok(code)
    }

    /// Whom the code of a link signs in; it is used up.
    pub(super) fn use_link(&self, code: &str) -> Option<Recognised> {
        let is_valid = self.table().use_link(&Digest::of(code.as_bytes()), Timestamp::now());
        is_valid.then(|| Recognised { caller: self.operators.roster().own().clone(), until: None })
    }
}
