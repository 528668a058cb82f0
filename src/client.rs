//! The operator API as commands use it. I/O.
//!
//! Keeps: a token goes over TLS or to loopback only ([`ServerUrl`] is nothing else), to the origin that it is for, through
//! no proxy and after no redirect; nothing is sent to a server whose certificate is not the pinned or a trusted one; every
//! wait is bounded; an answer that is not ours is never taken for one.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reconciler::act::operator::documents::Problem;
use reconciler::act::operator::{HIDDEN_HEADER, TOTAL_HEADER};
use reconciler::act::private_file::{PrivateFileError, read_private};
use reconciler::act::state::TOKEN_FILE;
use reconciler::act::{Port, recognised};
use reqwest::{RequestBuilder, Response, redirect};
use rustls::CertificateError;
use schema::canonical::Digest;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::address::ServerUrl;
use crate::cli::ServerArgs;
use crate::contexts::Contexts;
use crate::failure::Failure;
use crate::output::say;
use crate::pinned;
use crate::secret::Secret;
use crate::signals::unless_interrupted;
use crate::sse::{Message, Parser};
use crate::state_dir;

/// A loopback server that does not accept by then is stuck.
const CONNECT: Duration = Duration::from_secs(5);
/// For answers that need no work.
const READ: Duration = Duration::from_secs(30);
/// For trees: 256 MiB are uploaded, checked and planned.
const UPLOAD: Duration = Duration::from_mins(5);
/// The server sends a sign of life every 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// An answer that is not a problem document is quoted no further.
const QUOTED: usize = 200;

/// A server to speak to.
pub(crate) struct Client {
    http: reqwest::Client,
    server: ServerUrl,
    token: Option<Secret>,
}

impl Client {
    /// Finds server, pin and token: flags and the environment come before contexts. Nothing is sent yet.
    pub(crate) fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let contexts = match (Contexts::load(), &args.server, &args.token) {
            (Ok(contexts), ..) => contexts,
            // Nothing of them is needed.
            (Err(_), Some(_), Some(_)) => Contexts::default(),
            (Err(failure), ..) => return Err(failure),
        };
        let current = contexts.current().and_then(|context| context.server.parse().ok());
        let server: ServerUrl = args.server.clone().or(current).unwrap_or_default();
        let context = contexts.of(&server);
        let token = match (&args.token, context) {
            (Some(token), _) => Some(token.read()?),
            (None, Some(context)) => Some(Secret::parse(&context.token).map_err(Failure::Other)?.read()?),
            (None, None) if server.is_loopback() => token_of_state()?,
            (None, None) => None,
        };
        Self::at(server, args.pin.or(context.and_then(|context| context.pin)), token)
    }

    /// A server by its address, with the pin of its authority and a token.
    pub(crate) fn at(server: ServerUrl, pin: Option<Digest>, token: Option<Secret>) -> Result<Self, Failure> {
        let no_client = |reason: String| Failure::Other(format!("the HTTP client cannot be created: {reason}"));
        // The name must mean this machine, whatever a resolver says.
        let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, 0));
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .resolve_to_addrs("localhost", &local);
        let builder = match pin.filter(|_| server.is_tls()) {
            Some(pin) => {
                builder.tls_backend_preconfigured(pinned::config(pin).map_err(|error| no_client(error.to_string()))?)
            }
            None => builder,
        };
        let http = builder.build().map_err(|error| no_client(reason(&error)))?;
        Ok(Self { http, server, token })
    }

    /// Reads a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(self.http.get(self.server.join(path)).timeout(READ)).await?;
        self.document(response).await
    }

    /// Reads a part of a list, with what its head says of the rest. Nothing is printed.
    pub(crate) async fn page<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        let response = self.send(self.http.get(self.server.join(path)).timeout(READ)).await?;
        let count = |name: &str| response.headers().get(name).and_then(|count| count.to_str().ok()?.parse().ok());
        let (hidden, total) = (count(HIDDEN_HEADER).unwrap_or_default(), count(TOTAL_HEADER));
        Ok(Answer { rows: self.body(response).await?, hidden, total })
    }

    /// The server, as `HOST:PORT`.
    pub(crate) fn place(&self) -> String {
        self.server.place()
    }

    /// Sends a document and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Other(error.to_string()))?;
        let request = self.http.post(self.server.join(path)).timeout(UPLOAD);
        let response = self.send(request.header("content-type", "application/json").body(body)).await?;
        self.document(response).await
    }

    /// Ends something, and reads what it was.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.delete_with(path, &serde_json::json!({})).await
    }

    /// Ends something with a document that says why, and reads the answer.
    pub(crate) async fn delete_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Other(error.to_string()))?;
        let request = self.http.delete(self.server.join(path)).timeout(READ);
        let response = self.send(request.header("content-type", "application/json").body(body)).await?;
        self.document(response).await
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self, path: &str) -> Result<Events<'_>, Failure> {
        let response = self.send(self.http.get(self.server.join(path)).header("accept", "text/event-stream")).await?;
        Ok(Events { client: self, response, parser: Parser::default() })
    }

    /// Writes what a path holds to a file, as it comes; `name` is what that is for people.
    pub(crate) async fn download(&self, path: &str, to: &mut File, name: &Path) -> Result<(), Failure> {
        let mut response = self.send(self.http.get(self.server.join(path))).await?;
        let cut = || format!("{} was not written", name.display());
        loop {
            let next = async {
                let chunk =
                    tokio::time::timeout(SILENCE, response.chunk()).await.map_err(|_| Failure::Unreachable {
                        server: self.server.clone(),
                        reason: format!("nothing was received for {} s", SILENCE.as_secs()),
                    })?;
                chunk.map_err(|error| self.unreachable(&error))
            };
            let Some(chunk) = unless_interrupted(next, cut).await? else { return Ok(()) };
            let written = |source| Failure::File { path: name.to_owned(), verb: "written", source };
            to.write_all(&chunk).map_err(written)?;
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        let answer = async {
            match request.send().await {
                Ok(response) => Ok(response),
                Err(error) => Err(self.not_answered(&error).await),
            }
        };
        let response = unless_interrupted(answer, || "the server did not answer".to_owned()).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    async fn document<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let hidden = response.headers().get(HIDDEN_HEADER).and_then(|count| count.to_str().ok()?.parse::<u64>().ok());
        if let Some(hidden) = hidden.filter(|hidden| *hidden > 0) {
            say(format!("{hidden} more are hidden by the limits of this operator."));
        }
        self.body(response).await
    }

    async fn body<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = async { response.bytes().await.map_err(|error| self.unreachable(&error)) };
        let bytes = unless_interrupted(body, || "the answer of the server was not complete".to_owned()).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.foreign(error.to_string()))
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let mark = response.headers().get("server").and_then(|mark| Port::of_mark(mark.to_str().ok()?));
        if let Some(port) = mark.filter(|port| *port != Port::Operator) {
            return self.mistaken(port);
        }
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return self.unreachable(&error),
        };
        if let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) {
            return Failure::Problem(Box::new(problem));
        }
        let text: String = String::from_utf8_lossy(&bytes).chars().take(QUOTED).collect();
        self.foreign(format!("{status} {text}"))
    }

    /// Why there is no answer. Something that listens there and speaks another protocol may be another port of a
    /// server.
    async fn not_answered(&self, error: &reqwest::Error) -> Failure {
        if let Some(reason) = untrusted(error) {
            return Failure::Untrusted { server: self.server.clone(), reason };
        }
        if error.is_connect() || error.is_timeout() {
            return self.unreachable(error);
        }
        match recognised(&self.server.place()).await {
            Some(port) if port != Port::Operator => self.mistaken(port),
            _ => self.unreachable(error),
        }
    }

    fn mistaken(&self, port: Port) -> Failure {
        Failure::WrongPort { server: self.server.clone(), reason: port.instead_of(Port::Operator) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::Unreachable { server: self.server.clone(), reason: reason(error) }
    }

    fn foreign(&self, reason: String) -> Failure {
        Failure::Foreign { server: self.server.clone(), reason }
    }
}

