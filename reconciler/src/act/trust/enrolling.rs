//! The calls by which an edge gets its certificate: with a code the first time, with its certificate afterwards. I/O.
//!
//! Keeps: a stranger learns only that its code is not valid; a certificate is issued after its epoch was written.

use std::net::SocketAddr;

use guard::connection::Peer;
use jiff::Timestamp;
use rcgen::{CertificateSigningRequestParams, PublicKeyData};
use schema::canonical::Digest;
use schema::join::Code;
use schema::name::EdgeName;
use schema::proto;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use super::authority::{self, EdgeSubject};
use super::refusals::{self, EdgeRefusals, Wish};
use super::registrar::TrustHandle;
use super::verifying::Identity;
use super::{TrustError, now_secs};
use crate::decide::enrolment::{InvalidCode, JoinAttempt};

/// The largest request: a signing request for an RSA key of 8,192 bits takes 2 KiB.
const MAX_REQUEST: usize = 16 << 10;

#[expect(unreachable_pub, clippy::default_trait_access, clippy::too_many_lines, reason = "generated")]
mod service {
    include!(concat!(env!("OUT_DIR"), "/enrolment/portunus.v1.rs"));
}

pub use service::enrolment_server::EnrolmentServer;

/// The gRPC service.
#[derive(Debug)]
pub struct EnrolmentService {
    trust: TrustHandle,
    refusals: EdgeRefusals,
}

impl EnrolmentService {
    /// The service with its limits set.
    pub fn server(trust: TrustHandle, refusals: EdgeRefusals) -> EnrolmentServer<Self> {
        EnrolmentServer::new(Self { trust, refusals }).max_decoding_message_size(MAX_REQUEST)
    }

    /// When a certificate ends that is issued now, and the authority that signs it.
    fn terms(&self, now: u64) -> (Digest, Timestamp) {
        let end = now.saturating_add(self.trust.terms.ttl.as_secs());
        let end = Timestamp::from_second(i64::try_from(end).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        (self.trust.authorities.borrow().current.pin, end)
    }

    /// The answer to everybody whose code is not good, whatever the reason is.
    async fn not_joined(&self, edge: Option<&EdgeName>, from: Option<SocketAddr>) -> Status {
        self.refusals.note((Wish::Join, "invalid_code"), (edge, false), from).await;
        Status::permission_denied(InvalidCode.to_string())
    }

    fn issue(
        &self,
        request: &CertificateSigningRequestParams,
        name: &EdgeName,
        (epoch, now): (u64, u64),
    ) -> Result<Response<proto::Enrolled>, Status> {
        let authorities = std::sync::Arc::clone(&self.trust.authorities.borrow());
        let ttl = self.trust.terms.ttl.as_secs();
        let certificate =
            authorities.current.issue_edge(request, &EdgeSubject { name, epoch, now, ttl }).map_err(|error| {
                warn!(edge = %name, %error, "a certificate cannot be issued");
                Status::internal("a certificate cannot be issued")
            })?;
        Ok(Response::new(proto::Enrolled {
            certificate: certificate.to_vec(),
            authorities: authorities.bundle().iter().map(|certificate| certificate.to_vec()).collect(),
            lifetime_ms: ttl.saturating_mul(1000),
            server_time_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
        }))
    }
}

fn key_of(request: &CertificateSigningRequestParams) -> Digest {
    Digest::of(&request.public_key.subject_public_key_info())
}

fn read(signing_request: &[u8]) -> Result<CertificateSigningRequestParams, Status> {
    authority::read_request(signing_request).ok_or_else(|| {
        Status::invalid_argument("the signing request is not valid: expected PKCS #10, signed by its key")
    })
}

fn unavailable(error: &TrustError) -> Status {
    Status::unavailable(error.to_string())
}

/// The identity that a peer proved.
pub fn identity(peer: Option<&Peer>) -> Option<Identity> {
    peer.and_then(|peer| peer.certificate.as_ref()).and_then(Identity::read)
}

#[tonic::async_trait]
impl service::enrolment_server::Enrolment for EnrolmentService {
    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::Enrolled>, Status> {
        let from = refusals::address(request.extensions().get::<Peer>());
        let message = request.into_inner();
        let (name, code) = (EdgeName::new(&message.edge).ok(), Code::new(&message.code));
        let (Some(name), Some(code)) = (name.clone(), code) else {
            return Err(self.not_joined(name.as_ref(), from).await);
        };
        let signing_request = read(&message.signing_request)?;
        let now = now_secs();
        let (authority, expires_at) = self.terms(now);
        let attempt = JoinAttempt { code: code.digest(), key: key_of(&signing_request), authority, expires_at };
        let joined = self.trust.join(name.clone(), attempt).await.map_err(|error| unavailable(&error))?;
        let Ok(epoch) = joined else {
            warn!(edge = %name, "a join was refused: its code is not valid");
            return Err(self.not_joined(Some(&name), from).await);
        };
        info!(edge = %name, "edge joined");
        self.issue(&signing_request, &name, (epoch, now))
    }

    async fn renew(&self, request: Request<proto::RenewRequest>) -> Result<Response<proto::Enrolled>, Status> {
        let peer = request.extensions().get::<Peer>();
        let from = refusals::address(peer);
        let Some(Identity { name, epoch, .. }) = identity(peer) else {
            self.refusals.note((Wish::Renew, "no_certificate"), (None, false), from).await;
            return Err(Status::unauthenticated("renewing needs the certificate of the edge"));
        };
        let signing_request = read(&request.into_inner().signing_request)?;
        let now = now_secs();
        let renewed = self.trust.renew(name.clone(), epoch, self.terms(now)).await;
        if let Err(refused) = renewed.map_err(|error| unavailable(&error))? {
            warn!(edge = %name, reason = refused.code(), "a renewal was refused");
            self.refusals.note((Wish::Renew, refused.code()), (Some(&name), true), from).await;
            // The word for programs comes first, as in a refusal of a session.
            return Err(Status::permission_denied(format!("{}: {refused}", refused.code())));
        }
        self.issue(&signing_request, &name, (epoch, now))
    }
}
