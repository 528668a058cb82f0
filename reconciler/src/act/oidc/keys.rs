//! The keys of issuers: read from their discovery documents, and kept for a while. I/O.
//!
//! Keeps: an issuer is asked by one request at a time and at most every [`PAUSE`], however many tokens name keys that it does
//! not have; a known key is found without waiting for the issuer; answers are bounded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tracing::{debug, warn};

use crate::decide::operators::claims::is_loopback;

/// Between two questions to an issuer.
const PAUSE: Duration = Duration::from_secs(10);
/// After so long a key is asked for again, for an issuer may have withdrawn it.
const FRESH: Duration = Duration::from_hours(1);
/// How long keys count of an issuer that does not answer.
const STALE: Duration = Duration::from_hours(24);
/// How long an issuer may take for each of its two documents: a CI job waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a document: those of large forges have some ten kilobytes.
const LARGEST: usize = 256 << 10;
/// Keys of one issuer.
const MOST_KEYS: usize = 100;
/// Issuers: operators name few.
const MOST_ISSUERS: usize = 100;

/// One issuer.
#[derive(Debug, Default)]
struct Issuer {
    /// Never locked while the issuer is asked.
    read: std::sync::Mutex<ReadKeys>,
    /// Locked by the request that asks the issuer: when it was asked last.
    asking: Mutex<Option<Instant>>,
}

impl Issuer {
    fn key(&self, id: &str, younger_than: Duration) -> Option<Jwk> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).key(id, younger_than)
    }
}

/// The keys of an issuer as they were read last.
#[derive(Debug, Default)]
struct ReadKeys {
    keys: Vec<Jwk>,
    read: Option<Instant>,
}

impl ReadKeys {
    fn key(&self, id: &str, younger_than: Duration) -> Option<Jwk> {
        self.read.filter(|read| read.elapsed() < younger_than)?;
        self.keys.iter().find(|key| key.common.key_id.as_deref() == Some(id)).cloned()
    }
}

/// The part of a discovery document that is used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Why an issuer's keys cannot be read.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error("no answer: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("the answer is larger than {LARGEST} bytes")]
    TooLarge,
    #[error("the document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the discovery document is that of {0}")]
    Other(String),
    #[error("the address of the keys is not an https URL")]
    Address,
}

/// Keys by issuer.
#[derive(Debug)]
pub(super) struct Keys {
    /// Reaches issuers elsewhere, through the proxy of the environment.
    outside: Client,
    /// Reaches issuers on this host.
    inside: Client,
    known: Mutex<HashMap<String, Arc<Issuer>>>,
}

impl Keys {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let builder = || Client::builder().redirect(redirect::Policy::none()).timeout(PATIENCE);
        let (outside, inside) = (builder().https_only(true).build()?, builder().no_proxy().build()?);
        Ok(Self { outside, inside, known: Mutex::default() })
    }

    /// A key of an issuer by its name.
    pub(super) async fn find(&self, issuer: &str, id: &str) -> Option<Jwk> {
        let known = {
            let mut all = self.known.lock().await;
            if all.len() >= MOST_ISSUERS && !all.contains_key(issuer) {
                all.clear();
            }
            Arc::clone(all.entry(issuer.to_owned()).or_default())
        };
        if let Some(key) = known.key(id, FRESH) {
            return Some(key);
        }
        let mut asked = match known.asking.try_lock() {
            Ok(asked) => asked,
            // Another request asks already: an old key is good until that one knows better.
            Err(_) => match known.key(id, STALE) {
                Some(key) => return Some(key),
                // A request that waits here finds what the one before it has read.
                None => known.asking.lock().await,
            },
        };
        if let Some(key) = known.key(id, FRESH) {
            return Some(key);
        }
        if asked.is_none_or(|asked| asked.elapsed() >= PAUSE) {
            *asked = Some(Instant::now());
            match self.read(issuer).await {
                Ok(keys) => {
                    debug!(issuer, keys = keys.len(), "keys of an issuer read");
                    *known.read.lock().unwrap_or_else(PoisonError::into_inner) =
                        ReadKeys { keys, read: Some(Instant::now()) };
                }
                Err(error) => warn!(issuer, %error, "keys of an issuer cannot be read"),
            }
        }
        known.key(id, STALE)
    }

    async fn read(&self, issuer: &str) -> Result<Vec<Jwk>, NoKeys> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        // Only an issuer on this host may be asked without TLS, and only it may name keys that are.
        let is_plain = issuer.starts_with("http://");
        let discovery: Discovery = self.document(&address, is_plain).await?;
        if discovery.issuer != issuer {
            return Err(NoKeys::Other(discovery.issuer));
        }
        let set: JwkSet = self.document(&discovery.jwks_uri, is_plain).await?;
        Ok(set.keys.into_iter().take(MOST_KEYS).collect())
    }

    async fn document<T: DeserializeOwned>(&self, address: &str, is_plain: bool) -> Result<T, NoKeys> {
        let url = Url::parse(address).map_err(|_| NoKeys::Address)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let client = match url.scheme() {
            "http" if is_plain && is_loopback(&host) => &self.inside,
            "https" if is_loopback(&host) => &self.inside,
            "https" => &self.outside,
            _ => return Err(NoKeys::Address),
        };
        let mut response = client.get(url).header("accept", "application/json").send().await?;
        if !response.status().is_success() {
            return Err(NoKeys::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LARGEST {
                return Err(NoKeys::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    async fn answer(mut stream: TcpStream, document: serde_json::Value) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.expect("a request"));
        }
        let body = document.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("written");
    }

    #[tokio::test]
    async fn a_known_key_is_found_while_an_unknown_one_makes_the_issuer_hang() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let (hangs, is_hanging) = oneshot::channel();
        let url = issuer.clone();
        tokio::spawn(async move {
            let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
            answer(listener.accept().await.expect("a connection").0, discovery).await;
            let keys = json!({ "keys": [{ "kty": "oct", "kid": "k", "k": "c2VjcmV0" }] });
            answer(listener.accept().await.expect("a connection").0, keys).await;
            let held = listener.accept().await.expect("a connection");
            hangs.send(()).expect("a test that waits");
            std::future::pending::<()>().await;
            drop(held);
        });
        let keys = Arc::new(Keys::new().expect("a client"));
        assert!(keys.find(&issuer, "k").await.is_some());
        // As after the pause between two questions.
        *keys.known.lock().await[&issuer].asking.lock().await = None;
        let unknown = tokio::spawn({
            let (keys, issuer) = (Arc::clone(&keys), issuer.clone());
            async move { keys.find(&issuer, "unknown").await }
        });
        is_hanging.await.expect("a question");
        let found = timeout(PATIENCE / 5, keys.find(&issuer, "k")).await.expect("no wait for the issuer");
        assert!(found.is_some());
        assert!(unknown.await.expect("no panic").is_none());
    }
}
