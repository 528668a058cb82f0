//! The arguments of `target`. Pure.

use std::time::Duration;

use clap::{Args, Subcommand};
use schema::name::RuleAddress;

use super::common::{ListLooks, Looks, ServerArgs};
use super::operator::{Selector, rule_address, selector};
use super::select::{HealthArg, SelectArgs, SortArg};
use crate::duration;

/// The commands below `target`.
#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Stop new connections to a target and its probes; live connections stay
    Pause(TargetSetArgs),
    /// End a pause
    Resume(TargetEndArgs),
    /// Stop all connections to a target; live connections are reset
    Disable(TargetSetArgs),
    /// End a disable
    Enable(TargetEndArgs),
    /// Change the weight of a target; setting the weight of the tree ends the override
    Weight(TargetWeightArgs),
    /// Probe the targets of a rule now, or one of them, or those of all rules, and show the results
    Check(TargetCheckArgs),
}

impl TargetCommand {
    /// How its result is printed.
    pub(crate) fn looks(&self) -> &Looks {
        match self {
            Self::Pause(args) | Self::Disable(args) => &args.place.looks,
            Self::Resume(args) | Self::Enable(args) => &args.place.looks,
            Self::Weight(args) => &args.looks,
            Self::Check(args) => &args.looks,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TargetsArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) sort: SortArg,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The edge, for all of its rules, or one rule
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) place: Selector,
    /// The target, as `status EDGE/RULE` names it [default: all targets]
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetSetArgs {
    #[command(flatten)]
    pub(crate) place: TargetArgs,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TargetEndArgs {
    #[command(flatten)]
    pub(crate) place: TargetArgs,
    /// Why it ends; history shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_TARGET_WHY")]
    pub(crate) why: String,
}

/// How long an override lasts, and why it is there.
#[derive(Debug, Args)]
pub(crate) struct TermsArgs {
    /// How long the override lasts [default: until an operator ends it]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_TARGET_TTL", value_parser = lifetime)]
    pub(crate) ttl: Option<Duration>,
    /// The reason, which status and history show
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_TARGET_WHY", default_value = "")]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct TargetWeightArgs {
    /// The rule, as EDGE/RULE
    #[arg(value_name = "EDGE/RULE", value_parser = rule_address)]
    pub(crate) rule: RuleAddress,
    /// The target, as `status EDGE/RULE` names it
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// The weight from 0 to 100; with 0 the target receives no new connections
    #[arg(value_name = "WEIGHT", value_parser = clap::value_parser!(u64).range(..=100))]
    pub(crate) weight: u64,
}

#[derive(Debug, Args)]
pub(crate) struct TargetCheckArgs {
    /// The edge, for all of its rules, or one rule [default: every rule that has a health check]
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) place: Option<Selector>,
    /// The target of a rule, as HOST:PORT [default: all targets]
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: Option<String>,
    /// Why; the audit shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_TARGET_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let ttl = duration::parse(text).map_err(|error| error.to_string())?;
    if ttl.is_zero() { Err("an override lasts at least a second".to_owned()) } else { Ok(ttl) }
}
