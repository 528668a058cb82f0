//! The command line as types: every command, flag, default and environment variable. Pure but for reading both.
//!
//! Keeps: every flag has an environment variable, except those that must be said each time (`--yes`, `--allow-…`);
//! a usage error is never taken for a plan with changes, so clap's exit code 2 becomes 64.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use reconciler::decide::fleet::Mode;
use schema::capability::Capability;
use schema::name::{EdgeName, RuleAddress};

use crate::address::{ControlUrl, ServerUrl};
use crate::cmd::health::HealthCommand;
use crate::duration;
use crate::failure::Exit;
use crate::output::say;

/// Where the operator API is found when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7080";
/// Where the control port is found when nobody says otherwise.
const DEFAULT_CONTROL: &str = "http://127.0.0.1:7443";

/// Plans and applies L4 forwarding rules that are kept in git.
#[derive(Debug, Parser)]
#[command(name = "portunus", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with `portunus up DIR`, then change a file in DIR and run `portunus status`.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One variant per command; the order is that of a person's day.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a rule tree, offline
    Validate(ValidateArgs),
    /// Format the TOML files of a rule tree; comments stay
    Fmt(FmtArgs),
    /// Show what applying a rule tree would change, and what is different now; changes nothing
    Plan(PlanArgs),
    /// Show the plan, ask, apply it and wait for the edges
    Apply(ApplyArgs),
    /// Show the revision in force, edges, rules and drift
    Status(StatusArgs),
    /// List the rules of all edges
    Rules(RulesArgs),
    /// Show the counters of a rule
    Stats(StatsArgs),
    /// Show what happens: a snapshot, then live
    Events(EventsArgs),
    /// List what was applied, by whom and how it ended
    History(HistoryArgs),
    /// Run the server
    Serve(ServeArgs),
    /// Run an edge, the process that forwards
    Edge(EdgeArgs),
    /// Run server and one edge named `local` in one process
    Up(UpArgs),
    /// Tune health checks
    #[command(subcommand)]
    Health(HealthCommand),
    /// Explain a key of the rule language or an error code
    Explain(ExplainArgs),
    /// Print the JSON Schema of a rule file
    Schema(SchemaArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
}

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
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER, env = "PORTUNUS_SERVER")]
    pub(crate) server: ServerUrl,
    /// The operator's token; without it, and for loopback only, the file `operator.token` of the state directory
    #[arg(long, value_name = "TOKEN", env = "PORTUNUS_OPERATOR_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The rule tree
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct RangeArg {
    /// The widest port range of one rule
    #[arg(long, value_name = "N", env = "PORTUNUS_RANGE_RULE_MAX_PORTS", value_parser = clap::value_parser!(u32).range(1..=65535))]
    pub(crate) range_rule_max_ports: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct FmtArgs {
    /// A rule tree, or files
    #[arg(value_name = "DIR or FILES", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Change nothing; show what would change and exit 2 if anything would
    #[arg(long, env = "PORTUNUS_CHECK", value_parser = BoolishValueParser::new())]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
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
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The rule tree
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Write a plan file, to be applied with `portunus apply FILE`
    #[arg(long, value_name = "FILE", env = "PORTUNUS_OUT", conflicts_with = "live")]
    pub(crate) out: Option<PathBuf>,
    /// Plan against a saved `status -o json` instead of a server; `{}` is an empty fleet, `-` reads standard input
    #[arg(long, value_name = "FILE", env = "PORTUNUS_LIVE")]
    pub(crate) live: Option<PathBuf>,
    /// Exit 2 if there are changes or drift
    #[arg(long, env = "PORTUNUS_DETAILED_EXITCODE", value_parser = BoolishValueParser::new())]
    pub(crate) detailed_exitcode: bool,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// How the plan is printed; markdown is for a comment on a pull request
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = "PORTUNUS_OUTPUT",
        help_heading = "Common options"
    )]
    pub(crate) output: PlanFormat,
    #[command(flatten)]
    pub(crate) color: ColorArg,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The rule tree, or a file that `plan --out` wrote
    #[arg(value_name = "DIR or PLANFILE", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Apply without asking; to be said each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_TIMEOUT", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// Edges that are offline are no reason for exit 5
    #[arg(long, help_heading = "Allowances, to be said each time")]
    pub(crate) allow_offline: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// An edge, or a rule on an edge.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    Edge(EdgeName),
    Rule(RuleAddress),
}

