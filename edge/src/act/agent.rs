//! Keeps a session with the server for as long as the edge lives. I/O.
//!
//! Keeps: forwarding never waits for the server; a session that ends is followed by another one, for ever.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use schema::codes::MembershipCode;
use schema::proto::{EdgeMessage, ServerMessage, server_message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::act::joining::{FleetMember, MembershipError};
use crate::act::rpc::edge_control_client::EdgeControlClient;
use crate::act::runtime::{RuntimeHandle, Stopped};
use crate::act::server_connector::{GREETING, ServerConnector};
use crate::act::server_tls::{self, DialError};
use crate::act::session::{AfterMessage, Offer, Session};
use crate::act::wording;
use crate::decide::backoff;

/// Messages on their way to the server: a stats report and a report per change; whoever waits here waits for the
/// server only, and sends the newest state afterwards.
const OUTGOING: usize = 16;
/// A desired set has at most 64 MiB (CONTRACT §8), and its frame a little more.
const MAX_MESSAGE: usize = (64 << 20) + (64 << 10);
/// How often counters that moved are sent.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// For the server to read why a session ended.
const PARTING: Duration = Duration::from_secs(1);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    NoMember(#[from] MembershipError),
    #[error("the session was interrupted")]
    Broken(#[source] Box<tonic::Status>),
    #[error("the server refused the session: {message} ({code})")]
    Refused { code: String, message: String },
    #[error("the server sent no greeting")]
    NoGreeting,
    #[error("the server ended the session")]
    Ended,
    #[error("the server and the edge disagree about the last message")]
    Disagreed,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Broken(Box::new(status))
    }
}

/// What the rest of the process may know about sessions.
#[derive(Clone)]
pub(crate) struct SessionView {
    /// True between welcome and end.
    pub(crate) connected: watch::Receiver<bool>,
    /// The membership, except in the same process.
    pub(crate) member: Option<FleetMember>,
}

pub(crate) struct Agent {
    way: ServerConnector,
    offer: Arc<Offer>,
    runtime: RuntimeHandle,
    connected: watch::Sender<bool>,
}

impl Agent {
    pub(crate) fn new(server: ServerConnector, offer: Offer, runtime: RuntimeHandle) -> (Self, SessionView) {
        let (connected, view) = watch::channel(false);
        let member = server.member().cloned();
        let agent = Self { way: server, offer: Arc::new(offer), runtime, connected };
        (agent, SessionView { connected: view, member })
    }

    /// Runs session after session; fails where the edge cannot become a member.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), MembershipError> {
        let mut failures = 0;
        let mut last_error = String::new();
        while let Some(Err(error)) = stop.run_until_cancelled(Box::pin(self.session())).await {
            // Whose plans they were held for is not known any more.
            if self.runtime.give_back().await.is_err() {
                break;
            }
            let error = match self.after(error).await {
                Ok(error) => error,
                Err(refused) => {
                    self.connected.send_replace(false);
                    return Err(refused);
                }
            };
            // A welcome came: the next attempt is the first again, unless it would only come to the same end.
            if self.connected.send_replace(false) && !matches!(error, SessionError::Disagreed) {
                failures = 0;
                last_error.clear();
            }
            if matches!(error, SessionError::Stopped(_)) {
                break;
            }
            let Some(text) = stop.run_until_cancelled(self.reason(&error)).await else { break };
            if text != last_error {
                tracing::warn!(error = text, "no session with the server, forwarding continues");
                last_error = text;
            }
            failures += 1;
            // Without chance edges only come back in step.
            let delay = backoff::reconnect_delay(failures, getrandom::u32().unwrap_or(u32::MAX));
            if stop.run_until_cancelled(sleep(delay)).await.is_none() {
                break;
            }
        }
        self.connected.send_replace(false);
        Ok(())
    }

    /// What an error means for the membership; fails where the edge has to end.
    async fn after(&self, error: SessionError) -> Result<SessionError, MembershipError> {
        let Some(member) = self.way.member() else { return Ok(error) };
        match &error {
            SessionError::Refused { code, .. } | SessionError::NoMember(MembershipError::NotRenewed { code, .. }) => {
                match MembershipCode::parse(code) {
                    Some(MembershipCode::Revoked) => member.note_revoked(true).await,
                    // The clocks differ, or it expired while there was no session.
                    Some(MembershipCode::CertificateExpired) => {
                        if let Err(error) = member.renew().await {
                            return Ok(error.into());
                        }
                    }
                    _ => {}
                }
                Ok(error)
            }
            _ => match error {
                SessionError::NoMember(error) if error.is_final() => Err(error),
                other => Ok(other),
            },
        }
    }

    /// Why there is no session: where no server greeted, it may be the address of another port of one.
    async fn reason(&self, error: &SessionError) -> String {
        let mistaken = match error {
            SessionError::Broken(status) if server_tls::is_not_accepted(&**status) => {
                return DialError::NotAccepted.to_string();
            }
            SessionError::Broken(_) | SessionError::NoGreeting => self.way.mistaken().await,
            SessionError::NoMember(MembershipError::Dial(error)) if error.may_be_another_port() => {
                self.way.mistaken().await
            }
            _ => None,
        };
        mistaken.unwrap_or_else(|| sentence(error))
    }

    /// One session from its hello to its end.
    async fn session(&self) -> Result<std::convert::Infallible, SessionError> {
        if let Some(member) = self.way.member() {
            member.ensure().await?;
        }
        let channel = self.way.connect().await?;
        let mut client = EdgeControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut session = Session::new(self.offer.clone(), self.runtime.clone());
        let (outgoing, mut incoming) = greet(&mut client, session.hello()).await?;
        self.connected.send_replace(true);
        let mut renewals = JoinSet::new();
        if let Some(member) = self.way.member() {
            member.note_revoked(false).await;
            renewals.spawn(member.clone().stay(false));
        }
        let mut stats = interval_at(Instant::now() + STATS_INTERVAL, STATS_INTERVAL);
        stats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut confirmations = JoinSet::new();
        loop {
            let (messages, flow) = tokio::select! {
                received = incoming.message() => match received?.ok_or(SessionError::Ended)? {
                    ServerMessage { body: Some(server_message::Body::Confirm(confirm)) } => {
                        // The newest one counts.
                        confirmations = JoinSet::new();
                        confirmations.spawn(self.way.clone().come_through(confirm));
                        continue;
                    }
                    ServerMessage { body: Some(server_message::Body::Renew(_)) } => {
                        if let Some(member) = self.way.member() {
                            renewals = JoinSet::new();
                            renewals.spawn(member.clone().stay(true));
                        }
                        continue;
                    }
                    ServerMessage { body: Some(server_message::Body::Refusal(refusal)) }
                        if MembershipCode::parse(&refusal.code).is_some() =>
                    {
                        return Err(SessionError::Refused { code: refusal.code, message: refusal.message });
                    }
                    received => session.receive(received).await?,
                },
                Some(confirmed) = confirmations.join_next() => match confirmed {
                    Ok(confirmed) => session.receive(confirmed).await?,
                    Err(error) => {
                        tracing::error!(%error, "a confirmation failed because of a bug");
                        continue;
                    }
                },
                messages = session.next() => (messages?, AfterMessage::Continue),
                _ = stats.tick() => (session.moved(), AfterMessage::Continue),
            };
            for message in messages {
                outgoing.send(message).await.map_err(|_| SessionError::Ended)?;
            }
            if flow == AfterMessage::End {
                drop(outgoing);
                _ = timeout(PARTING, until_closed(&mut incoming)).await;
                return Err(SessionError::Disagreed);
            }
        }
    }
}

