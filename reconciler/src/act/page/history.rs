//! `/ui/history`, one entry, the way back to it, and the end of a hold. I/O.
//!
//! Keeps: nothing is applied that was not shown: what is confirmed names the plan that was on the page, and another plan is
//! shown instead of carried out.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, RawQuery};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::applies::entries;
use super::layout::{Layout, Refused, Visit, html, listed};
use super::plan::is_answer;
use super::rule::reason;
use super::sign_in::encoded;
use crate::act::operator::documents::{HistoryDetail, Problem, ResumeAnswer, ResumeBody, RollbackBody};
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::ApplyResult;
use crate::decide::operators::Role;
use crate::decide::page::history::{ConfirmView, EntryView, HistoryView, PER_PAGE, list, one};
use crate::decide::page::plan::{allowance_boxes, view};
use crate::decide::page::query::ViewQuery;
use crate::decide::plan::{Allowances, PlanDocument};

#[derive(Template)]
#[template(path = "history.html")]
pub(super) struct HistoryPage {
    pub(super) layout: Layout,
    pub(super) view: HistoryView,
}

#[derive(Template)]
#[template(path = "entry.html")]
pub(super) struct EntryPage {
    pub(super) layout: Layout,
    pub(super) view: EntryView,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(super) struct ConfirmPage {
    pub(super) layout: Layout,
    pub(super) view: ConfirmView,
}

pub(super) async fn show(Extension(visit): Extension<Visit>, RawQuery(query): RawQuery) -> Result<Response, Refused> {
    let query = ViewQuery::parse(&query.unwrap_or_default());
    let (found, layout) = tokio::join!(entries(&visit, &query, PER_PAGE), visit.layout("History"));
    let (found, refused) = found?;
    let mut view = list(&query, &found.rows, found.hidden, Timestamp::now());
    view.filter.refuse(refused.as_deref(), &mut view.empty);
    Ok(listed(&HistoryPage { layout, view }, refused.is_some()))
}

pub(super) async fn entry(Extension(visit): Extension<Visit>, Path(id): Path<String>) -> Result<Response, Refused> {
    let detail: HistoryDetail = visit.ask.get(&format!("/v1/history/{}", encoded(&id))).await?;
    let layout = visit.layout(format!("Entry {}", detail.entry.entry.id)).await;
    let view = one(&detail.entry, detail.plan.as_ref(), visit.may(Role::Applier), Timestamp::now());
    Ok(html(&EntryPage { layout, view }))
}

/// What is confirmed: the plan that was shown, why, and the rails that are lifted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PlanConfirmForm {
    why: String,
    plan_id: String,
    allow_removals: String,
    allow_rebinds: String,
    allow_drops: String,
    allow_empty: String,
    allow_non_descendant: String,
}

impl PlanConfirmForm {
    fn allowances(&self) -> Allowances {
        let number = |text: &str| text.trim().parse().ok();
        Allowances {
            removals: number(&self.allow_removals),
            rebinds: number(&self.allow_rebinds),
            drops: number(&self.allow_drops),
            empty: !self.allow_empty.is_empty(),
            dirty: false,
            non_descendant: !self.allow_non_descendant.is_empty(),
        }
    }
}

/// Said where the plan on the page is not the one of this moment.
const CHANGED: &str =
    "The fleet has changed since the plan was shown, and nothing was applied: this is the plan of now.";

