//! Targets and ports as other versions write them. Pure.

use schema::fields::target as target_keys;
use schema::text::{Node, Value as Parsed};
use serde_json::{Map, Value};

use super::Gathered;
use super::agree::contradiction;
use super::place::{FilePosition, json};
use super::rule::{IDS, Keys, is_state, open, value, words};

/// One port or several.
pub(super) struct Ports(String);

impl Ports {
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The key and the value that they have.
    pub(super) fn under(self, one: &str, several: &str) -> (String, Value) {
        match self.0.parse::<u64>() {
            Ok(port) => (one.to_owned(), port.into()),
            Err(_) => (several.to_owned(), self.0.into()),
        }
    }
}

pub(super) fn ports(keys: &Keys<'_, '_>, first: &str, last: &str, ranges: &[&str]) -> Result<Option<Ports>, String> {
    if let Some(range) = value(keys, ranges) {
        return ports_of(&range).map(Some).ok_or_else(|| format!("`{}` is not a valid range of ports", ranges[0]));
    }
    let Some(one) = value(keys, &[first]) else { return Ok(None) };
    let one = ports_of(&one).ok_or_else(|| format!("`{first}` is not a valid port"))?.0;
    let Some(end) = value(keys, &[last]) else { return Ok(Some(Ports(one))) };
    let end = ports_of(&end).ok_or_else(|| format!("`{last}` is not a valid port"))?.0;
    Ok(Some(Ports(if one == end { one } else { format!("{one}-{end}") })))
}

/// `80`, `"80"`, `"80-90"`, `[80, 90]`, `{ start: 80, end: 90 }`.
pub(super) fn ports_of(value: &Value) -> Option<Ports> {
    let pair = |first: &Value, last: &Value| {
        let (first, last) = (words(first)?, words(last)?);
        Some(Ports(if first == last { first } else { format!("{first}-{last}") }))
    };
    match value {
        Value::Array(both) => match both.as_slice() {
            [first, last] => pair(first, last),
            _ => None,
        },
        Value::Object(map) => {
            let get = |names: &[&str]| names.iter().find_map(|name| map.get(*name));
            pair(get(&["start", "first", "lo", "from"])?, get(&["end", "last", "hi", "to"])?)
        }
        other => words(other).map(|text| Ports(text.trim().to_owned())),
    }
}

/// `HOST:PORT` as an entry of `targets`.
pub(super) fn text_target(target: &Value) -> Result<Value, String> {
    let text = words(target).ok_or("a target must be a table or `HOST:PORT`")?;
    let (host, ports) = text.rsplit_once(':').ok_or_else(|| format!("the target {text} has no port"))?;
    let (key, ports) = Ports(ports.to_owned()).under("port", "ports");
    Ok(Value::Object(Map::from_iter([("host".to_owned(), plain_host(host.into())), (key, ports)])))
}

/// The host without the brackets that stand around IPv6 addresses in URLs.
pub(super) fn plain_host(host: Value) -> Value {
    let inner = host.as_str().and_then(|text| text.trim().strip_prefix('[')?.strip_suffix(']'));
    match inner {
        Some(inner) => inner.into(),
        None => host,
    }
}

/// Host and ports of an entry of `targets`.
pub(super) fn target_core(target: &Node<'_>) -> Result<Value, String> {
    let Parsed::Table(entries) = &target.value else { return text_target(&json(target)) };
    let mut keys = Keys::new();
    open(entries, &mut keys)?;
    if let Some(reason) = contradiction(&keys) {
        return Err(reason);
    }
    let host = plain_host(value(&keys, &["host", "address", "addr"]).ok_or("a target has no host")?);
    let ports = ports(&keys, "port", "port_end", &["ports"])?.ok_or("a target has no port")?;
    let mut core = Map::from_iter([("host".to_owned(), host), ports.under("port", "ports")]);
    // What decides where connections go is not left out for being wrong.
    for key in ["priority", "weight", "enabled"] {
        core.extend(value(&keys, &[key]).map(|value| (key.to_owned(), value)));
    }
    if let Some(proxy) = value(&keys, &["proxy_protocol"]).and_then(|value| proxy_protocol(&value)) {
        core.insert("proxy_protocol".to_owned(), proxy);
    }
    Ok(Value::Object(core))
}

/// Our word for a version of the PROXY header; `None` for none.
pub(super) fn proxy_protocol(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(false) | Value::Null => None,
        Value::Number(number) => Some(format!("v{number}").into()),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "" | "none" | "off" => None,
            lower => Some(lower.into()),
        },
        other => Some(other.clone()),
    }
}

/// Says which keys of a target are not carried over.
pub(super) fn rest_of_target(
    index: usize,
    target: &Node<'_>,
    label: &str,
    file: FilePosition<'_>,
    gathered: &mut Gathered,
) {
    let Parsed::Table(entries) = &target.value else { return };
    let known = |key: &str| {
        target_keys::TABLE.find(key, 0).is_some()
            || ["address", "addr", "port_end"].contains(&key)
            || IDS.contains(&key)
    };
    let unknown = entries.iter().filter(|entry| !known(&entry.key) && entry.node.value != Parsed::Null);
    for entry in unknown {
        let key = format!("targets[{index}].{}", entry.key);
        let at = file.at(entry.key_span);
        if is_state(&entry.key, &entry.node) {
            gathered.ignored(at, label, &key, "the current state of the target, not its configuration");
        } else {
            gathered.dropped(at, label, &key, "there is no such key");
        }
    }
}
