//! `/v1/overrides`: break-glass rules. I/O.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::codes::{RuleCode, TreeCode};
use schema::name::{EdgeName, RuleAddress, RuleName};
use schema::spec;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::identity::{Hidden, Who};
use super::{Failure, State, body, reasons};
use crate::decide::break_glass::Override;
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{OverrideRefusal, OverrideRequest, Request, RequestAnswer, RequestRefusal};
use crate::decide::new_override::InvalidOverride;
use crate::decide::status;
use crate::decide::target_override::{Deviation, TargetOverride};
use crate::decide::view::EdgeView;

/// The largest body: one rule and a reason.
const MAX_BODY: usize = 64 << 10;
/// How long an edge may take to say what came of a rule.
const ANSWER: Duration = Duration::from_secs(10);

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

/// What an override is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideKind {
    /// A break-glass rule.
    #[default]
    Rule,
    /// A target that was paused, disabled or weighed.
    Target,
}

/// One override, as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverrideRow {
    /// What it is of.
    #[serde(default)]
    pub kind: OverrideKind,
    /// The target, of an override of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `pause`, `disable` or `weight`, of an override of a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The weight that a target was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
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
    /// Until when; none where somebody has to end it.
    pub until: Option<Timestamp>,
    /// Its state on the edge; `pending` until the edge has reported it.
    pub state: RuleState,
    /// Why it is not active.
    pub code: String,
    /// In words.
    pub message: String,
    /// What it forwards, with the keys of the rule language; empty for a target.
    #[serde(default)]
    pub spec: Map<String, Value>,
    /// The same as TOML, to be committed.
    #[serde(default)]
    pub toml: String,
}

fn row(edge: &EdgeName, view: &EdgeView, held: &Override) -> OverrideRow {
    let (state, code, message) = standing(view, &held.rule.name);
    OverrideRow {
        kind: OverrideKind::Rule,
        target: None,
        operation: None,
        weight: None,
        edge: edge.clone(),
        rule: held.rule.name.clone(),
        actor: held.actor.clone(),
        why: held.why.clone(),
        since: held.since,
        until: Some(held.until),
        state,
        code,
        message,
        spec: spec::to_json(&held.rule),
        toml: spec::to_toml(&held.rule, Some(edge)),
    }
}

/// An override of a target. An edge that is offline takes it when it comes back.
fn target_row(edge: &EdgeName, view: &EdgeView, each: &TargetOverride) -> OverrideRow {
    let (state, code, message) = if view.connected {
        (RuleState::Active, String::new(), String::new())
    } else {
        let code = RuleCode::ClientNotConnected.as_str().to_owned();
        (RuleState::Pending, code, "the edge receives it when it connects".to_owned())
    };
    OverrideRow {
        kind: OverrideKind::Target,
        target: Some(each.target.clone()),
        operation: Some(each.deviation.as_str().to_owned()),
        weight: match each.deviation {
            Deviation::Weight { weight } => Some(weight),
            Deviation::Pause | Deviation::Disable => None,
        },
        edge: edge.clone(),
        rule: each.rule.clone(),
        actor: each.actor.clone(),
        why: each.why.clone(),
        since: each.since,
        until: each.until,
        state,
        code,
        message,
        spec: Map::new(),
        toml: String::new(),
    }
}

/// State, code and words of a rule on its edge.
fn standing(view: &EdgeView, rule: &RuleName) -> (RuleState, String, String) {
    let told = status::rule_state(view, rule);
    let state = |state: RuleState, code: &str, message: &str| (state, code.to_owned(), message.to_owned());
    match told {
        Some(told) if matches!(told.state, RuleState::Failed | RuleState::Rejected) => {
            state(told.state, told.code, told.message)
        }
        _ if !view.connected => {
            state(RuleState::Pending, RuleCode::ClientNotConnected.as_str(), "the edge receives it when it connects")
        }
        Some(told) if view.is_settled() => state(told.state, told.code, told.message),
        _ => state(RuleState::Pending, "", "the edge has not answered yet"),
    }
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
) -> Result<(Hidden, Json<Vec<OverrideRow>>), Failure> {
    let rows = state.context.fleet.read(move |view| {
        let edges = view.fleet.edges();
        let all = edges.iter();
        let rows = all.flat_map(|(edge, view)| {
            let rules = view.overrides.values().map(|held| row(edge, view, held));
            rules.chain(view.deviations.iter().map(|each| target_row(edge, view, each))).collect::<Vec<_>>()
        });
        let all: Vec<OverrideRow> = rows.collect();
        let (seen, hidden): (Vec<_>, Vec<_>) = all.into_iter().partition(|row| who.sees(edges, &row.edge, &row.rule));
        (Hidden(hidden.len() as u64), Json(seen))
    });
    Ok(rows.await?)
}

