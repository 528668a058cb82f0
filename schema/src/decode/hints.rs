//! What was probably meant by a value that its key does not take: the hint under the error. Pure.
//!
//! Keeps: a hint is text to paste, built only from values that are valid where they are suggested.

use std::net::SocketAddr;

use super::shortened;
use super::value::{endpoint, ports};
use crate::fields::{Field, Kind};
use crate::net::PortRange;
use crate::rule::Host;
use crate::text::{Node, Value};

/// The hint for a value of the wrong type. `source` is how the file writes it.
pub(super) fn of_mismatch(field: &Field, value: &Value<'_>, source: &str) -> Option<String> {
    let key = field.key;
    match (field.kind, value) {
        (Kind::Int { .. }, Value::String(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("write it without quotes: `{key} = {text}`"))
        }
        (Kind::Bool, Value::String(text)) if matches!(&**text, "true" | "false") => {
            Some(format!("write it without quotes: `{key} = {text}`"))
        }
        (Kind::Int { .. }, Value::Array(items)) if takes_ports(key) => list_of_ports(key, items),
        (Kind::Int { .. } | Kind::Ports, _) if takes_ports(key) && range(value, source).is_some() => {
            let range = range(value, source)?;
            Some(format!("a range of ports is written as `{} = \"{range}\"`", plural(key)))
        }
        (Kind::Ports, Value::Integer(port)) => {
            Some(format!("write `{} = {port}` for a single port", key.strip_suffix('s').unwrap_or(key)))
        }
        (Kind::Texts { .. } | Kind::ServerNames | Kind::Networks, Value::String(_)) if !source.is_empty() => {
            Some(format!("write a list: `{key} = [{}]`", shortened(source)))
        }
        (Kind::Tables(_), Value::String(text)) => {
            let target = as_table(text)?;
            Some(format!("write `target = \"{text}\"` for one target, or `{key} = [{target}]`"))
        }
        (Kind::Endpoint, Value::Array(items)) => list_of_targets(items),
        (Kind::Endpoint, Value::Table(_)) => Some(format!("write `targets = [{}]`", shortened(source))),
        (Kind::Endpoint, Value::Integer(port)) => {
            Some(format!("a target has a host: `{key} = \"127.0.0.1:{port}\"` is a port of the edge itself"))
        }
        _ => None,
    }
}

/// The hint for an entry of `targets` that is not a table.
pub(super) fn of_entry(value: &Value<'_>) -> Option<String> {
    let Value::String(text) = value else { return None };
    as_table(text).map(|table| format!("an entry is written as `{table}`"))
}

/// True for values that were written as a range of ports, which TOML takes for a date.
pub(super) fn is_range(value: &Value<'_>, source: &str) -> bool {
    matches!(value, Value::Datetime) && range(value, source).is_some()
}

/// `host = "h", port = 80` of a target that was written as `h:80`; `host` where the port has its own key.
pub(super) fn of_host(text: &str) -> Option<String> {
    let (host, ports) = endpoint(text).ok()?;
    Some(format!("write `{}`", keys(&host, ports)))
}

/// What to write instead of a URL, and the words that say what it is.
pub(super) fn of_url(text: &str, has_port: bool) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    let whole = match (endpoint(place), usual) {
        (Ok((host, ports)), _) => Some((host, ports)),
        (Err(_), Some(port)) => endpoint(&format!("{place}:{port}")).ok(),
        (Err(_), None) => None,
    };
    let hint = match (whole, has_port) {
        (Some((host, ports)), true) => format!("write \"{}\"", written(&host, ports)),
        (Some((host, _)), false) => format!("write \"{host}\", and the port in its own key"),
        (None, true) => "a target is written as \"HOST:PORT\", without a scheme".to_owned(),
        (None, false) => "a host is written without a scheme".to_owned(),
    };
    let is_udp = scheme.eq_ignore_ascii_case("udp");
    Some(if is_udp { format!("{hint}, and `protocol = \"udp\"` in the rule") } else { hint })
}

/// The hint for an address to listen on that holds more, or is none.
pub(super) fn of_listen_address(text: &str) -> Option<String> {
    let whole = text.parse::<SocketAddr>().ok();
    if let Some(whole) = whole {
        let (ip, port) = (whole.ip(), whole.port());
        return Some(format!("the port has its own key: `listen_address = \"{ip}\"` and `listen_port = {port}`"));
    }
    if text == "*" || text.is_empty() {
        return Some("leave the key out to listen on all addresses".to_owned());
    }
    (text == "localhost").then(|| "write \"127.0.0.1\" or \"::1\"".to_owned())
}

fn takes_ports(key: &str) -> bool {
    matches!(key, "listen_port" | "listen_ports" | "port" | "ports")
}

fn plural(key: &str) -> String {
    if key.ends_with('s') { key.to_owned() } else { format!("{key}s") }
}

/// The range that a value was meant as: `8080-8090`, with or without quotes; a colon or two dots count as a hyphen.
fn range(value: &Value<'_>, source: &str) -> Option<PortRange> {
    let text = match value {
        Value::String(text) => text,
        Value::Datetime => source,
        _ => return None,
    };
    let text = text.trim();
    let text = [":", "..", " - ", "–"]
        .iter()
        .find_map(|sign| text.split_once(sign))
        .map_or_else(|| text.to_owned(), |(first, last)| format!("{}-{}", first.trim(), last.trim()));
    ports(&text).ok().filter(|ports| ports.width() > 1)
}

fn list_of_ports(key: &str, items: &[Node<'_>]) -> Option<String> {
    let number = |item: &Node<'_>| match item.value {
        Value::Integer(port) => u16::try_from(port).ok().filter(|port| *port > 0),
        _ => None,
    };
    let ports: Vec<u16> = items.iter().map(number).collect::<Option<_>>()?;
    let (first, last) = (*ports.first()?, *ports.last()?);
    if ports.len() == 1 {
        return Some(format!("write `{key} = {first}`"));
    }
    let is_run = ports.windows(2).all(|pair| pair[1].checked_sub(pair[0]) == Some(1));
    Some(if is_run {
        format!("a range of ports is written as `{} = \"{first}-{last}\"`", plural(key))
    } else {
        "a rule listens on one port or on one range: write a rule for each".to_owned()
    })
}

fn list_of_targets(items: &[Node<'_>]) -> Option<String> {
    // Longer lists than a rule may have are not written out.
    const MOST: usize = 8;
    let text = |item: &Node<'_>| match &item.value {
        Value::String(text) => Some(text.to_string()),
        _ => None,
    };
    let texts: Vec<String> = items.iter().take(MOST).map(text).collect::<Option<_>>()?;
    let tables: Vec<String> = texts.iter().map(|text| as_table(text)).collect::<Option<_>>()?;
    match &*texts {
        [] => None,
        [one] => Some(format!("write `target = \"{one}\"`")),
        _ => Some(format!("write `targets = [{}]`", tables.join(", "))),
    }
}

/// `{ host = "10.0.0.1", port = 80 }`
fn as_table(text: &str) -> Option<String> {
    let (host, ports) = endpoint(text).ok()?;
    Some(format!("{{ {} }}", keys(&host, ports)))
}

fn keys(host: &Host, ports: PortRange) -> String {
    if ports.width() == 1 {
        format!("host = \"{host}\", port = {}", ports.first())
    } else {
        format!("host = \"{host}\", ports = \"{ports}\"")
    }
}

fn written(host: &Host, ports: PortRange) -> String {
    let host = host.to_string();
    if host.contains(':') { format!("[{host}]:{ports}") } else { format!("{host}:{ports}") }
}
