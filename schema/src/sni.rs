//! The TLS server names that lead to a rule. Pure.
//!
//! Keeps: a name is one value, however it is written: in lower case, without a trailing dot, in A-labels.

use std::fmt;

use idna::AsciiDenyList;

/// Most names of one rule.
pub const MAX_NAMES: usize = 64;
/// The longest name, as DNS has it.
const MAX_LENGTH: usize = 253;

/// A server name, or a wildcard that stands for one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Box<str>);

/// Why a text is not a server name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerName {
    /// It is empty, too long, or not a DNS name.
    #[error("not a DNS name")]
    Name,
    /// `*` stands somewhere else than as the first label.
    #[error("`*` must be the whole first label, and stands for one label")]
    Star,
    /// Fewer than two labels stand after the star.
    #[error("a wildcard needs at least two labels after `*.`")]
    TooWide,
    /// Clients send no address as a name.
    #[error("clients never send an IP address as a server name")]
    Address,
}

impl ServerName {
    /// The name of a text.
    pub fn parse(text: &str) -> Result<Self, InvalidServerName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let (star, rest) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        if rest.contains('*') {
            return Err(InvalidServerName::Star);
        }
        if rest.len() > 4 * MAX_LENGTH {
            return Err(InvalidServerName::Name);
        }
        if rest.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
            return Err(InvalidServerName::Address);
        }
        let name = idna::domain_to_ascii_cow(rest.as_bytes(), AsciiDenyList::EMPTY)
            .map_err(|_| InvalidServerName::Name)?
            .to_ascii_lowercase();
        let is_label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if star.len() + name.len() > MAX_LENGTH || !name.split('.').all(is_label) {
            return Err(InvalidServerName::Name);
        }
        // The last label of a name is never a number: such names are addresses in another notation.
        if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(InvalidServerName::Address);
        }
        if !star.is_empty() && !name.contains('.') {
            return Err(InvalidServerName::TooWide);
        }
        Ok(Self(format!("{star}{name}").into()))
    }

    /// As it is compared: `www.example.org` or `*.example.org`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the star of a wildcard: `example.org`.
    pub fn wildcard(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_value_however_they_are_written() {
        let cases = [
            ("WWW.Example.ORG", "www.example.org"),
            ("www.example.org.", "www.example.org"),
            ("*.Shop.example.org", "*.shop.example.org"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.BÜCHER.example.", "*.xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("_sip.example.org", "_sip.example.org"),
        ];
        for (text, expected) in cases {
            assert_eq!(ServerName::parse(text).map(|name| name.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_no_client_can_send_is_refused() {
        use InvalidServerName::{Address, Name, Star, TooWide};
        let long = format!("{}.example.org", "a".repeat(64));
        let longer = ["abcdefgh"; 40].join(".");
        let cases = [
            ("", Name),
            (".", Name),
            ("a..b", Name),
            ("a b.example", Name),
            ("-a.example", Name),
            ("a/b", Name),
            (&long, Name),
            (&longer, Name),
            ("*", Star),
            ("www.*.org", Star),
            ("w*.example.org", Star),
            ("*.*.example.org", Star),
            ("*.org", TooWide),
            ("10.0.0.1", Address),
            ("[2001:db8::1]", Address),
            ("2001:db8::1", Address),
            ("10.1", Address),
        ];
        for (text, expected) in cases {
            assert_eq!(ServerName::parse(text), Err(expected), "{text}");
        }
    }
}
