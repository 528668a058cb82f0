//! One value by its kind: type, range and form. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use super::lists::{network, server_name, time_zone};
use super::{Decoded, Decoder, first_line, hints, shortened};
use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, Span};
use crate::fields::{Field, Kind, closest, rule};
use crate::health::StatusRanges;
use crate::name::RuleName;
use crate::net::{ListenAddress, PortRange};
use crate::rule::Host;
use crate::scope::ScopedIp;
use crate::text::{self, Node};

/// What is wrong with a value: code, sentence, and perhaps a hint.
pub(crate) struct Refused {
    code: TreeCode,
    message: String,
    help: Option<String>,
}

impl Refused {
    pub(super) fn new(code: TreeCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Decoder<'_> {
    /// The value of a field, or `None` after saying why not.
    pub(super) fn value<'a>(&mut self, node: Node<'a>, field: &'static Field) -> Option<Decoded<'a>> {
        let span = node.span;
        let value = match (field.kind, node.value) {
            (Kind::Bool, text::Value::Bool(flag)) => Ok(Decoded::Bool(flag)),
            (Kind::Int { min, max }, text::Value::Integer(number)) => int(number, min, max, field),
            (Kind::Int { min, max }, text::Value::Float(number)) if number.abs() >= i64::MAX as f64 => {
                Err(Refused::new(TreeCode::OutOfRange, format!("`{}` is outside {min}..={max}", field.key)))
            }
            (Kind::Texts { max }, text::Value::Array(items)) => return self.texts(items, max, field),
            (Kind::ServerNames, text::Value::Array(items)) => {
                return self.list(items, field, server_name).map(Decoded::ServerNames);
            }
            (Kind::Networks, text::Value::Array(items)) => {
                return self.list(items, field, network).map(Decoded::Networks);
            }
            (Kind::TextMap, text::Value::Table(entries)) => return self.text_map(entries, field),
            (Kind::Table(table), value @ text::Value::Table(_)) => {
                return self.table(Node { span, value }, table, field.key).map(|draft| Decoded::Table(Box::new(draft)));
            }
            (Kind::Tables(table), text::Value::Array(items)) => {
                let what = format!("an entry of `{}`", field.key);
                let has_entries = !items.is_empty();
                let (mut drafts, mut is_any) = (Vec::new(), false);
                for item in items {
                    let draft = self.table(item, table, &what);
                    is_any |= draft.is_some();
                    // Of a tree with so many errors nothing is applied, and what else is wrong is only counted.
                    if !(self.diagnostics.is_full() && table.name == rule::TABLE.name) {
                        drafts.extend(draft);
                    }
                }
                // A list of which no entry is a table was refused as a whole: nobody asks for more entries.
                return (!has_entries || is_any).then_some(Decoded::Tables(drafts));
            }
            (Kind::Tables(table), text::Value::Table(_)) => Err(wrong_type(field, "a table")
                .help(format!("write {}: every entry of a list of tables has its own header", table.header))),
            (kind, text::Value::String(text)) if takes_text(kind) => from_text(text, field),
            (_, other) => Err(self.mismatch(&other, span, field)),
        };
        match value {
            Ok(value) => Some(value),
            Err(mut refusal) => {
                let key = format!("`{}`", field.key);
                if !refusal.message.contains(&key) {
                    refusal.message = format!("{key}: {}", refusal.message);
                }
                self.refuse(span, refusal);
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, span: Span, refusal: Refused) {
        let span = first_line(self.file, span);
        let error = Diagnostic::error(refusal.code, self.file, span, refusal.message);
        self.diagnostics.push(match refusal.help {
            Some(help) => error.help(help),
            None => error,
        });
    }

    fn mismatch(&self, value: &text::Value<'_>, span: Span, field: &'static Field) -> Refused {
        let source = self.file.text.get(span.start..span.end).unwrap_or_default();
        let found = if hints::is_range(value, source) { "a range" } else { value.kind() };
        let hint = hints::of_mismatch(field, value, source);
        wrong_type(field, found)
            .help(hint.unwrap_or_else(|| format!("for example `{} = {}`", field.key, field.example)))
    }
}

/// What a kind takes, in the words of a message.
pub(crate) fn takes(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int { .. } => "a whole number",
        Kind::Texts { .. } | Kind::ServerNames | Kind::Networks => "a list of strings",
        Kind::TextMap => "a table of strings",
        Kind::Table(_) => "a table",
        Kind::Tables(_) => "a list of tables",
        _ => "a string",
    }
}

fn wrong_type(field: &Field, found: &str) -> Refused {
    Refused::new(TreeCode::WrongType, format!("`{}` must be {}, not {found}", field.key, takes(field.kind)))
}

fn int<'a>(number: i64, min: i64, max: i64, field: &Field) -> Result<Decoded<'a>, Refused> {
    if (min..=max).contains(&number) {
        return Ok(Decoded::Int(number));
    }
    Err(Refused::new(TreeCode::OutOfRange, format!("`{}` is {number}, outside {min}..={max}", field.key)))
}

const fn takes_text(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Text { .. }
            | Kind::Payload { .. }
            | Kind::Name
            | Kind::Word(_)
            | Kind::Ip
            | Kind::ListenAddress
            | Kind::TimeZone
            | Kind::Ports
            | Kind::Endpoint
            | Kind::Host
            | Kind::Statuses
            | Kind::Regex
    )
}

/// Longest of the texts whose form bounds them anyway, so that no parser sees megabytes.
pub(super) const MAX_FORM: usize = 1024;

fn from_text<'a>(text: Cow<'a, str>, field: &'static Field) -> Result<Decoded<'a>, Refused> {
    let invalid = |message: String| Refused::new(TreeCode::InvalidValue, message);
    match field.kind {
        Kind::Text { max, lines } => plain(&text, max, lines, field)?,
        Kind::Payload { max } => bounded(&text, max, field)?,
        Kind::Name => {
            RuleName::new(&text)
                .map_err(|error| invalid(format!("`{}` is not a valid name: {error}", shortened(&text))))?;
        }
        Kind::Word(words) => word(&text, words, field)?,
        Kind::Ip => {
            let ip = text.parse::<IpAddr>().map_err(|_| {
                invalid(format!("`{}` is not a valid IP address", shortened(&text)))
                    .help("write IPv4 as 10.0.0.1, and IPv6 as 2001:db8::1 without brackets")
            })?;
            return Ok(Decoded::Ip(ip.to_canonical()));
        }
        Kind::TimeZone => time_zone(&text)?,
        Kind::ListenAddress => return listen_address(&text).map(Decoded::Address),
        Kind::Ports => return ports(&text).map(Decoded::Ports),
        Kind::Endpoint => {
            bounded(&text, MAX_FORM, field)?;
            return endpoint(&text).map(|(host, ports)| Decoded::Endpoint(host, ports));
        }
        Kind::Host => {
            bounded(&text, MAX_FORM, field)?;
            return host(&text).map(Decoded::Host);
        }
        Kind::Statuses => {
            bounded(&text, MAX_FORM, field)?;
            if StatusRanges::parse(&text).is_none() {
                return Err(invalid(format!("`{}` is not a valid list of HTTP statuses", shortened(&text)))
                    .help(format!("for example `{} = {}`", field.key, field.example)));
            }
        }
        Kind::Regex => {
            bounded(&text, MAX_FORM, field)?;
            regex_lite::Regex::new(&text).map_err(|error| {
                invalid(format!("`{}` is not a valid regular expression: {error}", shortened(&text)))
            })?;
        }
        _ => {}
    }
    Ok(Decoded::Text(text))
}

pub(super) fn bounded(text: &str, max: usize, field: &Field) -> Result<(), Refused> {
    if text.len() <= max {
        return Ok(());
    }
    let code =
        if matches!(field.kind, Kind::Host | Kind::Endpoint) { TreeCode::InvalidHost } else { TreeCode::InvalidValue };
    Err(Refused::new(code, format!("`{}` has {} bytes; at most {max} are allowed", field.key, text.len())))
}

/// Text that can be printed as it stands: control characters could rewrite the reader's terminal.
pub(super) fn plain(text: &str, max: usize, lines: bool, field: &Field) -> Result<(), Refused> {
    bounded(text, max, field)?;
    if text.chars().any(|c| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'))) {
        return Err(Refused::new(TreeCode::InvalidValue, format!("`{}` contains a control character", field.key)));
    }
    Ok(())
}

fn word(text: &str, words: &'static [&'static str], field: &Field) -> Result<(), Refused> {
    if words.contains(&text) {
        return Ok(());
    }
    let listed: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let refusal = Refused::new(
        TreeCode::InvalidValue,
        format!("`{}` is not a valid value of `{}`: expected {}", shortened(text), field.key, listed.join(", ")),
    );
    let lower = text.to_ascii_lowercase().replace('_', "-");
    Err(match closest(&lower, words.iter().copied()) {
        Some(meant) => refusal.help(format!("did you mean `{meant}`?")),
        None => refusal,
    })
}

