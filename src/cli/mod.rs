//! The command line as types: every command, flag, default and environment variable. Pure but for reading both.
//!
//! Keeps: every flag has an environment variable, except those that must be said each time (`--yes`, `--allow-…`);
//! a usage error is never taken for a plan with changes, so clap's exit code 2 becomes 64.

mod common;
mod connections;
mod edges;
mod ledger;
mod login;
mod mistakes;
mod notify;
mod operator;
mod operators;
mod overrides;
mod quotas;
mod select;
mod serving;
mod targets;
mod top;
mod trace;
mod trust;
mod unused;
mod upkeep;

use std::borrow::Cow;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use schema::masked;

pub(crate) use common::{AllowArgs, Color, Format, ListArgs, LogFormat, Looks, PlanFormat, Printing, ServerArgs};
pub(crate) use connections::{ConnectionsArgs, ConnectionsCommand, ConnectionsEndArgs, ConnectionsSelectors};
pub(crate) use edges::{EdgesArgs, EdgesCommand};
pub(crate) use ledger::{
    BisectArgs, BlameArgs, FreezeArgs, HistoryArgs, ResumeArgs, RollbackArgs, UnfreezeArgs, WaitArgs,
};
pub(crate) use login::{ContextCommand, LoginArgs};
pub(crate) use notify::{NotifyCommand, NotifyTestArgs};
pub(crate) use operator::{
    ApplyArgs, CompletionsArgs, EventsArgs, ExplainArgs, FmtArgs, ImportArgs, PlanArgs, Rollback, RulesArgs,
    SchemaArgs, SchemaOf, Selector, StatsArgs, StatusArgs, ValidateArgs,
};
pub(crate) use operators::{AuditArgs, OperatorCommand, OperatorCreateArgs};
pub(crate) use overrides::{OverrideAddArgs, OverrideCommand};
pub(crate) use quotas::{QuotaCommand, QuotaListArgs, QuotaResetArgs};
pub(crate) use select::{PlaceArgs, Query, Selectors};
pub(crate) use serving::{EdgeArgs, ServeArgs, UpArgs};
pub(crate) use targets::{
    TargetArgs, TargetCheckArgs, TargetCommand, TargetEndArgs, TargetSetArgs, TargetWeightArgs, TargetsArgs, TermsArgs,
};
pub(crate) use top::TopArgs;
pub(crate) use trace::TraceArgs;
pub(crate) use trust::{CaCommand, EdgeTokenCommand};
pub(crate) use unused::UnusedArgs;
pub(crate) use upkeep::{BackupArgs, ManArgs, RestoreArgs};

use crate::cmd::health::HealthCommand;
use crate::failure::{Exit, Failure};
use crate::output::say;

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
    /// Format the TOML files of a rule tree; comments are kept
    Fmt(FmtArgs),
    /// Convert the rules of upstream Portunus to a rule tree, and report everything that could not be carried over
    Import(ImportArgs),
    /// Show the changes that applying a rule tree would make, and the drift; changes nothing
    Plan(PlanArgs),
    /// Show the plan, ask, apply it, and wait for the edges
    Apply(ApplyArgs),
    /// Show the revision in force, the edges, the rules and drift
    Status(StatusArgs),
    /// List the rules of all edges
    Rules(RulesArgs),
    /// List the edges, revoke one, or forget one that is permanently gone
    Edges(EdgesArgs),
    /// Invite an edge
    #[command(subcommand)]
    EdgeToken(EdgeTokenCommand),
    /// Show, replace or end the certificate authority of the server
    #[command(subcommand)]
    Ca(CaCommand),
    /// Show the counters of all rules, or of one
    Stats(StatsArgs),
    /// List the quotas of rules and owners, or begin the period of one anew
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// Show events: a snapshot, then live events
    Events(EventsArgs),
    /// Watch the fleet at the terminal: edges, rules, targets, connections, the plan and events
    Top(TopArgs),
    /// List the applies with their actor and result; with an ID, show one entry in full
    History(HistoryArgs),
    /// Show which commit put a port on an edge, with its rule and its apply
    Blame(BlameArgs),
    /// Show what would happen to a connection; exit with 2 if it would not be forwarded
    Trace(TraceArgs),
    /// List the targets of all rules, with totals
    Targets(TargetsArgs),
    /// Pause, disable, weight or check a target at runtime
    #[command(subcommand)]
    Target(TargetCommand),
    /// List the live connections of all edges, or end some of them
    Connections(Box<ConnectionsArgs>),
    /// List the rules and ports that nobody connected to for so long
    Unused(UnusedArgs),
    /// Put a rule on an edge without git, with a reason and an expiry
    #[command(subcommand)]
    Override(OverrideCommand),
    /// Apply a recorded revision again, and hold it until git moves or `resume`
    Rollback(RollbackArgs),
    /// Find the first bad revision with a command that distinguishes good from bad
    Bisect(BisectArgs),
    /// End the hold of a rollback, or complete an interrupted apply
    Resume(ResumeArgs),
    /// Stop all applies, by operators and by the server itself, until `unfreeze`
    Freeze(FreezeArgs),
    /// Allow applying again
    Unfreeze(UnfreezeArgs),
    /// Sign in to a server and store its address, pin and token as a context
    Login(LoginArgs),
    /// List the contexts, choose the current one, or remove one
    #[command(subcommand)]
    Context(ContextCommand),
    /// Create, list and revoke operators: who may do what
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Show what operators asked for and what was refused
    Audit(AuditArgs),
    /// List who receives notices, or test one of them
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// Run the server
    Serve(ServeArgs),
    /// Run an edge, the process that forwards
    Edge(EdgeArgs),
    /// Run a server and one edge named `local` in one process
    Up(UpArgs),
    /// Write the state of a running server to a file, with its keys and operators
    Backup(BackupArgs),
    /// Make a state directory of a backup
    Restore(RestoreArgs),
    /// Tune health checks
    #[command(subcommand)]
    Health(HealthCommand),
    /// Explain a key, a code, or any other word of an output
    Explain(ExplainArgs),
    /// Print the JSON Schema of rule files, portunus.toml, server.toml or policy.toml, for editors
    Schema(SchemaArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Write the manual pages of all commands
    Man(ManArgs),
}

