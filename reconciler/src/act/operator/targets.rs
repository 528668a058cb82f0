//! The part of the API that operators use on targets: overrides, and rounds of probes. I/O.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use schema::name::{EdgeName, RuleName};
use schema::rule::DEFAULT_WEIGHT;
use serde::Deserialize;

use super::audit::Noted;
use super::documents::{CheckDocument, TargetBody, TargetsAnswer};
use super::identity::Who;
use super::reasons::{self, MAX_ORDER};
use super::{Failure, State};
use crate::act::checks::CheckError;
use crate::decide::codes::ProblemCode;
use crate::decide::deviations::{self, Order};
use crate::decide::fleet::{Request, RequestAnswer, RequestRefusal, TargetAnswer, TargetOrder, TargetRefusal};
use crate::decide::operators::{Denied, Touch};

/// The longest override: what is to stay longer belongs into the tree.
const MAX_TTL: Duration = Duration::from_hours(24 * 365);
/// What an edge may take for a round beside the timeout of the check itself: probes may queue.
const ROUND: Duration = Duration::from_secs(5);
/// The longest wait for a round; the command line waits longer.
const MAX_ROUND: Duration = Duration::from_mins(1);

/// `/v1/targets/{edge}/{rule}` and `…/{target}`.
#[derive(Debug, Deserialize)]
pub(super) struct TargetPath {
    edge: String,
    rule: String,
    target: Option<String>,
}

/// `POST`: an override, its end, or a round of probes.
pub(super) async fn post(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(place): Path<TargetPath>,
    request: Body,
) -> Result<Response, Failure> {
    let bytes = to_bytes(request, MAX_ORDER).await.map_err(|error| Failure::bad_request(error.to_string()))?;
    let asked: TargetBody = serde_json::from_slice(&bytes).map_err(|error| Failure::bad_request(error.to_string()))?;
    let why = reasons::short(asked.why)?;
    let order = match (asked.operation.as_str(), asked.weight) {
        ("check", None) => {
            // It leaves no line in the ledger, so the audit keeps the reason.
            let reason = why.trim();
            let noted = if reason.is_empty() { "check".to_owned() } else { format!("check: {reason}") };
            let noted = Extension(Noted(Some(noted)));
            return check(&state, &who, &place).await.map(|checked| (noted, checked).into_response());
        }
        ("pause", None) => Order::Pause,
        ("resume", None) => Order::Resume,
        ("disable", None) => Order::Disable,
        ("enable", None) => Order::Enable,
        ("weight", Some(weight)) if weight <= DEFAULT_WEIGHT.into() => Order::Weight(weight as u8),
        ("weight", Some(weight)) => {
            return Err(Failure::bad_request(format!("weight {weight} is above {DEFAULT_WEIGHT}")));
        }
        ("weight", None) => return Err(Failure::bad_request("`weight` needs a weight from 0 to 100")),
        ("pause" | "resume" | "disable" | "enable" | "check", Some(_)) => {
            return Err(Failure::bad_request("only `weight` accepts a weight"));
        }
        _ => {
            let known = "pause, resume, disable, enable, weight or check";
            return Err(Failure::bad_request(format!("no such operation; expected {known}")));
        }
    };
    let ttl = asked.ttl_secs.map(Duration::from_secs);
    if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > MAX_TTL) {
        return Err(Failure::bad_request("`ttl_secs` must be between 1 and 31536000 (a year)"));
    }
    if ttl.is_some() && matches!(order, Order::Resume | Order::Enable) {
        return Err(Failure::bad_request("an operation that ends an override does not accept a time to live"));
    }
    let noted = Extension(Noted(Some(asked.operation)));
    carry_out(&state, &who, place, OrderTerms { order, why, ttl }).await.map(|done| (noted, done).into_response())
}

/// `DELETE`: ends every override of the target.
pub(super) async fn delete(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(place): Path<TargetPath>,
    request: Body,
) -> Result<Response, Failure> {
    let why = reasons::reason(request).await?;
    carry_out(&state, &who, place, OrderTerms { order: Order::End, why, ttl: None }).await
}

/// What is ordered, why and for how long.
struct OrderTerms {
    order: Order,
    why: String,
    ttl: Option<Duration>,
}

async fn carry_out(state: &State, who: &Who, place: TargetPath, terms: OrderTerms) -> Result<Response, Failure> {
    let OrderTerms { order, why, ttl } = terms;
    let (edge, rule) = named(&place)?;
    let to = |target: String| {
        let (edge, rule, why) = (edge.clone(), rule.clone(), why.clone());
        TargetOrder { edge, rule, target, order, actor: who.actor(), why, ttl }
    };
    if let Some(target) = &place.target {
        let answer = carry_out_one(state, who, &place, to(target.clone())).await?;
        return Ok((StatusCode::OK, Json(answer)).into_response());
    }
    if matches!(order, Order::Weight(_)) {
        return Err(Failure::bad_request("a weight is that of one target: name it"));
    }
    let (wanted_edge, wanted_rule) = (edge.clone(), rule.clone());
    let known = state
        .context
        .fleet
        .read(move |view| deviations::targets_of(view.fleet.edges().get(&wanted_edge)?, &wanted_rule))
        .await?;
    // The fleet refuses an unknown rule, after it has checked the rights of the operator.
    let known = known.unwrap_or_else(|| vec![String::new()]);
    let mut targets = Vec::new();
    for target in known {
        targets.push(carry_out_one(state, who, &place, to(target)).await?);
    }
    Ok((StatusCode::OK, Json(TargetsAnswer { edge, rule, targets })).into_response())
}

