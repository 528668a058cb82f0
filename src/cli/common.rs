//! What several commands take: formats, colours, the server, allowances. Pure.

use clap::{Args, ValueEnum};

use crate::actor;
use crate::address::{self, ServerUrl};

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

/// Whom a command acts for.
#[derive(Debug, Args)]
pub(crate) struct ActorArg {
    /// Who applies, for the history, which shows it beside the authenticated operator. Without it: the actor and the run
    /// of a GitHub, GitLab, Forgejo or Gitea job, else the user and host of this command. The server cannot verify it
    #[arg(long, value_name = "NAME", env = "PORTUNUS_ACTOR", value_parser = actor::parse)]
    actor: Option<String>,
}

impl ActorArg {
    /// The label to send.
    pub(crate) fn label(&self) -> Option<String> {
        actor::of(self.actor.as_deref())
    }
}

/// Which rows of a list are shown.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct SelectArgs {
    /// Edges whose names match
    #[arg(long, value_name = "GLOB", env = "PORTUNUS_SELECT_EDGE")]
    edge: Option<String>,
    /// Edges with this label of the inventory; repeat it for several
    #[arg(long, value_name = "KEY=VALUE", env = "PORTUNUS_SELECT_LABEL", value_delimiter = ',')]
    label: Vec<String>,
    /// Rules whose names match
    #[arg(long, value_name = "GLOB", env = "PORTUNUS_SELECT_RULE")]
    rule: Option<String>,
    /// Rules of this owner
    #[arg(long, value_name = "NAME", env = "PORTUNUS_SELECT_OWNER")]
    owner: Option<String>,
    /// Rules in this state, such as `failed`; in the list of targets, targets in this state, such as `down`
    #[arg(long, value_name = "STATE", env = "PORTUNUS_SELECT_STATE")]
    state: Option<String>,
    /// Rules of this health
    #[arg(long, value_name = "HEALTH", env = "PORTUNUS_SELECT_HEALTH", value_parser = ["up", "down", "unknown"])]
    health: Option<String>,
    /// Rules that listen on this port
    #[arg(long, value_name = "N", env = "PORTUNUS_SELECT_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The order; of all but `name`, what needs attention comes first
    #[arg(long, value_name = "BY", env = "PORTUNUS_SORT", value_parser = ["name", "state", "health", "connections"])]
    sort: Option<String>,
    /// At most so many rows
    #[arg(long, value_name = "N", env = "PORTUNUS_LIMIT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl SelectArgs {
    /// True if everything is shown.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs().next().is_none()
    }

    /// The path with the selection as its query.
    pub(crate) fn query(&self, path: &str) -> String {
        let query = address::query(self.pairs());
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let labels = Some(self.label.join(",")).filter(|labels| !labels.is_empty());
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let all = [
            ("edge", self.edge.clone()),
            ("label", labels),
            ("rule", self.rule.clone()),
            ("owner", self.owner.clone()),
            ("state", self.state.clone()),
            ("health", self.health.clone()),
            ("port", number(self.port.map(u32::from))),
            ("sort", self.sort.clone()),
            ("limit", number(self.limit)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
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
