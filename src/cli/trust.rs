//! The arguments of `edge-token` and `ca`. Pure.

use std::time::Duration;

use clap::{Args, Subcommand};
use schema::name::EdgeName;

use super::common::{Looks, Printing, ServerArgs};
use crate::duration;

/// The commands below `edge-token`.
#[derive(Debug, Subcommand)]
pub(crate) enum EdgeTokenCommand {
    /// Print a URI with which one edge joins once; an older one for the same name stops working
    Create(EdgeTokenArgs),
}

impl EdgeTokenCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        let Self::Create(args) = self;
        args.looks.printing()
    }
}

#[derive(Debug, Args)]
pub(crate) struct EdgeTokenArgs {
    /// The name that the edge will have
    #[arg(value_name = "NAME", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) name: EdgeName,
    /// How long the URI works, from 1s to 24h
    #[arg(long, value_name = "DURATION", default_value = "10m", env = "PORTUNUS_TTL", value_parser = duration::parse)]
    pub(crate) ttl: Duration,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The commands below `ca`.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Show the certificate authorities that are trusted, with their pins
    Show(CaArgs),
    /// Make the next certificate authority; connected edges renew at once, and the previous one stays trusted
    Rotate(CaArgs),
    /// End the previous certificate authority, once no edge needs it
    Retire(CaRetireArgs),
}

impl CaCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::Show(args) | Self::Rotate(args) => args.looks.printing(),
            Self::Retire(args) => args.common.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CaArgs {
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CaRetireArgs {
    /// End it even though edges still have certificates from it; they have to join again
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) common: CaArgs,
}
