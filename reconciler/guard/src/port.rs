//! The ports of a server, and how each is recognised by whoever connects to the wrong one. I/O.
//!
//! Keeps: recognising a port needs no token and changes nothing; a port that does not answer in time is not recognised.

use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::SERVER;
use axum::response::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a port may take to be recognised: whoever asks waits for an error message.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer heads are not those of a portunus server.
const MOST: usize = 4096;
/// Type and flags of the frame that every HTTP/2 server begins with: SETTINGS, no acknowledgement (RFC 9113, 6.5).
const SETTINGS: [u8; 2] = [4, 0];

/// How a request arrived, as an extension of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Where it comes from.
    pub peer: std::net::SocketAddr,
    /// Which address of this host it was sent to.
    pub local: std::net::SocketAddr,
    /// True if it came over TLS.
    pub is_tls: bool,
}

/// One of the ports of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// gRPC for edges.
    Control,
    /// HTTP for operators.
    Operator,
    /// Metrics and probes, of a server or an edge.
    Metrics,
}

impl Port {
    /// What it is called and for whom it is.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Control => "the control port, where edges connect",
            Self::Operator => "the operator port, where commands such as `portunus status` connect",
            Self::Metrics => "the metrics port, where Prometheus connects",
        }
    }

    /// The number that it has where no setting gives it another.
    pub const fn usual(self) -> u16 {
        match self {
            Self::Control => 7443,
            Self::Operator => 7080,
            Self::Metrics => 7081,
        }
    }

    /// What is wrong where somebody was looking for another one, and what to do.
    pub fn instead_of(self, wanted: Self) -> String {
        let name = match wanted {
            Self::Control => "control port",
            Self::Operator => "operator port",
            Self::Metrics => "metrics port",
        };
        format!("this is {}; --server needs the {name}, {} by default", self.in_words(), wanted.usual())
    }

    /// The value of the `Server` header of its answers.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Control => "portunus-control",
            Self::Operator => "portunus-operator",
            Self::Metrics => "portunus-metrics",
        }
    }

    /// The port whose answers have this `Server` header.
    pub fn of_mark(mark: &str) -> Option<Self> {
        [Self::Control, Self::Operator, Self::Metrics].into_iter().find(|port| port.mark() == mark.trim())
    }
}

/// The routes of a port, whose answers say which port it is.
pub fn marked(routes: Router, port: Port) -> Router {
    routes.layer(axum::middleware::map_response(move |mut answer: Response| async move {
        answer.headers_mut().insert(SERVER, HeaderValue::from_static(port.mark()));
        answer
    }))
}

/// The port of a server that listens at `HOST:PORT`; `None` where it is none, or does not answer.
pub async fn recognised(place: &str) -> Option<Port> {
    tokio::time::timeout(PATIENCE, asked(place)).await.ok()?.ok().flatten()
}

async fn asked(place: &str) -> std::io::Result<Option<Port>> {
    let mut stream = TcpStream::connect(place).await?;
    let question = format!("GET /healthz HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    // What was read before a reset still says who answered.
    while answer.len() < MOST && !is_enough(&answer) {
        match stream.read_buf(&mut answer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(of_answer(&answer))
}

fn is_enough(answer: &[u8]) -> bool {
    answer.windows(4).any(|four| four == b"\r\n\r\n") || is_http2(answer)
}

fn is_http2(answer: &[u8]) -> bool {
    answer.get(3..5) == Some(&SETTINGS) && answer.get(5..9) == Some(&[0; 4])
}

fn of_answer(answer: &[u8]) -> Option<Port> {
    if is_http2(answer) {
        return Some(Port::Control);
    }
    let head = String::from_utf8_lossy(answer);
    head.strip_prefix("HTTP/1.")?.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(SERVER.as_str()).then(|| Port::of_mark(value)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_which_port_it_is_from() {
        let head = |mark: &str| format!("HTTP/1.1 401 Unauthorized\r\nServer: {mark}\r\n\r\n");
        assert_eq!(of_answer(head("portunus-operator").as_bytes()), Some(Port::Operator));
        assert_eq!(of_answer(head("portunus-metrics").as_bytes()), Some(Port::Metrics));
        assert_eq!(of_answer(b"\0\0\x06\x04\0\0\0\0\0\0\0"), Some(Port::Control));
        for other in [&*head("nginx"), "HTTP/1.1 200 OK\r\n\r\nserver: portunus-operator\r\n", "SSH-2.0-x\r\n", ""] {
            assert_eq!(of_answer(other.as_bytes()), None, "{other}");
        }
    }
}
