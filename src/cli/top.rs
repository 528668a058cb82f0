//! The arguments of `top`. Pure.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::common::{ColorArg, ServerArgs};
use super::select::{HealthArg, SelectArgs, SinceArg, TopSortArg};
use crate::duration;
use crate::top::view::View;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// The view to begin with
    #[arg(long, value_enum, value_name = "VIEW", default_value = "rules", env = "PORTUNUS_TOP_VIEW")]
    pub(crate) view: View,
    /// Print one frame and exit; without a terminal, COLUMNS and LINES set its size (default 80×24)
    #[arg(long, env = "PORTUNUS_TOP_ONCE", value_parser = BoolishValueParser::new())]
    pub(crate) once: bool,
    /// How often the list is refreshed; changes in between arrive as events
    #[arg(long, value_name = "DURATION", default_value = "2s", env = "PORTUNUS_TOP_INTERVAL", value_parser = duration::parse)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) sort: TopSortArg,
    #[command(flatten)]
    pub(crate) since: SinceArg,
    #[command(flatten)]
    pub(crate) color: ColorArg,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