/// Parses `LO-HI` or one port.
pub(crate) fn ports(text: &str) -> Result<PortRange, Refused> {
    let invalid = || {
        Refused::new(TreeCode::InvalidValue, format!("`{}` is neither a port nor a range of ports", shortened(text)))
            .help("write a range as \"30000-30050\"")
    };
    let port = |part: &str| {
        let part = part.trim_ascii();
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        match part.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(Refused::new(TreeCode::OutOfRange, format!("port {} is outside 1..=65535", shortened(part)))),
        }
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    PortRange::new(first, last).ok_or_else(|| {
        Refused::new(
            TreeCode::InvalidValue,
            format!("the range {first}-{last} is reversed: the first port must not be above the last"),
        )
        .help(format!("write it as \"{last}-{first}\""))
    })
}

fn listen_address(text: &str) -> Result<ListenAddress, Refused> {
    let invalid = |message: String| Refused::new(TreeCode::InvalidValue, message);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ListenAddress::Ip(ip.to_canonical()));
    }
    if text.contains('%') {
        let scoped = ScopedIp::parse(text);
        return scoped.map(ListenAddress::Scoped).map_err(|error| invalid(format!("`{}`: {error}", shortened(text))));
    }
    let form = || {
        "write IPv4 as 10.0.0.1, IPv6 as 2001:db8::1 without brackets, and link-local addresses as \
         fe80::1%eth0"
            .to_owned()
    };
    Err(invalid(format!("`{}` is not an IP address", shortened(text)))
        .help(hints::of_listen_address(text).unwrap_or_else(form)))
}

