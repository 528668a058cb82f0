//! `/v1/edges`: the list of edges, and edges that are gone for good. I/O.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::name::{EdgeName, Labels};
use serde::{Deserialize, Serialize};

use super::heavy::heavy;
use super::identity::{Hidden, RowTotal, Who};
use super::{Failure, State};
use crate::act::driver::Addresses;
use crate::decide::codes::ProblemCode;
use crate::decide::enrolment::Enrolment;
use crate::decide::fleet::{Fleet, ForgetRefusal, Request, RequestRefusal};
use crate::decide::selection::{EdgeMarks, EdgeSelection, Unselected};
use crate::decide::status::summaries::EdgeSummary;
use crate::decide::status::{EdgeStatus, edge_status};
use crate::decide::view::EdgeView;

/// `GET /v1/edges`
pub(super) async fn list(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(selection): Query<EdgeSelection>,
) -> Result<(Hidden, RowTotal, Json<Vec<EdgeStatus>>), Failure> {
    let (fleet, addresses) = state.context.fleet.read(|view| (view.fleet.clone(), view.addresses.clone())).await?;
    let enrolled = state.context.trust.read(|register| {
        let joined = register.iter().filter(|(_, entry)| entry.has_joined());
        joined.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    });
    let enrolled = enrolled.await.map_err(|error| Failure::stopping(error.to_string()))?;
    let members = Members { fleet, addresses, enrolled };
    heavy(move || members.page(&who, &selection)).await?.map_err(Failure::unselected)
}

/// What is known of the edges, and who joined.
struct Members {
    fleet: Fleet,
    addresses: Addresses,
    enrolled: BTreeMap<EdgeName, Enrolment>,
}

impl Members {
    fn page(
        &self,
        who: &Who,
        selection: &EdgeSelection,
    ) -> Result<(Hidden, RowTotal, Json<Vec<EdgeStatus>>), Unselected> {
        let limits = &who.caller.limits;
        // Those that joined and never had a session are listed.
        let mut names: Vec<&EdgeName> = self.fleet.edges().beside(&self.enrolled).map(|(name, ..)| name).collect();
        let hidden = if limits.is_none() {
            0
        } else {
            names.retain(|name| limits.has_edge(name));
            let mut all: Vec<EdgeStatus> =
                self.fleet.edges().beside(&self.enrolled).map(|(name, ..)| self.row(name)).collect();
            limits.leave_edges(self.fleet.edges(), &mut all)
        };
        let labels: Vec<Labels> = names.iter().map(|name| self.fleet.labels(name)).collect();
        let edges = names.into_iter().zip(&labels).map(|(name, labels)| {
            let connected = self.fleet.edges().get(name).is_some_and(|edge| edge.connected);
            let revoked = self.enrolled.get(name).is_some_and(|entry| entry.revoked);
            (EdgeMarks { name, labels, connected, revoked }, name)
        });
        let page = selection.page(edges.collect())?;
        let mut rows: Vec<EdgeStatus> = page.rows.iter().map(|(_, name)| self.row(name)).collect();
        limits.leave_edges(self.fleet.edges(), &mut rows);
        if selection.summary {
            for row in &mut rows {
                row.summary = Some(EdgeSummary::of(row));
                row.rules.clear();
                row.target_overrides.clear();
            }
        }
        Ok((Hidden(hidden), RowTotal(page.total), Json(rows)))
    }

    fn row(&self, name: &EdgeName) -> EdgeStatus {
        let unknown = EdgeView::default();
        let address = self.addresses.get(name).copied().flatten();
        let entry = self.enrolled.get(name);
        EdgeStatus {
            labels: self.fleet.labels(name),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            certificate_expires_at: entry.and_then(|entry| entry.expires_at),
            revoked: entry.is_some_and(|entry| entry.revoked),
            ..edge_status(name, self.fleet.edges().get(name).unwrap_or(&unknown), Timestamp::now())
        }
    }
}

/// The edge that was forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForgottenEdge {
    /// Its name.
    pub name: EdgeName,
    /// True if the tree in force or the followed one names it still.
    pub named: bool,
}

pub(super) async fn forget(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(edge): Path<String>,
) -> Result<Json<ForgottenEdge>, Failure> {
    let unknown = |detail: String| Failure::new(404, ProblemCode::UnknownEdge, "Not found", detail);
    let name = EdgeName::new(&edge).map_err(|_| unknown(format!("edge {edge} does not exist")))?;
    let is_joined = {
        let asked = name.clone();
        let joined = state.context.trust.read(move |register| register.get(&asked).is_some()).await;
        joined.map_err(|error| Failure::stopping(error.to_string()))?
    };
    let request = Request::Forget { edge: name.clone(), actor: who.actor() };
    let forgotten = match state.context.fleet.request(who.authority(false), request).await? {
        // It was invited or joined, and never had a session.
        Err(RequestRefusal::Forget(ForgetRefusal::Unknown(_))) if is_joined => Ok(()),
        other => other.map(drop),
    };
    forgotten.map_err(|refusal| {
        let detail = refusal.to_string();
        match refusal {
            RequestRefusal::Forget(ForgetRefusal::Unknown(_)) => unknown(detail),
            RequestRefusal::Forget(ForgetRefusal::Connected(_)) => {
                Failure::new(409, ProblemCode::EdgeConnected, "The edge is connected", detail)
            }
            RequestRefusal::Denied(denied) => Failure::denied(&denied),
            RequestRefusal::StateNotWritable(_) => Failure::state_not_writable(detail),
            RequestRefusal::Override(_) | RequestRefusal::Target(_) => unreachable!("an edge was to be forgotten"),
        }
    })?;
    if is_joined {
        let forgotten = state.context.trust.forget(name.clone()).await;
        forgotten.map_err(|error| Failure::state_not_writable(error.to_string()))?;
    }
    let asked = name.clone();
    let named = state.context.fleet.read(move |view| view.fleet.is_named(&asked)).await?;
    Ok(Json(ForgottenEdge { name, named }))
}
