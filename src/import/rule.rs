//! One rule of upstream as one of ours: its keys by our names, checked by our decoder, key by key. Pure.
//!
//! Keeps: a rule whose listeners or targets cannot be carried over is dropped as a whole; any other key that cannot is
//! dropped alone; both are said.

use std::collections::BTreeMap;

use schema::check::CheckLimits;
use schema::fields::{rule as keys, target as target_keys};
use schema::name::{EdgeName, MAX_NAME};
use schema::spec;
use schema::text::{Entry, Node, Value as Parsed};
use serde_json::{Map, Value};

use super::drafts::Draft;
use super::place::{Place, json};
use super::{Gathered, Kind};

/// What holds for all rules of a list.
#[derive(Debug, Clone)]
pub(super) struct Context {
    /// The edge of rules that name none.
    pub(super) edge: EdgeName,
    pub(super) limits: CheckLimits,
}

/// Names under which a rule or a target comes inside another table.
const WRAPPERS: [&str; 3] = ["rule", "spec", "config"];
const CLIENTS: [&str; 4] = ["client", "client_name", "edge", "edge_name"];
const IDS: [&str; 2] = ["id", "rule_id"];
const NAMES: [&str; 2] = ["name", "rule_name"];
/// What a rule is at the moment, and what has become of it: not what it should be.
const STATE: [&str; 22] = [
    "state",
    "status",
    "active",
    "connected",
    "healthy",
    "health_state",
    "error",
    "last_error",
    "reason",
    "message",
    "code",
    "created_at",
    "updated_at",
    "activated_at",
    "bytes_in",
    "bytes_out",
    "active_connections",
    "connections_total",
    "active_flows",
    "stats",
    "generation",
    "last_seen",
];
/// Keys that make the listeners and targets of a rule.
const LISTEN: [&str; 8] = [
    "protocol",
    "listen_port",
    "listen_port_end",
    "listen_ports",
    "listen_range",
    "listen_address",
    "listen_addr",
    "listen",
];
const TARGET: [&str; 6] = ["target", "targets", "target_host", "target_port", "target_port_end", "target_ports"];

/// Keys by name, wrappers opened.
type Keys<'n, 'a> = BTreeMap<&'n str, &'n Entry<'a>>;

fn open<'n, 'a>(entries: &'n [Entry<'a>], keys: &mut Keys<'n, 'a>) {
    for entry in entries {
        match &entry.node.value {
            Parsed::Table(inner) if WRAPPERS.contains(&entry.key.as_ref()) => open(inner, keys),
            Parsed::Null => {}
            _ => _ = keys.entry(entry.key.as_ref()).or_insert(entry),
        }
    }
}

fn value(keys: &Keys<'_, '_>, names: &[&str]) -> Option<Value> {
    names.iter().find_map(|name| keys.get(name)).map(|entry| json(&entry.node))
}

/// A number or a text as text.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Letters that no name may have become `-`.
fn as_name(text: &str) -> String {
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => letter,
        _ => '-',
    };
    let name: String = text.trim().chars().map(plain).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    name.get(..MAX_NAME).unwrap_or(name).trim_end_matches('-').to_owned()
}

/// The name of an edge, with a word about it where it has to be another one.
pub(super) fn edge_name(text: &str, at: Place<'_>, gathered: &mut Gathered) -> Option<EdgeName> {
    let edge = EdgeName::new(&as_name(text)).ok()?;
    if edge.as_str() != text && gathered.renamed.insert(text.to_owned()) {
        let reason =
            format!("the edge is called {edge} here, since a name has a-z, 0-9, `.`, `_` and `-`: start it so");
        gathered.find(Kind::Changed, at, text, "client", reason);
    }
    Some(edge)
}

