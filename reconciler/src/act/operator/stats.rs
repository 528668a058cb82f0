//! The counters of all rules, or of those that are selected. I/O.
//!
//! Keeps: the list is what edges reported of their own accord, so that no edge is asked for it; ports and targets are asked
//! for, of so many rules as an answer can hold.

use std::cmp::Reverse;

use axum::extract::{Query, State as Extract};
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use schema::name::RuleAddress;

use super::heavy::heavy;
use super::identity::{Hidden, Who};
use super::read::{StatsQuery, ask};
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::selection::{Row, Selection, Sort};
use crate::decide::statistics::{RatesDocument, StatsDocument};
use crate::decide::status;

/// Rules whose ports and targets one request can ask for.
const ASKED: usize = 100;
/// Questions to edges at once.
const AT_ONCE: usize = 8;

/// `GET /v1/stats`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(query): Query<StatsQuery>,
) -> Result<(Hidden, Json<Vec<StatsDocument>>), Failure> {
    let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
    let wanted = selection.clone();
    let select = move || {
        let mut edges = status::edges(&fleet, Timestamp::now());
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        Ok((Hidden(hidden), wanted.unlimited_rows(edges, Sort::OF_STATS)?))
    };
    let (hidden, rows) = heavy(select).await?.map_err(Failure::unselected)?;
    let mut counted = state.context.fleet.read(move |view| counted(rows, view.counters)).await?;
    match selection.sort {
        Some(Sort::Connections) => counted.sort_by_key(|row| Reverse(row.counters.active_connections)),
        Some(Sort::Bytes) => {
            counted.sort_by_key(|row| Reverse(row.counters.bytes_in.saturating_add(row.counters.bytes_out)));
        }
        Some(Sort::Rate) => counted.sort_by(|one, other| speed(&other.rates).total_cmp(&speed(&one.rates))),
        _ => {}
    }
    let counted = selection.limited(counted).map_err(Failure::unselected)?;
    if !query.asks() {
        return Ok((hidden, Json(counted)));
    }
    if counted.len() > ASKED {
        let detail = format!("ports and targets are shown of {ASKED} rules at most, and {} match", counted.len());
        return Err(Failure::new(400, ProblemCode::BadRequest, "Too many rules", detail));
    }
    let asked = stream::iter(counted).map(|row| asked(&state, row, query)).buffered(AT_ONCE);
    Ok((hidden, Json(asked.collect().await)))
}

fn speed(rates: &RatesDocument) -> f64 {
    rates.bytes_in_per_sec + rates.bytes_out_per_sec
}

/// What was reported of each rule last; a rule that its edge has not reported has counted nothing.
fn counted(rows: Vec<Row>, counters: &crate::act::counters::Counters) -> Vec<StatsDocument> {
    let now = Timestamp::now();
    let document = |row: Row| StatsDocument {
        at: now,
        counters: counters.of(&row.edge, &row.status.rule).copied().unwrap_or_default(),
        rates: counters.rates(&row.edge, &row.status.rule, now),
        edge: row.edge,
        rule: row.status.rule,
        ages: None,
        ports: None,
        targets: None,
    };
    rows.into_iter().map(document).collect()
}

/// The same with its ports and targets; of an edge that does not answer, what was reported last.
async fn asked(state: &State, row: StatsDocument, query: StatsQuery) -> StatsDocument {
    let address = RuleAddress { edge: row.edge.clone(), rule: row.rule.clone() };
    ask(state, &address, query).await.unwrap_or(row)
}
