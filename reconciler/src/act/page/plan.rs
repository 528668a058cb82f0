//! `/ui/plan`: the followed tree, or a revision of the history, against what runs. I/O.

use askama::Template;
use axum::Extension;
use axum::extract::Query;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::layout::{Layout, Refused, Visit, html, with_status};
use crate::act::operator::documents::Problem;
use crate::decide::operators::Role;
use crate::decide::page::plan::{FailedView, NextStep, PlanPageView, Standing, findings, next_steps, view};
use crate::decide::page::query::ViewQuery;
use crate::decide::plan::PlanDocument;
use crate::decide::summary::FleetSummary;

#[derive(Template)]
#[template(path = "plan.html")]
pub(super) struct PlanPage {
    pub(super) layout: Layout,
    pub(super) view: PlanPageView,
}

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PlanQuery {
    revision: String,
}

/// A problem that the person who asked can do something about stays on the page.
pub(super) fn is_answer(problem: &Problem) -> bool {
    matches!(problem.status, 400 | 404 | 409 | 410 | 422 | 423)
}

pub(super) async fn show(
    Extension(visit): Extension<Visit>,
    Query(query): Query<PlanQuery>,
) -> Result<Response, Refused> {
    let revision = query.revision.trim().to_owned();
    let path = ViewQuery::default().with("revision", &revision).on("/v1/plan");
    let asked = visit.ask.get::<PlanDocument>(&path).await;
    let layout = visit.layout("Plan").await;
    // The followed tree may be broken, which is a state of the fleet; a revision that is asked for may not exist.
    let status = asked.as_ref().err().filter(|_| !revision.is_empty()).map_or(200, |problem| problem.status);
    let page = match asked {
        Ok(plan) => {
            let next = if revision.is_empty() { follow(&visit, &plan).await? } else { go_back(&visit, &revision) };
            let plan = Some(view(&plan, Timestamp::now()));
            PlanPageView { revision, plan, problem: None, next }
        }
        Err(problem) if is_answer(&problem) => {
            let findings = findings(&problem.diagnostics, |_, _| None);
            let problem = Some(FailedView { title: problem.title, detail: problem.detail, findings });
            PlanPageView { revision, plan: None, problem, next: Vec::new() }
        }
        Err(problem) => return Err(problem.into()),
    };
    Ok(with_status(html(&PlanPage { layout, view: page }), status))
}

async fn follow(visit: &Visit, plan: &PlanDocument) -> Result<Vec<NextStep>, Refused> {
    let summary: FleetSummary = visit.ask.get("/v1/summary").await?;
    let standing =
        Standing { mode: summary.mode, is_held: summary.revision.hold.is_some(), may_apply: visit.may(Role::Applier) };
    Ok(next_steps(plan, standing))
}

fn go_back(visit: &Visit, revision: &str) -> Vec<NextStep> {
    let text = "Roll back to it from its entry of the history, or from the command line.".to_owned();
    let command =
        if visit.may(Role::Applier) { format!("portunus rollback {revision} --why TEXT") } else { String::new() };
    vec![NextStep { text, command, link: Some(("/ui/history".to_owned(), "History")) }]
}
