//! `completions`: what a shell needs to complete the command line.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::failure::{Exit, Failure};
use crate::output::print;

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "portunus", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
