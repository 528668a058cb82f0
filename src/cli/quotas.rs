//! The arguments of `quota`. Pure.

use clap::{Args, Subcommand};

use super::common::{ListLooks, Looks, Printing, ServerArgs};
use super::operator::{Selector, selector};
use super::select::SelectArgs;

/// The commands below `quota`.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// List the quotas of rules and owners: used, limit and end of the period
    List(QuotaListArgs),
    /// Begin the period of a quota of a rule or an owner anew: connections that it stopped are accepted again
    Reset(QuotaResetArgs),
}

impl QuotaCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::List(args) => args.looks.printing(),
            Self::Reset(args) => args.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct QuotaListArgs {
    /// Only this edge, or this rule with its owner
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct QuotaResetArgs {
    /// The rule, or the edge of an owner
    #[arg(value_name = "EDGE/RULE or EDGE", value_parser = selector)]
    pub(crate) place: Selector,
    /// The quota of this owner on the edge, which all of its rules share
    #[arg(long, value_name = "NAME", env = "PORTUNUS_QUOTA_OWNER")]
    pub(crate) owner: Option<String>,
    /// The reason, which the history shows
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_QUOTA_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
