//! The arguments of `edges`. Pure.

use clap::{Args, Subcommand};
use schema::name::EdgeName;

use super::common::{ListArgs, Looks, Printing, ServerArgs};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EdgesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EdgesCommand>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// The commands below `edges`.
#[derive(Debug, Subcommand)]
pub(crate) enum EdgesCommand {
    /// Forget an edge that is permanently gone, with its desired state
    Forget(EdgesForgetArgs),
    /// End the session and the certificate of an edge; it keeps forwarding, and joins again only with a new URI
    Revoke(EdgesRevokeArgs),
}

impl EdgesArgs {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match &self.command {
            Some(EdgesCommand::Forget(args)) => args.looks.printing(),
            Some(EdgesCommand::Revoke(args)) => args.looks.printing(),
            None => self.list.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EdgesForgetArgs {
    /// The edge
    #[arg(value_name = "EDGE", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) edge: EdgeName,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EdgesRevokeArgs {
    /// The edge
    #[arg(value_name = "EDGE", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) edge: EdgeName,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
