//! The arguments of the commands around the ledger: what was applied, going back to it, and stopping. Pure.

use std::time::Duration;

use clap::Args;

use super::common::{AllowArgs, Looks, ServerArgs};
use crate::duration;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only this entry, by its number or the id of its apply
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How long to wait, and for whom.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_TIMEOUT", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Edges that are offline are no reason for exit 5
    #[arg(long, help_heading = "Allowances, to be said each time")]
    pub(crate) allow_offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// A revision of `portunus history`: a digest or a commit, or the first letters of one
    #[arg(value_name = "REVISION")]
    pub(crate) revision: String,
    /// Why; status and history show it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// Roll back without asking; to be said each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Taken for the sake of scripts: what git has was reviewed, and is not asked about again
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    /// Why; everybody who wants to apply is told
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// End by itself after this time
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_TTL", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnfreezeArgs {
    /// Why; history shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
