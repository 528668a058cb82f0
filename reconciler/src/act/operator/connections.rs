//! `/v1/connections`: the live connections of all edges, listed or ended. I/O.
//!
//! Keeps: nothing is ended that was not named, and nothing before it is written down; of many edges a few are asked at
//! once, and what they answer is merged into one list of bounded length.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Query, State as Extract};
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use schema::codes::RuleCode;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use serde::{Deserialize, Serialize};

use super::heavy::heavy;
use super::identity::Who;
use super::reasons::{MAX_ORDER, MAX_WHY};
use super::{Failure, State, body};
use crate::act::questions::NoAnswer;
use crate::decide::codes::ProblemCode;
use crate::decide::connections::{ConnectionRow, ConnectionSelection, Gathered, RuleConnections, UnansweredEdge};
use crate::decide::fleet::{ConnectionsOrder, Request, RequestAnswer, RequestRefusal};
use crate::decide::plan::FORMAT_VERSION;
use crate::decide::selection::{Selection, Sort, Unselected};
use crate::decide::status;

/// Edges that are asked at once.
const AT_ONCE: usize = 16;

/// Answer to `GET /v1/connections`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConnectionsDocument {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `connections`
    pub kind: String,
    /// How many match, including those that a limit left out.
    pub total: u64,
    /// The same by rule.
    #[serde(default)]
    pub rules: Vec<RuleConnections>,
    /// How many rules are left out because the operator may not see them.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// Edges that did not answer: their connections are not in the list.
    pub unanswered: Vec<UnansweredEdge>,
    /// In the order that was asked for; by edge, rule and age where none was.
    pub connections: Vec<ConnectionRow>,
}

/// Body of `DELETE /v1/connections`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndConnectionsBody {
    /// The reason, which the ledger keeps.
    pub why: String,
}

/// Answer to `DELETE /v1/connections`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndedConnections {
    /// How many connections were reset.
    pub ended: u64,
    /// The same by rule.
    pub rules: Vec<RuleConnections>,
    /// Edges that did not answer: what matches there may live on.
    pub unanswered: Vec<UnansweredEdge>,
}

/// Which rules each edge is asked about; all of them where there is no list.
type Asked = BTreeMap<EdgeName, Option<Vec<RuleName>>>;

/// `GET /v1/connections`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(more): Query<ConnectionSelection>,
) -> Result<Json<ConnectionsDocument>, Failure> {
    let now = Timestamp::now();
    let request = more.request(&selection, now).map_err(Failure::unselected)?;
    let (asked, hidden) = asked(&state, &who, &selection).await?;
    let found = gather(&state, asked, &request, &selection).await?;
    let total = found.total();
    let is_narrowed = !more.is_empty() || selection.since.is_some();
    if total == 0 && is_narrowed && found.unanswered.is_empty() {
        return Err(nothing(&more, &selection));
    }
    let rules = found.by_rule();
    let Gathered { connections, unanswered, .. } = found;
    let (format_version, kind) = (FORMAT_VERSION.to_owned(), "connections".to_owned());
    Ok(Json(ConnectionsDocument { format_version, kind, total, rules, hidden, unanswered, connections }))
}

/// `DELETE /v1/connections`
pub(super) async fn end(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<Selection>,
    Query(more): Query<ConnectionSelection>,
    request: Body,
) -> Result<Json<EndedConnections>, Failure> {
    let EndConnectionsBody { why } = body::read(request, MAX_ORDER).await?;
    let now = Timestamp::now();
    check_order(&selection, &more, &why)?;
    let request = more.request(&selection, now).map_err(Failure::unselected)?;
    let (asked, _) = asked(&state, &who, &selection).await?;
    let counting = proto::ConnectionsRequest { limit: 0, ..request.clone() };
    let counted = gather(&state, asked, &counting, &selection).await?;
    let rules = counted.by_rule();
    if rules.is_empty() {
        return Err(counted.unanswered.first().map_or_else(|| nothing(&more, &selection), unanswered));
    }
    let selectors = in_words(&more, &selection);
    let order = ConnectionsOrder { rules, selectors, actor: who.actor(), why };
    note(&state, &who, order).await?;
    let mut asked = Asked::new();
    for (edge, rule) in counted.rules.into_keys() {
        asked.entry(edge).or_insert_with(|| Some(Vec::new())).get_or_insert_default().push(rule);
    }
    let ending = proto::ConnectionsRequest { end: true, ..counting };
    let mut ended = gather(&state, asked, &ending, &selection).await?;
    ended.unanswered.extend(counted.unanswered);
    Ok(Json(EndedConnections { ended: ended.total(), rules: ended.by_rule(), unanswered: ended.unanswered }))
}

