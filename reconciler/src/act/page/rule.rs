//! `/ui/rules/EDGE/RULE`: one rule, what it carries, and the forms that steer its targets. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path};
use axum::http::Method;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::assets;
use super::layout::{Layout, Refused, Visit, html};
use crate::act::operator::documents::{Problem, ReasonBody, RuleRow, TargetBody};
use crate::act::operator::quotas::ResetBody;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Role;
use crate::decide::page::query::{ViewQuery, segment};
use crate::decide::page::quotas::PATH as QUOTAS;
use crate::decide::page::rule::{RuleDocuments, RuleSheet};
use crate::decide::quota::QuotaReset;
use crate::decide::statistics::StatsDocument;
use crate::decide::status::StatusDocument;

/// Where a rule is: the two names of the path.
type Names = Path<(String, String)>;

#[derive(Template)]
#[template(path = "rule.html")]
pub(super) struct RulePage {
    pub(super) layout: Layout,
    pub(super) view: RuleSheet,
    pub(super) may_steer: bool,
    pub(super) may_propose: bool,
    /// The event stream of its counters.
    pub(super) stream: String,
    /// The script that listens to it.
    pub(super) live: String,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, Path((edge, rule)): Names) -> Result<Response, Refused> {
    let place = format!("{}/{}", segment(&edge), segment(&rule));
    let paths = [
        format!("/v1/rules/{place}"),
        format!("/v1/rules/{place}/stats?per_port=true&per_target=true"),
        ViewQuery::default().with("edge", &edge).with("rule", &rule).on("/v1/status"),
    ];
    let (row, stats, status, layout) = tokio::join!(
        visit.ask.get::<RuleRow>(&paths[0]),
        visit.ask.get::<StatsDocument>(&paths[1]),
        visit.ask.get::<StatusDocument>(&paths[2]),
        visit.layout(format!("{edge}/{rule}")),
    );
    let row = row?;
    let status = status.ok();
    let stats = stats.as_ref().map_err(|problem| problem.detail.as_str());
    let documents = RuleDocuments {
        edge: &row.edge,
        rule: &row.status,
        stats,
        around: status.as_ref().and_then(|status| status.edges.first()),
        drift: status.as_ref().map(|status| status.drift.as_slice()).unwrap_or_default(),
    };
    let view = RuleSheet::new(documents, Timestamp::now());
    let per_port = if view.has_live_ports { "&per_port=true" } else { "" };
    let page = RulePage {
        layout,
        may_steer: visit.may(Role::Applier),
        may_propose: visit.may(Role::Planner),
        stream: format!("/ui/live/rules/{place}?per_target=true{per_port}"),
        live: assets::address("live.js"),
        view,
    };
    Ok(html(&page))
}

/// The forms of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SteerForm {
    target: String,
    operation: String,
    why: String,
    ttl_secs: String,
    weight: String,
}

pub(super) async fn steer(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Names,
    Form(form): Form<SteerForm>,
) -> Result<Response, Refused> {
    let ends = matches!(form.operation.as_str(), "resume" | "enable");
    let body = TargetBody {
        why: reason(&visit, &form.why)?,
        // One field for all buttons of the form: what ends an override has no end of its own.
        ttl_secs: if ends { None } else { number("ttl_secs", &form.ttl_secs)? },
        weight: number("weight", &form.weight)?,
        operation: form.operation,
    };
    let path = format!("/v1/targets/{}/{}/{}", segment(&edge), segment(&rule), segment(&form.target));
    visit.ask.send::<Value>(Method::POST, &path, &body).await?;
    let note = match body.operation.as_str() {
        "pause" => format!("{} is paused: it receives no new connections.", form.target),
        "disable" => format!("{} is disabled: its connections were reset.", form.target),
        "resume" | "enable" => format!("The override of {} has ended.", form.target),
        _ => format!("The weight of {} was changed.", form.target),
    };
    Ok(visit.done(note, &format!("/ui/rules/{}/{}", segment(&edge), segment(&rule))))
}

/// Ends every override of a target.
pub(super) async fn release(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Names,
    Form(form): Form<SteerForm>,
) -> Result<Response, Refused> {
    let path = format!("/v1/targets/{}/{}/{}", segment(&edge), segment(&rule), segment(&form.target));
    let body = ReasonBody { why: reason(&visit, &form.why)? };
    visit.ask.send::<Value>(Method::DELETE, &path, &body).await?;
    let note = format!("All overrides of {} have ended.", form.target);
    Ok(visit.done(note, &format!("/ui/rules/{}/{}", segment(&edge), segment(&rule))))
}

/// Has all targets of a rule probed.
pub(super) async fn check(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Names,
    Form(form): Form<SteerForm>,
) -> Result<Response, Refused> {
    let place = format!("{}/{}", segment(&edge), segment(&rule));
    let body = TargetBody { operation: "check".to_owned(), why: form.why, ..TargetBody::default() };
    visit.ask.send::<Value>(Method::POST, &format!("/v1/targets/{place}"), &body).await?;
    Ok(visit.done("All targets were checked.", &format!("/ui/rules/{place}")))
}

/// Ends an override before its time.
pub(super) async fn end_override(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Names,
    Form(form): Form<SteerForm>,
) -> Result<Response, Refused> {
    let path = format!("/v1/overrides/{}/{}", segment(&edge), segment(&rule));
    let body = ReasonBody { why: reason(&visit, &form.why)? };
    visit.ask.send::<Value>(Method::DELETE, &path, &body).await?;
    Ok(visit.done(format!("The override {edge}/{rule} has ended."), "/ui/rules"))
}

/// The form of a quota.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResetForm {
    why: String,
}

/// Begins the period of a quota anew.
pub(super) async fn reset_quota(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Names,
    Form(form): Form<ResetForm>,
) -> Result<Response, Refused> {
    let path = format!("/v1/quotas/{}/{}/reset", segment(&edge), segment(&rule));
    let done: QuotaReset = visit.ask.send(Method::POST, &path, &ResetBody { why: form.why }).await?;
    Ok(visit.done(done.message, QUOTAS))
}

/// The reason for something, which must not be empty. Who may not do it at all gets the refusal of the API.
pub(super) fn reason(visit: &Visit, why: &str) -> Result<String, Refused> {
    match why.trim() {
        "" if visit.may(Role::Applier) => {
            Err(Problem::new(400, ProblemCode::BadRequest, "A reason is needed", "nothing was done: say why").into())
        }
        why => Ok(why.to_owned()),
    }
}

fn number(name: &str, text: &str) -> Result<Option<u64>, Refused> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let detail = format!("nothing was done: {name} `{text}` is not a number");
            Problem::new(400, ProblemCode::BadRequest, "Not a number", detail).into()
        }),
    }
}
