//! The host of a target: an address or a name, and what only looks like one. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::scope::{InvalidScope, ScopedIp};

/// Longest DNS name in its text form (RFC 1035, 2.3.4, without the final dot).
pub const MAX_HOST: usize = 253;

/// The host of a target: an address, or a DNS name in lower case without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address; an IPv4-mapped one is stored as IPv4.
    Ip(IpAddr),
    /// An address of one link.
    Scoped(ScopedIp),
    /// A name to resolve.
    Name(Arc<str>),
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// More than DNS allows.
    #[error("the host has {0} characters; a DNS name has at most {MAX_HOST}")]
    TooLong(usize),
    /// A label that is empty, too long, or begins or ends with a hyphen.
    #[error(
        "`{0}` is not a valid DNS label: expected 1 to 63 letters, digits, `-` or `_`, without a hyphen at either \
        end"
    )]
    Label(String),
    /// Looks like an IPv4 address and is none.
    #[error("`{0}` is not a valid IPv4 address")]
    Number(String),
    /// Has a `%` and is not an address of a link.
    #[error("`{0}` is not a valid address: {1}")]
    Scope(String, InvalidScope),
}

impl InvalidHost {
    /// The address that other programs would read there: `127.1`, `0x7f000001` and `2130706433` are 127.0.0.1 to them.
    pub fn meant(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Number(text) => numbers_and_dots(text),
            _ => None,
        }
    }
}

impl Host {
    /// Parses an address (IPv6 without brackets) or a DNS name.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if text.contains('%') {
            let invalid = |why| InvalidHost::Scope(text.chars().take(70).collect(), why);
            return ScopedIp::parse(text).map(Self::Scoped).map_err(invalid);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_HOST {
            return Err(InvalidHost::TooLong(name.len()));
        }
        for label in name.split('.') {
            let is_label = (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-');
            if !is_label {
                return Err(InvalidHost::Label(label.chars().take(70).collect()));
            }
        }
        // A name whose last label is a number is meant as an address (RFC 1123, 2.1), for example 10.0.0.256; so is a
        // hexadecimal one to everybody who parses addresses as C does.
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(InvalidHost::Number(name.to_owned()));
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }
}

impl Host {
    /// True for `localhost` and what is below it, which are loopback on every host (RFC 6761 §6.3).
    pub fn is_loopback_name(&self) -> bool {
        matches!(self, Self::Name(name) if &**name == "localhost" || name.ends_with(".localhost"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Scoped(scoped) => write!(f, "{scoped}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn hexadecimal(label: &str) -> Option<&str> {
    label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"))
}

fn is_number(label: &str) -> bool {
    match hexadecimal(label) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The address of up to four decimal, octal or hexadecimal numbers, the last of which fills what is left
/// (inet_aton(3)).
fn numbers_and_dots(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match (hexadecimal(part), part.strip_prefix('0')) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        (None, _) => part.parse().ok(),
    };
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * leading.len() as u32;
    if u64::from(*last) >> room > 0 {
        return None;
    }
    let leading = leading.iter().zip([24, 16, 8]).fold(0, |sum, (part, shift)| sum | part << shift);
    Some(Ipv4Addr::from(leading | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_addresses_or_names_and_nothing_between() {
        assert_eq!(Host::parse("Upstream.Local."), Ok(Host::Name("upstream.local".into())));
        assert!(matches!(Host::parse("::ffff:10.0.0.1"), Ok(Host::Ip(IpAddr::V4(_)))));
        assert!(matches!(Host::parse("fe80::1%eth0"), Ok(Host::Scoped(_))));
        assert!(matches!(Host::parse("10.0.0.1%eth0"), Err(InvalidHost::Scope(_, InvalidScope::Address))));
        assert!(matches!(Host::parse("10.0.0.256"), Err(InvalidHost::Number(_))));
        assert!(matches!(Host::parse(&"a".repeat(300)), Err(InvalidHost::TooLong(300))));
        assert!(matches!(Host::parse("a..b"), Err(InvalidHost::Label(_))));
        assert!(matches!(Host::parse("-a"), Err(InvalidHost::Label(_))));
        assert!(matches!(Host::parse("a b"), Err(InvalidHost::Label(_))));
    }

    #[test]
    fn a_name_that_looks_like_a_number_is_refused_with_the_address_that_others_read_there() {
        let meant = |text: &str| Host::parse(text).expect_err(text).meant().map(|ip| ip.to_string());
        for text in
            ["127.1", "0x7f000001", "0X7F.1", "2130706433", "0177.0.0.1", "0x7f.0.0.0x1", "127.0.0.01", "127.0.1"]
        {
            assert_eq!(meant(text).as_deref(), Some("127.0.0.1"), "{text}");
        }
        assert_eq!(meant("010.1.2.3").as_deref(), Some("8.1.2.3"));
        for text in ["10.0.0.256", "1.2.3.4.5", "0x", "a.0x1", "4294967296", "256.1", "09.0.0.1"] {
            assert_eq!(meant(text), None, "{text}");
        }
        for name in ["0x7f000001.example", "x0x1", "0xg", "1a", "7f000001"] {
            assert!(matches!(Host::parse(name), Ok(Host::Name(_))), "{name}");
        }
    }
}
