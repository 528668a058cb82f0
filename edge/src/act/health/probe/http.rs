//! One HTTP/1.1 request, in the clear or over TLS. I/O.
//!
//! Keeps: a head of more than [`HEAD`] and what follows the first [`BODY`] bytes of a body are never in memory.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use regex_lite::Regex;
use schema::health::{HealthKind, Outcome, ResultCode};
use schema::rule::Host;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::tls::{self, Tls};
use super::{ProbeSpec, ProbeStep, failed, failed_by, reach};
use crate::act::wording;

/// Longest head of an answer: far more than servers and clients of the field agree on, little beside a body.
const HEAD: usize = 64 << 10;
/// Header lines that a head may have; what each costs here is a few words.
const LINES: usize = 1024;
/// As much of a body is looked at: a status page's beginning.
const BODY: usize = 16 << 10;
/// Between two looks at a body that still grows: one that comes byte by byte shall not be searched for each of them.
const LOOK: Duration = Duration::from_millis(50);

/// Asks once.
pub(super) async fn ask(
    question: &ProbeSpec,
    tls: &Tls,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> ProbeStep<Outcome> {
    let is_clear = question.check.kind == HealthKind::Http;
    let exchanged = if is_clear {
        let stream = reach::connect(question, addresses, deadline).await?;
        timeout_at(deadline, exchange(question, stream, deadline)).await
    } else {
        let stream = tls::connect(question, tls, addresses, deadline).await?;
        timeout_at(deadline, exchange(question, stream, deadline)).await
    };
    match exchanged {
        Ok(result) => result,
        Err(_) => failed(ResultCode::L7Tout, "no complete answer arrived in time"),
    }
}

async fn exchange<S>(question: &ProbeSpec, stream: S, deadline: Instant) -> ProbeStep<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(question)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD).max_headers(LINES);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return broke(&error),
    };
    let answer = async {
        match sender.send_request(request).await {
            Ok(response) => judge(question, response, deadline).await,
            Err(error) => broke(&error),
        }
    };
    let driven = async {
        // What breaks the connection breaks the exchange too, which reports it itself.
        _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answered = answer => answered,
        never = driven => never,
    }
}

fn request(question: &ProbeSpec) -> ProbeStep<Request<Empty<Bytes>>> {
    let check = &question.check;
    let request = Request::builder()
        .method(check.method.as_str())
        .uri(check.path.as_str())
        .header(HOST, host(question))
        .header(USER_AGENT, concat!("portunus/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new());
    request.or_else(|error| failed(ResultCode::L7Rsp, &format!("the check cannot be turned into a request: {error}")))
}

/// The host header: as the check says, else the target's with a port that is not the usual one.
fn host(question: &ProbeSpec) -> String {
    if !question.check.host.is_empty() {
        return question.check.host.clone();
    }
    let usual = if question.check.kind == HealthKind::Https { 443 } else { 80 };
    let name = match &question.name {
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        // An interface means something to this host only (RFC 9110, 4.2.2 has no place for it).
        Host::Scoped(scoped) => format!("[{}]", scoped.ip()),
        name => name.to_string(),
    };
    if question.port == usual { name } else { format!("{name}:{}", question.port) }
}

async fn judge(question: &ProbeSpec, response: Response<Incoming>, deadline: Instant) -> ProbeStep<Outcome> {
    let check = &question.check;
    let status = response.status();
    let shown = format!("HTTP {}", status.as_u16());
    if !check.expect_status.contains(status.as_u16()) {
        return failed(ResultCode::L7Sts, &shown);
    }
    if check.expect_body.is_empty() {
        return Ok(Outcome::new(ResultCode::L7Ok, &shown));
    }
    // A rule holds no expression that does not compile.
    let Ok(expected) = Regex::new(&check.expect_body) else {
        return failed(ResultCode::L7Rsp, "`expect_body` is not a regular expression");
    };
    let mut body = Body { incoming: response.into_body(), read: Vec::new() };
    // An answer without an end is judged by what has come of it, and in time.
    let end = body.find(&expected, deadline - LOOK.min(question.timeout() / 10)).await?;
    if end == BodyMatch::Matched {
        return Ok(Outcome::new(ResultCode::L7Ok, &format!("{shown}, and the body matches")));
    }
    if end == BodyMatch::TooLate {
        return failed(
            ResultCode::L7Tout,
            "no complete answer arrived in time, and the received part does not match \
            `expect_body`",
        );
    }
    let begin: String = body.text().chars().take(SHOWN).collect();
    failed(ResultCode::L7Rsp, &format!("the body does not match `expect_body`; it starts with: {}", begin.trim()))
}

/// Letters of an unexpected body that are shown.
const SHOWN: usize = 60;

/// How the look at a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyMatch {
    Matched,
    /// All of it, or as much as is looked at, does not match.
    Other,
    /// The same of what came in time.
    TooLate,
}

/// The beginning of a body, as far as it has come.
struct Body {
    incoming: Incoming,
    read: Vec<u8>,
}

impl Body {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until the body matches, or cannot match any more.
    async fn find(&mut self, expected: &Regex, deadline: Instant) -> ProbeStep<BodyMatch> {
        let mut look = Instant::now() + LOOK;
        let mut is_seen = true;
        loop {
            match timeout_at(if is_seen { deadline } else { look.min(deadline) }, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.read.extend_from_slice(&data[..data.len().min(BODY - self.read.len())]);
                    is_seen = false;
                    if self.read.len() < BODY && Instant::now() < look {
                        continue;
                    }
                }
                Ok(Some(Err(error))) => return broke(&error),
                Ok(None) => {
                    return Ok(if expected.is_match(&self.text()) { BodyMatch::Matched } else { BodyMatch::Other });
                }
                Err(_) if Instant::now() >= deadline => {
                    return Ok(if expected.is_match(&self.text()) { BodyMatch::Matched } else { BodyMatch::TooLate });
                }
                Err(_) => {}
            }
            let text = self.text();
            if self.read.len() == BODY {
                return Ok(if expected.is_match(&text) { BodyMatch::Matched } else { BodyMatch::Other });
            }
            if matches_for_good(expected, &text) {
                return Ok(BodyMatch::Matched);
            }
            (look, is_seen) = (Instant::now() + LOOK, true);
        }
    }
}

/// True if the text matches whatever comes behind it. An expression that looks at the end of the text, by `$` or by a
/// boundary of a word, does not match with a letter added, or with a space.
fn matches_for_good(expected: &Regex, text: &str) -> bool {
    expected.is_match(text) && ["a", " "].iter().all(|more| expected.is_match(&format!("{text}{more}")))
}

fn broke<T>(error: &hyper::Error) -> ProbeStep<T> {
    let of_system = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match of_system {
        Some(system) => failed_by(ResultCode::L7Rsp, system, &why(error)),
        None => failed(ResultCode::L7Rsp, &why(error)),
    }
}

fn why(error: &hyper::Error) -> String {
    // What broke a connection before the request went out is the source of an error of its own.
    let error = error.source().and_then(|source| source.downcast_ref()).unwrap_or(error);
    let is_of_system = causes(error).any(<dyn Error>::is::<io::Error>);
    if error.is_parse_too_large() {
        format!("the head of the answer is longer than {} KiB or {LINES} lines", HEAD >> 10)
    } else if is_of_system {
        format!("the exchange was interrupted: {}", wording::cause(error).unwrap_or_else(|| error.to_string()))
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the target closed the connection before its answer was complete".to_owned()
    } else {
        // Bytes that nobody asked for yet are no better than those that cannot be read.
        "the answer is not HTTP".to_owned()
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