/// Takes one rule of a list.
pub(super) fn take(entry: &Node<'_>, context: &Context, file: Place<'_>, gathered: &mut Gathered) {
    let at = file.at(entry.span);
    let Parsed::Table(entries) = &entry.value else {
        gathered.find(Kind::Dropped, at, "", "", format!("expected a rule, this is {}", entry.value.kind()));
        return;
    };
    let mut keys = Keys::new();
    open(entries, &mut keys);
    let edge = match value(&keys, &CLIENTS) {
        None => Some(context.edge.clone()),
        Some(name) => words(&name).and_then(|name| edge_name(&name, at, gathered)),
    };
    let Some(edge) = edge else {
        gathered.find(Kind::Dropped, at, "", "client", "the client has no name that an edge could have");
        return;
    };
    let given = value(&keys, &NAMES).as_ref().and_then(words).filter(|name| !name.trim().is_empty());
    let id = value(&keys, &IDS).as_ref().and_then(words).map(|id| format!("rule-{id}"));
    let name = as_name(given.as_ref().or(id.as_ref()).map_or("rule", |name| name));
    let name = if name.is_empty() { "rule".to_owned() } else { name };
    let label = format!("{edge}/{}", given.as_ref().unwrap_or(&name));
    let enabled = match value(&keys, &["enabled"]) {
        None | Some(Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(_) => {
            gathered.find(Kind::Dropped, at, &label, "", "`enabled` is neither true nor false");
            return;
        }
    };
    let mut core = match core(&keys) {
        Ok(core) => core,
        Err(reason) => {
            gathered.find(Kind::Dropped, at, &label, "", reason);
            return;
        }
    };
    core.insert("name".to_owned(), name.clone().into());
    let rule = match spec::from_json(&Value::Object(core.clone())) {
        Ok(rule) => rule,
        Err(reason) => {
            gathered.find(Kind::Dropped, at, &label, "", reason);
            return;
        }
    };
    let width = rule.listen.ports.width();
    if width > context.limits.range_rule_max_ports {
        let most = context.limits.range_rule_max_ports;
        let reason = format!("{width} ports in one rule, at most {most}: split it, or raise --range-rule-max-ports");
        gathered.find(Kind::Dropped, at, &label, "", reason);
        return;
    }
    let taken = gathered.edges.get(&edge).and_then(|drafts| drafts.taken(rule.listen));
    if let Some(taken) = taken.filter(|_| enabled) {
        let reason = format!("{} belongs to {edge}/{taken} already", rule.listen);
        gathered.find(Kind::Dropped, at, &label, "", reason);
        return;
    }
    rest(&keys, &mut core, &label, file, gathered);
    let free = gathered.edges.get_mut(&edge).map_or_else(|| name.clone(), |drafts| drafts.free_name(&name));
    if given.as_ref().is_none_or(|given| *given != free) {
        gathered.find(Kind::Changed, at, &label, "name", format!("called {free} here"));
        core.insert("name".to_owned(), free.into());
    }
    match spec::from_json(&Value::Object(core)) {
        Ok(rule) => gathered.edges.entry(edge).or_default().push(Draft { rule: rule.into(), enabled }),
        Err(reason) => gathered.find(Kind::Dropped, at, &label, "", reason),
    }
}

/// Listeners and targets by our keys; an error where they say nothing that could be kept.
fn core(keys: &Keys<'_, '_>) -> Result<Map<String, Value>, String> {
    let mut core = Map::new();
    if let Some(protocol) = value(keys, &["protocol"]) {
        let protocol = protocol.as_str().map(str::to_ascii_lowercase).map_or(protocol, Value::from);
        core.insert("protocol".to_owned(), protocol);
    }
    if let Some(address) = value(keys, &["listen_address", "listen_addr", "listen"]) {
        let text = words(&address).ok_or("the listen address is no text")?;
        match text.parse::<std::net::SocketAddr>() {
            Ok(both) => {
                core.insert("listen_address".to_owned(), both.ip().to_string().into());
                core.insert("listen_port".to_owned(), both.port().into());
            }
            Err(_) => _ = core.insert("listen_address".to_owned(), text.into()),
        }
    }
    let ports = ports(keys, "listen_port", "listen_port_end", &["listen_ports", "listen_range"])?;
    core.extend(ports.map(|ports| ports.under("listen_port", "listen_ports")));
    if let Some(target) = value(keys, &["target"]) {
        core.insert("target".to_owned(), target);
    }
    if let Some(host) = value(keys, &["target_host"]) {
        let ports = self::ports(keys, "target_port", "target_port_end", &["target_ports"])?;
        let (key, ports) = ports.ok_or("a target host without a port")?.under("port", "ports");
        let target = Value::Object(Map::from_iter([("host".to_owned(), host), (key, ports)]));
        core.insert("targets".to_owned(), vec![target].into());
    }
    if let Some(targets) = keys.get("targets") {
        let Parsed::Array(targets) = &targets.node.value else { return Err("`targets` is no list".to_owned()) };
        // The same list and the first of it, once more, is how lists of one version are shown to clients of another.
        core.remove("target");
        let targets: Vec<Value> = targets.iter().map(target_core).collect::<Result<_, _>>()?;
        core.insert("targets".to_owned(), targets.into());
    }
    Ok(core)
}

/// One port or several.
struct Ports(String);

impl Ports {
    /// The key and the value that they have.
    fn under(self, one: &str, several: &str) -> (String, Value) {
        match self.0.parse::<u64>() {
            Ok(port) => (one.to_owned(), port.into()),
            Err(_) => (several.to_owned(), self.0.into()),
        }
    }
}

fn ports(keys: &Keys<'_, '_>, first: &str, last: &str, ranges: &[&str]) -> Result<Option<Ports>, String> {
    if let Some(range) = value(keys, ranges) {
        return ports_of(&range).map(Some).ok_or_else(|| format!("`{}` is no range of ports", ranges[0]));
    }
    let Some(one) = value(keys, &[first]) else { return Ok(None) };
    let one = ports_of(&one).ok_or_else(|| format!("`{first}` is no port"))?.0;
    let Some(end) = value(keys, &[last]) else { return Ok(Some(Ports(one))) };
    let end = ports_of(&end).ok_or_else(|| format!("`{last}` is no port"))?.0;
    Ok(Some(Ports(if one == end { one } else { format!("{one}-{end}") })))
}

/// `80`, `"80"`, `"80-90"`, `[80, 90]`, `{ start: 80, end: 90 }`.
fn ports_of(value: &Value) -> Option<Ports> {
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

/// Host and ports of an entry of `targets`.
fn target_core(target: &Node<'_>) -> Result<Value, String> {
    let Parsed::Table(entries) = &target.value else {
        let text = words(&json(target)).ok_or("a target is neither a table nor `HOST:PORT`")?;
        let (host, ports) = text.rsplit_once(':').ok_or_else(|| format!("the target {text} has no port"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (key, ports) = Ports(ports.to_owned()).under("port", "ports");
        return Ok(Value::Object(Map::from_iter([("host".to_owned(), host.into()), (key, ports)])));
    };
    let mut keys = Keys::new();
    open(entries, &mut keys);
    let host = value(&keys, &["host", "address", "addr"]).ok_or("a target has no host")?;
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
fn proxy_protocol(value: &Value) -> Option<Value> {
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

/// All other keys, one by one: each is kept if the rule is valid with it.
fn rest(keys: &Keys<'_, '_>, core: &mut Map<String, Value>, label: &str, file: Place<'_>, gathered: &mut Gathered) {
    let is_core = |key: &str| {
        let of_rule = [&LISTEN[..], &TARGET, &CLIENTS, &IDS, &NAMES].iter().any(|list| list.contains(&key));
        of_rule || key == "enabled"
    };
    for (key, entry) in keys.iter().filter(|(key, _)| !is_core(key)) {
        let at = file.at(entry.key_span);
        let is_reading = *key == "health" && !is_check(&entry.node);
        if STATE.contains(key) || is_reading {
            gathered.find(Kind::Ignored, at, label, key, "what the rule is at the moment, not what it should be");
            continue;
        }
        let Some(field) = keys::TABLE.find(key, 0).filter(|field| ![keys::EDGES, keys::EDGE_LABELS].contains(field))
        else {
            gathered.find(Kind::Dropped, at, label, key, "there is no such key here");
            continue;
        };
        if [keys::RATE_LIMIT, keys::SNI].contains(&field) {
            gathered.find(Kind::Dropped, at, label, key, "reserved: no version acts on it yet");
            continue;
        }
        let value = json(&entry.node);
        let value = if field == keys::PROXY_PROTOCOL { proxy_protocol(&value) } else { Some(value) };
        let Some(value) = value else { continue };
        let mut with = core.clone();
        with.insert((*key).to_owned(), value);
        match spec::from_json(&Value::Object(with.clone())) {
            Ok(_) => *core = with,
            Err(reason) => gathered.find(Kind::Dropped, at, label, key, reason),
        }
    }
    if let Some(Entry { node: Node { value: Parsed::Array(targets), .. }, .. }) = keys.get("targets") {
        for (index, target) in targets.iter().enumerate() {
            rest_of_target(index, target, label, file, gathered);
        }
    }
}

fn is_check(node: &Node<'_>) -> bool {
    matches!(&node.value, Parsed::Table(entries) if entries.iter().any(|entry| entry.key == "kind"))
}

/// Says which keys of a target are not carried over.
fn rest_of_target(index: usize, target: &Node<'_>, label: &str, file: Place<'_>, gathered: &mut Gathered) {
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
        if STATE.contains(&entry.key.as_ref()) || entry.key == "health" {
            gathered.find(Kind::Ignored, at, label, &key, "what the target is at the moment, not what it should be");
        } else {
            gathered.find(Kind::Dropped, at, label, &key, "there is no such key here");
        }
    }
}
