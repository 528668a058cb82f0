//! `/v1/operators`: who may ask for what. I/O.
//!
//! Keeps: a token is in one answer, the one that creates its operator, and nowhere else.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::OperatorName;
use serde::{Deserialize, Serialize};

use super::audit::Noted;
use super::identity::Who;
use super::reasons::MAX_ORDER;
use super::{Failure, State, body};
use crate::act::operators::OperatorsError;
use crate::act::private_file::random_token;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::{Caller, Grant, Operator, RefusedOperator, Role, Secret, Terms};

/// The longest life of a token that ends at all.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 10);

/// Body of `POST /v1/operators`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorBody {
    /// The name.
    pub name: OperatorName,
    /// The role.
    pub role: Role,
    /// The limits; none where they are left out.
    #[serde(default)]
    pub grant: Grant,
    /// The identity tokens that are its own, of a CI job; left out: it gets a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Terms>,
    /// How long its token lives; left out: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
}

/// An operator that was created.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedOperator {
    /// Its name.
    pub name: OperatorName,
    /// Its role.
    pub role: Role,
    /// Its token, which nobody can read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// When the token ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// An operator, as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperatorRow {
    /// Its name.
    pub name: OperatorName,
    /// Its role.
    pub role: Role,
    /// Its limits.
    pub grant: Grant,
    /// The identity tokens that are its own; none where it has a token.
    pub oidc: Option<Terms>,
    /// True for the operator of the state directory, which cannot be revoked.
    pub built_in: bool,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// By whom.
    pub created_by: String,
    /// When its token ends, if it does.
    pub expires_at: Option<Timestamp>,
}

impl From<&Caller> for OperatorRow {
    fn from(caller: &Caller) -> Self {
        Self {
            name: caller.name.clone(),
            role: caller.role,
            grant: caller.grant.clone(),
            oidc: None,
            built_in: true,
            created_at: None,
            created_by: String::new(),
            expires_at: None,
        }
    }
}

impl From<&Operator> for OperatorRow {
    fn from(operator: &Operator) -> Self {
        Self {
            name: operator.name.clone(),
            role: operator.role,
            grant: operator.grant.clone(),
            oidc: match &operator.secret {
                Secret::Oidc(terms) => Some(terms.clone()),
                Secret::Token(_) => None,
            },
            built_in: false,
            created_at: Some(operator.created_at),
            created_by: operator.created_by.clone(),
            expires_at: operator.expires_at,
        }
    }
}

fn refused(error: OperatorsError) -> Failure {
    let refusal = match error {
        OperatorsError::Refused(refusal) => refusal,
        OperatorsError::Store(error) => {
            return Failure::state_not_writable(format!(
                "nothing was changed: {}",
                schema::causes::with_causes(&error)
            ));
        }
    };
    let (status, code, title) = match &refusal {
        RefusedOperator::Reserved(_) | RefusedOperator::BuiltIn => {
            (409, ProblemCode::ReservedName, "The name is reserved")
        }
        RefusedOperator::Exists(_) => (409, ProblemCode::DuplicateOperator, "The name is in use"),
        RefusedOperator::Unknown(_) => (404, ProblemCode::UnknownOperator, "No such operator"),
        RefusedOperator::Grant(_) => (400, ProblemCode::BadRequest, "Not a limit"),
        RefusedOperator::Terms(_) => (400, ProblemCode::BadRequest, "Not an identity token to trust"),
        RefusedOperator::Full => (409, ProblemCode::TooManyOperators, "Too many operators"),
    };
    Failure::new(status, code, title, refusal.to_string())
}

pub(super) async fn list(Extract(state): Extract<State>) -> Json<Vec<OperatorRow>> {
    let roster = state.context.operators.roster();
    let own = OperatorRow::from(&**roster.own());
    Json(std::iter::once(own).chain(roster.operators().map(OperatorRow::from)).collect())
}

/// Who asks: what a command that signs in checks its token with.
pub(super) async fn me(Extract(state): Extract<State>, Extension(who): Extension<Who>) -> Json<OperatorRow> {
    let roster = state.context.operators.roster();
    let known = roster.operators().find(|operator| operator.name == who.caller.name);
    Json(known.map_or_else(|| OperatorRow::from(&*who.caller), OperatorRow::from))
}

pub(super) async fn create(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    request: Body,
) -> Result<Response, Failure> {
    let request: OperatorBody = body::read(request, MAX_ORDER).await?;
    let ttl = request.ttl_secs.map(Duration::from_secs);
    if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > LONGEST) {
        let detail = "a token lives from one second to ten years, or until its operator is revoked";
        return Err(Failure::new(400, ProblemCode::BadRequest, "Not a lifetime", detail));
    }
    let now = Timestamp::now();
    let expires_at = ttl.and_then(|ttl| now.checked_add(ttl).ok());
    let random =
        |error: getrandom::Error| Failure::new(500, ProblemCode::Internal, "No random numbers", error.to_string());
    let (name, role) = (request.name, request.role);
    let (secret, token) = if let Some(terms) = request.oidc {
        (Secret::Oidc(terms), None)
    } else {
        let token = random_token().map_err(random)?;
        (Secret::Token(Digest::of(token.as_bytes())), Some(token))
    };
    let operator = Operator::new(name.clone(), (role, request.grant), (now, who.actor()), expires_at, secret);
    state.context.operators.create(operator).await?.map_err(refused)?;
    let noted = Noted(Some(format!("{name} ({role})")));
    let created = CreatedOperator { name, role, token, expires_at };
    Ok((StatusCode::CREATED, Extension(noted), Json(created)).into_response())
}

pub(super) async fn revoke(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
) -> Result<Json<OperatorRow>, Failure> {
    let unknown = |_| {
        Failure::new(404, ProblemCode::UnknownOperator, "No such operator", format!("operator {name} does not exist"))
    };
    let wanted = OperatorName::new(&name).map_err(unknown)?;
    let revoked = state.context.operators.revoke(wanted).await?.map_err(refused)?;
    Ok(Json(OperatorRow::from(&revoked)))
}
