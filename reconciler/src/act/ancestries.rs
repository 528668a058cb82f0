//! How the commit of a followed tree relates to the one in force. I/O.
//!
//! Keeps: the repository is asked again only when one of the two commits is another one.

use std::path::Path;

use schema::causes::with_causes;
use tracing::warn;

use super::driver::FleetHandle;
use super::source;
use crate::decide::succession::Ancestry;

/// How commits stand to the one in force; asked again only when one of them is another.
#[derive(Debug, Default)]
pub(super) struct Ancestries {
    last: Option<(String, Ancestry)>,
}

impl Ancestries {
    /// What the repository around `dir` knows of this commit and the one that is in force now.
    pub(super) async fn of(&mut self, dir: &Path, commit: Option<&str>, fleet: &FleetHandle) -> Option<Ancestry> {
        let commit = commit?.to_owned();
        let applied =
            fleet.read(|view| view.fleet.applied().and_then(|applied| applied.last_commit().map(str::to_owned)));
        let ancestor = applied.await.ok().flatten()?;
        let last = self.last.as_ref().filter(|(of, known)| *of == commit && known.ancestor == ancestor);
        if let Some((_, known)) = last {
            return Some(known.clone());
        }
        let (dir, of) = (dir.to_owned(), commit.clone());
        let asked = move || source::git::ancestry(&dir, &ancestor, &of);
        let known = match tokio::task::spawn_blocking(asked).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => {
                warn!(
                    error = with_causes(&error),
                    "the relation of the commit to the one in force cannot be \
                    determined"
                );
                None
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        self.last = known.clone().map(|known| (commit, known));
        known
    }
}
