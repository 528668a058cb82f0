//! The policy of an edge, from the file that its owner names. I/O: reads the file.
//!
//! Keeps: an edge never starts with a policy that could not be read, and a file that is broken later changes nothing.

use std::path::PathBuf;

use edge::act::runtime::RuntimeHandle;
use edge::decide::policy;
use schema::policy::Policy;
use tokio::task::spawn_blocking;

use crate::failure::Failure;
use crate::input;
use crate::output::clean;
use crate::service;

/// Where the policy of an edge comes from.
#[derive(Debug, Clone)]
pub(crate) struct PolicyFile {
    path: Option<PathBuf>,
    allow_metadata_targets: bool,
}

impl PolicyFile {
    /// The file, if one is named, and what a flag adds to it.
    pub(crate) fn new(path: Option<PathBuf>, allow_metadata_targets: bool) -> Self {
        Self { path, allow_metadata_targets }
    }

    /// The policy as the file has it now.
    pub(crate) fn read(&self) -> Result<Policy, Failure> {
        let policy = match &self.path {
            Some(path) => {
                let text = input::read_text(path, input::SETTINGS)?;
                let wrong = |reason: String| Failure::Other(format!("{}: {}", path.display(), clean(&reason)));
                policy::parse(&text).map_err(wrong)?
            }
            None => Policy::default(),
        };
        Ok(Policy { allow_metadata_targets: self.allow_metadata_targets, ..policy })
    }

    /// Puts what the file says now in force, in a task of its own; the reload is over then. A file that cannot be read leaves the policy as it is.
    pub(crate) fn read_again(&self, runtime: &RuntimeHandle) {
        let (file, runtime) = (self.clone(), runtime.clone());
        if file.path.is_none() {
            return service::ready();
        }
        // Ends with the process, and owns nothing.
        tokio::spawn(async move {
            let shown = file.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            match spawn_blocking(move || file.read()).await {
                Ok(Ok(policy)) => match runtime.set_policy(policy).await {
                    Ok(()) => tracing::info!(file = shown, "the policy was read again"),
                    Err(error) => tracing::error!(%error, "the policy cannot be changed"),
                },
                Ok(Err(error)) => {
                    tracing::error!(%error, "the policy cannot be read, the one from before stays in force");
                }
                Err(error) => tracing::error!(%error, "the policy was not read because of a bug"),
            }
            service::ready();
        });
    }
}