/// Says hello and waits for the server's greeting. Returns both directions of the session.
async fn greet(
    client: &mut EdgeControlClient<Channel>,
    hello: EdgeMessage,
) -> Result<(mpsc::Sender<EdgeMessage>, tonic::Streaming<ServerMessage>), SessionError> {
    let (outgoing, receiver) = mpsc::channel::<EdgeMessage>(OUTGOING);
    outgoing.send(hello).await.map_err(|_| SessionError::Ended)?;
    let greeting = async {
        let mut incoming = client.session(ReceiverStream::new(receiver)).await?.into_inner();
        let first = incoming.message().await?.ok_or(SessionError::Ended)?;
        Ok::<_, SessionError>((incoming, first))
    };
    let (incoming, first) = timeout(GREETING, greeting).await.map_err(|_| SessionError::NoGreeting)??;
    match first.body {
        Some(server_message::Body::Welcome(welcome)) => {
            tracing::info!(lineage = welcome.lineage, server = welcome.server_version, "session established");
        }
        Some(server_message::Body::Refusal(refusal)) => {
            return Err(SessionError::Refused { code: refusal.code, message: refusal.message });
        }
        _ => return Err(SessionError::NoGreeting),
    }
    Ok((outgoing, incoming))
}

/// Reads on until the server has closed its side, so that the last message is not cut off.
async fn until_closed(incoming: &mut tonic::Streaming<ServerMessage>) {
    while let Ok(Some(_)) = incoming.message().await {}
}

/// One sentence for the log: what happened, and why.
fn sentence(error: &SessionError) -> String {
    let cause = match error {
        SessionError::NoMember(source) => wording::cause(source),
        // Without a cause below it, it is what the server said.
        SessionError::Broken(status) if status.source().is_none() => Some(status.message().to_owned()),
        SessionError::Broken(status) => wording::cause(&**status),
        _ => None,
    };
    match cause.filter(|cause| !cause.is_empty()) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_session_that_broke_off_is_told_in_one_sentence_without_the_inside_of_libraries() {
        let told = |status: tonic::Status| sentence(&SessionError::from(status));
        assert_eq!(
            told(tonic::Status::unavailable("the server is ending")),
            "the session was interrupted: the server is ending"
        );
        let reset = io::Error::from_raw_os_error(104);
        assert_eq!(
            told(tonic::Status::from_error(Box::new(reset))),
            "the session was interrupted: Connection reset by peer"
        );
        let inside = io::Error::new(io::ErrorKind::BrokenPipe, "Custom { kind: BrokenPipe }");
        assert_eq!(told(tonic::Status::from_error(Box::new(inside))), "the session was interrupted: broken pipe");
    }
}
