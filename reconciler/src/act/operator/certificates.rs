//! `/v1/edge-tokens`, `/v1/edges/{edge}/revoke` and `/v1/ca`: who may take part. I/O.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Extract};
use jiff::Timestamp;
use schema::canonical::Digest;
use schema::codes::TreeCode;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

use super::{Failure, State};
use crate::act::trust::TrustError;
use crate::act::trust::registrar::Retired;
use crate::decide::codes::ProblemCode;

/// How long a join code may work: `edge-token create --ttl`.
pub const TTL: std::ops::RangeInclusive<u64> = 1..=24 * 3600;

/// What `edge-token create` asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeTokenRequest {
    /// The edge.
    pub name: String,
    /// How long the code works, in seconds.
    pub ttl_secs: u64,
}

/// An invitation for one edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EdgeToken {
    /// What the edge is started with.
    pub uri: String,
    /// When the code ends.
    pub expires_at: Timestamp,
}

/// The edge that was revoked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokedEdge {
    /// Its name.
    pub name: EdgeName,
}

/// One certificate authority.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorityDocument {
    /// SHA-256 of its certificate.
    pub pin: Digest,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Its certificate, as PEM.
    pub certificate: String,
}

/// The certificate authorities that are trusted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthoritiesDocument {
    /// The one that signs.
    pub current: AuthorityDocument,
    /// The one before it, until it is retired.
    pub previous: Option<AuthorityDocument>,
    /// True if the operator gave it with `--ca-cert`.
    pub given: bool,
    /// Edges whose certificate the previous one signed.
    pub not_renewed: Vec<EdgeName>,
}

/// What `ca retire` asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetireRequest {
    /// Even though edges still have certificates from it.
    pub force: bool,
}

fn refused(error: &TrustError) -> Failure {
    let detail = error.to_string();
    match error {
        TrustError::NotWritten | TrustError::Store(_) => Failure::state_not_writable(detail),
        TrustError::Stopped => Failure::stopping(detail),
        TrustError::Given => Failure::new(409, ProblemCode::CaGiven, "The authority is not the server's own", detail),
        TrustError::Overlap => Failure::new(409, ProblemCode::CaOverlap, "Two authorities are trusted already", detail),
        TrustError::Single => Failure::new(409, ProblemCode::CaSingle, "There is no previous authority", detail),
        _ => Failure::new(500, ProblemCode::CaUnusable, "The authority cannot be used", detail),
    }
}

pub(super) async fn invite(
    Extract(state): Extract<State>,
    Json(request): Json<EdgeTokenRequest>,
) -> Result<Json<EdgeToken>, Failure> {
    let invalid = |detail: String| Failure::new(400, TreeCode::InvalidValue, "Invalid value", detail);
    let name = EdgeName::new(&request.name).map_err(|error| invalid(format!("the edge name is not valid: {error}")))?;
    if !TTL.contains(&request.ttl_secs) {
        return Err(invalid("the code must work for 1 s to 24 h".to_owned()));
    }
    let server = state.context.advertised.clone().ok_or_else(|| {
        let detail = "the control port listens on all addresses, so the server does not know by which one edges reach \
                      it: restart it with --advertise HOST:PORT";
        Failure::new(409, ProblemCode::NotAdvertised, "No address for edges", detail)
    })?;
    let ttl = Duration::from_secs(request.ttl_secs);
    let invitation = state.context.trust.invite(name, server, ttl).await.map_err(|error| refused(&error))?;
    Ok(Json(EdgeToken { uri: invitation.uri.expose(), expires_at: invitation.expires_at }))
}

pub(super) async fn revoke(
    Extract(state): Extract<State>,
    Path(edge): Path<String>,
) -> Result<Json<RevokedEdge>, Failure> {
    let unknown = || Failure::new(404, ProblemCode::UnknownEdge, "Not found", format!("edge {edge} has not joined"));
    let name = EdgeName::new(&edge).map_err(|_| unknown())?;
    let is_known = state.context.trust.revoke(name.clone()).await.map_err(|error| refused(&error))?;
    if is_known { Ok(Json(RevokedEdge { name })) } else { Err(unknown()) }
}

pub(super) async fn authority(Extract(state): Extract<State>) -> Result<Json<AuthoritiesDocument>, Failure> {
    document(&state).await.map(Json)
}

async fn document(state: &State) -> Result<AuthoritiesDocument, Failure> {
    let authorities = std::sync::Arc::clone(&state.context.trust.authorities.borrow());
    let pin = authorities.current.pin;
    let left = state.context.trust.read(move |register| register.of_other_authorities(pin)).await;
    let shown = |authority: &crate::act::trust::authority::Authority| AuthorityDocument {
        pin: authority.pin,
        expires_at: i64::try_from(authority.not_after).ok().and_then(|end| Timestamp::from_second(end).ok()),
        certificate: crate::act::trust::authority::pem([&authority.certificate]),
    };
    Ok(AuthoritiesDocument {
        current: shown(&authorities.current),
        previous: authorities.previous.as_deref().map(shown),
        given: authorities.is_given,
        not_renewed: left.map_err(|error| refused(&error))?,
    })
}

pub(super) async fn rotate(Extract(state): Extract<State>) -> Result<Json<AuthoritiesDocument>, Failure> {
    state.context.trust.rotate().await.map_err(|error| refused(&error))?;
    document(&state).await.map(Json)
}

pub(super) async fn retire(
    Extract(state): Extract<State>,
    Json(request): Json<RetireRequest>,
) -> Result<Json<AuthoritiesDocument>, Failure> {
    let Retired { left, is_done } = state.context.trust.retire(request.force).await.map_err(|error| refused(&error))?;
    if !is_done {
        let names: Vec<&str> = left.iter().map(EdgeName::as_str).collect();
        let detail = format!(
            "these edges still have certificates from the previous authority: {}; start them so that they renew, \
             revoke those that are gone, or retire it with --force, after which they have to join again",
            names.join(", ")
        );
        return Err(Failure::new(409, ProblemCode::CaInUse, "The previous authority is in use", detail));
    }
    document(&state).await.map(Json)
}
