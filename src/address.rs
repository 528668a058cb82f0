//! The addresses of servers, as operators and edges name them. Pure.
//!
//! Keeps: an address that exists may be spoken to as it stands; a token never goes over plain HTTP to anything but
//! loopback, so an operator's address is https or loopback.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// Why a text is not an address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidUrl {
    /// No URL at all.
    #[error("expected a URL such as http://127.0.0.1:{port}")]
    Form {
        /// The usual port there.
        port: u16,
    },
    /// Neither plain HTTP nor anything that this version speaks.
    #[error("the scheme `{0}` is not supported: expected {1}")]
    Scheme(String, &'static str),
    /// A path or more behind the port.
    #[error("expected nothing after the port")]
    Rest,
    /// Another machine, over plain HTTP.
    #[error(
        "{0} is not loopback: the operator's token is never sent over plain HTTP to another machine; use https://{0}"
    )]
    NotLoopback(String),
    /// A name and a password in it.
    #[error("the URL must not contain credentials: use --token")]
    Credentials,
}

/// The operator API: over TLS, or on loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl(Url);

impl ServerUrl {
    /// `HOST:PORT`
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", host(&self.0), self.0.port_or_known_default().unwrap_or(80))
    }

    /// True if it means this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// True if it is spoken to over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The URL of a path of the API.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        url
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = plain(text, 7080, &["http", "https"])?;
        let is_private = url.scheme() == "https" || is_loopback(&url);
        if is_private { Ok(Self(url)) } else { Err(InvalidUrl::NotLoopback(host(&url) + &port_of(&url))) }
    }
}

impl Default for ServerUrl {
    /// Where the operator API is found when nobody says otherwise.
    fn default() -> Self {
        "http://127.0.0.1:7080".parse().expect("an address on loopback")
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// The control port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlUrl(Url);

impl FromStr for ControlUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        plain(text, 7443, &["http", "https"]).map(Self)
    }
}

impl ControlUrl {
    /// `HOST:PORT`. The scheme does not matter: a control port speaks TLS and nothing else.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", host(&self.0), self.0.port().unwrap_or(7443))
    }
}

fn plain(text: &str, port: u16, schemes: &[&str]) -> Result<Url, InvalidUrl> {
    // HOST:PORT is how most tools name a server.
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // A number alone is a port to people, and an IPv4 address to URLs.
    if text.trim_start_matches("http://").bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidUrl::Form { port });
    }
    let url = Url::parse(&text).map_err(|_| InvalidUrl::Form { port })?;
    if !schemes.contains(&url.scheme()) {
        let expected = if schemes.len() > 1 { "https, or http on loopback" } else { "http" };
        return Err(InvalidUrl::Scheme(url.scheme().to_owned(), expected));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(InvalidUrl::Credentials);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidUrl::Rest);
    }
    Ok(url)
}

/// `:PORT`, where one was given.
fn port_of(url: &Url) -> String {
    url.port().map_or_else(String::new, |port| format!(":{port}"))
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn is_loopback(url: &Url) -> bool {
    let host = host(url);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Names and values as the query of a URL.
pub(crate) fn query(pairs: impl Iterator<Item = (&'static str, String)>) -> String {
    let url = Url::parse_with_params("http://localhost/", pairs).ok();
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_not_an_address() {
        for text in ["17080", "http://17080", ""] {
            assert_eq!(text.parse::<ServerUrl>(), Err(InvalidUrl::Form { port: 7080 }), "{text}");
        }
        assert_eq!("17443".parse::<ControlUrl>(), Err(InvalidUrl::Form { port: 7443 }));
    }

    #[test]
    fn an_operator_speaks_tls_or_to_loopback() {
        for good in [
            "http://127.0.0.1:7080",
            "http://localhost:1",
            "http://[::1]:7080/",
            "http://127.9.9.9",
            "https://10.0.0.1:7080",
            "https://portunus.example.org",
        ] {
            assert!(good.parse::<ServerUrl>().is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:7080", "http://example.org", "http://localhost.example.org", "http://0.0.0.0:7080"]
        {
            assert!(matches!(bad.parse::<ServerUrl>(), Err(InvalidUrl::NotLoopback(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_no_plain_address_is_refused_by_its_reason() {
        let refused = |text: &str| text.parse::<ServerUrl>().expect_err(text);
        assert_eq!("127.0.0.1:7080".parse::<ServerUrl>(), "http://127.0.0.1:7080".parse());
        assert_eq!(refused("me:secret@127.0.0.1:7080"), InvalidUrl::Credentials);
        assert_eq!(refused(""), InvalidUrl::Form { port: 7080 });
        assert!(matches!(refused("ftp://127.0.0.1"), InvalidUrl::Scheme(..)));
        assert_eq!(refused("http://127.0.0.1/v1"), InvalidUrl::Rest);
        assert_eq!(refused("http://me:secret@127.0.0.1"), InvalidUrl::Credentials);
    }

    #[test]
    fn a_path_and_its_query_are_joined() {
        let url: ServerUrl = "http://127.0.0.1:7080".parse().expect("an address");
        assert_eq!(url.join("/v1/a?b=true").as_str(), "http://127.0.0.1:7080/v1/a?b=true");
    }
}
