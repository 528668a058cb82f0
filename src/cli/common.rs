//! What several commands take: formats, colours, the server, allowances. Pure.

use clap::{Args, ValueEnum};

use crate::address::ServerUrl;

/// Where the operator API is found when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7080";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Yaml,
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    Json,
    Yaml,
    Markdown,
}

impl PlanFormat {
    /// The format of errors in it: a pull request gets them as text.
    pub(crate) fn plain(self) -> Format {
        match self {
            Self::Text | Self::Markdown => Format::Text,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Looks {
    /// How the result is printed
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text", env = "PORTUNUS_OUTPUT")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) color: ColorArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct ColorArg {
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", env = "PORTUNUS_COLOR")]
    pub(crate) color: Color,
}

/// What commands take that speak to a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct ServerArgs {
    /// The operator API
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER, env = "PORTUNUS_SERVER", hide_env_values = true)]
    pub(crate) server: ServerUrl,
    /// The operator's token; without it, and for loopback only, the file `operator.token` of the state directory
    #[arg(long, value_name = "TOKEN", env = "PORTUNUS_OPERATOR_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RangeArg {
    /// The widest port range of one rule
    #[arg(long, value_name = "N", env = "PORTUNUS_RANGE_RULE_MAX_PORTS", value_parser = clap::value_parser!(u32).range(1..=65535))]
    pub(crate) range_rule_max_ports: Option<u32>,
}

/// What a person allows for one plan.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "each is the name of its flag")]
#[command(next_help_heading = "Allowances, to be said each time")]
pub(crate) struct AllowArgs {
    /// Allow exactly N removals
    #[arg(long, value_name = "N")]
    pub(crate) allow_removals: Option<u64>,
    /// Allow exactly N rebinds
    #[arg(long, value_name = "N")]
    pub(crate) allow_rebinds: Option<u64>,
    /// Allow exactly N live connections to be cut
    #[arg(long, value_name = "N")]
    pub(crate) allow_drops: Option<u64>,
    /// Allow a tree without a rule
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Allow a tree that differs from its commit
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Allow a commit that does not descend from the last applied one
    #[arg(long)]
    pub(crate) allow_non_descendant: bool,
}