fn selector(text: &str) -> Result<Selector, String> {
    if text.contains('/') {
        return rule_address(text).map(Selector::Rule);
    }
    EdgeName::new(text).map(Selector::Edge).map_err(|error| error.to_string())
}

fn rule_address(text: &str) -> Result<RuleAddress, String> {
    RuleAddress::parse(text).map_err(|error| format!("expected EDGE/RULE, for example edge-01/web: {error}"))
}

fn edge_name(text: &str) -> Result<EdgeName, String> {
    EdgeName::new(text).map_err(|error| error.to_string())
}

fn mode(text: &str) -> Result<Mode, String> {
    let all = [Mode::Off, Mode::Plan, Mode::Heal, Mode::Apply];
    all.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| "expected off, plan, heal or apply".to_owned())
}

fn capability(text: &str) -> Result<Capability, String> {
    Capability::parse(text).ok_or_else(|| {
        let all: Vec<&str> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this edge or rule
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    /// Show it again whenever something happens
    #[arg(long, env = "PORTUNUS_WATCH", value_parser = BoolishValueParser::new())]
    pub(crate) watch: bool,
    /// Exit 2 if there is drift
    #[arg(long, env = "PORTUNUS_DETAILED_EXITCODE", value_parser = BoolishValueParser::new(), conflicts_with = "watch")]
    pub(crate) detailed_exitcode: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The rule, as EDGE/RULE
    #[arg(value_name = "EDGE/RULE", value_parser = rule_address)]
    pub(crate) rule: RuleAddress,
    /// Also the counters of each port with traffic
    #[arg(long, env = "PORTUNUS_PER_PORT", value_parser = BoolishValueParser::new())]
    pub(crate) per_port: bool,
    /// Also the counters of each target
    #[arg(long, env = "PORTUNUS_PER_TARGET", value_parser = BoolishValueParser::new())]
    pub(crate) per_target: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events of edges
    #[arg(long, env = "PORTUNUS_ONLY_EDGES", value_parser = BoolishValueParser::new())]
    pub(crate) edges: bool,
    /// Only events of rules
    #[arg(long, env = "PORTUNUS_ONLY_RULES", value_parser = BoolishValueParser::new())]
    pub(crate) rules: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only this entry, by its number or the id of its apply
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The settings of a server; those that are not given come from `--config`, then from the defaults.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The rule tree to follow
    #[arg(long, value_name = "DIR", env = "PORTUNUS_RULES")]
    pub(crate) rules: Option<PathBuf>,
    /// Revisions, ledger and token [default: $XDG_STATE_HOME/portunus]
    #[arg(long, value_name = "DIR", env = "PORTUNUS_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where edges connect, loopback only [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_CONTROL_LISTEN")]
    pub(crate) control_listen: Option<SocketAddr>,
    /// The operator API, loopback only [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_OPERATOR_LISTEN")]
    pub(crate) operator_listen: Option<SocketAddr>,
    /// /metrics, /healthz and /readyz [default: 127.0.0.1:7081]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// What the server does by itself: off, plan, heal or apply [default: apply with a tree, else heal]
    #[arg(long, value_name = "MODE", env = "PORTUNUS_MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
    /// A file with the same settings as keys; flags win
    #[arg(long, value_name = "FILE", env = "PORTUNUS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    /// How long connections may go on after the end was asked for [default: 30s]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_SHUTDOWN_DRAIN_TIMEOUT", value_parser = duration::parse)]
    pub(crate) shutdown_drain_timeout: Option<Duration>,
    /// Follow a tree that differs from its commit
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// error, warn, info, debug or trace, or a filter such as `info,reconciler=debug` [default: info]
    #[arg(long, value_name = "LEVEL", env = "PORTUNUS_LOG")]
    pub(crate) log_level: Option<String>,
    /// How logs are written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "PORTUNUS_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    #[command(flatten)]
    pub(crate) color: ColorArg,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The rule tree [default: .]
    #[arg(value_name = "DIR", conflicts_with = "rules")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    /// The server's control port
    #[arg(long, value_name = "URL", default_value = DEFAULT_CONTROL, env = "PORTUNUS_EDGE_SERVER")]
    pub(crate) server: ControlUrl,
    /// The name of this edge
    #[arg(long, value_name = "NAME", env = "PORTUNUS_EDGE_NAME", value_parser = edge_name)]
    pub(crate) name: EdgeName,
    /// The last good state [default: $XDG_STATE_HOME/portunus-edge/NAME]
    #[arg(long, value_name = "DIR", env = "PORTUNUS_EDGE_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Metrics of this process and its session; not served unless given
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_EDGE_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Something that this edge must not do; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        env = "PORTUNUS_EDGE_DISABLE_CAPABILITY",
        value_delimiter = ',',
        value_parser = capability
    )]
    pub(crate) disable_capability: Vec<Capability>,
    /// How long connections may go on after the end was asked for
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        env = "PORTUNUS_EDGE_SHUTDOWN_DRAIN_TIMEOUT",
        value_parser = duration::parse
    )]
    pub(crate) shutdown_drain_timeout: Duration,
    /// error, warn, info, debug or trace, or a filter such as `info,edge=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "PORTUNUS_EDGE_LOG")]
    pub(crate) log_level: String,
    /// How logs are written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text", env = "PORTUNUS_EDGE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "PORTUNUS_EDGE_COLOR",
        help_heading = "Common options",
        help = "When to use colours; auto: on a terminal, unless NO_COLOR is set"
    )]
    pub(crate) color: Color,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A key such as `drain_timeout_secs`, `rule` or `rails`, or a code such as `port_clash`
    #[arg(value_name = "KEY or CODE")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

