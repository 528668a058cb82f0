//! `man`: a manual page for each command. I/O: writes the files.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::failure::{Exit, Failure};
use crate::output::{clean, say};
use crate::render::words::count;
use crate::replace;

pub(crate) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let written = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File { path, verb: "written", source }
    };
    fs::create_dir_all(&args.dir).map_err(written(&args.dir))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    render(&root, &mut pages).map_err(written(&args.dir))?;
    for (name, page) in &pages {
        let path = args.dir.join(name);
        replace::replace(&path, page, 0o644).map_err(written(&path))?;
    }
    let dir = args.dir.display().to_string();
    say(format!("Wrote {} to {}.", count(pages.len() as u64, "manual page"), clean(&dir)));
    Ok(Exit::Done)
}

/// The page of a command, then those of the commands below it: `portunus-target-pause.1` and so on.
fn render(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let page = Man::new(command.clone());
    let (name, mut text) = (page.get_filename(), Vec::new());
    page.render(&mut text)?;
    pages.push((name, text));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        render(below, pages)?;
    }
    Ok(())
}
