//! Bodies of requests: read within a bound of bytes and of time, and parsed while they arrive. I/O.
//!
//! Keeps: of a body only what it says is in memory, never its bytes; the bodies of trees together take no more than one
//! of the largest. A body is read to its end whatever it says, so that its sender gets the answer. What a body says is
//! also bounded by its values: a byte or two of JSON can become a value of thirty bytes and more.

use std::io::{self, BufReader, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schema::codes::TreeCode;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::guard::too_large;
use super::{Failure, State};
use crate::decide::codes::ProblemCode;

/// How long a body may take to arrive: it holds one of the few places for trees meanwhile.
const ARRIVAL: Duration = Duration::from_mins(2);
/// Pieces that have arrived and are not parsed: some hundred kilobytes each at most.
const AHEAD: usize = 4;
/// What bodies of trees are counted in.
const SHARE: usize = 1 << 20;
/// Characters that are shown of what is wrong: an error can quote a string of any length.
const QUOTED: usize = 300;

/// Values of a body, as commas and brackets outside of its strings: a plan of 200,000 rules has some five million.
const MAX_VALUES: usize = 8_000_000;

/// How many shares there are for bodies of at most so many bytes.
pub(super) fn shares(most: usize) -> usize {
    most.div_ceil(SHARE)
}

/// The place of a tree among those that are read and planned at once; to be kept until that is done.
#[derive(Debug)]
pub(super) struct UploadPlace {
    _turn: OwnedSemaphorePermit,
    _shares: OwnedSemaphorePermit,
}

/// Waits for a place, and reads a body with a tree.
pub(super) async fn tree<T: DeserializeOwned + Send + 'static>(
    state: &State,
    headers: &HeaderMap,
    body: Body,
) -> Result<(T, UploadPlace), Failure> {
    let most = state.context.max_body;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // One that does not say how long it is may be as long as any.
    let shares = shares(length.unwrap_or(most).min(most)).max(1) as u32;
    let closed = "the semaphores are never closed";
    let turn = state.uploads.clone().acquire_owned().await.expect(closed);
    let share = state.room.clone().acquire_many_owned(shares).await.expect(closed);
    Ok((read(body, most).await?, UploadPlace { _turn: turn, _shares: share }))
}

/// Reads a body of at most so many bytes.
pub(super) async fn read<T: DeserializeOwned + Send + 'static>(body: Body, most: usize) -> Result<T, Failure> {
    let late = |_| {
        Failure::new(
            408,
            ProblemCode::Timeout,
            "Body too slow",
            format!("a body must arrive within {} s", ARRIVAL.as_secs()),
        )
    };
    tokio::time::timeout(ARRIVAL, parsed(body, most)).await.map_err(late)?
}

async fn parsed<T: DeserializeOwned + Send + 'static>(body: Body, most: usize) -> Result<T, Failure> {
    let (sender, arriving) = mpsc::channel(AHEAD);
    // Ends with the last piece, or where the request goes away and its sender with it.
    let parsing = tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { arriving, piece: Bytes::new(), density: Density::default() };
        let parsed = serde_json::from_reader(BufReader::new(&mut pieces));
        if pieces.density.is_exceeded() { Err(too_dense()) } else { parsed.map_err(|error| unfit(&error)) }
    });
    let mut body = Limited::new(body, most);
    let mut sender = Some(sender);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_large(most)
            } else {
                Failure::new(400, ProblemCode::BadRequest, "Body not readable", error.to_string())
            }
        })?;
        if let (Ok(data), Some(parser)) = (frame.into_data(), &sender)
            && parser.send(data).await.is_err()
        {
            // It knows enough of this one; the rest is read and dropped.
            sender = None;
        }
    }
    drop(sender);
    parsing.await.map_err(|error| Failure::new(500, ProblemCode::Internal, "Internal error", error.to_string()))?
}

fn unfit(error: &serde_json::Error) -> Failure {
    let detail: String = error.to_string().chars().take(QUOTED).collect();
    Failure::new(400, ProblemCode::BadRequest, "The JSON does not fit the path", detail)
}

fn too_dense() -> Failure {
    let detail = format!("a body may have at most {MAX_VALUES} values");
    Failure::new(413, TreeCode::FileTooLarge, "Body too large", detail)
}

/// Reads what arrives, on a blocking thread.
struct Pieces {
    arriving: mpsc::Receiver<Bytes>,
    piece: Bytes,
    density: Density,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.arriving.blocking_recv() {
                Some(piece) => {
                    self.density.count(&piece);
                    if self.density.is_exceeded() {
                        return Err(io::Error::other("too many values"));
                    }
                    self.piece = piece;
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Counts the values of JSON that arrives in pieces.
#[derive(Debug, Default)]
struct Density {
    values: usize,
    is_in_string: bool,
    is_escaped: bool,
}

impl Density {
    fn count(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.is_in_string,
                b'"' => self.is_in_string = !self.is_in_string,
                b',' | b'[' | b'{' => self.values += usize::from(!self.is_in_string),
                _ => {}
            }
        }
    }

    fn is_exceeded(&self) -> bool {
        self.values > MAX_VALUES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings_wherever_the_pieces_end() {
        let text = br#"{"a,[{": [1, 2, "\",", "\\"], "b": {}}"#;
        for piece in 1..text.len() {
            let mut density = Density::default();
            text.chunks(piece).for_each(|piece| density.count(piece));
            assert_eq!(density.values, 7, "pieces of {piece} bytes");
        }
    }
}
