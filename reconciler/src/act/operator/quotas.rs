//! The quotas over the API: all of them, and the reset of one. I/O.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::heavy::heavy;
use super::identity::{Hidden, RowTotal, Who};
use super::reasons::{MAX_ORDER, MAX_WHY};
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::fleet::{Request, RequestRefusal, touched_by_reset};
use crate::decide::quota::{QuotaDocument, QuotaOf, QuotaReset};
use crate::decide::selection::{Paged, Row, Selection, Sort};
use crate::decide::status;
use crate::decide::status::target_rows::owner;

/// The body of a reset.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetBody {
    /// Why.
    pub why: String,
}

/// `GET /v1/quotas`: those of the rules that are selected and seen, and of the owners of these rules.
pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
) -> Result<(Hidden, RowTotal, Json<Vec<QuotaDocument>>), Failure> {
    let (fleet, quotas) = state.context.fleet.read(|view| (view.fleet.clone(), view.counters.quotas().clone())).await?;
    let select = move || {
        let mut edges = status::edges(&fleet, Timestamp::now());
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        let rows = selection.unlimited_rows(edges, Sort::OF_QUOTAS)?;
        let mut documents = Vec::new();
        let mut owners: BTreeSet<(EdgeName, String)> = BTreeSet::new();
        for Row { edge, status, .. } in rows {
            let Some(of_edge) = quotas.get(&edge) else { continue };
            let owner = owner(&status).clone();
            if let Some(view) = of_edge.get(&QuotaOf::Owner(owner.clone()))
                && owners.insert((edge.clone(), owner.clone()))
            {
                documents.push(QuotaDocument::new(edge.clone(), None, owner.clone(), view));
            }
            if let Some(view) = of_edge.get(&QuotaOf::Rule(status.rule.clone())) {
                documents.push(QuotaDocument::new(edge, Some(status.rule), owner, view));
            }
        }
        let key = |document: &QuotaDocument| (document.edge.clone(), document.rule.clone(), document.owner.clone());
        documents.sort_by_key(key);
        if selection.sort == Some(Sort::Used) {
            documents.sort_by(|one, other| other.percent.total_cmp(&one.percent));
        }
        let page = Paged::of(documents, selection.offset, selection.limit);
        Ok((Hidden(hidden), RowTotal(page.total), Json(page.rows)))
    };
    heavy(select).await?.map_err(Failure::unselected)
}

/// `POST /v1/quotas/{edge}/{rule}/reset`
pub(super) async fn reset(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, rule)): Path<(String, String)>,
    body: Body,
) -> Result<Json<QuotaReset>, Failure> {
    let why = reason(body).await?;
    let (Ok(edge_name), Ok(rule_name)) = (EdgeName::new(&edge), RuleName::new(&rule)) else {
        return Err(unknown(&format!("{edge}/{rule}")));
    };
    begin_anew(&state, &who, edge_name, QuotaOf::Rule(rule_name), why).await
}

/// `POST /v1/quotas/{edge}/owners/{owner}/reset`
pub(super) async fn reset_of_owner(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, owner)): Path<(String, String)>,
    body: Body,
) -> Result<Json<QuotaReset>, Failure> {
    let why = reason(body).await?;
    let Ok(edge_name) = EdgeName::new(&edge) else {
        return Err(unknown(&format!("owner {owner} of {edge}")));
    };
    begin_anew(&state, &who, edge_name, QuotaOf::Owner(owner), why).await
}

async fn reason(body: Body) -> Result<String, Failure> {
    let bytes = to_bytes(body, MAX_ORDER).await.map_err(|error| Failure::bad_request(error.to_string()))?;
    let ResetBody { why } = serde_json::from_slice(&bytes).map_err(|error| Failure::bad_request(error.to_string()))?;
    if why.trim().is_empty() || why.chars().count() > MAX_WHY {
        return Err(Failure::bad_request(format!("`why` must have between 1 and {MAX_WHY} characters")));
    }
    Ok(why)
}

fn unknown(place: &str) -> Failure {
    Failure::new(404, ProblemCode::UnknownQuota, "No such quota", format!("{place} has no quota"))
}

async fn begin_anew(
    state: &State,
    who: &Who,
    edge: EdgeName,
    of: QuotaOf,
    why: String,
) -> Result<Json<QuotaReset>, Failure> {
    let (place, authority) = (of.on(&edge), who.authority(false));
    let (wanted_edge, wanted, asked) = (edge.clone(), of.clone(), authority.clone());
    let found = state.context.fleet.read(move |view| {
        asked.may(Some(&touched_by_reset(view.fleet.edges(), &wanted_edge, &wanted)))?;
        let quotas = view.counters.quotas().get(&wanted_edge);
        Ok(quotas.is_some_and(|quotas| quotas.contains_key(&wanted)))
    });
    if !found.await?.map_err(|denied| Failure::denied(&denied))? {
        return Err(unknown(&place));
    }
    let answer = state.context.fleet.reset_quota(edge.clone(), &of).await?;
    let answer = answer.map_err(|why| Failure::unanswered(why, format_args!("{place}")))?;
    let used = answer.ok_or_else(|| unknown(&place))?;
    let note = Request::QuotaReset { edge: edge.clone(), of: of.clone(), actor: who.actor(), why, used };
    match state.context.fleet.request(authority, note).await? {
        Ok(_) => {}
        Err(RequestRefusal::Denied(denied)) => return Err(Failure::denied(&denied)),
        Err(refusal) => return Err(Failure::state_not_writable(refusal.to_string())),
    }
    let message = format!("The quota of {place} begins anew; {used} bytes had been used.");
    let (rule, owner) = match of {
        QuotaOf::Rule(rule) => (Some(rule), None),
        QuotaOf::Owner(owner) => (None, Some(owner)),
    };
    Ok(Json(QuotaReset { edge, rule, owner, used, message }))
}
