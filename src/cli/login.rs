//! The arguments of `login` and `context`. Pure.

use clap::{Args, Subcommand};
use schema::canonical::Digest;

use super::common::{ListLooks, Looks, Printing, pin};
use crate::address::ServerUrl;
use crate::secret::Secret;

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The operator port of the server, such as https://HOST:7080
    #[arg(value_name = "URL")]
    pub(crate) url: ServerUrl,
    /// The pin of the server's certificate authority, as `portunus ca show` prints it there; without it, the certificate
    /// must be one that this system trusts
    #[arg(long, value_name = "sha256:HEX", env = "PORTUNUS_PIN", value_parser = pin)]
    pub(crate) pin: Option<Digest>,
    /// The operator's token, or @FILE; without it, the token is read from standard input
    #[arg(long, value_name = "TOKEN or @FILE", env = "PORTUNUS_OPERATOR_TOKEN", hide_env_values = true,
          value_parser = Secret::parse)]
    pub(crate) token: Option<Secret>,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

/// The commands below `context`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts
    List(ContextListArgs),
    /// Choose the server that commands use
    Use(ContextNameArgs),
    /// Forget a server and its token
    Remove(ContextNameArgs),
}

impl ContextCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::List(args) => args.looks.printing(),
            Self::Use(args) | Self::Remove(args) => args.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ContextListArgs {
    #[command(flatten)]
    pub(crate) looks: ListLooks,
}

#[derive(Debug, Args)]
pub(crate) struct ContextNameArgs {
    /// The context, as `portunus context list` shows it
    #[arg(value_name = "HOST:PORT")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
}
