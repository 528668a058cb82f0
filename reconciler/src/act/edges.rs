//! The control port: sessions of edges over gRPC, as events for the driver. I/O.
//!
//! Keeps: garbage from a peer is an error to that peer and nothing else; a session has bounded queues both ways.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::Stream;
use guard::connection::Peer;
use guard::supervisor::contained;
use guard::{NoPlace, Seat};
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use schema::wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, warn};

use super::driver::{FleetHandle, SessionChannel};
use super::trust::enrolling::identity;
use super::trust::now_secs;
use super::trust::refusals::{self, EdgeRefusals, Wish};
use super::trust::registrar::TrustHandle;
use super::trust::verifying::Identity;
use crate::decide::enrolment::NotAdmitted;
use crate::decide::fleet::{Event, SessionId};
use crate::decide::generation;
use crate::decide::quota::quotas_from_wire;
use crate::decide::target;
use crate::decide::view::{Confirmation, FlowLimit, Hello, Report, RuleView};
use crate::decide::words;

/// The largest desired set or report (CONTRACT §8).
pub const MAX_MESSAGE: usize = 64 << 20;
/// How long a peer may take for its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the certificate of a session is looked at, at least.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
/// Messages to an edge that it has not taken: one desired state is in flight at most, the rest are questions.
const OUTGOING: usize = 64;

#[expect(unreachable_pub, clippy::default_trait_access, clippy::too_many_lines, reason = "generated")]
mod service {
    tonic::include_proto!("portunus.v1");
}

pub use service::edge_control_server::EdgeControlServer;

/// The gRPC service.
#[derive(Debug)]
pub struct EdgeControl {
    fleet: FleetHandle,
    trust: TrustHandle,
    refusals: EdgeRefusals,
    next_session: AtomicU64,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl EdgeControl {
    /// A service that feeds this fleet; its session tasks belong to `tasks` and end with `shutdown`.
    pub fn new(
        fleet: FleetHandle,
        (trust, refusals): (TrustHandle, EdgeRefusals),
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self { fleet, trust, refusals, next_session: AtomicU64::new(1), tasks, shutdown }
    }

    /// The service with its limits set.
    pub fn into_server(self) -> EdgeControlServer<Self> {
        EdgeControlServer::new(self).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<proto::ServerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl service::edge_control_server::EdgeControl for EdgeControl {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<proto::EdgeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let address = peer.as_ref().and_then(|peer| peer.addresses.remote_addr());
        let admitted = match &peer {
            None => None,
            Some(peer) => match self.admit(peer).await? {
                Ok(identity) => Some(identity),
                Err(refused) => return Ok(refusal(refused.code(), refused.to_string())),
            },
        };
        let seat = peer.map(|peer| peer.seat);
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello arrived in time"))??;
        let Some(proto::EdgeMessage { body: Some(proto::edge_message::Body::Hello(message)) }) = first else {
            return Err(Status::invalid_argument("the first message of a session must be a hello"));
        };
        let (edge, hello, report) = hello_from_wire(message).map_err(Status::invalid_argument)?;
        if let Some(identity) = admitted.as_ref().filter(|identity| identity.name != edge) {
            self.refusals.note((Wish::Session, "wrong_name"), (Some(&identity.name), true), address).await;
            let message = format!("the certificate is that of edge {}, and not of {edge}", identity.name);
            return Ok(refusal("wrong_name", message));
        }
        let place = self.place(seat, &edge).await?;
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        let (outgoing_tx, outgoing) = mpsc::channel(OUTGOING);
        let event = Event::Hello { session, edge: edge.clone(), hello, report };
        let ended = self.shutdown.child_token();
        let channel = SessionChannel::new(outgoing_tx, ended.clone().drop_guard()).from_address(address);
        self.fleet
            .connect(session, channel, event)
            .await
            .map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        let fleet = self.fleet.clone();
        let certificate = watch_certificate(self.fleet.clone(), self.trust.clone(), session, admitted);
        self.tasks.spawn(async move {
            // One edge must not end the sessions of all others: it is said, and the session is over.
            let received = contained(receive(&fleet, session, &edge, incoming));
            tokio::select! {
                () = ended.cancelled() => {}
                () = certificate => {}
                received = received => if let Err(panic) = received {
                    error!(edge = %edge, session, panic, "session ended because of a bug");
                }
            }
            if fleet.event(Event::Gone { session, edge }).await.is_err() {
                debug!(session, "session ended with the server");
            }
            drop(place);
        });
        let stream = futures_util::StreamExt::map(ReceiverStream::new(outgoing), Ok);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn reach(&self, request: Request<proto::ReachRequest>) -> Result<Response<proto::Reached>, Status> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            self.admit(peer).await?.map_err(|refused| Status::permission_denied(refused.to_string()))?;
        }
        let lineage = self.fleet.read(|view| view.fleet.lineage().to_owned()).await;
        let lineage = lineage.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        Ok(Response::new(proto::Reached { lineage }))
    }
}

impl EdgeControl {
    /// Whom a peer's certificate speaks for.
    async fn admit(&self, peer: &Peer) -> Result<Result<Identity, NotAdmitted>, Status> {
        let no_certificate = || Status::unauthenticated("a session needs the certificate of an edge: join first");
        let from = refusals::address(Some(peer));
        let Some(identity) = identity(Some(peer)) else {
            self.refusals.note((Wish::Session, "no_certificate"), (None, false), from).await;
            return Err(no_certificate());
        };
        if identity.is_expired(now_secs()) {
            let reason = NotAdmitted::Expired;
            self.refusals.note((Wish::Session, reason.code()), (Some(&identity.name), true), from).await;
            return Ok(Err(reason));
        }
        let (name, epoch) = (identity.name.clone(), identity.epoch);
        let admitted = self.trust.read(move |register| register.admits(&name, epoch)).await;
        let admitted = admitted.map_err(|error| Status::unavailable(error.to_string()))?;
        if let Err(reason) = admitted {
            warn!(edge = %identity.name, reason = reason.code(), "a session is refused");
            self.refusals.note((Wish::Session, reason.code()), (Some(&identity.name), true), from).await;
        }
        Ok(admitted.map(|()| identity))
    }

