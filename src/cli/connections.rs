//! The arguments of `connections`. Pure.

use clap::{Args, Subcommand};

use super::common::{ListLooks, Looks, Printing, ServerArgs};
use super::operator::{Selector, selector};
use super::select::{ConnectionArgs, ConnectionSortArg, HealthArg, PlaceArgs, SinceArg};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConnectionsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ConnectionsCommand>,
    #[command(flatten)]
    pub(crate) list: ConnectionsListArgs,
}

/// The commands below `connections`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// Reset the connections that match, with a reason for the history
    End(ConnectionsEndArgs),
}

impl ConnectionsArgs {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match &self.command {
            Some(ConnectionsCommand::End(args)) => args.looks.printing(),
            None => self.list.looks.printing(),
        }
    }
}

/// Which connections are meant.
#[derive(Debug, Args)]
pub(crate) struct ConnectionsSelectors {
    /// Only connections of this edge or rule
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) of: ConnectionArgs,
    #[command(flatten)]
    pub(crate) since: SinceArg,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionsListArgs {
    #[command(flatten)]
    pub(crate) of: ConnectionsSelectors,
    #[command(flatten)]
    pub(crate) sort: ConnectionSortArg,
    /// At most so many rows [default: 1000]
    #[arg(long, value_name = "N", env = "PORTUNUS_LIMIT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectionsEndArgs {
    #[command(flatten)]
    pub(crate) of: ConnectionsSelectors,
    /// The reason, which the history keeps
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_CONNECTIONS_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
