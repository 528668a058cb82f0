//! The task that owns the operators and the audit: what it decides is on disk before it answers. I/O.
//!
//! Keeps: what waits is written together, so that a flood of refusals costs few writes; the audit has a bounded length.

use std::sync::Arc;

use jiff::Timestamp;
use schema::name::OperatorName;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{AuditRead, KeeperCommand, KeeperReply, OperatorsError, UnreadableOperators};
use crate::act::store::{Batch, Store, StoreError};
use crate::decide::operators::audit::{AUDIT_PREFIX, KEPT};
use crate::decide::operators::{AuditEntry, FailedLogins, Operator, Refusals, Roster};
use crate::decide::record::InvalidRecord;

/// Prefix of the operators.
const OPERATOR_PREFIX: &str = "operator/";
const REFUSALS_KEY: &str = "meta/audit-refusals";
/// Commands that are taken at once, and whose entries are written together.
const TOGETHER: usize = 64;

fn audit_key(number: u64) -> String {
    format!("{AUDIT_PREFIX}{number:012}")
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, InvalidRecord> {
    serde_json::from_slice(value).map_err(|error| InvalidRecord { key: key.to_owned(), reason: error.to_string() })
}

/// Owns the operators and the audit.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<Store>,
    roster: watch::Sender<Arc<Roster>>,
    commands: mpsc::Receiver<KeeperCommand>,
    logins: FailedLogins,
    refusals: Refusals,
    /// Number of the newest entry.
    newest: u64,
    /// True while the audit cannot be written.
    is_failing: bool,
}

impl Keeper {
    pub(super) fn open(
        store: Arc<Store>,
        token: &str,
        commands: mpsc::Receiver<KeeperCommand>,
    ) -> Result<(Self, watch::Receiver<Arc<Roster>>), UnreadableOperators> {
        let mut known = Roster::new(token);
        for (key, stored) in store.list(OPERATOR_PREFIX)? {
            known = known.with(read::<Operator>(&key, &stored.value)?);
        }
        let refusals = match store.get(REFUSALS_KEY)? {
            Some(stored) => read(REFUSALS_KEY, &stored.value)?,
            None => Refusals::default(),
        };
        let last = store.keys(AUDIT_PREFIX)?.pop();
        let newest = last.and_then(|key| key.strip_prefix(AUDIT_PREFIX)?.parse().ok()).unwrap_or(0);
        let (roster, watched) = watch::channel(Arc::new(known));
        let logins = FailedLogins::default();
        Ok((Self { store, roster, commands, logins, refusals, newest, is_failing: false }, watched))
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut taken = Vec::new();
        loop {
            let count = tokio::select! {
                () = stop.cancelled() => return,
                count = self.commands.recv_many(&mut taken, TOGETHER) => count,
            };
            if count == 0 {
                return;
            }
            self.take(std::mem::take(&mut taken)).await;
        }
    }

    async fn take(&mut self, commands: Vec<KeeperCommand>) {
        let (mut batch, mut waiting) = (Batch::new(), Vec::new());
        for command in commands {
            match command {
                KeeperCommand::Done { entry, reply } => {
                    batch = self.append(batch, &entry);
                    waiting.push(reply);
                }
                KeeperCommand::Refused { entry } => {
                    if self.refusals.count(&entry.who, entry.at) {
                        batch = self.append(batch, &entry);
                    }
                }
                KeeperCommand::Failed { source, now, reply } => drop(reply.send(self.logins.failed(source, now))),
                KeeperCommand::Create { operator, reply } => drop(reply.send(self.create(*operator).await)),
                KeeperCommand::Revoke { name, reply } => drop(reply.send(self.revoke(&name).await)),
                KeeperCommand::Audit { since, reply } => {
                    // What was answered before is part of the answer.
                    self.write(std::mem::take(&mut batch), std::mem::take(&mut waiting)).await;
                    self.answer(since, reply);
                }
            }
        }
        self.write(batch, waiting).await;
    }

    fn append(&mut self, batch: Batch, entry: &AuditEntry) -> Batch {
        self.newest += 1;
        let value = serde_json::to_vec(entry).expect("an entry holds only texts");
        let batch = batch.put(audit_key(self.newest), value);
        match self.newest.checked_sub(KEPT) {
            Some(oldest) => batch.delete(audit_key(oldest)),
            None => batch,
        }
    }

    /// Writes the entries, and answers those who wait for them. A server that cannot write its audit goes on: what was
    /// done is in its ledger.
    async fn write(&mut self, batch: Batch, waiting: Vec<KeeperReply<()>>) {
        if !batch.is_empty() {
            let refusals = serde_json::to_vec(&self.refusals).expect("figures and a time");
            let written = self.commit(batch.put(REFUSALS_KEY, refusals)).await;
            match written {
                Ok(()) if std::mem::take(&mut self.is_failing) => info!("the audit can be written again"),
                Err(failure) if !std::mem::replace(&mut self.is_failing, true) => {
                    error!(error = schema::causes::with_causes(&failure), "the audit cannot be written");
                }
                _ => {}
            }
        }
        // A request that was given up needs no answer.
        for reply in waiting {
            _ = reply.send(());
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || store.commit(&batch)).await {
            Ok(result) => result.map(drop),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn create(&mut self, operator: Operator) -> Result<(), OperatorsError> {
        let roster = self.roster.borrow().clone();
        roster.check_new(&operator)?;
        let value = serde_json::to_vec(&operator).expect("a record holds only maps with text keys");
        self.commit(Batch::new().put(format!("{OPERATOR_PREFIX}{}", operator.name), value)).await?;
        info!(operator = %operator.name, role = %operator.role, by = operator.created_by, "operator created");
        self.roster.send_replace(Arc::new((*roster).clone().with(operator)));
        Ok(())
    }

    async fn revoke(&mut self, name: &OperatorName) -> Result<Operator, OperatorsError> {
        let roster = self.roster.borrow().clone();
        let operator = roster.check_revoked(name)?.clone();
        self.commit(Batch::new().delete(format!("{OPERATOR_PREFIX}{name}"))).await?;
        info!(operator = %name, "operator revoked");
        self.roster.send_replace(Arc::new((*roster).clone().without(name)));
        Ok(operator)
    }

    /// Reads the audit beside everything else: it may be long.
    fn answer(&self, since: Option<Timestamp>, reply: KeeperReply<Result<AuditRead, UnreadableOperators>>) {
        let (store, refusals_beyond) = (Arc::clone(&self.store), self.refusals.beyond);
        tokio::task::spawn_blocking(move || {
            let read = || {
                let mut entries = Vec::new();
                for (key, stored) in store.list(AUDIT_PREFIX)? {
                    let entry: AuditEntry = read(&key, &stored.value)?;
                    if since.is_none_or(|since| entry.at >= since) {
                        entries.push(entry);
                    }
                }
                Ok(AuditRead { entries, refusals_beyond })
            };
            drop(reply.send(read()));
        });
    }
}