/// A URL names a scheme and perhaps a path; what is forwarded are connections, so a target has neither.
fn not_a_url(text: &str, code: TreeCode, has_port: bool) -> Result<(), Refused> {
    let Some(hint) = hints::of_url(text, has_port) else { return Ok(()) };
    Err(Refused::new(code, format!("`{}` is a URL, and a target has no scheme or path", shortened(text))).help(hint))
}

/// A path or one of the ways in which other programs write a Unix socket.
fn not_a_socket(text: &str) -> Result<(), Refused> {
    let lower = text.trim_start().to_ascii_lowercase();
    if ["unix:", "unix@", "unix-", "abns@", "/", "./", "@"].iter().any(|start| lower.starts_with(start))
        && !is_name(&lower)
    {
        let message = format!("`{}` is a Unix socket; Unix sockets are not supported as targets", shortened(text));
        return Err(Refused::new(TreeCode::InvalidHost, message)
            .help("let the program also listen on a loopback address, and write \"127.0.0.1:PORT\""));
    }
    Ok(())
}

/// `unix:80` and `unix-1:80` may be hosts of that name.
fn is_name(text: &str) -> bool {
    let (name, port) = text.rsplit_once(':').unwrap_or((text, "1"));
    let is_port = port.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    is_port && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn host(text: &str) -> Result<Host, Refused> {
    not_a_socket(text)?;
    not_a_url(text, TreeCode::InvalidHost, false)?;
    Host::parse(text).map_err(|error| {
        let refusal = Refused::new(TreeCode::InvalidHost, error.to_string());
        if text.starts_with('[') {
            return refusal.help("write an IPv6 address without brackets here");
        }
        match error.meant() {
            Some(meant) => {
                refusal.help(format!("other programs interpret it as {meant}: write that address, or a DNS name"))
            }
            None => match hints::of_host(text) {
                Some(hint) => refusal.help(hint),
                None => refusal,
            },
        }
    })
}

pub(super) fn endpoint(text: &str) -> Result<(Host, PortRange), Refused> {
    not_a_socket(text)?;
    not_a_url(text, TreeCode::InvalidValue, true)?;
    let no_port = || {
        Refused::new(TreeCode::InvalidValue, format!("`{}` has no port", shortened(text)))
            .help("write a target as \"HOST:PORT\", \"HOST:LO-HI\" or \"[v6]:PORT\"")
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(no_port)?;
        let range = rest.strip_prefix(':').ok_or_else(no_port)?;
        if address.contains('%') {
            return Ok((host(address)?, ports(range)?));
        }
        let ip = address.parse::<std::net::Ipv6Addr>().map_err(|_| {
            Refused::new(TreeCode::InvalidHost, format!("`{}` is not a valid IPv6 address", shortened(address)))
        })?;
        return Ok((Host::Ip(IpAddr::V6(ip).to_canonical()), ports(range)?));
    }
    let (name, range) = text.rsplit_once(':').ok_or_else(no_port)?;
    if name.contains(':') {
        return Err(Refused::new(TreeCode::InvalidValue, format!("`{}` is ambiguous", shortened(text)))
            .help("write an IPv6 address in brackets: \"[2001:db8::1]:443\""));
    }
    // The host first: it is what the message of a wrong endpoint should be about.
    let host = host(name)?;
    Ok((host, ports(range)?))
}
