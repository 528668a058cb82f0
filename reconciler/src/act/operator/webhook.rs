//! The endpoint that a git host calls after a push: it makes the follower look at once, and does nothing else. I/O.
//!
//! Keeps: nothing in a call is believed but that it knows the secret, and nothing of it is kept. The body is read once,
//! bounded, and never held as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER_PERMISSIVE;
use http_body_util::BodyExt;

use super::{Failure, State};
use crate::act::private_file::{self, PrivateFileError};
use crate::act::wake::Wake;
use crate::decide::codes::ProblemCode;

/// The largest payload that GitHub sends; others send less.
const MAX_BODY: usize = 25 << 20;
/// How long a call may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// The signature over the body, of GitHub, Gitea and Forgejo.
const SIGNATURE: &str = "x-hub-signature-256";
/// The secret itself, of GitLab.
const TOKEN: &str = "x-gitlab-token";

/// Why there can be no webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret cannot be read.
    #[error("the secret of the webhook cannot be read")]
    Read(#[from] PrivateFileError),
    /// There is none in the file.
    #[error("{} contains no secret for the webhook", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The secret, and the follower that a call wakes.
#[derive(Clone)]
pub struct Webhook {
    secret: Vec<u8>,
    key: hmac::Key,
    pub(in crate::act) wake: Wake,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook")
    }
}

impl Webhook {
    /// Reads the secret, without the white space around it. Blocks for a moment.
    pub fn new(path: &Path, wake: Wake) -> Result<Self, WebhookError> {
        let secret = private_file::read_private(path)?.trim_ascii().to_vec();
        if secret.is_empty() {
            return Err(WebhookError::Empty { path: path.to_owned() });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(Self { secret, key, wake })
    }

    /// True if the call knows the secret: it signed the body with it, or carries it.
    async fn is_genuine(&self, headers: &HeaderMap, body: Body) -> Result<bool, Failure> {
        if let Some(signature) = headers.get(SIGNATURE) {
            let given =
                signature.as_bytes().strip_prefix(b"sha256=").and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok());
            let signed = digest(&self.key, body).await?;
            return Ok(
                given.is_some_and(|given| constant_time::verify_slices_are_equal(&given, signed.as_ref()).is_ok())
            );
        }
        let token = headers.get(TOKEN).map(axum::http::HeaderValue::as_bytes);
        Ok(token.is_some_and(|token| constant_time::verify_slices_are_equal(token, &self.secret).is_ok()))
    }
}

async fn digest(key: &hmac::Key, mut body: Body) -> Result<hmac::Tag, Failure> {
    let mut context = hmac::Context::with_key(key);
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Failure::new(400, ProblemCode::BadRequest, "Body not readable", error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > MAX_BODY {
            return Err(super::guard::too_large(MAX_BODY));
        }
        context.update(&data);
    }
    Ok(context.sign())
}

pub(super) async fn called(Extract(state): Extract<State>, request: Request) -> Response {
    let Some(webhook) = &state.context.webhook else {
        return Failure::not_found("this server does not accept webhooks").into_response();
    };
    let (parts, body) = request.into_parts();
    // Git hosts send none: it is a web page that has a browser call. A foreign Host is fine, other than in the rest of
    // the API: git hosts reach this port through a reverse proxy only, under its public name, and the proof of a call
    // is in the call itself, never in what a browser adds to it.
    if parts.headers.contains_key(ORIGIN) {
        return Failure::new(
            403,
            ProblemCode::ForeignOrigin,
            "Foreign origin",
            "the call comes from a foreign web page",
        )
        .into_response();
    }
    match tokio::time::timeout(ARRIVAL, webhook.is_genuine(&parts.headers, body)).await {
        Ok(Ok(true)) => {
            webhook.wake.wake();
            StatusCode::ACCEPTED.into_response()
        }
        Ok(Ok(false)) => {
            let detail = "the call is not signed with the secret of this webhook";
            Failure::new(401, ProblemCode::Unauthorized, "Unauthorized", detail).into_response()
        }
        Ok(Err(failure)) => failure.into_response(),
        Err(_) => {
            Failure::new(408, ProblemCode::Timeout, "Body too slow", "the call took too long to arrive").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::private_file::create_private;

    fn webhook(secret: &[u8]) -> Result<Webhook, WebhookError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        create_private(&path, secret).expect("written");
        Webhook::new(&path, Wake::default())
    }

    async fn is_genuine(headers: &[(&'static str, &str)], body: &'static str) -> Option<bool> {
        let headers = headers.iter().map(|(name, value)| {
            let value = value.parse().expect("a value");
            (axum::http::HeaderName::from_static(name), value)
        });
        let webhook = webhook(b"It's a Secret to Everybody\n").expect("a secret");
        webhook.is_genuine(&headers.collect(), Body::from(body)).await.ok()
    }

    /// The example of GitHub's documentation.
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[tokio::test]
    async fn a_signature_over_the_body_is_checked_and_nothing_else_passes() {
        assert_eq!(is_genuine(&[(SIGNATURE, SIGNED)], "Hello, World!").await, Some(true));
        assert_eq!(is_genuine(&[(SIGNATURE, SIGNED)], "Hello, World?").await, Some(false));
        assert_eq!(is_genuine(&[(SIGNATURE, &SIGNED[..20])], "Hello, World!").await, Some(false));
        assert_eq!(is_genuine(&[(SIGNATURE, &SIGNED[7..])], "Hello, World!").await, Some(false));
        assert_eq!(is_genuine(&[(SIGNATURE, "sha256=")], "Hello, World!").await, Some(false));
        assert_eq!(is_genuine(&[], "Hello, World!").await, Some(false));
    }

    #[tokio::test]
    async fn a_token_is_compared_as_a_whole() {
        assert_eq!(is_genuine(&[(TOKEN, "It's a Secret to Everybody")], "").await, Some(true));
        assert_eq!(is_genuine(&[(TOKEN, "It's a Secret")], "").await, Some(false));
        // Who signs is held to the signature.
        let both = [(TOKEN, "It's a Secret to Everybody"), (SIGNATURE, "sha256=00")];
        assert_eq!(is_genuine(&both, "").await, Some(false));
    }

    #[test]
    fn an_empty_secret_is_none() {
        assert!(matches!(webhook(b" \n"), Err(WebhookError::Empty { .. })));
    }
}
