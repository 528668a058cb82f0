//! How an edge is invited to a fleet: the join URI, and the names that certificates carry. Pure.
//!
//! Keeps: a code appears in the URI and nowhere else; what prints a URI for a log prints none of it.

use std::fmt;
use std::str::FromStr;

use crate::canonical::Digest;
use crate::name::EdgeName;

/// The name that every certificate of a control port has, and no other certificate: an edge verifies what the peer is
/// and not where it is. `internal` is reserved for private use and never resolves.
pub const SERVER_NAME: &str = "control.portunus.internal";
/// What the only alternative name of an edge's certificate begins with.
const IDENTITY: &str = "portunus://edge/";
/// What a join URI begins with.
const SCHEME: &str = "portunus://";
/// Longest URI: a host name has 253 characters at most.
const LONGEST: usize = 1024;

/// The alternative name of an edge's certificate.
pub fn identity(name: &EdgeName) -> String {
    format!("{IDENTITY}{name}")
}

/// The edge of an alternative name, if it is one.
pub fn edge_of(identity: &str) -> Option<EdgeName> {
    EdgeName::new(identity.strip_prefix(IDENTITY)?).ok()
}

/// A secret that works once.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// From the 32 hexadecimal digits of 128 random bits.
    pub fn new(text: &str) -> Option<Self> {
        let is_code = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_code.then(|| Self(text.to_owned()))
    }

    /// Its digits.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

/// Everything that an edge needs to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinUri {
    /// `HOST:PORT` of the control port.
    pub server: String,
    /// The name that the edge will have.
    pub name: EdgeName,
    /// SHA-256 of the certificate of the authority.
    pub pin: Digest,
    /// What the edge proves with that it is invited.
    pub code: Code,
}

impl JoinUri {
    /// The whole URI, with the code.
    pub fn expose(&self) -> String {
        let Self { server, name, pin, code } = self;
        format!("{SCHEME}{server}/?name={name}&pin={pin}&code={}", code.0)
    }
}

/// Why a text is not a join URI. Nothing of the text is in it: it may hold a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoin {
    /// Not of that form at all.
    #[error("expected the URI that `portunus edge-token create` prints: portunus://HOST:PORT/?name=…&pin=…&code=…")]
    Form,
    /// A part is missing.
    #[error("the join URI has no {0}: copy it as a whole, and quote it in a shell, where `&` ends a command")]
    Missing(&'static str),
    /// A part has another form.
    #[error("the {0} of the join URI is not valid: copy the URI as `portunus edge-token create` printed it")]
    Part(&'static str),
}

impl FromStr for JoinUri {
    type Err = InvalidJoin;

    fn from_str(text: &str) -> Result<Self, InvalidJoin> {
        let rest = text.trim().strip_prefix(SCHEME).filter(|rest| rest.len() <= LONGEST).ok_or(InvalidJoin::Form)?;
        let (server, query) = match rest.split_once('?') {
            Some((server, query)) => (server, query),
            None => (rest, ""),
        };
        let server = server.strip_suffix('/').unwrap_or(server);
        if !is_place(server) {
            return Err(InvalidJoin::Part("address"));
        }
        let mut parts = [("name", None), ("pin", None), ("code", None)];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or(InvalidJoin::Form)?;
            let part = parts.iter_mut().find(|(name, value)| *name == key && value.is_none());
            part.ok_or(InvalidJoin::Form)?.1 = Some(value);
        }
        let [(_, name), (_, pin), (_, code)] = parts;
        let name = EdgeName::new(name.ok_or(InvalidJoin::Missing("name"))?).map_err(|_| InvalidJoin::Part("name"))?;
        let pin = Digest::parse(pin.ok_or(InvalidJoin::Missing("pin"))?).ok_or(InvalidJoin::Part("pin"))?;
        let code = Code::new(code.ok_or(InvalidJoin::Missing("code"))?).ok_or(InvalidJoin::Part("code"))?;
        Ok(Self { server: server.to_owned(), name, pin, code })
    }
}

/// True for `HOST:PORT`, `IPV4:PORT` and `[IPV6]:PORT` with a port above 0.
pub fn is_place(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => (1..=253).contains(&host.len()) && host.bytes().all(is_letter),
    };
    is_port && is_host
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const CODE: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn a_uri_is_read_as_it_was_written() {
        for server in ["127.0.0.1:7443", "[2001:db8::1]:7443", "control.example.org:443"] {
            let text = format!("portunus://{server}/?name=edge-01&pin={PIN}&code={CODE}");
            let uri: JoinUri = text.parse().expect("valid");
            assert_eq!((uri.server.as_str(), uri.name.as_str()), (server, "edge-01"));
            assert_eq!(uri.expose(), text);
            assert_eq!(text.replace("/?", "?").parse(), Ok(uri));
        }
    }

    #[test]
    fn a_code_is_in_no_debug_output_and_no_error() {
        let text = format!("portunus://h:1/?name=a&pin={PIN}&code={CODE}");
        let uri: JoinUri = text.parse().expect("valid");
        assert!(!format!("{uri:?}").contains(CODE));
        for broken in [text.replace("pin=", "pen="), text.replace("name=a", "name=A B"), text.replace(":1/", "/")] {
            let error = broken.parse::<JoinUri>().expect_err("broken");
            assert!(!format!("{error:?} {error}").contains(CODE), "{error}");
        }
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let parse = |text: &str| text.parse::<JoinUri>().expect_err(text);
        assert_eq!(parse("http://h:1/?name=a"), InvalidJoin::Form);
        assert_eq!(parse(""), InvalidJoin::Form);
        // What a shell leaves of an unquoted URI.
        assert_eq!(parse("portunus://h:1/?name=a"), InvalidJoin::Missing("pin"));
        let with = |name: &str, pin: &str, code: &str| format!("portunus://h:1/?name={name}&pin={pin}&code={code}");
        assert_eq!(parse(&with("A", PIN, CODE)), InvalidJoin::Part("name"));
        assert_eq!(parse(&with("a", "sha256:12", CODE)), InvalidJoin::Part("pin"));
        assert_eq!(parse(&with("a", PIN, "12")), InvalidJoin::Part("code"));
        assert_eq!(parse(&(with("a", PIN, CODE) + "&code=1")), InvalidJoin::Form);
        for server in ["h", "h:0", "h:+1", "h:99999", ":1", "[::1:1", "[x]:1", "a b:1", "u@h:1"] {
            assert_eq!(parse(&format!("portunus://{server}/?name=a")), InvalidJoin::Part("address"), "{server}");
        }
    }

    #[test]
    fn an_identity_is_one_name_and_nothing_else() {
        let name = EdgeName::new("edge-01").expect("a name");
        assert_eq!(edge_of(&identity(&name)), Some(name));
        for other in ["portunus://edge/", "portunus://edge/A", "portunus://edge/a/b", "spiffe://edge/a", "edge/a"] {
            assert_eq!(edge_of(other), None, "{other}");
        }
    }
}