async fn carry_out_one(
    state: &State,
    who: &Who,
    place: &TargetPath,
    order: TargetOrder,
) -> Result<TargetAnswer, Failure> {
    match state.context.fleet.request(who.authority(false), Request::Target(order)).await? {
        Ok(RequestAnswer::Target(answer)) => Ok(answer),
        Err(RequestRefusal::Target(refusal)) => Err(refused(place, refusal)),
        Err(RequestRefusal::Denied(denied)) => Err(Failure::denied(&denied)),
        Err(refusal @ RequestRefusal::StateNotWritable(_)) => Err(Failure::state_not_writable(refusal.to_string())),
        Ok(
            RequestAnswer::Override(_) | RequestAnswer::Noted | RequestAnswer::Forgotten | RequestAnswer::QuotaReset,
        )
        | Err(RequestRefusal::Override(_) | RequestRefusal::Forget(_)) => {
            unreachable!("an order for a target was given")
        }
    }
}

/// Names that cannot exist are not known either.
fn named(place: &TargetPath) -> Result<(EdgeName, RuleName), Failure> {
    let edge = EdgeName::new(&place.edge).map_err(|_| refused(place, TargetRefusal::UnknownEdge))?;
    let rule = RuleName::new(&place.rule).map_err(|_| refused(place, TargetRefusal::UnknownRule))?;
    Ok((edge, rule))
}

fn refused(place: &TargetPath, refusal: TargetRefusal) -> Failure {
    let TargetPath { edge, rule, target } = place;
    match refusal {
        TargetRefusal::UnknownEdge => {
            Failure::new(404, ProblemCode::UnknownEdge, "No such edge", format!("edge {edge} does not exist"))
        }
        TargetRefusal::UnknownRule => Failure::new(
            404,
            ProblemCode::UnknownRule,
            "No such rule",
            format!("edge {edge} is not assigned a rule {rule}"),
        ),
        TargetRefusal::UnknownTarget { known } => {
            let target = target.as_deref().unwrap_or_default();
            let detail = format!("{target} names no single target of {edge}/{rule}; it has {}", known.join(", "));
            Failure::new(404, ProblemCode::UnknownTarget, "No such target", detail)
        }
    }
}

/// Why a round is not begun.
enum Unchecked {
    Denied(Denied),
    Refused(TargetRefusal),
}

impl From<TargetRefusal> for Unchecked {
    fn from(refusal: TargetRefusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn check(state: &State, who: &Who, place: &TargetPath) -> Result<Json<CheckDocument>, Failure> {
    let (edge, rule) = named(place)?;
    let authority = who.authority(false);
    let (wanted_edge, wanted_rule, wanted) = (edge.clone(), rule.clone(), place.target.clone());
    let found = state
        .context
        .fleet
        .read(move |view| {
            let view = view.fleet.edges().get(&wanted_edge);
            let touch = Touch::known(&wanted_edge, &wanted_rule, view, None);
            authority.may(Some(&[touch])).map_err(Unchecked::Denied)?;
            let view = view.ok_or(TargetRefusal::UnknownEdge)?;
            let known = deviations::targets_of(view, &wanted_rule).ok_or(TargetRefusal::UnknownRule)?;
            let target = match wanted {
                None => None,
                Some(text) => match deviations::find(view, &wanted_rule, &text) {
                    Some(target) => Some(target.to_string()),
                    None => return Err(TargetRefusal::UnknownTarget { known }.into()),
                },
            };
            let running = view.serving(&wanted_rule).or_else(|| view.placed(&wanted_rule).map(|placed| &placed.rule));
            let timeout = running.and_then(|rule| rule.health.as_ref()).map(|health| health.timeout_ms);
            Ok((target, Duration::from_millis(timeout.unwrap_or_default().into())))
        })
        .await?;
    let (target, timeout) = found.map_err(|unchecked| match unchecked {
        Unchecked::Denied(denied) => Failure::denied(&denied),
        Unchecked::Refused(refusal) => refused(place, refusal),
    })?;
    let wait = (timeout + ROUND).min(MAX_ROUND);
    match state.context.fleet.check(edge.clone(), &rule, target, wait).await? {
        Ok(targets) => Ok(Json(CheckDocument { edge, rule, targets })),
        Err(error) => Err(unanswered(&edge, &rule, error)),
    }
}

fn unanswered(edge: &EdgeName, rule: &RuleName, error: CheckError) -> Failure {
    let detail = format!("{edge}/{rule}: {error}");
    match error {
        CheckError::Unanswered(why) => Failure::unanswered(why, format_args!("{edge}/{rule}")),
        CheckError::Refused { code, .. } => {
            let status =
                if matches!(ProblemCode::parse(&code), Some(ProblemCode::UnknownRule | ProblemCode::UnknownTarget)) {
                    404
                } else {
                    409
                };
            Failure::new(status, &code, "Nothing to check", detail)
        }
    }
}
