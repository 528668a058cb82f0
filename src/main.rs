//! The tool: reads the arguments, runs the command, and ends with its exit code. I/O.
//!
//! Only this package prints, reads arguments and sets exit codes; everything else is in `reconciler`, `edge` and
//! `schema`.

mod actor;
mod address;
mod allocator;
mod cli;
mod client;
mod cmd;
mod console;
mod contexts;
mod duration;
mod environment;
mod failure;
mod import;
mod input;
mod lines;
mod logging;
mod output;
#[cfg(test)]
mod pages;
mod pinned;
mod policy_file;
mod policy_schema;
mod progress;
mod render;
mod replace;
mod secret;
mod server_schema;
mod service;
mod settings;
mod signals;
mod sse;
mod state_dir;
mod top;
mod tree;

use std::process::ExitCode;

use cli::{Command, Printing};
use edge::InheritedSockets;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    environment::without_empty();
    let cli = match cli::read() {
        Ok(cli) => cli,
        Err(exit) => return exit.into(),
    };
    let Printing { format, color, is_wide } = cli.command.printing();
    output::set_color(color);
    if is_wide {
        output::set_wide();
    }
    if matches!(cli.command, Command::Serve(_) | Command::Up(_)) {
        allocator::settle();
    }
    let is_serving = matches!(cli.command, Command::Serve(_) | Command::Edge(_) | Command::Up(_));
    // After the allocator, which may start the program once more; before anything opens a descriptor or starts a thread.
    let inherited = if is_serving { InheritedSockets::from_env() } else { InheritedSockets::default() };
    let exit = match run(cli.command, inherited) {
        Ok(exit) => exit,
        Err(failure) => failure.report(format),
    };
    logging::flush();
    exit.into()
}

fn run(command: Command, inherited: InheritedSockets) -> Result<Exit, Failure> {
    match command {
        Command::Validate(args) => cmd::validate::run(&args),
        Command::Fmt(args) => cmd::fmt::run(&args),
        Command::Import(args) => cmd::import::run(&args),
        Command::Health(command) => cmd::health::run(&command),
        Command::Explain(args) => cmd::explain::run(&args),
        Command::Schema(args) => cmd::schema::run(&args),
        Command::Completions(args) => cmd::completions::run(&args),
        Command::Man(args) => cmd::man::run(&args),
        Command::Restore(args) => cmd::backup::restore_from(&args),
        Command::Backup(args) => asking(cmd::backup::run(&args)),
        Command::Plan(args) => asking(cmd::plan::run(&args)),
        Command::Apply(args) => asking(cmd::apply::run(&args)),
        Command::Status(args) => asking(cmd::status::run(&args)),
        Command::Rules(args) => asking(cmd::rules::run(&args)),
        Command::Edges(args) => asking(cmd::edges::run(&args)),
        Command::EdgeToken(command) => asking(cmd::edge_token::run(&command)),
        Command::Ca(command) => asking(cmd::ca::run(&command)),
        Command::Stats(args) => asking(cmd::stats::run(&args)),
        Command::Quota(command) => asking(cmd::quota::run(&command)),
        Command::Events(args) => asking(cmd::events::run(&args)),
        Command::Top(args) => asking(cmd::top::run(&args)),
        Command::History(args) => asking(cmd::history::run(&args)),
        Command::Blame(args) => asking(cmd::blame::run(&args)),
        Command::Trace(args) => asking(cmd::trace::run(&args)),
        Command::Targets(args) => asking(cmd::targets::run(&args)),
        Command::Connections(args) => asking(cmd::connections::run(&args)),
        Command::Unused(args) => asking(cmd::unused::run(&args)),
        Command::Target(command) => asking(cmd::target::run(&command)),
        Command::Override(command) => asking(cmd::override_rule::run(&command)),
        Command::Rollback(args) => asking(cmd::rollback::run(&args)),
        Command::Bisect(args) => asking(cmd::bisect::run(&args)),
        Command::Resume(args) => asking(cmd::resume::run(&args)),
        Command::Freeze(args) => asking(cmd::freeze::run(&args)),
        Command::Unfreeze(args) => asking(cmd::freeze::end(&args)),
        Command::Login(args) => asking(cmd::login::run(&args)),
        Command::Context(command) => cmd::login::context(&command),
        Command::Operator(command) => asking(cmd::operators::run(&command)),
        Command::Notify(command) => asking(cmd::notify::run(&command)),
        Command::Audit(args) => asking(cmd::operators::audit(&args)),
        Command::Serve(args) => serving(cmd::serve::run(args, inherited)),
        Command::Edge(args) => serving(cmd::edge::run(args, inherited)),
        Command::Up(args) => serving(cmd::up::run(args, inherited)),
    }
}

/// Runs a command that speaks to a server: one thread is enough for one conversation.
fn asking(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|error| no_runtime(&error))?;
    let result = runtime.block_on(command);
    // A question that was interrupted still waits for its answer; the process does not.
    runtime.shutdown_background();
    result
}

/// Runs a server or an edge.
fn serving(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    edge::act::descriptors::check().map_err(|error| Failure::Other(error.to_string()))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().map_err(|error| no_runtime(&error))?;
    let result = runtime.block_on(command);
    // What is left blocks on a file or a name; the process does not wait for it.
    runtime.shutdown_background();
    result
}

fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::Other(format!("the runtime cannot be started: {error}"))
}
