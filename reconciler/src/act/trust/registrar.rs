//! The one task that owns the register of edges, and the change from one authority to the next. I/O.
//!
//! Keeps: what is answered was written before; changes that wait together are written together, so that a fleet that
//! joins at once costs a few commits; a session whose certificate admits nobody any more is cut before the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use schema::canonical::Digest;
use schema::join::{Code, JoinUri};
use schema::name::EdgeName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keeping::{self, Authorities, Watched};
use super::{TrustError, now_secs};
use crate::act::driver::FleetHandle;
use crate::act::store::{Batch, Store};
use crate::decide::certificate_ends::{CertificateEnds, CertificateInUse};
use crate::decide::enrolment::{Enrolment, InvalidCode, JoinAttempt, NotAdmitted, OpenCode, Register};
use crate::decide::fleet::Event;

const EDGE_PREFIX: &str = "trust/edge/";
const EPOCH_KEY: &str = "trust/epoch";
const AUTHORITY_KEY: &str = "trust/authority";
/// Requests that wait: one for each edge of a large fleet that comes back at once; more wait at their sender.
const REQUESTS: usize = 4096;
/// Requests that are written together.
const TOGETHER: usize = 256;

/// What is done once a change was written, or was not: the session that it ends, if any.
type Finish = Box<dyn FnOnce(bool) -> Option<(EdgeName, NotAdmitted)> + Send>;
type Work = Box<dyn FnOnce(&mut Register) -> Finish + Send>;

enum TrustCommand {
    /// Looks at the register or changes one name of it.
    Change(Option<EdgeName>, Work),
    Rotate(oneshot::Sender<Result<Digest, TrustError>>),
    Retire(bool, oneshot::Sender<Result<Retired, TrustError>>),
}

/// What became of the end of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The edges whose certificate it had signed.
    pub left: Vec<EdgeName>,
    /// True if it has ended.
    pub is_done: bool,
}

/// What certificates of edges are issued with.
#[derive(Debug, Clone)]
pub struct EdgeTerms {
    /// How long they are valid.
    pub ttl: Duration,
    /// How long an expired one is good for renewal.
    pub grace: Duration,
}

/// A handle to the register for everybody else.
#[derive(Debug, Clone)]
pub struct TrustHandle {
    commands: mpsc::Sender<TrustCommand>,
    /// The authorities as they change.
    pub authorities: Watched,
    /// What certificates are issued with.
    pub terms: EdgeTerms,
}

impl std::fmt::Debug for TrustCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TrustCommand")
    }
}

/// An invitation.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// What the edge needs, with the code.
    pub uri: JoinUri,
    /// When the code ends.
    pub expires_at: Timestamp,
}

impl TrustHandle {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> TrustCommand) -> Result<T, TrustError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| TrustError::Stopped)?;
        answer.await.map_err(|_| TrustError::Stopped)
    }

    /// Looks at the register.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Register) -> T + Send + 'static,
    ) -> Result<T, TrustError> {
        let work = |reply: oneshot::Sender<T>| -> Work {
            Box::new(move |register: &mut Register| {
                // A reader that went away in the meantime needs no answer.
                drop(reply.send(look(register)));
                Box::new(|_| None)
            })
        };
        self.ask(|reply| TrustCommand::Change(None, work(reply))).await
    }

    async fn change<T: Send + 'static>(
        &self,
        name: EdgeName,
        change: impl FnOnce(&mut Register) -> (T, Option<NotAdmitted>) + Send + 'static,
    ) -> Result<T, TrustError> {
        let edge = name.clone();
        let work = |reply: oneshot::Sender<Option<T>>| -> Work {
            Box::new(move |register: &mut Register| {
                let (answer, ends) = change(register);
                Box::new(move |is_written| {
                    drop(reply.send(is_written.then_some(answer)));
                    ends.filter(|_| is_written).map(|reason| (edge, reason))
                })
            })
        };
        self.ask(|reply| TrustCommand::Change(Some(name), work(reply))).await?.ok_or(TrustError::NotWritten)
    }

    /// Opens a code for a name.
    pub async fn invite(&self, name: EdgeName, server: String, ttl: Duration) -> Result<Invitation, TrustError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let code = Code::new(&HEXLOWER.encode(&random)).expect("32 hexadecimal digits are a code");
        let pin = self.authorities.borrow().current.pin;
        let expires_at = Timestamp::now() + ttl;
        let open = OpenCode { digest: code.digest(), expires_at, authority: pin, wrong: 0, used_by: None };
        let invited = name.clone();
        self.change(name.clone(), move |register| (register.invite(&invited, open), None)).await?;
        info!(edge = %name, "join code created");
        Ok(Invitation { uri: JoinUri { server, name, pin, code }, expires_at })
    }

    /// Uses a code: the epoch of the certificate. A session that the name has ends.
    pub async fn join(&self, name: EdgeName, attempt: JoinAttempt) -> Result<Result<u64, InvalidCode>, TrustError> {
        let edge = name.clone();
        let join = move |register: &mut Register| {
            let joined = register.join(&edge, &attempt, Timestamp::now());
            (joined, joined.ok().map(|_| NotAdmitted::Superseded))
        };
        self.change(name, join).await
    }

    /// Notes the next certificate of an edge.
    pub async fn renew(
        &self,
        name: EdgeName,
        epoch: u64,
        signed: (Digest, Timestamp),
    ) -> Result<Result<(), NotAdmitted>, TrustError> {
        let edge = name.clone();
        self.change(name, move |register| (register.renew(&edge, epoch, signed), None)).await
    }

    /// Revokes a name; false where it is not known.
    pub async fn revoke(&self, name: EdgeName) -> Result<bool, TrustError> {
        let edge = name.clone();
        let revoke = move |register: &mut Register| {
            let is_known = register.revoke(&edge);
            (is_known, is_known.then_some(NotAdmitted::Revoked))
        };
        self.change(name, revoke).await
    }

    /// Forgets a name.
    pub async fn forget(&self, name: EdgeName) -> Result<(), TrustError> {
        let edge = name.clone();
        self.change(name, move |register| (register.forget(&edge), None)).await
    }

    /// Makes the next authority, and has connected edges renew: its pin.
    pub async fn rotate(&self) -> Result<Digest, TrustError> {
        self.ask(TrustCommand::Rotate).await?
    }

    /// Ends the previous authority, where no edge needs it, or with `force`.
    pub async fn retire(&self, force: bool) -> Result<Retired, TrustError> {
        self.ask(|reply| TrustCommand::Retire(force, reply)).await?
    }
}