    /// The place that the session has from now on; none where it comes from the same process.
    async fn place(&self, seat: Option<Seat>, edge: &EdgeName) -> Result<Option<SessionSeat>, Status> {
        let Some(seat) = seat else { return Ok(None) };
        let name = edge.clone();
        let is_named = self.fleet.read(move |view| view.fleet.is_named(&name)).await;
        let is_named = is_named.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        seat.begin(is_named).map_err(|reason| match reason {
            NoPlace::Within => Status::already_exists("the connection already has a session"),
            NoPlace::GuestsOnly => {
                warn!(edge = %edge, "no place left for an edge that no tree names");
                Status::resource_exhausted(
                    "every place for edges that no tree names is in use; name this edge in the tree, or stop other \
                     edges",
                )
            }
        })?;
        Ok(Some(SessionSeat(seat)))
    }
}

/// An answer that ends the session at once, and says why.
fn refusal(code: &str, message: String) -> Response<Outgoing> {
    let refusal = proto::Refusal { code: code.to_owned(), message };
    let message = proto::ServerMessage { body: Some(proto::server_message::Body::Refusal(refusal)) };
    Response::new(Box::pin(futures_util::stream::once(async { Ok(message) })))
}

/// Ends once the certificate of a session admits nobody any more; never for an edge of the same process.
async fn watch_certificate(fleet: FleetHandle, trust: TrustHandle, session: SessionId, identity: Option<Identity>) {
    let Some(Identity { name, epoch, mut not_after }) = identity else { return std::future::pending().await };
    loop {
        let current = trust.authorities.borrow().current.pin;
        let asked = name.clone();
        // First of all because it may have been revoked since it was admitted, before it had a session to cut.
        let standing = trust.read(move |register| {
            let signed = register.get(&asked).map(|entry| (entry.expires_at, entry.is_of_another(current)));
            register.admits(&asked, epoch).map(|()| signed)
        });
        let reason = match standing.await {
            Err(_) => return,
            Ok(Err(reason)) => reason,
            Ok(Ok(signed)) => {
                if let Some((end, is_of_another)) = signed {
                    let end = end.and_then(|end| u64::try_from(end.as_second()).ok());
                    not_after = not_after.max(end.unwrap_or(0));
                    if is_of_another {
                        _ = fleet.renew_certificate(session).await;
                    }
                }
                let rest = not_after.saturating_add(1).saturating_sub(now_secs());
                if rest > 0 {
                    // Looked at now and then, since clocks are set.
                    tokio::time::sleep(Duration::from_secs(rest).min(LOOK_AGAIN)).await;
                    continue;
                }
                NotAdmitted::Expired
            }
        };
        _ = fleet.cut(name, Some(session), reason).await;
        return;
    }
}

/// A session's place among the connections of the control port.
struct SessionSeat(Seat);

impl Drop for SessionSeat {
    fn drop(&mut self) {
        self.0.idle();
    }
}

async fn receive(
    fleet: &FleetHandle,
    session: SessionId,
    edge: &EdgeName,
    mut incoming: Streaming<proto::EdgeMessage>,
) {
    loop {
        let body = match incoming.message().await {
            Ok(Some(proto::EdgeMessage { body })) => body,
            Ok(None) => return,
            Err(status) => {
                warn!(edge = %edge, code = ?status.code(), "session lost");
                return;
            }
        };
        let taken = match body {
            Some(proto::edge_message::Body::Report(report)) => match report_from_wire(report) {
                Ok(report) => fleet.event(Event::Report { session, edge: edge.clone(), report }).await,
                Err(reason) => {
                    warn!(edge = %edge, reason, "unreadable report, session ended");
                    return;
                }
            },
            Some(proto::edge_message::Body::Stats(stats)) => fleet.counters(edge.clone(), session, stats).await,
            Some(proto::edge_message::Body::Hello(_)) => {
                warn!(edge = %edge, "second hello in one session, session ended");
                return;
            }
            Some(proto::edge_message::Body::Checked(answer)) => fleet.checked(session, answer).await,
            Some(proto::edge_message::Body::Policy(policy)) => match wire::policy::policy_from_wire(&policy) {
                Ok(policy) => {
                    let policy = Box::new(policy);
                    fleet.event(Event::Policy { session, edge: edge.clone(), policy }).await
                }
                Err(error) => {
                    warn!(edge = %edge, %error, "unreadable policy, session ended");
                    return;
                }
            },
            Some(proto::edge_message::Body::Connections(answer)) => fleet.listed(session, answer).await,
            Some(proto::edge_message::Body::Proven(answer)) => fleet.proven(session, answer).await,
            Some(proto::edge_message::Body::Quotas(report)) => {
                fleet.quotas(edge.clone(), session, quotas_from_wire(&report.quotas)).await
            }
            Some(proto::edge_message::Body::QuotaReset(answer)) => fleet.quota_reset(session, answer).await,
            Some(proto::edge_message::Body::Usage(answer)) => fleet.used(session, answer).await,
            // A message of a newer edge.
            None => Ok(()),
        };
        if taken.is_err() {
            return;
        }
    }
}

fn hello_from_wire(message: proto::Hello) -> Result<(EdgeName, Hello, Report), String> {
    let edge = EdgeName::new(&message.edge).map_err(|error| format!("edge name: {error}"))?;
    let own_listeners = message
        .own_listeners
        .iter()
        .map(wire::listener_from_wire)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("own listeners: {error}"))?;
    let hello = Hello {
        version: message.version,
        capabilities: wire::capabilities_from_wire(&message.capabilities),
        limits: message.limits.as_ref().map(wire::limits_from_wire).unwrap_or_default(),
        own_listeners,
        features: message.features.into_iter().collect(),
        ephemeral_ports: wire::port_set_from_wire(&message.ephemeral_ports),
        host: message.host,
        policy: message
            .policy
            .as_ref()
            .map(wire::policy::policy_from_wire)
            .transpose()
            .map_err(|error| error.to_string())?,
    };
    Ok((edge, hello, report_from_wire(message.report.unwrap_or_default())?))
}

