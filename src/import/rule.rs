//! One rule of upstream as one of ours: its keys by our names, checked by our decoder, key by key. Pure.
//!
//! Keeps: a rule whose listeners or targets cannot be carried over is dropped as a whole; any other key that cannot is
//! dropped alone; both are said.

use std::collections::BTreeMap;

use schema::check::CheckLimits;
use schema::fields::{Concern, health as health_keys, rule as keys};
use schema::name::{EdgeName, MAX_NAME};
use schema::rule::Rule;
use schema::spec;
use schema::text::{Entry, Node, Value as Parsed};
use serde_json::{Map, Value};

use super::Gathered;
use super::agree::{contradiction, holds};
use super::drafts::Draft;
use super::owners;
use super::place::{FilePosition, json};
use super::rates;
use super::target::{plain_host, ports, proxy_protocol, rest_of_target, target_core, text_target};

/// What holds for all rules of a list.
#[derive(Debug, Clone)]
pub(super) struct ImportContext<'n, 'a> {
    /// The edge of rules that name none.
    pub(super) edge: EdgeName,
    pub(super) limits: CheckLimits,
    /// What holds for rules that do not say otherwise.
    pub(super) defaults: &'n [Entry<'a>],
}

/// Names under which a rule or a target comes inside another table.
const WRAPPERS: [&str; 3] = ["rule", "spec", "config"];
const CLIENTS: [&str; 4] = ["client", "client_name", "edge", "edge_name"];
pub(super) const IDS: [&str; 2] = ["id", "rule_id"];
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
const SNI: [&str; 2] = ["sni_pattern", "sni"];
/// Names of the owner of a rule.
const OWNER: [&str; 3] = ["owner", "owner_user_id", "owner_id"];
const TARGET: [&str; 6] = ["target", "targets", "target_host", "target_port", "target_port_end", "target_ports"];

/// Keys by name, wrappers opened.
pub(super) type Keys<'n, 'a> = BTreeMap<&'n str, &'n Entry<'a>>;

/// Adds the keys; an error if one stands inside and outside of a wrapper with two values.
pub(super) fn open<'n, 'a>(entries: &'n [Entry<'a>], keys: &mut Keys<'n, 'a>) -> Result<(), String> {
    for entry in entries {
        match &entry.node.value {
            Parsed::Table(inner) if WRAPPERS.contains(&entry.key.as_ref()) => open(inner, keys)?,
            Parsed::Null => {}
            _ => {
                let known = keys.entry(entry.key.as_ref()).or_insert(entry);
                if !IDS.contains(&entry.key.as_ref()) && json(&known.node) != json(&entry.node) {
                    return Err(format!("`{}` is given twice, with two values", entry.key));
                }
            }
        }
    }
    Ok(())
}

/// Adds what `[defaults]` says of keys that the rule does not set, as far as it can concern the rule.
fn inherit<'n, 'a>(defaults: &'n [Entry<'a>], keys: &mut Keys<'n, 'a>) {
    let own: Vec<&str> = keys.keys().copied().collect();
    let is_set = |key: &str| {
        let replaced = match key {
            "health" | "health_check_interval_secs" => ["health", "health_check_interval_secs"],
            "balance" | "src_ip_sticky" => ["balance", "src_ip_sticky"],
            key => [key, key],
        };
        replaced.iter().any(|key| own.contains(key))
    };
    let protocol = keys.get("protocol").copied().or_else(|| defaults.iter().find(|entry| entry.key == "protocol"));
    let is_udp =
        protocol.is_some_and(|entry| json(&entry.node).as_str().is_some_and(|word| word.eq_ignore_ascii_case("udp")));
    for entry in defaults.iter().filter(|entry| !is_set(&entry.key) && entry.node.value != Parsed::Null) {
        let field = keys::TABLE.find(&entry.key, 0);
        let concern = field.map_or(Concern::All, |field| keys::TABLE.fields[field].concern);
        let is_of_tcp = concern == Concern::Tcp || field == Some(keys::PROXY_PROTOCOL);
        if (is_udp && is_of_tcp) || (!is_udp && concern == Concern::Udp) {
            continue;
        }
        keys.insert(entry.key.as_ref(), entry);
    }
}

