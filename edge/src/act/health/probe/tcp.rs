//! Connects, and perhaps sends and expects. I/O.
//!
//! Keeps: what a target sends is read up to a limit, and no more of it is kept than the expected text is long.

use std::net::SocketAddr;

use schema::health::{Outcome, ResultCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{ProbeSpec, ProbeStep, broken, failed, failed_by, reach};

/// Bytes in which the expected text must come: more than any greeting.
const ANSWER: usize = 64 << 10;

/// Asks once.
pub(super) async fn ask(question: &ProbeSpec, addresses: &[SocketAddr], deadline: Instant) -> ProbeStep<Outcome> {
    let mut stream = reach::connect(question, addresses, deadline).await?;
    let check = &question.check;
    if !check.send.is_empty() {
        match timeout_at(deadline, stream.write_all(check.send.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return failed_by(ResultCode::L7Rsp, &error, &broken("sending", &error)),
            Err(_) => return failed(ResultCode::L7Tout, "the target did not accept the data in time"),
        }
    }
    if check.expect.is_empty() {
        return Ok(Outcome::new(ResultCode::L4Ok, "connected"));
    }
    match Box::pin(timeout_at(deadline, expect(&mut stream, check.expect.as_bytes()))).await {
        Ok(result) => result,
        Err(_) => failed(ResultCode::L7Tout, "the expected answer did not arrive in time"),
    }
}

async fn expect(stream: &mut TcpStream, expected: &[u8]) -> ProbeStep<Outcome> {
    let (mut kept, mut read) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    let mut begin = Vec::new();
    loop {
        let count = match stream.read(&mut buffer).await {
            Ok(0) if read == 0 => {
                return failed(
                    ResultCode::L7Rsp,
                    "the target closed the connection without an \
                answer",
                );
            }
            Ok(0) => return failed(ResultCode::L7Rsp, &other(&begin)),
            Ok(count) => count,
            Err(error) => return failed_by(ResultCode::L7Rsp, &error, &broken("awaiting the answer", &error)),
        };
        if begin.len() < SHOWN {
            begin.extend_from_slice(&buffer[..count.min(SHOWN)]);
        }
        kept.extend_from_slice(&buffer[..count]);
        if kept.windows(expected.len()).any(|window| window == expected) {
            return Ok(Outcome::new(ResultCode::L7Ok, "the expected answer arrived"));
        }
        // What may still be the beginning of the expected text.
        kept.drain(..kept.len().saturating_sub(expected.len() - 1));
        read += count;
        if read >= ANSWER {
            return failed(ResultCode::L7Rsp, &other(&begin));
        }
    }
}

/// Bytes of an unexpected answer that are shown.
const SHOWN: usize = 80;

fn other(begin: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&begin[..begin.len().min(SHOWN)]);
    format!("not the expected answer; it starts with: {}", shown.trim())
}
