//! The arguments of `notify`. Pure.

use clap::{Args, Subcommand};

use super::common::{ListArgs, Looks, Printing, ServerArgs};

/// The commands below `notify`.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// List the notifiers of the server, with what waits for each and the last error
    List(ListArgs),
    /// Send a test to a notifier and show the answer; exit with 1 if it was not accepted
    Test(NotifyTestArgs),
}

impl NotifyCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::List(args) => args.looks.printing(),
            Self::Test(args) => args.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct NotifyTestArgs {
    /// The notifier, by its name in server.toml
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