pub(super) async fn add(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    request: Body,
) -> Result<(StatusCode, Json<OverrideRow>), Failure> {
    let request: OverrideBody = body::read(request, MAX_BODY).await?;
    let invalid = |reason: String| Failure::new(400, TreeCode::InvalidValue, "Not a rule", reason);
    let rule = spec::from_json(&Value::Object(request.rule)).map_err(invalid)?;
    let edge = request.edge.clone();
    let ttl = Duration::from_secs(request.ttl_secs);
    let (why, actor) = (request.why, who.actor());
    let added = OverrideRequest::Add { edge: edge.clone(), rule: rule.into(), why, ttl, actor };
    // Listening begins before anything is sent, so that no answer falls between the two.
    let mut notices = state.context.fleet.notices();
    let mut added = ask(&state, &who, &edge, added).await?;
    let answered = async {
        while added.state == RuleState::Pending && added.code.is_empty() {
            if matches!(notices.recv().await, Err(RecvError::Closed)) {
                break;
            }
            let (edge, rule) = (edge.clone(), added.rule.clone());
            let told = state.context.fleet.read(move |view| Some(standing(view.fleet.edges().get(&edge)?, &rule)));
            let Some((state, code, message)) = told.await? else { break };
            (added.state, added.code, added.message) = (state, code, message);
        }
        Ok::<_, Failure>(())
    };
    // Without an answer in time it stays pending.
    if let Ok(read) = timeout(ANSWER, answered).await {
        read?;
    }
    Ok((StatusCode::CREATED, Json(added)))
}

pub(super) async fn remove(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
    request: Body,
) -> Result<Json<OverrideRow>, Failure> {
    let why = reasons::reason(request).await?;
    let unknown = |_| Failure::unknown("override", format_args!("{edge}/{rule}"));
    let RuleAddress { edge, rule } = RuleAddress::parse(&format!("{edge}/{rule}")).map_err(unknown)?;
    let removed = OverrideRequest::Remove { edge: edge.clone(), rule, why, actor: who.actor() };
    ask(&state, &who, &edge, removed).await.map(Json)
}

async fn ask(state: &State, who: &Who, edge: &EdgeName, request: OverrideRequest) -> Result<OverrideRow, Failure> {
    let answer = state.context.fleet.request(who.authority(false), Request::Override(request)).await?;
    let RequestAnswer::Override(held) = answer.map_err(refused)? else { unreachable!("an override was asked for") };
    let name = edge.clone();
    let read = state.context.fleet.read(move |view| {
        let unknown = EdgeView::default();
        row(&name, view.fleet.edges().get(&name).unwrap_or(&unknown), &held)
    });
    Ok(read.await?)
}

fn refused(refusal: RequestRefusal) -> Failure {
    let detail = refusal.to_string();
    let (status, code, title) = match refusal {
        RequestRefusal::StateNotWritable(_) => return Failure::state_not_writable(detail),
        RequestRefusal::Denied(denied) => return Failure::denied(&denied),
        RequestRefusal::Target(_) | RequestRefusal::Forget(_) => unreachable!("an override was asked for"),
        RequestRefusal::Override(OverrideRefusal::Unknown { .. }) => (404, ProblemCode::NotFound.as_str(), "Not found"),
        RequestRefusal::Override(OverrideRefusal::Undecided(_)) => {
            (409, ProblemCode::Extra.as_str(), "The edge runs rules that were never applied")
        }
        RequestRefusal::Override(OverrideRefusal::Invalid(invalid)) => match invalid {
            InvalidOverride::UnknownEdge(_) => (404, ProblemCode::UnknownEdge.as_str(), "Not found"),
            InvalidOverride::NameTaken(_) => (409, TreeCode::DuplicateRule.as_str(), "The name is in use"),
            InvalidOverride::PortTaken { .. } | InvalidOverride::Overridden { .. } => {
                (409, TreeCode::PortClash.as_str(), "The port is in use")
            }
            InvalidOverride::Lockout(_) => (422, RuleCode::SelfLockout.as_str(), "The edge would forward to itself"),
            InvalidOverride::Rejected(rejection) => {
                (422, rejection.code.as_str(), "The edge does not support the rule")
            }
            InvalidOverride::Lifetime => (400, TreeCode::OutOfRange.as_str(), "Not a lifetime"),
            InvalidOverride::NoReason => (400, TreeCode::MissingKey.as_str(), "No reason given"),
        },
    };
    Failure::new(status, code, title, detail)
}
