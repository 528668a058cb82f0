//! The arguments of the commands that look, ask and change, and of those that need no server. Pure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use schema::name::{EdgeName, RuleAddress};

use super::common::{ActorArg, AllowArgs, ColorArg, ListLooks, Looks, PlanFormat, RangeArg, ServerArgs};
use super::select::{HealthArg, OffsetArg, SelectArgs, SinceArg, SortArg, StatsSortArg};
use crate::duration;

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
pub(crate) struct FmtArgs {
    /// A rule tree, or files
    #[arg(value_name = "DIR or FILES", default_value = ".")]
    pub(crate) paths: Vec<PathBuf>,
    /// Change nothing; list the files that would change, and exit with 2 if there are any
    #[arg(long, env = "PORTUNUS_CHECK", value_parser = BoolishValueParser::new())]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The JSON output of upstream's `list-rules` or `/v1/rules`, or a standalone file; `-` reads standard input
    #[arg(long, value_name = "FILE", required = true, num_args = 1.., env = "PORTUNUS_IMPORT")]
    pub(crate) portunus: Vec<PathBuf>,
    /// Write one file per edge into this directory instead of printing the rules
    #[arg(long, value_name = "DIR", env = "PORTUNUS_IMPORT_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// The edge for rules that do not name a client
    #[arg(long, value_name = "NAME", default_value = "local", env = "PORTUNUS_IMPORT_EDGE", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) edge: EdgeName,
    /// Replace existing files in the directory
    #[arg(long, requires = "out", help_heading = "Allowances, which must be given each time")]
    pub(crate) allow_overwrite: bool,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The rule tree
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Write a plan file, which `portunus apply FILE` applies
    #[arg(long, value_name = "FILE", env = "PORTUNUS_OUT", conflicts_with = "live")]
    pub(crate) out: Option<PathBuf>,
    /// Let the edges reserve the resources that the plan needs: sockets are bound and held, names are looked up. Each
    /// change shows whether it is proven or modelled
    #[arg(long, env = "PORTUNUS_PROVE", value_parser = BoolishValueParser::new(), conflicts_with = "live")]
    pub(crate) prove: bool,
    /// How long the edges hold the reserved resources, at most ten minutes; an apply of the plan uses them
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_LEASE", value_parser = duration::parse)]
    pub(crate) lease: Duration,
    /// Plan against a saved `status -o json` instead of a server; `{}` stands for an empty fleet, and `-` reads
    /// standard input
    #[arg(long, value_name = "FILE", env = "PORTUNUS_LIVE")]
    pub(crate) live: Option<PathBuf>,
    /// Exit with 2 if there are changes, or drift that applying would act on
    #[arg(long, env = "PORTUNUS_DETAILED_EXITCODE", value_parser = BoolishValueParser::new())]
    pub(crate) detailed_exitcode: bool,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// The output format; `markdown` is for a comment on a pull request
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

/// What a failed apply brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rollback {
    Fleet,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The rule tree, or a file that `plan --out` wrote
    #[arg(value_name = "DIR or PLANFILE", default_value = ".")]
    pub(crate) path: PathBuf,
    /// Apply without asking; must be given each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_TIMEOUT", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Also wait, within the timeout, until every rule of the tree that has a health check is up, even if nothing is
    /// sent
    #[arg(long, env = "PORTUNUS_WAIT_HEALTHY", value_parser = BoolishValueParser::new())]
    pub(crate) wait_healthy: bool,
    /// Let each change that ends live connections wait for a moment without any, in addition to the timeout; when the
    /// limit expires, the change is made anyway
    #[arg(long, value_name = "LIMIT", env = "PORTUNUS_QUIET_WINDOW", value_parser = duration::parse, conflicts_with = "confirm_within")]
    pub(crate) quiet_window: Option<Duration>,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// The edges that a failure reverts to their previous state: every edge that the apply has changed
    #[arg(long, value_enum, value_name = "WHAT", env = "PORTUNUS_ROLLBACK")]
    pub(crate) rollback: Option<Rollback>,
    /// Let each edge revert to its previous state by itself unless the server confirms within this time that its
    /// changed rules serve, and with --wait-healthy are up
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_CONFIRM_WITHIN", value_parser = duration::parse)]
    pub(crate) confirm_within: Option<Duration>,
    /// Do not exit with 5 because of edges that are offline
    #[arg(long, help_heading = "Allowances, which must be given each time")]
    pub(crate) allow_offline: bool,
    #[command(flatten)]
    pub(crate) actor: ActorArg,
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

pub(super) fn selector(text: &str) -> Result<Selector, String> {
    if text.contains('/') {
        return rule_address(text).map(Selector::Rule);
    }
    EdgeName::new(text).map(Selector::Edge).map_err(|error| error.to_string())
}

pub(super) fn rule_address(text: &str) -> Result<RuleAddress, String> {
    RuleAddress::parse(text).map_err(|error| format!("expected EDGE/RULE, for example edge-01/web: {error}"))
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this edge or rule
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    /// Refresh the output whenever the state changes
    #[arg(long, env = "PORTUNUS_WATCH", value_parser = BoolishValueParser::new())]
    pub(crate) watch: bool,
    /// Exit with 2 if there is drift; a target that is down is not drift
    #[arg(long, env = "PORTUNUS_DETAILED_EXITCODE", value_parser = BoolishValueParser::new(), conflicts_with = "watch")]
    pub(crate) detailed_exitcode: bool,
    /// With --detailed-exitcode, also exit with 2 if a rule is down
    #[arg(long, env = "PORTUNUS_HEALTHY", value_parser = BoolishValueParser::new(), requires = "detailed_exitcode")]
    pub(crate) healthy: bool,
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
pub(crate) struct RulesArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) sort: SortArg,
    #[command(flatten)]
    pub(crate) page: OffsetArg,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// A rule, as EDGE/RULE; an edge with all of its rules; without it, all rules
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    /// Also show the counters of each port with traffic
    #[arg(long, env = "PORTUNUS_PER_PORT", value_parser = BoolishValueParser::new())]
    pub(crate) per_port: bool,
    /// Also show the counters of each target
    #[arg(long, env = "PORTUNUS_PER_TARGET", value_parser = BoolishValueParser::new())]
    pub(crate) per_target: bool,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) sort: StatsSortArg,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Show only events of edges
    #[arg(long, env = "PORTUNUS_ONLY_EDGES", value_parser = BoolishValueParser::new())]
    pub(crate) edges: bool,
    /// Show only events of rules, including their health
    #[arg(long, env = "PORTUNUS_ONLY_RULES", value_parser = BoolishValueParser::new())]
    pub(crate) rules: bool,
    /// Show only events of targets: states, weights and overrides
    #[arg(long, env = "PORTUNUS_ONLY_TARGETS", value_parser = BoolishValueParser::new())]
    pub(crate) targets: bool,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) health: HealthArg,
    #[command(flatten)]
    pub(crate) since: SinceArg,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A key such as `drain_timeout_secs`, `rule` or `rails`, a code such as `port_clash`, or any other word of an
    /// output: a state, a kind of drift, a rail, a result of a check, an outcome, an exit code
    #[arg(value_name = "KEY or CODE")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The file to describe
    #[arg(value_enum, value_name = "FILE", default_value = "rules")]
    pub(crate) of: SchemaOf,

    #[command(flatten)]
    pub(crate) looks: Looks,
}

/// Files that have a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SchemaOf {
    /// A rule file.
    Rules,
    /// Rails, rollout and ignored files of the tree.
    #[value(name = "portunus.toml")]
    Fleet,
    /// The settings of the server.
    #[value(name = "server.toml")]
    Server,
    /// The policy of an edge.
    #[value(name = "policy.toml")]
    Policy,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}
