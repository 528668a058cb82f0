//! The arguments of `unused`. Pure.

use std::time::Duration;

use clap::Args;

use super::common::{ListLooks, ServerArgs};
use super::select::{HealthArg, SelectArgs};
use crate::duration;

#[derive(Debug, Args)]
pub(crate) struct UnusedArgs {
    /// How long nobody may have connected, such as `30d`
    #[arg(long = "for", value_name = "DURATION", env = "PORTUNUS_UNUSED_FOR", default_value = "30d",
          value_parser = duration::parse)]
    pub(crate) lasting: Duration,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
