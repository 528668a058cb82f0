//! A backup of the server over the API, as it is written. I/O.
//!
//! Keeps: one is made at a time, it waits for its reader and not the fleet for it, and one that fails ends without its
//! checksum, so that nobody takes it for whole.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use schema::causes::with_causes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Failure, State};
use crate::act::backup::save::{SaveError, save};
use crate::decide::codes::ProblemCode;

/// BackupPieces that wait for the reader.
const WAITING: usize = 8;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Sends what is written to the body of a response; blocks while that is full.
struct BackupPieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for BackupPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) async fn backup(Extract(state): Extract<State>) -> Result<Response, Failure> {
    let busy = || {
        Failure::new(429, ProblemCode::Busy, "A backup is being made", "one backup is made at a time: try again later")
    };
    let turn = state.backups.clone().try_acquire_owned().map_err(|_| busy())?;
    let (sender, pieces) = mpsc::channel(WAITING);
    let (store, dir) = (state.context.store.clone(), state.context.state_dir.clone());
    // Ends with the response: writing fails once nobody reads.
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let to = BufWriter::with_capacity(PIECE, BackupPieces(sender.clone()));
        match save(&store, &dir, Timestamp::now(), to) {
            Ok(()) => tracing::info!("a backup was made"),
            Err(SaveError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                tracing::warn!("a backup was not made: its reader has gone");
            }
            Err(error) => {
                tracing::error!(error = with_causes(&error), "a backup was not made");
                // The response ends by an error instead of an end; the reader may have gone.
                _ = sender.blocking_send(Err(io::Error::other("the backup cannot be read")));
            }
        }
    });
    let body = Body::from_stream(ReceiverStream::new(pieces));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}