/// Between two looks at the ends of certificates, where they live for a day; where they live for less, they are looked at
/// eight times in a life.
const LOOK: Duration = Duration::from_mins(1);

/// Owns the register.
#[derive(Debug)]
pub struct Registrar {
    register: Register,
    store: Arc<Store>,
    state_dir: PathBuf,
    authorities: watch::Sender<Arc<Authorities>>,
    commands: mpsc::Receiver<TrustCommand>,
    terms: EdgeTerms,
    ends: CertificateEnds,
}

impl Registrar {
    /// Reads the register, opens the authority, and makes sure that they belong together. Blocks.
    pub fn open(
        store: Arc<Store>,
        state_dir: PathBuf,
        given: Option<&(PathBuf, PathBuf)>,
        terms: EdgeTerms,
    ) -> Result<(Self, TrustHandle), TrustError> {
        let dir = state_dir.join(keeping::DIR);
        let remembered = store.get(AUTHORITY_KEY)?;
        let remembered = remembered.and_then(|stored| Digest::parse(&String::from_utf8_lossy(&stored.value)));
        let authorities = match given {
            Some((certificate, key)) => keeping::given(certificate, key)?,
            None => keeping::open(&state_dir, remembered.is_none(), now_secs())?,
        };
        keeping::check(&authorities, remembered, &dir)?;
        let mut batch = Batch::new();
        if !authorities.is_given && remembered != Some(authorities.current.pin) {
            batch = batch.put(AUTHORITY_KEY, authorities.current.pin.to_string());
        }
        if !batch.is_empty() {
            store.commit(&batch)?;
        }
        let register = read_register(&store)?;
        let (authorities, watched) = watch::channel(Arc::new(authorities));
        let (sender, commands) = mpsc::channel(REQUESTS);
        let handle = TrustHandle { commands: sender, authorities: watched, terms: terms.clone() };
        let ends = CertificateEnds::default();
        Ok((Self { register, store, state_dir, authorities, commands, terms, ends }, handle))
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, fleet: FleetHandle, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK.min(self.terms.ttl / 8));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut commands = Vec::new();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => self.look_at_ends(&fleet).await,
                taken = self.commands.recv_many(&mut commands, TOGETHER) => if taken == 0 { return },
            }
            let mut changes = Vec::new();
            for command in commands {
                match command {
                    TrustCommand::Change(name, work) => changes.push((name, work)),
                    TrustCommand::Rotate(reply) => {
                        self.change_all(std::mem::take(&mut changes), &fleet).await;
                        drop(reply.send(self.rotate(&fleet).await));
                    }
                    TrustCommand::Retire(force, reply) => {
                        self.change_all(std::mem::take(&mut changes), &fleet).await;
                        drop(reply.send(self.retire(force).await));
                    }
                }
            }
            self.change_all(changes, &fleet).await;
        }
    }

    /// Reports the certificates that near their end, have ended, or were renewed since the last look.
    async fn look_at_ends(&mut self, fleet: &FleetHandle) {
        let end = i64::try_from(self.authorities.borrow().current.not_after).unwrap_or(i64::MAX);
        let authority = Timestamp::from_second(end).unwrap_or(Timestamp::MAX);
        let of_edges = self.register.iter().filter(|(_, entry)| entry.has_joined() && !entry.revoked);
        let of_edges = of_edges.filter_map(|(name, entry)| {
            Some(CertificateInUse { edge: Some(name.clone()), expires_at: entry.expires_at? })
        });
        let all = std::iter::once(CertificateInUse { edge: None, expires_at: authority }).chain(of_edges);
        for change in self.ends.look(all, self.terms.ttl, Timestamp::now()) {
            _ = fleet.event(Event::Certificate(change)).await;
        }
    }

    /// Makes changes, writes them, and answers.
    async fn change_all(&mut self, changes: Vec<(Option<EdgeName>, Work)>, fleet: &FleetHandle) {
        let before = self.register.clone_of(changes.iter().filter_map(|(name, _)| name.as_ref()));
        let mut finishes = Vec::new();
        for (_, work) in changes {
            finishes.push(work(&mut self.register));
        }
        let touched: BTreeSet<EdgeName> = before
            .iter()
            .filter(|(name, entry)| self.register.get(name) != entry.as_ref())
            .map(|(name, _)| name.clone())
            .collect();
        let is_written = self.write(touched.iter()).await;
        if !is_written {
            for (name, entry) in before {
                self.register.undo(name, entry);
            }
        }
        for finish in finishes {
            // The session is cut before the new one can begin, and before an operator learns of it.
            let ends = finish(is_written);
            if let Some((edge, reason)) = ends {
                _ = fleet.cut(edge, None, reason).await;
            }
        }
    }

    async fn write(&self, names: impl Iterator<Item = &EdgeName>) -> bool {
        let mut batch = Batch::new();
        for name in names {
            let key = format!("{EDGE_PREFIX}{name}");
            batch = match self.register.get(name) {
                Some(entry) => batch.put(key, serde_json::to_vec(entry).expect("an entry holds only texts")),
                None => batch.delete(key),
            };
        }
        if batch.is_empty() {
            return true;
        }
        self.commit(batch.put(EPOCH_KEY, self.register.epoch().to_string())).await.is_ok()
    }

    async fn commit(&self, batch: Batch) -> Result<(), TrustError> {
        let store = Arc::clone(&self.store);
        let written = spawn_blocking(move || store.commit(&batch)).await;
        match written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(_) => Ok(()),
            Err(error) => {
                warn!(%error, "the register of edges cannot be written");
                Err(error.into())
            }
        }
    }

    async fn rotate(&mut self, fleet: &FleetHandle) -> Result<Digest, TrustError> {
        let (dir, before) = (self.state_dir.clone(), Arc::clone(&self.authorities.borrow()));
        let made = spawn_blocking(move || keeping::rotate(&dir, &before, now_secs())).await;
        let next = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let pin = next.current.pin;
        self.authorities.send_replace(Arc::new(next));
        self.commit(Batch::new().put(AUTHORITY_KEY, pin.to_string())).await?;
        info!(authority = %pin, "the next certificate authority signs, connected edges renew");
        _ = fleet.renew_certificates().await;
        Ok(pin)
    }

    async fn retire(&mut self, force: bool) -> Result<Retired, TrustError> {
        let authorities = Arc::clone(&self.authorities.borrow());
        let pin = authorities.current.pin;
        if authorities.is_given {
            return Err(TrustError::Given);
        }
        if authorities.previous.is_none() {
            return Err(TrustError::Single);
        }
        let left = self.register.of_other_authorities(pin);
        if !left.is_empty() && !force {
            return Ok(Retired { left, is_done: false });
        }
        let dir = self.state_dir.clone();
        let ended = spawn_blocking(move || keeping::retire(&dir, &authorities)).await;
        let last = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        self.authorities.send_replace(Arc::new(last));
        let names = self.register.end_codes_of_others(pin);
        self.write(names.iter()).await;
        info!(authority = %pin, "the previous certificate authority is retired");
        Ok(Retired { left, is_done: true })
    }
}

fn read_register(store: &Store) -> Result<Register, TrustError> {
    let mut entries = BTreeMap::new();
    for (key, stored) in store.list(EDGE_PREFIX)? {
        let damaged = |reason: String| TrustError::Record { key: key.clone(), reason };
        let name = key.strip_prefix(EDGE_PREFIX).unwrap_or_default();
        let name = EdgeName::new(name).map_err(|error| damaged(error.to_string()))?;
        entries.insert(name, Enrolment::read(&stored.value).map_err(damaged)?);
    }
    let epoch = store.get(EPOCH_KEY)?.map(|stored| String::from_utf8_lossy(&stored.value).parse().ok());
    Ok(Register::restore(entries, epoch.flatten().unwrap_or(0)))
}
