//! One HTTP/1.1 request, in the clear or over TLS. I/O.
//!
//! Keeps: a head of more than [`HEAD`] and what follows the first [`BODY`] bytes of a body are never in memory.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

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
use super::{Asked, Question, failed, reach};
use crate::act::wording;

/// Longest head of an answer: twice what servers allow their clients.
const HEAD: usize = 16 << 10;
/// As much of a body is looked at: a status page's beginning.
const BODY: usize = 16 << 10;

/// Asks once.
pub(super) async fn ask(question: &Question, tls: &Tls, addresses: &[SocketAddr], deadline: Instant) -> Asked<Outcome> {
    let is_clear = question.check.kind == HealthKind::Http;
    let exchanged = if is_clear {
        let stream = reach::connect(addresses, deadline).await?;
        timeout_at(deadline, exchange(question, stream)).await
    } else {
        let stream = tls::connect(question, tls, addresses, deadline).await?;
        timeout_at(deadline, exchange(question, stream)).await
    };
    match exchanged {
        Ok(result) => result,
        Err(_) => failed(ResultCode::L7Tout, "no complete answer in time"),
    }
}

async fn exchange<S>(question: &Question, stream: S) -> Asked<Outcome>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(question)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return failed(ResultCode::L7Rsp, &why(&error)),
    };
    let answer = async {
        match sender.send_request(request).await {
            Ok(response) => judge(question, response).await,
            Err(error) => failed(ResultCode::L7Rsp, &why(&error)),
        }
    };
    let driven = async {
        // What breaks the connection breaks the exchange too, which says so itself.
        _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answered = answer => answered,
        never = driven => never,
    }
}

fn request(question: &Question) -> Asked<Request<Empty<Bytes>>> {
    let check = &question.check;
    let request = Request::builder()
        .method(check.method.as_str())
        .uri(check.path.as_str())
        .header(HOST, host(question))
        .header(USER_AGENT, concat!("portunus/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::new());
    request.or_else(|error| failed(ResultCode::L7Rsp, &format!("no request can be made of the check: {error}")))
}

/// The host header: as the check says, else the target's with a port that is not the usual one.
fn host(question: &Question) -> String {
    if !question.check.host.is_empty() {
        return question.check.host.clone();
    }
    let usual = if question.check.kind == HealthKind::Https { 443 } else { 80 };
    let name = match &question.name {
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        name => name.to_string(),
    };
    if question.port == usual { name } else { format!("{name}:{}", question.port) }
}

async fn judge(question: &Question, response: Response<Incoming>) -> Asked<Outcome> {
    let check = &question.check;
    let status = response.status();
    if !check.expect_status.contains(status.as_u16()) {
        return failed(ResultCode::L7Sts, &format!("status {status}, expected {}", check.expect_status));
    }
    if check.expect_body.is_empty() {
        return Ok(Outcome::new(ResultCode::L7Ok, &format!("status {status}")));
    }
    let body = read(response.into_body()).await?;
    // A rule holds no expression that does not compile.
    let matches = Regex::new(&check.expect_body).is_ok_and(|expected| expected.is_match(&body));
    if matches {
        return Ok(Outcome::new(ResultCode::L7Ok, &format!("status {status}, and the body matches")));
    }
    let begin: String = body.chars().take(SHOWN).collect();
    failed(ResultCode::L7Rsp, &format!("the body does not match `expect_body`, it begins with: {}", begin.trim()))
}

/// Letters of an unexpected body that are shown.
const SHOWN: usize = 60;

async fn read(mut body: Incoming) -> Asked<String> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let data = frame.into_data().unwrap_or_default();
                read.extend_from_slice(&data[..data.len().min(BODY - read.len())]);
            }
            Err(error) => return failed(ResultCode::L7Rsp, &why(&error)),
        }
        if read.len() == BODY {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

fn why(error: &hyper::Error) -> String {
    // What broke a connection before the request went out is the source of an error of its own.
    let error = error.source().and_then(|source| source.downcast_ref()).unwrap_or(error);
    let is_of_system = causes(error).any(<dyn Error>::is::<io::Error>);
    if error.is_parse_too_large() {
        format!("the head of the answer is longer than {} KiB", HEAD >> 10)
    } else if is_of_system {
        format!("the exchange broke off: {}", wording::cause(error).unwrap_or_else(|| error.to_string()))
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the target closed before its answer was complete".to_owned()
    } else {
        // Bytes that nobody asked for yet are no better than those that cannot be read.
        "the answer is no HTTP".to_owned()
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
