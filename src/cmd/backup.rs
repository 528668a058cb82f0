//! `backup` and `restore`: the state of a server in one file, and back. I/O.
//!
//! Keeps: a backup is written whole or not at all, and nobody else can read it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use reconciler::act::backup::archive::Reader;
use reconciler::act::backup::restore::{RestoredBackup, restore};
use schema::causes::with_causes;
use tokio::task::spawn_blocking;

use crate::cli::{BackupArgs, RestoreArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print_value, say};
use crate::render::words::count;
use crate::replace;

pub(crate) async fn run(args: &BackupArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let written = |source| Failure::File { path: args.file.clone(), verb: "written", source };
    let file = replace::beside(&args.file).map_err(written)?;
    let mut to = file.reopen().map_err(written)?;
    client.download("/v1/backup", &mut to, &args.file).await?;
    let (path, size) = (args.file.clone(), to.metadata().map_err(written)?.len());
    let finished = spawn_blocking(move || {
        verify(file.path()).map_err(|error| Failure::Other(format!("the backup is not complete: {error}")))?;
        replace::finish(file, &path, 0o600).map_err(|source| Failure::File { path, verb: "written", source })
    });
    finished.await.map_err(|error| Failure::Other(error.to_string()))??;
    let shown = clean(&args.file.display().to_string()).into_owned();
    say(format!(
        "Wrote {shown} ({size} bytes). It contains keys and tokens: keep it where only administrators can read it."
    ));
    Ok(Exit::Done)
}

/// Reads all of a backup, to the checksum.
fn verify(path: &Path) -> Result<(), String> {
    let mut reader = File::open(path)
        .map_err(|error: io::Error| error.to_string())
        .and_then(|file| Reader::new(BufReader::new(file)).map_err(|error| error.to_string()))?;
    while reader.next_entry().map_err(|error| error.to_string())?.is_some() {}
    Ok(())
}

pub(crate) fn restore_from(args: &RestoreArgs) -> Result<Exit, Failure> {
    let restored = restore(&args.file, &args.state_dir).map_err(|error| Failure::Other(with_causes(&error)))?;
    if !print_value(args.looks.output, &restored)? {
        say(words(&restored, &args.state_dir));
    }
    Ok(Exit::Done)
}

fn words(restored: &RestoredBackup, dir: &Path) -> String {
    let made = restored.created_at.map_or_else(String::new, |at| format!(" of {at:.0}"));
    let dir = clean(&dir.display().to_string()).into_owned();
    format!(
        "Restored the backup{made} into {dir}: {}, {}.\nWhat happened after that moment is not in it. Edges, operators \
         and codes that were revoked since then are valid again: revoke them again once the server runs.\nStart it with \
         `portunus serve --state-dir {dir}`. Edges come back without joining again, and generations continue above those \
         that they report.",
        count(restored.ledger_lines, "ledger line"),
        count(restored.edges as u64, "edge"),
    )
}
