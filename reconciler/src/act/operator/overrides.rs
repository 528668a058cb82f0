//! `/v1/overrides`: break-glass rules. I/O.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use jiff::Timestamp;
use schema::name::{EdgeName, RuleAddress, RuleName};
use schema::spec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::write::body;
use super::{Failure, State};
use crate::decide::fleet::{Answer, OverrideRefusal, OverrideRequest, Request, RequestRefusal};
use crate::decide::overrides::{InvalidOverride, Override};

/// The largest body: one rule and a reason.
const MAX_BODY: usize = 64 << 10;

/// Body of `POST /v1/overrides`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideBody {
    /// The edge.
    pub edge: EdgeName,
    /// The rule, with the keys of the rule language.
    pub rule: Map<String, Value>,
    /// Why.
    pub why: String,
    /// For how long.
    pub ttl_secs: u64,
}

/// One override, as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverrideRow {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// Who put it there, or ended it.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What it forwards, with the keys of the rule language.
    pub spec: Map<String, Value>,
    /// The same as TOML, to be committed.
    pub toml: String,
}

fn row(edge: &EdgeName, held: &Override) -> OverrideRow {
    OverrideRow {
        edge: edge.clone(),
        rule: held.rule.name.clone(),
        actor: held.actor.clone(),
        why: held.why.clone(),
        since: held.since,
        until: held.until,
        spec: spec::to_json(&held.rule),
        toml: spec::to_toml(&held.rule, Some(edge)),
    }
}

pub(super) async fn list(Extract(state): Extract<State>) -> Result<Json<Vec<OverrideRow>>, Failure> {
    let rows = state.context.fleet.read(|view| {
        let all = view.fleet.edges().iter();
        all.flat_map(|(edge, view)| view.overrides.values().map(|held| row(edge, held))).collect()
    });
    Ok(Json(rows.await?))
}

pub(super) async fn add(
    Extract(state): Extract<State>,
    request: Body,
) -> Result<(StatusCode, Json<OverrideRow>), Failure> {
    let request: OverrideBody = body(request, MAX_BODY).await?;
    let invalid = |reason: String| Failure::new(400, "invalid_value", "Not a rule", reason);
    let rule = spec::from_json(&Value::Object(request.rule)).map_err(invalid)?;
    let edge = request.edge.clone();
    let ttl = Duration::from_secs(request.ttl_secs);
    let (why, actor) = (request.why, "operator".to_owned());
    let added = OverrideRequest::Add { edge: edge.clone(), rule: rule.into(), why, ttl, actor };
    Ok((StatusCode::CREATED, Json(ask(&state, &edge, added).await?)))
}

pub(super) async fn remove(
    Extract(state): Extract<State>,
    Path((edge, rule)): Path<(String, String)>,
) -> Result<Json<OverrideRow>, Failure> {
    let unknown = |_| Failure::not_found(format!("no override {edge}/{rule}"));
    let RuleAddress { edge, rule } = RuleAddress::parse(&format!("{edge}/{rule}")).map_err(unknown)?;
    let removed = OverrideRequest::Remove { edge: edge.clone(), rule, actor: "operator".to_owned() };
    ask(&state, &edge, removed).await.map(Json)
}

async fn ask(state: &State, edge: &EdgeName, request: OverrideRequest) -> Result<OverrideRow, Failure> {
    let answer = state.context.fleet.request(Request::Override(request)).await?;
    match answer.map_err(refused)? {
        Answer::Override(held) => Ok(row(edge, &held)),
        Answer::Target(_) => unreachable!("an override was asked for"),
    }
}

fn refused(refusal: RequestRefusal) -> Failure {
    let detail = refusal.to_string();
    let (status, code, title) = match refusal {
        RequestRefusal::StateNotWritable(_) => {
            (507, "state_not_writable".to_owned(), "The server cannot write its state")
        }
        RequestRefusal::Target(_) => unreachable!("an override was asked for"),
        RequestRefusal::Override(OverrideRefusal::Unknown { .. }) => (404, "not_found".to_owned(), "Not found"),
        RequestRefusal::Override(OverrideRefusal::Undecided(_)) => {
            (409, "extra".to_owned(), "The edge runs what nobody applied")
        }
        RequestRefusal::Override(OverrideRefusal::Invalid(invalid)) => match invalid {
            InvalidOverride::UnknownEdge(_) => (404, "unknown_edge".to_owned(), "Not found"),
            InvalidOverride::NameTaken(_) => (409, "duplicate_rule".to_owned(), "The name is taken"),
            InvalidOverride::PortTaken { .. } | InvalidOverride::Overridden { .. } => {
                (409, "port_clash".to_owned(), "The port is taken")
            }
            InvalidOverride::Rejected(rejection) => (422, rejection.code.as_str().to_owned(), "The edge cannot do it"),
            InvalidOverride::Lifetime => (400, "out_of_range".to_owned(), "Not a lifetime"),
            InvalidOverride::NoReason => (400, "missing_key".to_owned(), "No reason given"),
        },
    };
    Failure::new(status, &code, title, detail)
}
