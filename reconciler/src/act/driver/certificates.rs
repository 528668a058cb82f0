//! What certificates mean for sessions: one that admits nobody any more ends its session, and renewals are asked for.
//! No I/O of its own.

use schema::name::EdgeName;
use schema::proto;
use schema::proto::server_message::Body;
use tracing::info;

use super::{Command, Driver, FleetHandle, Stopped};
use crate::decide::enrolment::NotAdmitted;
use crate::decide::fleet::{Event, SessionId};

impl FleetHandle {
    /// Ends the session of an edge whose certificate admits nobody any more; only this session where one is given.
    pub async fn cut(&self, edge: EdgeName, session: Option<SessionId>, reason: NotAdmitted) -> Result<(), Stopped> {
        self.command(Command::Cut { edge, session, reason }).await
    }

    /// Has all connected edges renew their certificates.
    pub async fn renew_certificates(&self) -> Result<(), Stopped> {
        self.command(Command::Renew(None)).await
    }

    /// Has the edge of one session renew its certificate.
    pub async fn renew_certificate(&self, session: SessionId) -> Result<(), Stopped> {
        self.command(Command::Renew(Some(session))).await
    }
}

impl Driver {
    /// Ends a session with a reason. Its name is free at once, for the edge that may have joined in its place.
    pub(super) async fn cut(&mut self, edge: EdgeName, only: Option<SessionId>, reason: NotAdmitted) {
        let Some(session) = self.fleet.session(&edge).filter(|session| only.is_none_or(|only| only == *session)) else {
            return;
        };
        info!(edge = %edge, session, reason = reason.code(), "session is cut");
        let refusal = proto::Refusal { code: reason.code().to_owned(), message: reason.to_string() };
        self.send(session, Body::Refusal(refusal));
        self.sessions.remove(&session);
        self.asked.session_ended(session);
        self.step(Event::Gone { session, edge }).await;
    }

    /// Asks one edge, or all that are connected, for a renewal.
    pub(super) fn ask_for_renewal(&mut self, only: Option<SessionId>) {
        let sessions: Vec<SessionId> = match only {
            Some(session) => vec![session],
            None => self.sessions.keys().copied().collect(),
        };
        for session in sessions {
            self.send(session, Body::Renew(proto::Renew {}));
        }
    }
}
