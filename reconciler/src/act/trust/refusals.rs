//! Edges that were not let in: counted, and written to the audit where they were about an edge by name. I/O.
//!
//! Keeps: what a stranger sends names nothing but the edge that it wanted to be, and is bounded like every refusal.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use guard::connection::Peer;
use jiff::Timestamp;
use schema::name::EdgeName;

use crate::act::operators::Operators;
use crate::decide::operators::AuditEntry;

/// What an edge wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Its first certificate.
    Join,
    /// Its next certificate.
    Renew,
    /// A session, or to see that it can have one.
    Session,
}

impl Wish {
    /// As in the audit and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Session => "session",
        }
    }
}

/// Counts and writes down.
#[derive(Debug, Clone)]
pub struct EdgeRefusals {
    operators: Operators,
    counts: Arc<Mutex<BTreeMap<(Wish, &'static str), u64>>>,
}

impl EdgeRefusals {
    /// None yet.
    pub fn new(operators: Operators) -> Self {
        Self { operators, counts: Arc::default() }
    }

    /// Notes one. `edge` is the name that was asked for, where it was one; `is_proven` says that the certificate is of it.
    pub async fn note(
        &self,
        (wish, reason): (Wish, &'static str),
        (edge, is_proven): (Option<&EdgeName>, bool),
        from: Option<SocketAddr>,
    ) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry((wish, reason)).or_default() += 1;
        let Some(edge) = edge else { return };
        let entry = AuditEntry {
            at: Timestamp::now(),
            who: if is_proven { format!("edge {edge}") } else { String::new() },
            from: from.map(|from| from.ip().to_string()).unwrap_or_default(),
            what: format!("{} {edge}", wish.as_str()),
            outcome: reason.to_owned(),
        };
        // A server that is stopping writes nothing more.
        self.operators.refused(entry).await.ok();
    }

    /// How many there were, by wish and reason.
    pub fn counts(&self) -> Vec<(Wish, &'static str, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((wish, reason), count)| (*wish, *reason, *count)).collect()
    }
}

/// Where a peer is.
pub fn address(peer: Option<&Peer>) -> Option<SocketAddr> {
    peer.and_then(|peer| peer.addresses.remote_addr())
}
