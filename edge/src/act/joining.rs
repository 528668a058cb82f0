//! How an edge becomes and stays a member: it joins with a code, and renews its certificate. I/O.
//!
//! Keeps: the key of a join is on disk before the code is used, so that an answer that was lost is asked for again; a
//! certificate replaces the former one only when it is on disk; a code that was used here is never sent again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use schema::join::JoinUri;
use schema::name::EdgeName;
use schema::proto;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::last_good::StateError;
use super::membership::{self, Credentials, Membership};
use super::rpc::enrolment_client::EnrolmentClient;
use super::server_connector::channel_over;
use super::server_tls::{self, Anchor, DialError};

/// How long the server may take to issue a certificate: a fleet that joins at once waits for its turn.
const ISSUING: Duration = Duration::from_secs(20);
/// Shortest pause between two attempts to renew.
const SHORTEST: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to renew.
const LONGEST: Duration = Duration::from_mins(1);
/// Clocks that differ by more are worth a warning.
const SKEW: Duration = Duration::from_mins(1);

/// How an edge finds its fleet.
#[derive(Debug, Clone)]
pub struct FleetAccess {
    /// `HOST:PORT` of the control port, where it is not the one that the edge joined.
    pub server: Option<String>,
    /// The invitation, the first time.
    pub join: Option<JoinUri>,
}

/// Why an edge is not a member, or cannot stay one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("this edge cannot join: {0}")]
    Refused(String),
    #[error("the certificate of this edge cannot be renewed: {message}")]
    NotRenewed { code: String, message: String },
    #[error("the server issues no certificate: {0}")]
    NoAnswer(String),
    #[error("this edge has not joined: start it with --join and a URI from `portunus edge-token create`")]
    NotJoined,
    #[error("no key can be made")]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

impl MembershipError {
    /// True if the edge must end: it can do nothing without an operator.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// One edge as a member of its fleet; clones are the same.
#[derive(Clone)]
pub(crate) struct FleetMember(Arc<Inner>);

struct Inner {
    name: EdgeName,
    state_dir: PathBuf,
    access: FleetAccess,
    /// Held for a copy only.
    kept: Mutex<Membership>,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl FleetMember {
    /// Reads what the edge keeps.
    pub(crate) fn open(name: EdgeName, state_dir: PathBuf, access: FleetAccess) -> Result<Self, StateError> {
        let mut kept = membership::membership(&state_dir)?.unwrap_or_default();
        if !kept.edge.is_empty() && kept.edge != name.as_str() {
            if kept.has_joined() {
                return Err(StateError::Foreign { path: state_dir, owner: kept.edge, name });
            }
            // A join that was refused, under a name that may have been a mistake, claims no directory.
            kept = Membership::default();
        }
        Ok(Self(Arc::new(Inner { name, state_dir, access, kept: Mutex::new(kept) })))
    }

    fn kept(&self) -> Membership {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `HOST:PORT` of the control port; `None` before the first join without an invitation.
    pub(crate) fn server(&self) -> Option<String> {
        let invited = || self.0.access.join.as_ref().map(|join| join.server.clone());
        let kept = Some(self.kept().server).filter(|server| !server.is_empty());
        self.0.access.server.clone().or_else(|| if self.invitation().is_some() { invited() } else { kept })
    }

    /// The invitation, if it was not used here.
    fn invitation(&self) -> Option<&JoinUri> {
        let kept = self.kept();
        let join = self.0.access.join.as_ref()?;
        (kept.credentials.is_none() || !kept.has_used(&join.code)).then_some(join)
    }

    /// What sessions are opened with.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        self.kept().credentials
    }

    /// True if the server said that this edge was revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.kept().revoked
    }

    /// Connects with the edge's certificate.
    pub(crate) async fn connect(&self) -> Result<tonic::transport::Channel, MembershipError> {
        let own = self.credentials().ok_or(MembershipError::NotJoined)?;
        let place = self.server().ok_or(MembershipError::NotJoined)?;
        let known = own.authorities.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let stream = server_tls::dial(&place, Anchor::Known(known), Some(&own)).await?;
        Ok(channel_over(stream).await.map_err(DialError::from)?)
    }

    /// Makes the edge a member, where it is not one or was invited anew.
    pub(crate) async fn ensure(&self) -> Result<(), MembershipError> {
        if let Some(invitation) = self.invitation() {
            return self.join(&invitation.clone()).await;
        }
        let own = self.credentials().ok_or(MembershipError::NotJoined)?;
        if now_ms() >= own.received_ms.saturating_add(own.lifetime_ms) {
            return self.renew().await;
        }
        Ok(())
    }

