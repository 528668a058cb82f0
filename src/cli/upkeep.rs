//! The arguments of the commands that keep a server and its host in order. Pure.

use std::path::PathBuf;

use clap::Args;

use super::common::{Looks, ServerArgs};

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, with mode 0600; an existing one is replaced once the backup is complete
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The state directory to create; it must be empty or missing
    #[arg(long, value_name = "DIR", env = "PORTUNUS_STATE_DIR")]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) looks: Looks,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory for the pages, which is created where it is missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
