//! `/v1/edges/{edge}`: edges that are gone for good. I/O.

use axum::extract::{Path, State as Extract};
use axum::{Extension, Json};
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

use super::identity::Who;
use super::{Failure, State};
use crate::decide::fleet::{ForgetRefusal, Request, RequestRefusal};

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
    let unknown = |detail: String| Failure::new(404, "unknown_edge", "Not found", detail);
    let name = EdgeName::new(&edge).map_err(|_| unknown(format!("edge {edge} does not exist")))?;
    let is_joined = {
        let asked = name.clone();
        let joined = state.context.trust.read(move |register| register.get(&asked).is_some()).await;
        joined.map_err(|error| Failure::new(503, "stopping", "Server is stopping", error.to_string()))?
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
                Failure::new(409, "edge_connected", "The edge is connected", detail)
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