impl Command {
    /// How this command prints, errors included.
    pub(crate) fn printing(&self) -> Printing {
        let text = |color: Color| Printing { format: Format::Text, color, is_wide: false };
        match self {
            Self::Plan(args) => Printing {
                format: args.output.plain(),
                color: args.color.color,
                is_wide: args.output == PlanFormat::Wide,
            },
            Self::Serve(args) => text(args.color.color),
            Self::Up(args) => text(args.serve.color.color),
            Self::Edge(args) => text(args.color),
            Self::Completions(_) | Self::Man(_) => text(Color::Auto),
            Self::Status(args) => args.looks.printing(),
            Self::Rules(args) => args.looks.printing(),
            Self::Edges(args) => args.printing(),
            Self::EdgeToken(command) => command.printing(),
            Self::Ca(command) => command.printing(),
            Self::Stats(args) => args.looks.printing(),
            Self::Quota(command) => command.printing(),
            Self::Top(args) => text(args.color.color),
            Self::History(args) => args.looks.printing(),
            Self::Targets(args) => args.looks.printing(),
            Self::Connections(args) => args.printing(),
            Self::Unused(args) => args.looks.printing(),
            Self::Override(command) => command.printing(),
            Self::Validate(args) => args.looks.printing(),
            Self::Fmt(args) => args.looks.printing(),
            Self::Import(args) => args.looks.printing(),
            Self::Apply(args) => args.looks.printing(),
            Self::Events(args) => args.looks.printing(),
            Self::Blame(args) => args.looks.printing(),
            Self::Trace(args) => args.looks.printing(),
            Self::Target(command) => command.looks().printing(),
            Self::Rollback(args) => args.looks.printing(),
            Self::Bisect(args) => args.looks.printing(),
            Self::Resume(args) => args.looks.printing(),
            Self::Freeze(args) => args.looks.printing(),
            Self::Unfreeze(args) => args.looks.printing(),
            Self::Login(args) => args.looks.printing(),
            Self::Context(command) => command.printing(),
            Self::Operator(command) => command.printing(),
            Self::Audit(args) => args.looks.printing(),
            Self::Notify(command) => command.printing(),
            Self::Health(HealthCommand::Simulate(args)) => args.looks.printing(),
            Self::Explain(args) => args.looks.printing(),
            Self::Schema(args) => args.looks.printing(),
            Self::Backup(args) => args.looks.printing(),
            Self::Restore(args) => args.looks.printing(),
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
            let arguments: Vec<String> = std::env::args_os().map(|one| one.to_string_lossy().into_owned()).collect();
            refused(&mistakes::explained(error, Cli::command(), &arguments))
        }
    })
}