/// A part of a list.
pub(crate) struct Answer<T> {
    /// The document.
    pub(crate) rows: T,
    /// How many rows the operator may not see.
    pub(crate) hidden: u64,
    total: Option<u64>,
}

impl<T> Answer<T> {
    /// How many rows there are in all; as many as were read where the server does not say.
    pub(crate) fn total(&self, offset: usize, read: usize) -> usize {
        self.total.map_or(offset + read, |total| total as usize)
    }
}

/// Events of the server, as they come.
pub(crate) struct Events<'c> {
    client: &'c Client,
    response: Response,
    parser: Parser,
}

impl Events<'_> {
    /// The next one; `None` once the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some(message) = self.parser.next() {
                return Ok(Some(message));
            }
            let chunk =
                tokio::time::timeout(SILENCE, self.response.chunk()).await.map_err(|_| Failure::Unreachable {
                    server: self.client.server.clone(),
                    reason: format!("nothing was received for {} s", SILENCE.as_secs()),
                })?;
            match chunk.map_err(|error| self.client.unreachable(&error))? {
                Some(bytes) => self.parser.feed(&bytes).map_err(|error| self.client.foreign(error.to_string()))?,
                None => return Ok(None),
            }
        }
    }

    /// Reads the data of a message.
    pub(crate) fn read<T: DeserializeOwned>(&self, message: &Message) -> Result<T, Failure> {
        serde_json::from_str(&message.data).map_err(|error| self.client.foreign(error.to_string()))
    }

    /// The failure of a stream that ended before its time: the server says it where it is still there.
    pub(crate) async fn ended(&self) -> Failure {
        // A token that was revoked ends its streams.
        if let Err(refused @ Failure::Problem(_)) = self.client.get::<IgnoredAny>("/v1/edges?limit=1").await {
            return refused;
        }
        Failure::Unreachable { server: self.client.server.clone(), reason: "the server ended the stream".to_owned() }
    }
}

/// The token that a server of this user wrote; `None` where there is none, for the server will say what it thinks of
/// that.
fn token_of_state() -> Result<Option<Secret>, Failure> {
    let Some(dir) = state_dir::for_token() else { return Ok(None) };
    match read_private(&dir.join(TOKEN_FILE)) {
        Ok(bytes) => Secret::parse(&String::from_utf8_lossy(&bytes))
            .map(Some)
            .map_err(|_| Failure::Other(format!("{} contains no token", dir.join(TOKEN_FILE).display()))),
        Err(PrivateFileError::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::Other(format!("the operator's token is not used: {error}"))),
    }
}

/// Why a certificate is not accepted, if that is the cause.
fn untrusted(error: &reqwest::Error) -> Option<String> {
    match tls_error(error)? {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("its certificate is not signed by the pinned or a trusted authority".to_owned())
        }
        rustls::Error::InvalidCertificate(why) => Some(format!("its certificate is not valid: {why}")),
        _ => None,
    }
}

/// The error of TLS among the causes; an I/O error may hold another error without naming it as its source.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    within.and_then(|within| tls_error(within)).or_else(|| tls_error(error.source()?))
}

/// The innermost cause says it best: `connection refused`.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