fn report_from_wire(message: proto::Report) -> Result<Report, String> {
    let digest = |bytes: &[u8]| match bytes {
        [] => Ok(Digest::default()),
        bytes => Digest::from_bytes(bytes).ok_or_else(|| "a digest must have 32 bytes".to_owned()),
    };
    generation::check(message.generation)?;
    generation::check(message.answers)?;
    let confirmation = match message.confirmation() {
        proto::Confirmation::None => Confirmation::None,
        proto::Confirmation::Awaited => Confirmation::Awaited,
        proto::Confirmation::Missed => Confirmation::Missed,
    };
    let rules = message.rules.into_iter().map(rule_from_wire).collect::<Result<_, String>>()?;
    Ok(Report {
        lineage: message.lineage,
        generation: message.generation,
        desired_digest: digest(&message.desired_digest)?,
        running_digest: digest(&message.running_digest)?,
        rules,
        refused: message.refused.map(|refusal| (words::code(&refusal.code), refusal.message)),
        answers: message.answers,
        confirmation,
        // What is not a name was never sent.
        ended: message
            .ended
            .into_iter()
            .filter_map(|end| Some((RuleName::new(&end.rule).ok()?, target::time_from_wire(end.until_ms)?)))
            .collect(),
    })
}

fn rule_from_wire(message: proto::RuleReport) -> Result<(RuleName, RuleView), String> {
    let name = RuleName::new(&message.rule).map_err(|error| format!("rule name: {error}"))?;
    let spec = |spec: Option<proto::RuleSpec>| {
        spec.map(|spec| wire::rule_from_wire(&spec).map(Into::into))
            .transpose()
            .map_err(|error| format!("rule {name}: {error}"))
    };
    let view = RuleView {
        state: wire::state_from_wire(message.state),
        code: words::code(&message.code),
        message: message.message,
        running: spec(message.running)?,
        wanted: spec(message.wanted)?,
        connections: message.connections,
        live: message.live.map(Into::into),
        health: target::health_from_wire(&message.health),
        targets: message.targets.into_iter().map(Into::into).collect(),
        flow_limit: (message.flows_refused > 0).then(|| FlowLimit {
            refused: message.flows_refused,
            last_at: target::time_from_wire(message.flows_refused_at_ms),
        }),
    };
    Ok((name, view))
}