/// Says why the arguments cannot be read.
fn refused(error: &clap::Error) -> Exit {
    match asked_format() {
        Format::Text => {
            say(without_passwords(&error.render().ansi().to_string()));
            Exit::Usage
        }
        // A program that asked for a document gets one, also for a mistake in what it asked.
        format => {
            let text = without_passwords(&error.render().to_string());
            Failure::Usage(text.trim_start_matches("error: ").trim_end().to_owned()).report(format)
        }
    }
}

/// A message may quote arguments, variables and files: what stands before the `@` of a URL is shown without its secret,
/// also where the text is not a valid URL.
pub(crate) fn without_passwords(message: &str) -> String {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let variables = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PORTUNUS_"));
    let variables = variables.filter_map(|(_, value)| value.into_string().ok());
    without_passwords_of(message, arguments.chain(variables))
}

/// The same for values that were given, as arguments or as variables.
fn without_passwords_of(message: &str, given: impl Iterator<Item = String>) -> String {
    let given = given.flat_map(|argument| match argument.split_once('=') {
        // `--server=URL`: what is quoted may be the whole argument or its value.
        Some((_, value)) => vec![value.to_owned(), argument],
        None => vec![argument],
    });
    let message = given.fold(message.to_owned(), |message, given| match masked_value(&given) {
        Cow::Owned(masked) => message.replace(&given, &masked),
        Cow::Borrowed(_) => message,
    });
    masked::text(&message).into_owned()
}

/// Of a text without a scheme, `USER:PASSWORD@HOST` and `TOKEN@HOST` hold a secret as well.
fn masked_value(given: &str) -> Cow<'_, str> {
    if given.contains("://") {
        return masked::url(given);
    }
    // `@FILE`, an event such as `fail@31`, and a sentence hold none.
    let may_be_server = |before: &str, host: &str| {
        let is_word = !before.is_empty() && !given.contains(char::is_whitespace);
        is_word && host.parse::<f64>().is_err()
    };
    match given.rsplit_once('@').filter(|(before, host)| may_be_server(before, host) || before.contains(':')) {
        Some((before, host)) => match before.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}").into(),
            None => format!("***@{host}").into(),
        },
        None => given.into(),
    }
}

/// The output that a command line asks for that could not be read as a whole.
fn asked_format() -> Format {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| arguments.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].as_str());
    let joined = |prefix: &str| arguments.iter().find_map(|argument| argument.strip_prefix(prefix));
    let asked = after("-o").or_else(|| after("--output")).or_else(|| joined("--output=")).or_else(|| joined("-o"));
    asked.and_then(|text| <Format as clap::ValueEnum>::from_str(text, true).ok()).unwrap_or(Format::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_flag_of_any_command_shows_a_password_in_an_error() {
        let mut tried = 0;
        let mut try_all = |path: &[&str], command: &clap::Command| {
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                for secret in ["https://me:PASSWORD@ho st/x", "me:PASSWORD@host:x", "ssh://me:PASS@WORD@host/x"] {
                    for flag in [vec![format!("--{long}"), secret.to_owned()], vec![format!("--{long}={secret}")]] {
                        let words = ["portunus"].iter().chain(path).map(|word| (*word).to_owned());
                        let line: Vec<String> = words.chain(flag).chain(["--nonsense".to_owned()]).collect();
                        let Err(error) = Cli::try_parse_from(&line) else { continue };
                        let error = mistakes::explained(error, Cli::command(), &line).render().to_string();
                        let said = without_passwords_of(&error, line.iter().cloned());
                        assert!(!said.contains("WORD"), "{line:?}: {said}");
                        tried += 1;
                    }
                }
            }
        };
        for command in Cli::command().get_subcommands() {
            try_all(&[command.get_name()], command);
            for below in command.get_subcommands() {
                try_all(&[command.get_name(), below.get_name()], below);
            }
        }
        assert!(tried > 1000, "{tried}");
    }

    #[test]
    fn what_is_no_address_of_a_server_is_shown_as_it_was_given() {
        let said = |given: &str| without_passwords_of(&format!("`{given}`"), [given.to_owned()].into_iter());
        for given in ["tick@31622401", "fail@9.5", "pass fail@31", "@token.file", "ask ada@example.org"] {
            assert_eq!(said(given), format!("`{given}`"));
        }
        for given in ["TOKEN@127.0.0.1", "TOKEN@host:7080"] {
            assert!(!said(given).contains("TOKEN"), "{given}");
        }
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
