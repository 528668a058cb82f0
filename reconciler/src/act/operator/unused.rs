//! `/v1/unused`: rules and ports without a connection for so long, as edges remember it. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Query, State as Extract};
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use serde::Deserialize;

use super::connections::unanswered_edge;
use super::heavy::heavy;
use super::identity::Who;
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::plan::FORMAT_VERSION;
use crate::decide::selection::{Row, Selection, Sort, since};
use crate::decide::status;
use crate::decide::unused::{UnusedDocument, unused};

/// Edges that are asked at once.
const AT_ONCE: usize = 16;

/// For how long.
#[derive(Debug, Deserialize)]
pub(super) struct UnusedQuery {
    #[serde(rename = "for")]
    lasting: String,
}

/// `GET /v1/unused`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(UnusedQuery { lasting }): Query<UnusedQuery>,
) -> Result<Json<UnusedDocument>, Failure> {
    let now = Timestamp::now();
    let bad =
        |detail: String| Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail.replacen("since", "for", 1));
    let until = since(&lasting, now).map_err(|error| bad(error.to_string()))?;
    let lasting = Duration::try_from(now.duration_since(until)).unwrap_or_default();
    let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
    let of_rules = Selection { limit: None, ..selection.clone() };
    let select = move || {
        let mut edges = status::edges(&fleet, now);
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        let rows = of_rules.unlimited_rows(edges, &[Sort::Name])?;
        Ok((hidden, if of_rules.is_empty() { rows } else { of_rules.limited(rows)? }))
    };
    let (hidden, rows) = heavy(select).await?.map_err(Failure::unselected)?;
    let mut by_edge: BTreeMap<EdgeName, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_edge.entry(row.edge.clone()).or_default().push(row);
    }
    let asked = by_edge.into_iter().map(|(edge, rows)| {
        let fleet = state.context.fleet.clone();
        let request = proto::UsageRequest { per_port: true, ..proto::UsageRequest::default() };
        async move { (rows, edge.clone(), fleet.usage(edge, request).await) }
    });
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    let (mut rules, mut unanswered) = (Vec::new(), Vec::new());
    while let Some((rows, edge, answer)) = answers.next().await {
        match answer? {
            Ok(report) => {
                let known: BTreeMap<RuleName, proto::RuleUsage> = report
                    .rules
                    .into_iter()
                    .filter_map(|usage| Some((RuleName::new(&usage.rule).ok()?, usage)))
                    .collect();
                let of = |row: &Row| unused(row, known.get(&row.status.rule)?, lasting, now);
                rules.extend(rows.iter().filter_map(of));
            }
            Err(why) => unanswered.push(unanswered_edge(edge, why)),
        }
    }
    rules.truncate(selection.limit.unwrap_or(usize::MAX));
    let (format_version, kind) = (FORMAT_VERSION.to_owned(), "unused".to_owned());
    Ok(Json(UnusedDocument { format_version, kind, for_secs: lasting.as_secs(), hidden, unanswered, rules }))
}
