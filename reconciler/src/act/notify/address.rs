//! Where a notifier sends to: the URL of each kind, checked before anything is sent there. Pure.
//!
//! Keeps: no secret travels over plain HTTP to anything but this machine; what is shown of a URL is its host.

use reqwest::Url;
use thiserror::Error;

use crate::decide::notices::{Forge, InvalidRepository, NotifierKind, RepositoryApi};
use crate::decide::operators::claims::is_loopback;

/// What the path of a room of Matrix ends with.
const MATRIX: &str = "/send/m.room.message";

/// Why a URL cannot be used; never with the URL, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressProblem {
    /// Not a URL.
    #[error("this is not a valid URL: {0}")]
    Syntax(String),
    /// Another scheme.
    #[error("the scheme `{0}` is not supported: expected an https URL")]
    Scheme(String),
    /// Anybody on the way could read the secret.
    #[error("plain http is supported on this machine only, because the URL or the token is a secret: use https")]
    PlainHttp,
    /// Anybody on the way could read the password.
    #[error("a password must not travel over plain http: use https")]
    PlainPassword,
    /// A password where none is used.
    #[error("a {0} URL cannot have a user or password")]
    Password(&'static str),
    /// A fragment is never sent.
    #[error("the URL cannot have a fragment (`#…`)")]
    Fragment,
    /// Not a room of Matrix.
    #[error("expected `https://HOST/_matrix/client/v3/rooms/ROOM/send/m.room.message`")]
    Matrix,
    /// Not a method of the API of Telegram.
    #[error("expected `https://api.telegram.org/botTOKEN/sendMessage?chat_id=ID`")]
    Telegram,
    /// Not a repository.
    #[error(transparent)]
    Repository(#[from] InvalidRepository),
    /// A commit status without a forge.
    #[error("a commit status needs a `forge`")]
    NoForge,
}

/// A URL that can be used.
#[derive(Clone)]
pub struct ReceiverAddress {
    pub(super) url: Url,
    pub(super) api: Option<RepositoryApi>,
}

impl std::fmt::Debug for ReceiverAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl ReceiverAddress {
    /// Checks a URL for a notifier of that kind.
    pub fn parse(kind: NotifierKind, forge: Option<Forge>, text: &str) -> Result<Self, AddressProblem> {
        let url = Url::parse(text.trim()).map_err(|error| AddressProblem::Syntax(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let has_password = !url.username().is_empty() || url.password().is_some();
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            // Its own secret signs the body and does not travel.
            "http" if kind == NotifierKind::Webhook && has_password => return Err(AddressProblem::PlainPassword),
            "http" if kind == NotifierKind::Webhook => {}
            "http" => return Err(AddressProblem::PlainHttp),
            other => return Err(AddressProblem::Scheme(other.to_owned())),
        }
        if url.fragment().is_some() {
            return Err(AddressProblem::Fragment);
        }
        if has_password && kind != NotifierKind::Webhook {
            return Err(AddressProblem::Password(kind.as_str()));
        }
        let api = match kind {
            NotifierKind::Matrix => {
                let room = url.path().strip_suffix(MATRIX).and_then(|path| path.rsplit_once("/rooms/"));
                let is_room = room.is_some_and(|(_, room)| !room.is_empty() && !room.contains('/'));
                is_room.then_some(()).ok_or(AddressProblem::Matrix)?;
                None
            }
            NotifierKind::Telegram => {
                let token = url.path().strip_suffix("/sendMessage").and_then(|path| path.rsplit_once("/bot"));
                let has_chat = url.query_pairs().any(|(key, value)| key == "chat_id" && !value.is_empty());
                let is_bot = token.is_some_and(|(_, token)| !token.is_empty() && !token.contains('/'));
                (is_bot && has_chat).then_some(()).ok_or(AddressProblem::Telegram)?;
                None
            }
            NotifierKind::CommitStatus => {
                let forge = forge.ok_or(AddressProblem::NoForge)?;
                if url.query().is_some() {
                    return Err(InvalidRepository(forge).into());
                }
                Some(RepositoryApi::new(forge, &url.origin().ascii_serialization(), url.path())?)
            }
            NotifierKind::Slack | NotifierKind::Teams | NotifierKind::Discord | NotifierKind::Webhook => None,
        };
        Ok(Self { url, api })
    }

    /// Scheme, host and port: the rest may be a secret.
    pub fn shown(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// True if it is on this machine.
    pub(super) fn is_inside(&self) -> bool {
        is_loopback(self.url.host_str().unwrap_or_default().trim_matches(['[', ']']))
    }

    /// The parts that are not to be shown: the URL, its path with the query, its password, and the long parts of its path.
    pub(super) fn secrets(&self) -> Vec<String> {
        let url = &self.url;
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut all = vec![url.to_string(), path, url.path().to_owned()];
        all.extend(url.password().map(str::to_owned));
        all.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        all.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        if self.api.is_some() {
            // The address of a repository is public.
            all.clear();
        }
        all.retain(|secret| secret.len() >= 8);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: NotifierKind, text: &str) -> Result<String, AddressProblem> {
        ReceiverAddress::parse(kind, Some(Forge::GitHub), text).map(|address| address.shown())
    }

    #[test]
    fn each_kind_has_its_url_and_only_its_host_is_shown() {
        use NotifierKind::{CommitStatus, Matrix, Slack, Telegram, Webhook};
        for (kind, url, shown) in [
            (Slack, "https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com"),
            (Slack, "http://127.0.0.1:9/x", "http://127.0.0.1:9"),
            (Slack, "http://[::1]:9/x", "http://[::1]:9"),
            (Webhook, "http://alerts.internal/x", "http://alerts.internal"),
            (Webhook, "https://user:password@alerts.example.org/x", "https://alerts.example.org"),
            (Matrix, "https://m.org/_matrix/client/v3/rooms/!a:m.org/send/m.room.message", "https://m.org"),
            (Telegram, "https://api.telegram.org/bot1:abc/sendMessage?chat_id=-5", "https://api.telegram.org"),
            (CommitStatus, "https://github.com/o/r", "https://github.com"),
        ] {
            assert_eq!(parse(kind, url).as_deref(), Ok(shown), "{url}");
        }
    }

    #[test]
    fn what_would_leak_a_secret_or_is_not_of_the_kind_is_refused_without_showing_it() {
        use NotifierKind::{CommitStatus, Matrix, Slack, Telegram, Webhook};
        for (kind, url) in [
            (Slack, "http://hooks.slack.com/services/secret"),
            (Slack, "ftp://hooks.slack.com/services/secret"),
            (Slack, "https://user:secret@hooks.slack.com/services/x"),
            (Slack, "secret"),
            (Webhook, "http://user:secret@alerts.internal/x"),
            (Webhook, "https://alerts.internal/x#secret"),
            (Matrix, "https://m.org/_matrix/client/v3/rooms/!secret:m.org"),
            (Telegram, "https://api.telegram.org/bot1:secret/sendMessage"),
            (Telegram, "https://api.telegram.org/bot1:secret?chat_id=1"),
            (CommitStatus, "http://github.com/secret/r"),
            (CommitStatus, "https://github.com/secret"),
        ] {
            let problem = parse(kind, url).expect_err(url);
            assert!(!problem.to_string().contains("secret/"), "{problem}");
            assert!(!problem.to_string().contains(":secret"), "{problem}");
        }
    }
}