    async fn join(&self, invitation: &JoinUri) -> Result<(), MembershipError> {
        let key = self.joining_key().await?;
        let place = self.server().unwrap_or_else(|| invitation.server.clone());
        let stream = server_tls::dial(&place, Anchor::Pin(invitation.pin), None).await.map_err(|error| {
            // Nothing was sent; the same invitation will not become better.
            if error.is_final() { MembershipError::Refused(error.to_string()) } else { error.into() }
        })?;
        let mut client = EnrolmentClient::new(channel_over(stream).await.map_err(DialError::from)?);
        let request = proto::JoinRequest {
            edge: self.0.name.to_string(),
            code: invitation.code.expose().to_owned(),
            signing_request: signing_request(&key)?,
        };
        let enrolled = match timeout(ISSUING, client.join(request)).await {
            Err(_) => return Err(MembershipError::NoAnswer("it does not answer in time".to_owned())),
            Ok(Err(status)) if matches!(status.code(), Code::PermissionDenied | Code::InvalidArgument) => {
                return Err(MembershipError::Refused(status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(MembershipError::NoAnswer(said(&status))),
            Ok(Ok(enrolled)) => enrolled.into_inner(),
        };
        warn_of_skew(enrolled.server_time_ms);
        let mut kept = self.kept();
        kept.edge = self.0.name.to_string();
        kept.server = self.0.access.server.clone().unwrap_or_else(|| invitation.server.clone());
        kept.credentials = Some(credentials(&key, enrolled));
        kept.used(&invitation.code);
        (kept.joining_key, kept.revoked) = (Vec::new(), false);
        self.keep(kept).await?;
        tracing::info!(edge = %self.0.name, server = place, "edge joined");
        Ok(())
    }

    /// The key of a join, on disk before it is used.
    async fn joining_key(&self) -> Result<KeyPair, MembershipError> {
        let mut kept = self.kept();
        if let Ok(key) = KeyPair::try_from(kept.joining_key.as_slice()) {
            return Ok(key);
        }
        let key = KeyPair::generate()?;
        kept.joining_key = key.serialize_der();
        kept.edge = self.0.name.to_string();
        self.keep(kept).await?;
        Ok(key)
    }

    /// Gets the next certificate, for a new key.
    pub(crate) async fn renew(&self) -> Result<(), MembershipError> {
        let key = KeyPair::generate()?;
        let mut client = EnrolmentClient::new(self.connect().await?);
        let request = proto::RenewRequest { signing_request: signing_request(&key)? };
        let enrolled = match timeout(ISSUING, client.renew(request)).await {
            Err(_) => return Err(MembershipError::NoAnswer("it does not answer in time".to_owned())),
            Ok(Err(status)) if status.code() == Code::PermissionDenied => {
                let (code, message) = status.message().split_once(": ").unwrap_or(("", status.message()));
                return Err(MembershipError::NotRenewed { code: code.to_owned(), message: message.to_owned() });
            }
            Ok(Err(status)) if server_tls::is_not_accepted(&status) => return Err(DialError::NotAccepted.into()),
            Ok(Err(status)) => return Err(MembershipError::NoAnswer(said(&status))),
            Ok(Ok(enrolled)) => enrolled.into_inner(),
        };
        warn_of_skew(enrolled.server_time_ms);
        let mut kept = self.kept();
        kept.credentials = Some(credentials(&key, enrolled));
        kept.revoked = false;
        self.keep(kept).await?;
        tracing::info!("certificate renewed");
        Ok(())
    }

    /// Renews at half of each certificate's life, for ever; once now where `now` is set.
    pub(crate) async fn stay(self, mut now: bool) {
        let mut pause = Duration::ZERO;
        loop {
            let Some(own) = self.credentials() else { return };
            if !now {
                let due = own.received_ms.saturating_add(own.lifetime_ms / 2);
                // A clock that was set since must not keep a certificate from being renewed.
                let rest = due.saturating_sub(now_ms()).min(own.lifetime_ms / 2);
                sleep(Duration::from_millis(rest).max(pause)).await;
            }
            match self.renew().await {
                Ok(()) => (now, pause) = (false, SHORTEST),
                Err(error) => {
                    let least = Duration::from_millis(own.lifetime_ms / 40).clamp(SHORTEST, LONGEST);
                    (now, pause) = (false, (pause * 2).clamp(least, LONGEST));
                    tracing::warn!(%error, "the certificate was not renewed, and will be retried");
                }
            }
        }
    }

    /// Notes that the server said that this edge was revoked, or that it accepts it again.
    pub(crate) async fn note_revoked(&self, is_revoked: bool) {
        let mut kept = self.kept();
        if kept.revoked != is_revoked {
            kept.revoked = is_revoked;
            if let Err(error) = self.keep(kept).await {
                tracing::warn!(%error, "the membership cannot be written");
            }
        }
    }

    async fn keep(&self, kept: Membership) -> Result<(), StateError> {
        let (inner, copy) = (Arc::clone(&self.0), kept.clone());
        let written = spawn_blocking(move || membership::keep(&inner.state_dir, &copy)).await;
        written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(())
    }
}

/// A connection of a member, for tests that speak the protocol themselves; it joins first where it was invited.
#[cfg(feature = "testing")]
pub async fn channel_of_member(
    name: EdgeName,
    state_dir: PathBuf,
    join: Option<JoinUri>,
) -> Result<tonic::transport::Channel, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let access = FleetAccess { server: None, join };
    let member = FleetMember::open(name, state_dir, access).map_err(|error| said(&error))?;
    member.ensure().await.map_err(|error| said(&error))?;
    member.connect().await.map_err(|error| said(&error))
}

fn signing_request(key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    Ok(CertificateParams::default().serialize_request(key)?.der().to_vec())
}

fn credentials(key: &KeyPair, enrolled: proto::Enrolled) -> Credentials {
    Credentials {
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).secret_pkcs8_der().to_vec(),
        certificate: enrolled.certificate,
        authorities: enrolled.authorities,
        received_ms: now_ms(),
        lifetime_ms: enrolled.lifetime_ms,
    }
}

fn said(status: &Status) -> String {
    super::wording::cause(status)
        .filter(|_| std::error::Error::source(status).is_some())
        .unwrap_or_else(|| status.message().to_owned())
}

/// Clocks that differ make certificates begin in the future or end too early.
fn warn_of_skew(server_ms: u64) {
    let own = now_ms();
    let skew = Duration::from_millis(own.abs_diff(server_ms));
    if skew > SKEW {
        let which = if own > server_ms { "ahead of" } else { "behind" };
        tracing::warn!(
            "the clock of this host is {} s {which} that of the server: set the clocks of both, for example with \
             chrony or systemd-timesyncd",
            skew.as_secs()
        );
    }
}
