//! Just enough of HTTP for tests: one request per connection, written by hand so that it can be wrong.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::LONG;

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn content_type(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        line.unwrap_or_default()
    }

    /// A problem document with that status and code.
    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.content_type(), "application/problem+json", "{self:?}");
        let problem: Value = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
    }
}

/// Says requests to one address.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    pub(super) token: Option<String>,
    pub(super) host: String,
    pub(super) content_type: Option<&'static str>,
    /// Further header lines, each with its end.
    pub(super) headers: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, token: Option<String>) -> Self {
        let host = address.to_string();
        Self { address, token, host, content_type: Some("application/json"), headers: String::new() }
    }

    pub(super) fn head(&self, method: &str, path: &str) -> String {
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let kind = self.content_type.map_or_else(String::new, |kind| format!("content-type: {kind}\r\n"));
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{token}{kind}{}", self.host, self.headers)
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.raw(format!("{}connection: close\r\n\r\n", self.head("GET", path)).into_bytes()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        let head = self.head("DELETE", path);
        self.raw(format!("{head}connection: close\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    pub(super) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let head = self.head("POST", path);
        self.raw(format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()).await
    }

    /// Writes bytes and reads what comes until the end.
    pub(super) async fn raw(&self, request: Vec<u8>) -> Answer {
        let talk = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // A server that has read enough may have closed its side.
            _ = stream.write_all(&request).await;
            let mut bytes = Vec::new();
            _ = stream.read_to_end(&mut bytes).await;
            String::from_utf8(bytes).unwrap()
        };
        let text = timeout(LONG, talk).await.expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Opens a stream of events.
    pub(super) async fn events(&self, path: &str) -> Events {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{}\r\n", self.head("GET", path)).as_bytes()).await.unwrap();
        let mut events = Events { lines: BufReader::new(stream) };
        let status = events.line().await.expect("an answer");
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        while events.line().await.is_some_and(|line| !line.is_empty()) {}
        events
    }
}

/// One event of a stream.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: Value,
}

/// A stream of events.
#[derive(Debug)]
pub(super) struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(LONG, self.lines.read_line(&mut line)).await.expect("a line").unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let (mut name, mut id, mut data) = (String::new(), None, None);
        loop {
            // Sizes of chunks and keepalive comments are no fields.
            let line = self.line().await?;
            if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(value).unwrap());
            } else if line == "0" {
                return None;
            } else if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some(Event { name, id, data });
            }
        }
    }

    /// The next event of that name.
    pub(super) async fn named(&mut self, name: &str) -> Event {
        let named = async {
            loop {
                let event = self.next().await.expect("an event");
                if event.name == name {
                    return event;
                }
            }
        };
        // Keepalives are lines as well.
        timeout(LONG, named).await.unwrap_or_else(|_| panic!("no event {name}"))
    }
}