impl Command {
    /// How errors of this command are printed.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Plan(args) => args.output.plain(),
            Self::Serve(_) | Self::Edge(_) | Self::Up(_) | Self::Completions(_) => Format::Text,
            other => other.looks().map_or(Format::Text, |looks| looks.output),
        }
    }

    /// When colours are used.
    pub(crate) fn color(&self) -> Color {
        match self {
            Self::Plan(args) => args.color.color,
            Self::Serve(args) => args.color.color,
            Self::Up(args) => args.serve.color.color,
            Self::Edge(args) => args.color,
            other => other.looks().map_or(Color::Auto, |looks| looks.color.color),
        }
    }

    fn looks(&self) -> Option<&Looks> {
        match self {
            Self::Validate(args) => Some(&args.looks),
            Self::Fmt(args) => Some(&args.looks),
            Self::Apply(args) => Some(&args.looks),
            Self::Status(args) => Some(&args.looks),
            Self::Rules(args) => Some(&args.looks),
            Self::Stats(args) => Some(&args.looks),
            Self::Events(args) => Some(&args.looks),
            Self::History(args) => Some(&args.looks),
            Self::Health(HealthCommand::Simulate(args)) => Some(&args.looks),
            Self::Explain(args) => Some(&args.looks),
            Self::Schema(args) => Some(&args.looks),
            Self::Plan(_) | Self::Serve(_) | Self::Edge(_) | Self::Up(_) | Self::Completions(_) => None,
        }
    }
}

/// Reads the arguments; an exit code where there is nothing to run.
pub(crate) fn read() -> Result<Cli, Exit> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that closed the pipe has seen enough.
            error.print().ok();
            Exit::Done
        }
        _ => {
            say(error.render().ansi());
            Exit::Usage
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_except_those_that_must_be_said_each_time() {
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else { continue };
                let must_be_said = long == "yes" || long.starts_with("allow-");
                let prefix = if command.get_name() == "edge" { "PORTUNUS_EDGE_" } else { "PORTUNUS_" };
                match arg.get_env().and_then(|name| name.to_str()) {
                    Some(name) => assert!(!must_be_said && name.starts_with(prefix), "{long}: {name}"),
                    None => assert!(must_be_said, "{} --{long} has no variable", command.get_name()),
                }
            }
        }
    }
}
