//! The operators that exist and the audit, owned by one task. I/O.
//!
//! Keeps: an operator is on disk before anybody learns its token, and gone from disk before its end is confirmed; checking
//! a token never waits for the disk; entries of the audit are written in the order of their answers.

mod keeper;
mod stream_places;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::OperatorName;
use tokio::sync::{mpsc, oneshot, watch};

pub use keeper::Keeper;
pub(in crate::act) use stream_places::{NoStreamPlace, StreamPlaces};

use super::oidc::Issuers;
use super::store::{Store, StoreError};
use crate::decide::operators::failed_logins::LoginSource;
use crate::decide::operators::roster::Recognised;
use crate::decide::operators::{AuditEntry, Caller, Operator, RefusedOperator, Roster};
use crate::decide::record::InvalidRecord;

/// Commands that wait: one for each request of a full operator port.
const COMMANDS: usize = 256;

/// Why an operator was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] RefusedOperator),
    /// It could not be written down.
    #[error("the server cannot write its state")]
    Store(#[from] StoreError),
}

/// Why operators or the audit cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableOperators {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record makes no sense.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// Issuers of identity tokens cannot be asked.
    #[error("the HTTP client cannot be created")]
    Client(#[from] reqwest::Error),
}

/// The task that owns them is gone: the server is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is stopping")]
pub struct KeeperStopped;

/// The audit, or its newest part.
#[derive(Debug, Clone, Default)]
pub struct AuditRead {
    /// Entries, oldest first.
    pub entries: Vec<AuditEntry>,
    /// Refusals that were counted and not written down.
    pub refusals_beyond: u64,
}

type KeeperReply<T> = oneshot::Sender<T>;

#[derive(Debug)]
enum KeeperCommand {
    Create { operator: Box<Operator>, reply: KeeperReply<Result<(), OperatorsError>> },
    Revoke { name: OperatorName, reply: KeeperReply<Result<Operator, OperatorsError>> },
    Done { entry: AuditEntry, reply: KeeperReply<()> },
    Refused { entry: AuditEntry },
    Failed { source: LoginSource, now: Timestamp, reply: KeeperReply<Result<(), Duration>> },
    Audit { since: Option<Timestamp>, reply: KeeperReply<Result<AuditRead, UnreadableOperators>> },
}

/// A cheap handle to the operators for everybody.
#[derive(Debug, Clone)]
pub struct Operators {
    roster: watch::Receiver<Arc<Roster>>,
    commands: mpsc::Sender<KeeperCommand>,
    issuers: Arc<Issuers>,
    /// How many event streams each of them may have open.
    pub(in crate::act) streams: StreamPlaces,
}

impl Operators {
    /// Reads what is recorded; `token` is that of the state directory. Blocks.
    pub fn open(store: Arc<Store>, token: &str) -> Result<(Self, Keeper), UnreadableOperators> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let (keeper, roster) = Keeper::open(store, token, received)?;
        let issuers = Arc::new(Issuers::new()?);
        Ok((Self { roster, commands, issuers, streams: StreamPlaces::within(COMMANDS) }, keeper))
    }

    /// The same, for a port that serves so many connections.
    pub(in crate::act) fn on_a_port_with(self, cap: usize) -> Self {
        Self { streams: StreamPlaces::within(cap), ..self }
    }

    /// The operators as they are now.
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.borrow().clone()
    }

    /// Whom an identity token of a CI job belongs to. Its issuer is asked only where an operator names it.
    pub async fn find_by_identity(&self, token: &str) -> Option<Recognised> {
        let issuer = Issuers::named(token)?;
        if !self.roster().trusts(&issuer) {
            return None;
        }
        let verified = self.issuers.verify(&issuer, token).await?;
        let found = self.roster().find_by_claims(&verified.claims)?;
        let until = found.until.map_or(verified.until, |until| until.min(verified.until));
        Some(Recognised { caller: found.caller, until: Some(until) })
    }

    /// Returns once the operator exists no more, or `until` has come.
    pub async fn ended(&self, caller: Arc<Caller>, until: Option<Timestamp>) {
        let mut roster = self.roster.clone();
        let revoked = async {
            // Without an owner no operator ends any more: the server is stopping, and streams with it.
            if roster.wait_for(|roster| !roster.has(&caller)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let expired = async {
            let Some(until) = until else { return std::future::pending().await };
            while let Some(rest) =
                Duration::try_from(until.duration_since(Timestamp::now())).ok().filter(|rest| !rest.is_zero())
            {
                // The clock of the wall may be set meanwhile.
                tokio::time::sleep(rest.min(Duration::from_mins(1))).await;
            }
        };
        tokio::select! {
            () = revoked => {}
            () = expired => {}
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(KeeperReply<T>) -> KeeperCommand) -> Result<T, KeeperStopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| KeeperStopped)?;
        answer.await.map_err(|_| KeeperStopped)
    }

    /// Creates an operator.
    pub async fn create(&self, operator: Operator) -> Result<Result<(), OperatorsError>, KeeperStopped> {
        self.ask(|reply| KeeperCommand::Create { operator: Box::new(operator), reply }).await
    }

    /// Ends an operator, and what it has open.
    pub async fn revoke(&self, name: OperatorName) -> Result<Result<Operator, OperatorsError>, KeeperStopped> {
        self.ask(|reply| KeeperCommand::Revoke { name, reply }).await
    }

    /// Writes down a request that could change something; returns once that is on disk.
    pub async fn done(&self, entry: AuditEntry) -> Result<(), KeeperStopped> {
        self.ask(|reply| KeeperCommand::Done { entry, reply }).await
    }

    /// Writes down, or counts, a request that was refused.
    pub async fn refused(&self, entry: AuditEntry) -> Result<(), KeeperStopped> {
        self.commands.send(KeeperCommand::Refused { entry }).await.map_err(|_| KeeperStopped)
    }

    /// Counts a wrong token. An error says how long its source has to wait.
    pub async fn failed_login(&self, from: Option<IpAddr>) -> Result<Result<(), Duration>, KeeperStopped> {
        let (source, now) = (LoginSource::of(from), Timestamp::now());
        self.ask(|reply| KeeperCommand::Failed { source, now, reply }).await
    }

    /// The audit since then, or all that is kept.
    pub async fn audit(
        &self,
        since: Option<Timestamp>,
    ) -> Result<Result<AuditRead, UnreadableOperators>, KeeperStopped> {
        self.ask(|reply| KeeperCommand::Audit { since, reply }).await
    }
}
