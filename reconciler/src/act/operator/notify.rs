//! The notifiers over the API: what waits for each, and a test of one. I/O.

use axum::extract::{Path, State as Extract};
use axum::{Extension, Json};

use super::identity::Who;
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::notices::{NotifierDocument, NotifyTestAnswer};

/// `GET /v1/notify`
pub(super) async fn list(Extract(state): Extract<State>) -> Json<Vec<NotifierDocument>> {
    Json(state.context.notify.documents().to_vec())
}

/// `POST /v1/notify/{name}/test`: answers once the receiver has, or has not in time.
pub(super) async fn test(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
) -> Result<Json<NotifyTestAnswer>, Failure> {
    let known: Vec<String> = state.context.notify.documents().iter().map(|one| one.name.clone()).collect();
    if !known.contains(&name) {
        let hint = match known.as_slice() {
            [] => "the server has no notifier; `[[notify]]` in server.toml makes one".to_owned(),
            some => format!("the notifiers are {}", some.join(", ")),
        };
        let detail = format!("there is no notifier `{name}`: {hint}");
        return Err(Failure::new(404, ProblemCode::UnknownNotifier, "No such notifier", detail));
    }
    let answer = state.context.notify.test(name, who.actor()).await;
    answer.map(Json).ok_or_else(|| Failure::stopping("the server is stopping"))
}
