//! What several commands take: formats, colours, the server, allowances. Pure.

use clap::{Args, ValueEnum};

use schema::canonical::Digest;

use crate::actor;
use crate::address::ServerUrl;
use crate::secret::Secret;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Yaml,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Text,
    /// Tables are as wide as what they hold.
    Wide,
    Json,
    Yaml,
}

impl ListFormat {
    /// The format of everything that is not a table.
    pub(crate) fn plain(self) -> Format {
        match self {
            Self::Text | Self::Wide => Format::Text,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    /// Each change in full, however many there are.
    Wide,
    Json,
    Yaml,
    Markdown,
}

impl PlanFormat {
    /// The format of errors in it: a pull request gets them as text.
    pub(crate) fn plain(self) -> Format {
        match self {
            Self::Text | Self::Wide | Self::Markdown => Format::Text,
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
    #[value(alias = "true")]
    Always,
    #[value(alias = "false")]
    Never,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Printing {
    pub(crate) format: Format,
    pub(crate) color: Color,
    /// Nothing is cut to the width of the terminal.
    pub(crate) is_wide: bool,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Looks {
    /// The output format
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text", env = "PORTUNUS_OUTPUT")]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) color: ColorArg,
}

impl Looks {
    pub(crate) fn printing(&self) -> Printing {
        Printing { format: self.output, color: self.color.color, is_wide: false }
    }
}

impl ListLooks {
    /// The format of everything that is not a table.
    pub(crate) fn format(&self) -> Format {
        self.output.plain()
    }

    pub(crate) fn printing(&self) -> Printing {
        Printing { format: self.format(), color: self.color.color, is_wide: self.output == ListFormat::Wide }
    }
}

/// What a command takes that lists everything of a kind.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What every command takes that prints a list.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct ListLooks {
    /// How the result is printed; wide: tables are not cut to the width of the terminal, or of COLUMNS
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text", env = "PORTUNUS_OUTPUT")]
    pub(crate) output: ListFormat,
    #[command(flatten)]
    pub(crate) color: ColorArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct ColorArg {
    /// When to use colours; `auto` uses them on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", env = "PORTUNUS_COLOR")]
    pub(crate) color: Color,
}

/// A pin on the command line.
pub(super) fn pin(text: &str) -> Result<Digest, String> {
    Digest::parse(&text.to_ascii_lowercase()).ok_or_else(|| "expected sha256: and 64 hex digits".to_owned())
}

/// What commands take that speak to a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct ServerArgs {
    /// The operator port of the server [default: that of the current context, else http://127.0.0.1:7080]
    #[arg(long, value_name = "URL", env = "PORTUNUS_SERVER", hide_env_values = true)]
    pub(crate) server: Option<ServerUrl>,
    /// The operator's token, or @FILE [default: that of the server's context; for loopback only, the content of
    /// `operator.token` in the state directory]
    #[arg(long, value_name = "TOKEN or @FILE", env = "PORTUNUS_OPERATOR_TOKEN", hide_env_values = true,
          value_parser = Secret::parse)]
    pub(crate) token: Option<Secret>,
    /// The pin of the server's certificate authority [default: that of the server's context; without one, the
    /// certificate must be one that this system trusts]
    #[arg(long, value_name = "sha256:HEX", env = "PORTUNUS_PIN", value_parser = pin)]
    pub(crate) pin: Option<Digest>,
}

/// Whom a command acts for.
#[derive(Debug, Args)]
pub(crate) struct ActorArg {
    /// Who applies, for the history, which shows it beside the authenticated operator. Without it: the actor and the
    /// run of a GitHub, GitLab, Forgejo or Gitea job, else the user and host of this command. The server cannot verify
    /// it
    #[arg(long, value_name = "NAME", env = "PORTUNUS_ACTOR", value_parser = actor::parse)]
    actor: Option<String>,
}

impl ActorArg {
    /// The label to send.
    pub(crate) fn label(&self) -> Option<String> {
        actor::of(self.actor.as_deref())
    }
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
#[command(next_help_heading = "Allowances, which must be given each time")]
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
    /// Allow a tree without rules
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Allow a tree that differs from its commit
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Allow a commit that does not descend from the last applied one
    #[arg(long)]
    pub(crate) allow_non_descendant: bool,
}
