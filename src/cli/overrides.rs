//! The arguments of `override`. Pure.

use std::time::Duration;

use clap::{Args, Subcommand};
use schema::name::RuleAddress;
use schema::net::ListenAddress;

use super::common::{ListArgs, Looks, Printing, ServerArgs};
use super::operator::{Selector, rule_address, selector};
use crate::duration;

/// The commands below `override`.
#[derive(Debug, Subcommand)]
pub(crate) enum OverrideCommand {
    /// Put a rule on an edge until it expires
    Add(OverrideAddArgs),
    /// List the overrides of all edges
    List(ListArgs),
    /// End an override before it expires
    Remove(OverrideRemoveArgs),
    /// Print overrides as TOML to commit
    Export(OverrideExportArgs),
}

impl OverrideCommand {
    /// How its result is printed.
    pub(crate) fn printing(&self) -> Printing {
        match self {
            Self::Add(args) => args.looks.printing(),
            Self::List(args) => args.looks.printing(),
            Self::Remove(args) => args.looks.printing(),
            Self::Export(args) => args.looks.printing(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct OverrideAddArgs {
    /// The edge, or the edge and the name of the rule
    #[arg(value_name = "EDGE or EDGE/NAME", value_parser = selector)]
    pub(crate) place: Selector,
    /// The name of the rule, which must not exist in the tree on that edge
    #[arg(long, value_name = "NAME", env = "PORTUNUS_OVERRIDE_NAME")]
    pub(crate) name: Option<String>,
    /// tcp or udp
    #[arg(long, value_name = "PROTOCOL", env = "PORTUNUS_OVERRIDE_PROTOCOL")]
    pub(crate) protocol: Option<String>,
    /// The address to listen on; a link-local address needs its interface (fe80::1%eth0) [default: all addresses]
    #[arg(long, value_name = "IP", env = "PORTUNUS_OVERRIDE_LISTEN_ADDRESS", value_parser = listen_address)]
    pub(crate) listen_address: Option<ListenAddress>,
    /// The port to listen on
    #[arg(
        long,
        value_name = "PORT",
        env = "PORTUNUS_OVERRIDE_LISTEN_PORT",
        required_unless_present = "listen_ports",
        conflicts_with = "listen_ports",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) listen_port: Option<u16>,
    /// The ports to listen on
    #[arg(long, value_name = "LO-HI", env = "PORTUNUS_OVERRIDE_LISTEN_PORTS")]
    pub(crate) listen_ports: Option<String>,
    /// A TLS server name that leads to the rule, for a port that rules share by name; may be repeated
    #[arg(long, value_name = "NAME", env = "PORTUNUS_OVERRIDE_SNI", value_delimiter = ',')]
    pub(crate) sni: Vec<String>,
    /// The target of connections, as HOST:PORT or HOST:LO-HI
    #[arg(long, value_name = "TARGET", env = "PORTUNUS_OVERRIDE_TARGET")]
    pub(crate) target: String,
    /// How long the override lasts, at most 7 days
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_OVERRIDE_TTL", value_parser = duration::parse)]
    pub(crate) ttl: Duration,
    /// The reason, which is shown wherever the override is shown
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_OVERRIDE_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OverrideRemoveArgs {
    /// The rule, as EDGE/RULE
    #[arg(value_name = "EDGE/RULE", value_parser = rule_address)]
    pub(crate) rule: RuleAddress,
    /// Why it ends; history shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_OVERRIDE_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OverrideExportArgs {
    /// Only this override, as EDGE/RULE
    #[arg(value_name = "EDGE/RULE", value_parser = rule_address)]
    pub(crate) rule: Option<RuleAddress>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).ok_or_else(|| format!("`{text}` is not an IP address"))
}
