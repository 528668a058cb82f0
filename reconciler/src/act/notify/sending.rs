//! One message to one receiver, and its answer. I/O.
//!
//! Keeps: no redirect is followed, for a secret would travel with it; a receiver that hangs costs its own message a bounded
//! time; an answer is bounded, and is shown without a secret.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use schema::causes::with_causes;
use serde_json::Value;

use super::receiver::Receiver;
use crate::decide::notices::{
    DeliveryFailure, Forge, LetterContent, Notifier, NotifierKind, OutgoingMessage, RepositoryApi, message, status_body,
};

/// How long a receiver may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to be reached.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const LARGEST: usize = 16 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 300;
/// The signature over the body.
const SIGNATURE: &str = "x-portunus-signature-256";
/// Tells a message that is sent again from another one.
const DELIVERY: &str = "x-portunus-delivery";
const AGENT: &str = concat!("portunus/", env!("CARGO_PKG_VERSION"));

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
}

/// Ways to the receivers.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    /// Reaches receivers elsewhere, through the proxy of the environment.
    outside: Client,
    /// Reaches receivers on this host.
    inside: Client,
}

impl Clients {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .timeout(PATIENCE)
                .connect_timeout(CONNECT)
                .referer(false)
        };
        Ok(Self { outside: builder().build()?, inside: builder().no_proxy().build()? })
    }

    fn of(&self, receiver: &Receiver) -> &Client {
        if receiver.address.is_inside() { &self.inside } else { &self.outside }
    }
}

/// What is asked of a receiver.
pub(super) enum PostOrder {
    /// To take a message.
    Deliver(OutgoingMessage),
    /// To take a test; a forge is asked for the repository instead.
    Test(LetterContent),
}

/// Sends a message; an answer that accepts it, or why it was not accepted.
pub(super) async fn send(
    clients: Clients,
    notifier: Arc<Notifier>,
    order: PostOrder,
) -> Result<Answer, DeliveryFailure> {
    let failed = |message: String| DeliveryFailure { message, is_refusal: false, retry_after: None };
    let opened = {
        let notifier = Arc::clone(&notifier);
        tokio::task::spawn_blocking(move || Receiver::open(&notifier)).await
    };
    let receiver = match opened {
        Ok(opened) => opened.map_err(|error| failed(with_causes(&error)))?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let request = request(&clients, &receiver, &notifier, &order).map_err(failed)?;
    let hides = |error: reqwest::Error| failed(receiver.masked(&with_causes(&error.without_url())));
    let response = request.send().await.map_err(hides)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = body_of(response).await;
    let text = receiver.masked(&shown(&body));
    if status.is_success() || is_set_already(&notifier, status, &body) {
        return Ok(Answer { status: status.as_u16(), text });
    }
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    let redirected = if status.is_redirection() { "; redirects are not followed" } else { "" };
    Err(DeliveryFailure {
        message: format!("the receiver answered {status}{text}{redirected}"),
        is_refusal: is_refusal(notifier.kind, status),
        retry_after: retry_after(&headers, &body),
    })
}

fn request(
    clients: &Clients,
    receiver: &Receiver,
    notifier: &Notifier,
    order: &PostOrder,
) -> Result<RequestBuilder, String> {
    let client = clients.of(receiver);
    let url = receiver.address.url.clone();
    let (content, id) = match order {
        PostOrder::Deliver(delivery) => (&delivery.content, format!("{}-{}", delivery.first, delivery.last)),
        PostOrder::Test(content) => (content, format!("test-{}", jiff::Timestamp::now().as_microsecond())),
    };
    if let Some(api) = &receiver.address.api {
        return to_forge(client, receiver, notifier, (api, content));
    }
    let body = message(notifier.kind, content).to_string();
    let (method, url) = match notifier.kind {
        // The last part tells a message that is sent again from another one.
        NotifierKind::Matrix => (Method::PUT, below(url, &id)),
        _ => (Method::POST, url),
    };
    let mut request = client.request(method, url).header(USER_AGENT, AGENT).header(CONTENT_TYPE, "application/json");
    if let Some(token) = &receiver.token {
        request = request.bearer_auth(token);
    }
    if notifier.kind == NotifierKind::Webhook {
        request = request.header(DELIVERY, id);
    }
    if let Some(key) = &receiver.key {
        let signature = aws_lc_rs::hmac::sign(key, body.as_bytes());
        request = request.header(SIGNATURE, format!("sha256={}", HEXLOWER.encode(signature.as_ref())));
    }
    Ok(request.body(body))
}

fn to_forge(
    client: &Client,
    receiver: &Receiver,
    notifier: &Notifier,
    (api, content): (&RepositoryApi, &LetterContent),
) -> Result<RequestBuilder, String> {
    let request = match content {
        LetterContent::Commit(status) => {
            let body = status_body(api.forge(), &notifier.name, status);
            client.post(api.statuses(&status.sha)).header(CONTENT_TYPE, "application/json").body(body.to_string())
        }
        // Nothing is said about a commit; that the forge knows the repository and the token is the test.
        LetterContent::News { .. } => client.get(api.repository()),
    };
    let token = receiver.token.as_ref().ok_or("a commit status needs a token")?;
    let request = request.header(USER_AGENT, AGENT);
    Ok(match api.forge() {
        Forge::GitHub => request
            .bearer_auth(token)
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28"),
        Forge::GitLab => request.header("private-token", token),
        Forge::Forgejo => request.header(AUTHORIZATION, format!("token {token}")).header(ACCEPT, "application/json"),
    })
}

fn below(mut url: Url, name: &str) -> Url {
    if let Ok(mut path) = url.path_segments_mut() {
        path.push(name);
    }
    url
}

async fn body_of(mut response: Response) -> String {
    let mut body = Vec::new();
    // What cannot be read of an answer only makes it shorter: its status is known.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = LARGEST - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == LARGEST {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The beginning of an answer on one line.
fn shown(body: &str) -> String {
    let words: Vec<&str> = body.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|letter| !letter.is_control()).collect();
    if line.chars().count() <= SHOWN { line } else { line.chars().take(SHOWN).chain(['…']).collect() }
}

/// GitLab refuses a state that the commit has already, so that a state that is sent again would never be accepted.
fn is_set_already(notifier: &Notifier, status: StatusCode, body: &str) -> bool {
    notifier.forge == Some(Forge::GitLab)
        && status == StatusCode::BAD_REQUEST
        && body.contains("Cannot transition status via :enqueue from :pending")
}

/// True if another message may be accepted while this one is not.
fn is_refusal(kind: NotifierKind, status: StatusCode) -> bool {
    if kind == NotifierKind::CommitStatus {
        // A commit that the forge does not know.
        return status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 408 | 429);
    }
    matches!(status.as_u16(), 400 | 413 | 422)
}

/// How long the receiver asks to wait: in a header, or in the body as Telegram does.
fn retry_after(headers: &HeaderMap, body: &str) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let of_body = || serde_json::from_str::<Value>(body).ok()?["parameters"]["retry_after"].as_f64();
    let secs: f64 = header.or_else(of_body)?;
    Duration::try_from_secs_f64(secs).ok()
}
