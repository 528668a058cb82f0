//! `/ui/rules/E/R/edit` and `add-target`: a proposal with its plan, its patch, and the way to run it for a while. I/O.
//!
//! Keeps: nothing is written to the tree or its repository; what was typed stays on the page whatever the result.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleAddress, RuleName};
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html};
use super::plan::is_answer;
use crate::act::operator::documents::{OverrideBody, OverrideRow, Problem};
use crate::act::operator::proposals::ProposalBody;
use crate::decide::codes::ProblemCode;
use crate::decide::operators::Role;
use crate::decide::page::head::link;
use crate::decide::page::proposal::{LIFETIMES, OverrideForm, ProposalView, TargetFields, override_rule};
use crate::decide::proposal::{Proposal, RuleSource};

#[derive(Template)]
#[template(path = "proposal.html")]
pub(super) struct ProposalPage {
    pub(super) layout: Layout,
    pub(super) view: ProposalView,
    pub(super) lifetimes: [(&'static str, &'static str); 5],
}

/// What the forms send: a text, or the fields of a target.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProposalForm {
    text: Option<String>,
    host: String,
    ports: String,
    weight: String,
    priority: String,
}

impl ProposalForm {
    fn target(&self) -> TargetFields {
        let Self { host, ports, weight, priority, .. } = self.clone();
        TargetFields { host, ports, weight, priority }
    }

    fn body(&self, edge: &EdgeName, rule: &RuleName) -> Result<ProposalBody, Box<Problem>> {
        let (edge, rule) = (edge.clone(), rule.clone());
        if let Some(text) = &self.text {
            return Ok(ProposalBody { edge, rule, text: Some(text.clone()), target: None });
        }
        let target = self.target().read();
        let target = target.map_err(|why| Box::new(Problem::new(400, ProblemCode::BadRequest, "Not a target", why)))?;
        Ok(ProposalBody { edge, rule, text: None, target: Some(target) })
    }
}

fn address(edge: &str, rule: &str) -> Result<RuleAddress, Box<Problem>> {
    let unknown =
        |_| Box::new(Problem::new(404, ProblemCode::NotFound, "Not found", format!("there is no rule {edge}/{rule}")));
    RuleAddress::parse(&format!("{edge}/{rule}")).map_err(unknown)
}

async fn source(visit: &Visit, of: &RuleAddress) -> Result<RuleSource, Problem> {
    visit.ask.get(&format!("/v1/rules/{}/{}/source", of.edge, of.rule)).await
}

async fn page(visit: &Visit, view: ProposalView) -> Response {
    let status = if view.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let what = if view.is_target { "Add a target to" } else { "Edit" };
    let layout = visit.layout(format!("{what} {}", view.place)).await;
    (status, html(&ProposalPage { layout, view, lifetimes: LIFETIMES })).into_response()
}

async fn form(visit: &Visit, (edge, rule): (String, String), is_target: bool) -> Result<Response, Refused> {
    let of = address(&edge, &rule)?;
    let source = source(visit, &of).await?;
    Ok(page(visit, ProposalView::form(&edge, &rule, is_target, &source)).await)
}

/// `GET …/edit`
pub(super) async fn edit_form(
    Extension(visit): Extension<Visit>,
    Path(of): Path<(String, String)>,
) -> Result<Response, Refused> {
    form(&visit, of, false).await
}

/// `GET …/add-target`
pub(super) async fn target_form(
    Extension(visit): Extension<Visit>,
    Path(of): Path<(String, String)>,
) -> Result<Response, Refused> {
    form(&visit, of, true).await
}

/// `POST …/edit` and `…/add-target`
pub(super) async fn propose(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Path<(String, String)>,
    Form(form): Form<ProposalForm>,
) -> Result<Response, Refused> {
    let of = address(&edge, &rule)?;
    let source = source(&visit, &of).await?;
    let empty = ProposalView::form(&edge, &rule, form.text.is_none(), &source);
    let view = empty.with_typed(form.text.as_deref().unwrap_or_default(), form.target());
    let asked = match form.body(&of.edge, &of.rule) {
        Ok(body) => visit.ask.send::<Proposal>(Method::POST, "/v1/proposals", &body).await,
        Err(problem) => Err(*problem),
    };
    let view = match asked {
        Ok(proposal) => view.proposed(&proposal, visit.may(Role::Applier), Timestamp::now()),
        Err(problem) if is_answer(&problem) => {
            view.failed(&problem.title, &problem.detail, &problem.diagnostics, &source.source)
        }
        Err(problem) => return Err(problem.into()),
    };
    Ok(page(&visit, view).await)
}

/// `POST …/patch`: the same as a file.
pub(super) async fn patch(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Path<(String, String)>,
    Form(form): Form<ProposalForm>,
) -> Result<Response, Refused> {
    let of = address(&edge, &rule)?;
    let body = form.body(&of.edge, &of.rule)?;
    let proposal: Proposal = visit.ask.send(Method::POST, "/v1/proposals", &body).await?;
    let hidden = "a patch of this change would show a line outside of your limits: copy the text of the rule instead";
    let patch =
        proposal.patch.ok_or_else(|| Problem::new(403, ProblemCode::OutsideGrant, "Outside of your limits", hidden))?;
    let name = format!("attachment; filename=\"{}.patch\"", of.rule);
    let headers = [(CONTENT_TYPE, "text/x-patch; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, patch).into_response())
}

/// What the form of an override sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RunForm {
    name: String,
    listen: String,
    ttl_secs: String,
    why: String,
    spec: String,
}

/// `POST …/override`: runs the changed rule beside the one of the tree, for a while.
pub(super) async fn run(
    Extension(visit): Extension<Visit>,
    Path((edge, rule)): Path<(String, String)>,
    Form(form): Form<RunForm>,
) -> Result<Response, Refused> {
    let of = address(&edge, &rule)?;
    let bad = |why: String| Problem::new(400, ProblemCode::BadRequest, "Not an override", why);
    let RunForm { name, listen, ttl_secs, why, spec } = form;
    let secs: u64 = ttl_secs.trim().parse().map_err(|_| bad(format!("`{ttl_secs}` is not a number of seconds")))?;
    let fields = OverrideForm { name, listen, ttl_secs, why: why.clone(), spec, ..OverrideForm::default() };
    let rule = override_rule(&fields).map_err(bad)?;
    let body = OverrideBody { edge: of.edge.clone(), rule, why, ttl_secs: secs };
    let row: OverrideRow = visit.ask.send(Method::POST, "/v1/overrides", &body).await?;
    let note =
        format!("The override {}/{} is in place until {:.0}.", row.edge, row.rule, row.until.unwrap_or_default());
    let place = link(&format!("/ui/rules/{}/{}", row.edge, row.rule)).unwrap_or_else(|| "/ui/".to_owned());
    Ok(visit.done(note, &place))
}