/// Refuses an order that names nothing, and what would have no effect.
fn check_order(selection: &Selection, more: &ConnectionSelection, why: &str) -> Result<(), Failure> {
    let bad = |detail: String| Err(Failure::bad_request(detail));
    if selection.sort.is_some() || selection.limit.is_some() {
        return bad("`sort` and `limit` are for lists: every connection that matches is ended".to_owned());
    }
    if more.is_empty() && selection.is_empty() {
        return bad("nothing says which connections to end: give an id or selectors".to_owned());
    }
    match why.chars().count() {
        _ if why.trim().is_empty() => bad("`why` is required: the ledger keeps the reason".to_owned()),
        length if length > MAX_WHY => bad(format!("`why` may have at most {MAX_WHY} characters")),
        _ => Ok(()),
    }
}

fn in_words(more: &ConnectionSelection, selection: &Selection) -> String {
    let of_rules = Selection { sort: None, limit: None, ..selection.clone() };
    let of_rules = if of_rules.is_empty() { String::new() } else { of_rules.in_words() };
    let texts = [of_rules, more.in_words()];
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

fn nothing(more: &ConnectionSelection, selection: &Selection) -> Failure {
    Failure::not_found(format!("no live connection matches {}", in_words(more, selection)))
}

fn unanswered(edge: &UnansweredEdge) -> Failure {
    Failure::new(503, &edge.code, "No answer", format!("{}: {}", edge.edge, edge.message))
}

/// An edge that gave no answer.
pub(super) fn unanswered_edge(edge: EdgeName, why: NoAnswer) -> UnansweredEdge {
    let code = match why {
        NoAnswer::NotConnected | NoAnswer::WentAway => RuleCode::ClientNotConnected.as_str(),
        NoAnswer::Timeout => RuleCode::AckTimeout.as_str(),
        NoAnswer::Unable => ProblemCode::NotSupported.as_str(),
    };
    UnansweredEdge { edge, code: code.to_owned(), message: why.to_string() }
}

/// Writes down what is about to be ended, unless the operator may not end it.
async fn note(state: &State, who: &Who, order: ConnectionsOrder) -> Result<(), Failure> {
    match state.context.fleet.request(who.authority(false), Request::EndConnections(order)).await? {
        Ok(RequestAnswer::Noted) => Ok(()),
        Err(RequestRefusal::Denied(denied)) => Err(Failure::denied(&denied)),
        Err(refusal @ RequestRefusal::StateNotWritable(_)) => Err(Failure::state_not_writable(refusal.to_string())),
        Ok(_) | Err(_) => unreachable!("connections were to be ended"),
    }
}

/// Which edges are asked about which rules, and how many rules the operator does not see.
async fn asked(state: &State, who: &Who, selection: &Selection) -> Result<(Asked, u64), Failure> {
    let fleet = state.context.fleet.read(|view| view.fleet.clone()).await?;
    let (who, selection) = (who.clone(), selection.clone());
    let select = move || {
        let mut edges = status::edges(&fleet, Timestamp::now());
        let hidden = who.caller.limits.leave_edges(fleet.edges(), &mut edges);
        if who.caller.limits.is_none() && !selection.is_of_rules() && !selection.names_places() {
            // A rule that was removed may still have connections.
            let is_meant = |edge: &status::EdgeStatus| edge.connected || !edge.rules.is_empty();
            return Ok((edges.into_iter().filter(is_meant).map(|edge| (edge.name, None)).collect(), hidden));
        }
        let of_places = Selection { limit: None, since: None, ..selection };
        let mut asked = Asked::new();
        for row in of_places.unlimited_rows(edges, Sort::OF_CONNECTIONS)? {
            let rules = asked.entry(row.edge).or_insert_with(|| Some(Vec::new()));
            rules.get_or_insert_default().push(row.status.rule);
        }
        if asked.is_empty() {
            return Err(Unselected::Nothing(of_places.in_words()));
        }
        Ok((asked, hidden))
    };
    heavy(select).await?.map_err(Failure::unselected)
}

async fn gather(
    state: &State,
    asked: Asked,
    request: &proto::ConnectionsRequest,
    selection: &Selection,
) -> Result<Gathered, Failure> {
    let answers = asked.into_iter().map(|(edge, rules)| {
        let (all_rules, rules) = (rules.is_none(), rules.unwrap_or_default());
        let rules = rules.iter().map(ToString::to_string).collect();
        let request = proto::ConnectionsRequest { all_rules, rules, ..request.clone() };
        let fleet = state.context.fleet.clone();
        async move { (edge.clone(), fleet.connections(edge, request).await) }
    });
    let mut answers = stream::iter(answers).buffer_unordered(AT_ONCE);
    let mut gathered = Gathered::default();
    while let Some((edge, answer)) = answers.next().await {
        match answer? {
            Ok(proto::ConnectionsReport { refused: Some(refused), .. }) => {
                let (code, message) = (refused.code, refused.message);
                gathered.unanswered.push(UnansweredEdge { edge, code, message });
            }
            // Ages are those of the moment at which the edge answered.
            Ok(report) => gathered.add(&edge, report, selection, Timestamp::now()),
            Err(why) => gathered.unanswered.push(unanswered_edge(edge, why)),
        }
    }
    gathered.unanswered.sort_by(|one, other| one.edge.cmp(&other.edge));
    Ok(gathered)
}