pub(super) fn value(keys: &Keys<'_, '_>, names: &[&str]) -> Option<Value> {
    names.iter().find_map(|name| keys.get(name)).map(|entry| json(&entry.node))
}

/// A number or a text as text.
pub(super) fn words(value: &Value) -> Option<String> {
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
pub(super) fn edge_name(text: &str, at: FilePosition<'_>, gathered: &mut Gathered) -> Option<EdgeName> {
    let edge = EdgeName::new(&as_name(text)).ok()?;
    if edge.as_str() != text && gathered.renamed.insert(text.to_owned()) {
        let reason = format!(
            "the edge is named {edge} here, because a name consists of a-z, 0-9, `.`, `_` and `-`: start the \
                edge with that name"
        );
        gathered.changed(at, text, "client", reason);
    }
    Some(edge)
}

/// Takes one rule of a list.
pub(super) fn take(entry: &Node<'_>, context: &ImportContext<'_, '_>, file: FilePosition<'_>, gathered: &mut Gathered) {
    let at = file.at(entry.span);
    let Parsed::Table(entries) = &entry.value else {
        gathered.dropped(at, "", "", format!("expected a rule, this is {}", entry.value.kind()));
        return;
    };
    if owners::is_one(entries) {
        owners::take(entries, at, gathered);
        return;
    }
    let mut keys = Keys::new();
    let opened = open(entries, &mut keys);
    inherit(context.defaults, &mut keys);
    let edge = match value(&keys, &CLIENTS) {
        None => Some(context.edge.clone()),
        Some(name) => words(&name).and_then(|name| edge_name(&name, at, gathered)),
    };
    let Some(edge) = edge else {
        gathered.dropped(at, "", "client", "the name of the client is not a valid edge name");
        return;
    };
    let Named { given, name } = Named::of(&keys);
    let label = format!("{edge}/{}", given.as_ref().unwrap_or(&name));
    let Some(enabled) = enabled(&keys) else {
        gathered.dropped(at, &label, "", "`enabled` is neither true nor false");
        return;
    };
    let checked = opened.and_then(|()| core(&keys)).and_then(|mut core| {
        core.insert("name".to_owned(), name.clone().into());
        spec::from_json(&Value::Object(core.clone())).map(|rule| (core, rule))
    });
    let (mut core, rule) = match checked {
        Ok(checked) => checked,
        Err(reason) => {
            gathered.dropped(at, &label, "", reason);
            return;
        }
    };
    if let Some(reason) = too_wide(&rule, context.limits.range_rule_max_ports) {
        gathered.dropped(at, &label, "", reason);
        return;
    }
    let taken = gathered.edges.get(&edge).and_then(|drafts| drafts.taken(&rule));
    if let Some(taken) = taken.filter(|_| enabled) {
        let reason = format!("{} already belongs to {edge}/{taken}", rule.listen);
        gathered.dropped(at, &label, "", reason);
        return;
    }
    rest(&keys, &mut core, &label, file, gathered);
    let free = gathered.edges.get_mut(&edge).map_or_else(|| name.clone(), |drafts| drafts.free_name(&name));
    if given.as_ref().is_none_or(|given| *given != free) {
        gathered.changed(at, &label, "name", format!("renamed to {free}"));
        core.insert("name".to_owned(), free.into());
    }
    match spec::from_json(&Value::Object(core)) {
        Ok(rule) => gathered.edges.entry(edge).or_default().push(Draft { rule: rule.into(), enabled }),
        Err(reason) => gathered.dropped(at, &label, "", reason),
    }
}

/// Whether a rule is enabled; `None` where that is neither true nor false.
fn enabled(keys: &Keys<'_, '_>) -> Option<bool> {
    match value(keys, &["enabled"]) {
        None | Some(Value::Bool(true)) => Some(true),
        Some(Value::Bool(false)) => Some(false),
        Some(_) => None,
    }
}

/// What a rule is called.
struct Named {
    /// As its file has it.
    given: Option<String>,
    name: String,
}

impl Named {
    fn of(keys: &Keys<'_, '_>) -> Self {
        let given = value(keys, &NAMES).as_ref().and_then(words).filter(|name| !name.trim().is_empty());
        let id = value(keys, &IDS).as_ref().and_then(words).map(|id| format!("rule-{id}"));
        let name = as_name(given.as_ref().or(id.as_ref()).map_or("rule", |name| name));
        let name = if name.is_empty() { "rule".to_owned() } else { name };
        Self { given, name }
    }
}

/// Why a rule has more ports than one rule may have, if so.
fn too_wide(rule: &Rule, most: u32) -> Option<String> {
    let width = rule.listen.ports.width();
    (width > most).then(|| {
        format!(
            "{width} ports in one rule, but at most {most} are allowed: split the rule, or raise --range-rule-max-ports"
        )
    })
}

/// Listeners and targets by our keys; an error where they say nothing that could be kept.
fn core(keys: &Keys<'_, '_>) -> Result<Map<String, Value>, String> {
    if let Some(reason) = contradiction(keys) {
        return Err(reason);
    }
    if let Some(key) = ["edges", "edge_labels"].into_iter().find(|key| keys.contains_key(key)) {
        return Err(format!("`{key}` is read only in valid rule files: see `portunus validate`"));
    }
    let mut core = Map::new();
    if let Some(protocol) = value(keys, &["protocol"]) {
        let protocol = protocol.as_str().map(str::to_ascii_lowercase).map_or(protocol, Value::from);
        core.insert("protocol".to_owned(), protocol);
    }
    if let Some(address) = value(keys, &["listen_address", "listen_addr", "listen"]) {
        let text = words(&address).ok_or("the listen address is not a string")?;
        match text.parse::<std::net::SocketAddr>() {
            Ok(both) => {
                core.insert("listen_address".to_owned(), both.ip().to_string().into());
                core.insert("listen_port".to_owned(), both.port().into());
            }
            Err(_) => _ = core.insert("listen_address".to_owned(), text.into()),
        }
    }
    // Without the names that lead to it, a rule would take every connection of its port: it is dropped with them.
    if let Some(names) = value(keys, &SNI) {
        let names = if names.is_string() { Value::from(vec![names]) } else { names };
        core.insert("sni".to_owned(), names);
    }
    let ports = ports(keys, "listen_port", "listen_port_end", &["listen_ports", "listen_range"])?;
    core.extend(ports.map(|ports| ports.under("listen_port", "listen_ports")));
    if let Some(target) = value(keys, &["target"]) {
        core.insert("target".to_owned(), target);
    }
    if let Some(host) = value(keys, &["target_host"]) {
        let ports = self::ports(keys, "target_port", "target_port_end", &["target_ports"])?;
        let (key, ports) = ports.ok_or("a target host without a port")?.under("port", "ports");
        let target = Value::Object(Map::from_iter([("host".to_owned(), plain_host(host)), (key, ports)]));
        core.insert("targets".to_owned(), vec![target].into());
    }
    if let Some(targets) = keys.get("targets") {
        let Parsed::Array(targets) = &targets.node.value else { return Err("`targets` is not a list".to_owned()) };
        let beside = core.remove("target").map(|text| text_target(&text)).transpose()?;
        let beside = beside.or_else(|| core.remove("targets").and_then(|mut one| one.get_mut(0).map(Value::take)));
        let targets: Vec<Value> = targets.iter().map(target_core).collect::<Result<_, _>>()?;
        if beside.is_some_and(|beside| !holds(&targets, &beside)) {
            return Err("`targets` does not contain the target that is given beside it".to_owned());
        }
        core.insert("targets".to_owned(), targets.into());
    }
    Ok(core)
}

/// All other keys, one by one: each is kept if the rule is valid with it.
fn rest(
    keys: &Keys<'_, '_>,
    core: &mut Map<String, Value>,
    label: &str,
    file: FilePosition<'_>,
    gathered: &mut Gathered,
) {
    let is_core = |key: &str| {
        let of_rule = [&LISTEN[..], &SNI, &TARGET, &CLIENTS, &IDS, &NAMES].iter().any(|list| list.contains(&key));
        of_rule || key == "enabled"
    };
    for (key, entry) in keys.iter().filter(|(key, _)| !is_core(key)) {
        let at = file.at(entry.key_span);
        if is_state(key, &entry.node) {
            gathered.ignored(at, label, key, "the current state of the rule, not its configuration");
            continue;
        }
        let ours = if OWNER.contains(key) { "owner" } else { *key };
        let Some(field) = keys::TABLE.find(ours, 0).filter(|field| ![keys::EDGES, keys::EDGE_LABELS].contains(field))
        else {
            gathered.dropped(at, label, key, "there is no such key");
            continue;
        };
        let value = json(&entry.node);
        let value = if field == keys::PROXY_PROTOCOL { proxy_protocol(&value) } else { Some(value) };
        let Some(mut value) = value else { continue };
        if let Value::Object(given) = &value
            && field == keys::RATE_LIMIT
        {
            let read = rates::read(given);
            if let Some(reason) = read.changed {
                gathered.changed(at, label, key, reason);
            }
            if let Some(connections) = read.connections {
                keep_connections(connections, core, label, at, gathered);
            }
            value = Value::Object(read.table);
        }
        let mut with = core.clone();
        with.insert(ours.to_owned(), value);
        match spec::from_json(&Value::Object(with.clone())) {
            Ok(_) => *core = with,
            Err(reason) => gathered.dropped(at, label, key, reason),
        }
    }
    if let Some(Entry { node: Node { value: Parsed::Array(targets), .. }, .. }) = keys.get("targets") {
        for (index, target) in targets.iter().enumerate() {
            rest_of_target(index, target, label, file, gathered);
        }
    }
}

/// Connections at once are `max_connections` here; a rule that has that key already keeps the lower one.
fn keep_connections(
    most: Value,
    core: &mut Map<String, Value>,
    label: &str,
    at: FilePosition<'_>,
    gathered: &mut Gathered,
) {
    let known = core.get("max_connections").and_then(Value::as_u64).filter(|known| *known > 0);
    if known.is_some_and(|known| most.as_u64().is_some_and(|most| known <= most)) {
        return;
    }
    let mut with = core.clone();
    with.insert("max_connections".to_owned(), most);
    match spec::from_json(&Value::Object(with.clone())) {
        Ok(_) => *core = with,
        Err(reason) => gathered.dropped(at, label, "rate_limit.concurrent_connections", reason),
    }
}

/// True for a key that says what a rule or a target is at the moment. A state that somebody has to have asked for, such
/// as `status: disabled`, is none.
pub(super) fn is_state(key: &str, node: &Node<'_>) -> bool {
    const ASKED: [&str; 6] = ["disabled", "paused", "stopped", "suspended", "off", "draining"];
    match &node.value {
        Parsed::Table(entries) if key == "health" => {
            !entries.iter().any(|entry| entry.key != "history" && health_keys::TABLE.find(&entry.key, 0).is_some())
        }
        _ if key == "health" => true,
        Parsed::String(word) => STATE.contains(&key) && !ASKED.contains(&word.to_ascii_lowercase().as_str()),
        Parsed::Bool(false) if key == "active" => false,
        _ => STATE.contains(&key),
    }
}
