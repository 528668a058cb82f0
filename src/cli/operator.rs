//! The arguments of the commands that look, ask and change, and of those that need no server. Pure.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use schema::name::{EdgeName, RuleAddress};

use super::common::{ActorArg, AllowArgs, ColorArg, ListLooks, Looks, PlanFormat, RangeArg, ServerArgs};
use super::select::{HealthArg, SelectArgs, SinceArg, SortArg, StatsSortArg};
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
    /// Change nothing; show what would change and exit 2 if anything would
    #[arg(long, env = "PORTUNUS_CHECK", value_parser = BoolishValueParser::new())]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What upstream's `list-rules` or `/v1/rules` printed as JSON, or a standalone file; `-` reads standard input
    #[arg(long, value_name = "FILE", required = true, num_args = 1.., env = "PORTUNUS_IMPORT")]
    pub(crate) portunus: Vec<PathBuf>,
    /// Write one file per edge into this directory, instead of printing them
    #[arg(long, value_name = "DIR", env = "PORTUNUS_IMPORT_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// The edge of rules that name no client
    #[arg(long, value_name = "NAME", default_value = "local", env = "PORTUNUS_IMPORT_EDGE", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) edge: EdgeName,
    /// Replace files of the directory that have the same names
    #[arg(long, requires = "out", help_heading = "Allowances, to be said each time")]
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
    /// Write a plan file, to be applied with `portunus apply FILE`
    #[arg(long, value_name = "FILE", env = "PORTUNUS_OUT", conflicts_with = "live")]
    pub(crate) out: Option<PathBuf>,
    /// Have the edges reserve what the plan needs: sockets are bound and held, names are looked up. Each change says
    /// whether it is proven by that or modelled
    #[arg(long, env = "PORTUNUS_PROVE", value_parser = BoolishValueParser::new(), conflicts_with = "live")]
    pub(crate) prove: bool,
    /// How long the edges hold what they reserved, ten minutes at most; an apply of the plan uses it
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_LEASE", value_parser = duration::parse)]
    pub(crate) lease: Duration,
    /// Plan against a saved `status -o json` instead of a server; `{}` is an empty fleet, `-` reads standard input
    #[arg(long, value_name = "FILE", env = "PORTUNUS_LIVE")]
    pub(crate) live: Option<PathBuf>,
    /// Exit 2 if there are changes, or drift that applying would act on
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
    /// Apply without asking; to be said each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_TIMEOUT", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Also wait, within the timeout, until every rule of the tree that has a health check is up, also where nothing is
    /// sent
    #[arg(long, env = "PORTUNUS_WAIT_HEALTHY", value_parser = BoolishValueParser::new())]
    pub(crate) wait_healthy: bool,
    /// Let each change that costs live connections wait for a moment without them, on top of the timeout; when the
    /// limit is over, it is made all the same
    #[arg(long, value_name = "LIMIT", env = "PORTUNUS_QUIET_WINDOW", value_parser = duration::parse, conflicts_with = "confirm_within")]
    pub(crate) quiet_window: Option<Duration>,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// What a failure brings back to what it was before: every edge that the apply has changed
    #[arg(long, value_enum, value_name = "WHAT", env = "PORTUNUS_ROLLBACK")]
    pub(crate) rollback: Option<Rollback>,
    /// Every edge returns to what it ran before, by itself, unless it hears within this time that what it runs is good:
    /// its changed rules serve, and with --wait-healthy are up
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_CONFIRM_WITHIN", value_parser = duration::parse)]
    pub(crate) confirm_within: Option<Duration>,
    /// Edges that are offline are no reason for exit 5
    #[arg(long, help_heading = "Allowances, to be said each time")]
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
    /// Show it again whenever something happens
    #[arg(long, env = "PORTUNUS_WATCH", value_parser = BoolishValueParser::new())]
    pub(crate) watch: bool,
    /// Exit 2 if there is drift; a target that is down is none
    #[arg(long, env = "PORTUNUS_DETAILED_EXITCODE", value_parser = BoolishValueParser::new(), conflicts_with = "watch")]
    pub(crate) detailed_exitcode: bool,
    /// With --detailed-exitcode: exit 2 also if a rule is down
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
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// A rule, as EDGE/RULE; an edge with all of its rules; without it, all rules
    #[arg(value_name = "EDGE or EDGE/RULE", value_parser = selector)]
    pub(crate) selector: Option<Selector>,
    /// Also the counters of each port with traffic
    #[arg(long, env = "PORTUNUS_PER_PORT", value_parser = BoolishValueParser::new())]
    pub(crate) per_port: bool,
    /// Also the counters of each target
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
    /// Only events of edges
    #[arg(long, env = "PORTUNUS_ONLY_EDGES", value_parser = BoolishValueParser::new())]
    pub(crate) edges: bool,
    /// Only events of rules, their health included
    #[arg(long, env = "PORTUNUS_ONLY_RULES", value_parser = BoolishValueParser::new())]
    pub(crate) rules: bool,
    /// Only events of targets: states, weights and overrides
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
    /// A key such as `drain_timeout_secs`, `rule` or `rails`, a code such as `port_clash`, or any other word of an output:
    /// a state, a kind of drift, a rail, a result of a check, an outcome, an exit code
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
    /// Rails, rollout and what the tree ignores.
    #[value(name = "portunus.toml")]
    Fleet,
    /// The settings of the server.
    #[value(name = "server.toml")]
    Server,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}
