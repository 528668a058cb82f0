//! `/ui/edges/EDGE`: one edge, and the forms that end its membership. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, RawQuery};
use axum::http::Method;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html};
use crate::act::operator::certificates::RevokedEdge;
use crate::act::operator::documents::{Problem, RuleRow};
use crate::act::operator::edges::ForgottenEdge;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::{AskedRoute, Route, may};
use crate::decide::page::edge::{EdgeDocuments, EdgeSheet};
use crate::decide::page::edges::PATH as EDGES;
use crate::decide::page::filter::rows_of;
use crate::decide::page::query::{ViewQuery, segment};
use crate::decide::status::{EdgeStatus, StatusDocument};

#[derive(Template)]
#[template(path = "edge.html")]
pub(super) struct EdgePage {
    pub(super) layout: Layout,
    pub(super) view: EdgeSheet,
}

pub(super) async fn show(
    Extension(visit): Extension<Visit>,
    Path(edge): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let of_edge = ViewQuery::default().with("edge", &edge);
    let paths = [
        of_edge.with("summary", "true").on("/v1/edges"),
        of_edge.on("/v1/status"),
        query.with("edge", &edge).with("limit", &rows_of(&query).to_string()).on("/v1/rules"),
    ];
    let (found, status, rules, layout) = tokio::join!(
        visit.ask.page::<EdgeStatus>(&paths[0]),
        visit.ask.get::<StatusDocument>(&paths[1]),
        visit.ask.page::<RuleRow>(&paths[2]),
        visit.layout(edge.as_str()),
    );
    let Some(mut found) = found?.rows.into_iter().find(|found| found.name.as_str() == edge) else {
        let detail = format!("there is no edge {edge}");
        return Err(Problem::new(404, ProblemCode::NotFound, "Not found", detail).into());
    };
    // What a list leaves out, the status of the edge has. An edge that never had a session has no status.
    let status = status.ok();
    let drift = status.as_ref().map(|status| status.drift.clone()).unwrap_or_default();
    if let Some(whole) = status.and_then(|status| status.edges.into_iter().next()) {
        found.target_overrides = whole.target_overrides;
    }
    let rules = rules?;
    let (total, _) = rules.counts();
    let rows: Vec<_> = rules.rows.into_iter().map(|row| (row.edge, row.status)).collect();
    let revokes = AskedRoute::for_real(Route::RevokeEdge);
    let documents = EdgeDocuments {
        edge: &found,
        rules: &rows,
        total,
        drift: &drift,
        is_admin: may(visit.ask.caller(), revokes, None).is_ok(),
    };
    let view = EdgeSheet::new(&query, documents, Timestamp::now());
    Ok(html(&EdgePage { layout, view }))
}

/// The name of the edge, typed by who ends its membership.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MembershipForm {
    confirm: String,
}

impl MembershipForm {
    fn is_for(&self, edge: &str) -> Result<(), Refused> {
        if self.confirm.trim() == edge {
            return Ok(());
        }
        let detail =
            format!("nothing was done: the name of the edge is {edge}, and `{}` was typed", self.confirm.trim());
        Err(Problem::new(400, ProblemCode::BadRequest, "Not confirmed", detail).into())
    }
}

pub(super) async fn revoke(
    Extension(visit): Extension<Visit>,
    Path(edge): Path<String>,
    Form(form): Form<MembershipForm>,
) -> Result<Response, Refused> {
    form.is_for(&edge)?;
    let path = format!("/v1/edges/{}/revoke", segment(&edge));
    let revoked: RevokedEdge = visit.ask.send(Method::POST, &path, &serde_json::json!({})).await?;
    let note = format!("{} is revoked. It keeps forwarding what it has.", revoked.name);
    Ok(visit.done(note, &format!("/ui/edges/{}", segment(&edge))))
}

pub(super) async fn forget(
    Extension(visit): Extension<Visit>,
    Path(edge): Path<String>,
    Form(form): Form<MembershipForm>,
) -> Result<Response, Refused> {
    form.is_for(&edge)?;
    let path = format!("/v1/edges/{}", segment(&edge));
    let forgotten: ForgottenEdge = visit.ask.send(Method::DELETE, &path, &serde_json::json!({})).await?;
    let named = if forgotten.named { " The tree still names it: remove it from the tree as well." } else { "" };
    Ok(visit.done(format!("{} is forgotten.{named}", forgotten.name), EDGES))
}