pub(super) async fn roll_back(
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    Form(form): Form<PlanConfirmForm>,
) -> Result<Response, Refused> {
    if !visit.may(Role::Applier) {
        return Err(no_right("roll back").into());
    }
    let asked = RollbackBody { revision: id.clone(), why: reason(&visit, &form.why)?, ..RollbackBody::default() };
    let preview = RollbackBody { dry_run: true, ..asked.clone() };
    let plan: PlanDocument = visit.ask.send(Method::POST, "/v1/rollback", &preview).await?;
    let mut problem = String::new();
    if plan.plan_id.to_string() == form.plan_id {
        let body = RollbackBody { plan: Some(plan.clone()), allowances: form.allowances(), ..asked };
        match visit.ask.send::<ApplyResult>(Method::POST, "/v1/rollback", &body).await {
            Ok(begun) => {
                let note = format!("The rollback to entry {id} has begun.");
                return Ok(visit.done(note, &format!("/ui/applies/{}", begun.id)));
            }
            Err(failed) if is_answer(&failed) => problem = in_words(&failed),
            Err(failed) => return Err(failed.into()),
        }
    } else if !form.plan_id.is_empty() {
        CHANGED.clone_into(&mut problem);
    }
    let confirm = ConfirmView {
        heading: format!("Roll back to entry {id}"),
        explanation: "It is applied again and held until the followed tree moves, or an operator resumes.".to_owned(),
        action: format!("/ui/history/{id}/rollback"),
        button: "Roll back to this",
        why: form.why,
        allowances: allowance_boxes(&plan.rails),
        plan: view(&plan, Timestamp::now()),
        problem,
        back: format!("/ui/history/{id}"),
    };
    Ok(confirmation(&visit, confirm).await)
}

fn no_right(what: &str) -> Problem {
    Problem::new(403, ProblemCode::Forbidden, "Forbidden", format!("it takes the role applier to {what}"))
}

fn in_words(problem: &Problem) -> String {
    let rails: Vec<String> = problem.rails.iter().filter(|rail| rail.tripped).map(|rail| rail.name.clone()).collect();
    let rails = if rails.is_empty() { String::new() } else { format!(" ({})", rails.join(", ")) };
    format!("{}: {}{rails}.", problem.title, problem.detail)
}

/// The page with the plan and its button; after a failed attempt its status is an error.
async fn confirmation(visit: &Visit, view: ConfirmView) -> Response {
    let status = if view.problem.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    let layout = visit.layout(view.heading.clone()).await;
    (status, html(&ConfirmPage { layout, view })).into_response()
}

/// `GET /ui/resume`: what ending the hold would do.
pub(super) async fn before_resume(Extension(visit): Extension<Visit>) -> Result<Response, Refused> {
    if !visit.may(Role::Applier) {
        return Err(no_right("resume").into());
    }
    let plan: PlanDocument = visit.ask.get("/v1/plan").await?;
    Ok(confirmation(&visit, resumption(&plan, "", String::new())).await)
}

pub(super) async fn resume(
    Extension(visit): Extension<Visit>,
    Form(form): Form<PlanConfirmForm>,
) -> Result<Response, Refused> {
    if !visit.may(Role::Applier) {
        return Err(no_right("resume").into());
    }
    let why = reason(&visit, &form.why)?;
    let plan: PlanDocument = visit.ask.get("/v1/plan").await?;
    if plan.plan_id.to_string() != form.plan_id {
        let problem = if form.plan_id.is_empty() { "" } else { CHANGED };
        return Ok(confirmation(&visit, resumption(&plan, &why, problem.to_owned())).await);
    }
    let allowances = form.allowances();
    let body = ResumeBody { why: why.clone(), plan: Some(plan.clone()), allowances, ..ResumeBody::default() };
    match visit.ask.send::<ResumeAnswer>(Method::POST, "/v1/resume", &body).await {
        Ok(ResumeAnswer { apply: Some(begun), .. }) => {
            Ok(visit.done("The server follows the tree again.", &format!("/ui/applies/{}", begun.id)))
        }
        Ok(_) => Ok(visit.done("The hold has ended.", "/ui/")),
        Err(failed) if is_answer(&failed) => Ok(confirmation(&visit, resumption(&plan, &why, in_words(&failed))).await),
        Err(failed) => Err(failed.into()),
    }
}

pub(super) fn resumption(plan: &PlanDocument, why: &str, problem: String) -> ConfirmView {
    ConfirmView {
        heading: "Resume".to_owned(),
        explanation: "The hold ends. In mode apply, the server then applies the followed tree with this plan."
            .to_owned(),
        action: "/ui/resume".to_owned(),
        button: "Resume",
        why: why.to_owned(),
        allowances: allowance_boxes(&plan.rails),
        plan: view(plan, Timestamp::now()),
        problem,
        back: "/ui/plan".to_owned(),
    }
}
