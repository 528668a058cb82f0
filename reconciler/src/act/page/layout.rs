//! What every page has around its view: the fleet in one line, the navigation, who is signed in. I/O.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use jiff::Timestamp;

use super::ask::Ask;
use super::assets;
use crate::act::operator::documents::Problem;
use crate::act::sessions::{SessionKey, Sessions};
use crate::decide::operators::Role;
use crate::decide::page::head::{FleetLine, LinePart, NavEntry, line, navigation};
use crate::decide::page::words::Badge;
use crate::decide::summary::FleetSummary;

/// A request of somebody who is signed in, for the handlers of views: an extension of the request.
#[derive(Debug, Clone)]
pub(in crate::act) struct Visit {
    /// The API.
    pub(in crate::act) ask: Ask,
    pub(super) sessions: Sessions,
    pub(super) key: SessionKey,
    /// The path that was asked for.
    pub(super) path: Arc<str>,
}

/// What `base.html` shows.
#[derive(Debug, Clone)]
pub(in crate::act) struct Layout {
    /// Of the window, and the heading of the page.
    pub(in crate::act) title: String,
    pub(in crate::act) line: FleetLine,
    pub(in crate::act) nav: Vec<NavEntry>,
    /// The operator.
    pub(in crate::act) who: String,
    /// Its role.
    pub(in crate::act) role: &'static str,
    /// When the page was made.
    pub(in crate::act) now: String,
    /// What the last form of this browser did.
    pub(in crate::act) note: Option<String>,
    pub(in crate::act) style: String,
    pub(in crate::act) script: String,
    pub(in crate::act) icon: String,
}

impl Visit {
    /// What surrounds a view; the fleet's figures are asked for.
    pub(in crate::act) async fn layout(&self, title: impl Into<String>) -> Layout {
        let summary = self.ask.get::<FleetSummary>("/v1/summary").await;
        let unknown = |problem: Problem| FleetLine {
            verdict: Badge::off("State unknown"),
            marks: Vec::new(),
            parts: vec![LinePart::trouble(problem.detail)],
        };
        self.around(title, summary.map_or_else(unknown, |summary| line(&summary)))
    }

    /// The same for a view that has the figures already.
    pub(super) fn around(&self, title: impl Into<String>, line: FleetLine) -> Layout {
        let caller = self.ask.caller();
        Layout {
            title: title.into(),
            line,
            nav: navigation(caller.role, &self.path),
            who: caller.name.to_string(),
            role: caller.role.as_str(),
            now: format!("{:.0}", Timestamp::now()),
            note: self.sessions.take_note(self.key),
            style: assets::address("style.css"),
            script: assets::address("main.js"),
            icon: assets::address("icon.svg"),
        }
    }

    /// True if the operator has at least that role: what it could not do is not offered.
    pub(in crate::act) fn may(&self, least: Role) -> bool {
        self.ask.caller().role >= least
    }

    /// The answer to a form that did something: another view, which begins with the note.
    pub(in crate::act) fn done(&self, note: impl Into<String>, path: &str) -> Response {
        self.sessions.set_note(self.key, note.into());
        Redirect::to(path).into_response()
    }
}

/// A view as a page.
pub(in crate::act) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The answer with another status.
pub(super) fn with_status(mut response: Response, status: u16) -> Response {
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A list as a page; where its filter could not be used, the status is that of a bad request.
pub(in crate::act) fn listed(template: &impl Template, is_refused: bool) -> Response {
    with_status(html(template), if is_refused { 400 } else { 200 })
}

/// A refusal of the API instead of a view: the guard makes a page of it.
#[derive(Debug, Clone)]
pub(in crate::act) struct Refused(pub(in crate::act) Arc<Problem>);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(Arc::new(problem))
    }
}

impl From<Box<Problem>> for Refused {
    fn from(problem: Box<Problem>) -> Self {
        Self(Arc::from(problem))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
