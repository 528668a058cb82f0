//! Keys that say one thing twice: a rule is kept where they agree, and dropped with the reason where they do not. Pure.

use std::net::SocketAddr;

use serde_json::Value;

use super::rule::{Keys, value, words};
use super::target::ports_of;

/// Names of one value, of which the first that is given is read.
const SAME: [&[&str]; 5] = [
    &["listen_address", "listen_addr", "listen"],
    &["listen_ports", "listen_range"],
    &["client", "client_name", "edge", "edge_name"],
    &["name", "rule_name"],
    &["host", "address", "addr"],
];
/// First port, last port, and the names of both together.
const PORTS: [(&str, &str, &[&str]); 3] = [
    ("listen_port", "listen_port_end", &["listen_ports", "listen_range"]),
    ("target_port", "target_port_end", &["target_ports"]),
    ("port", "port_end", &["ports"]),
];

/// Why the keys of a rule or a target cannot all be meant, if they cannot.
pub(super) fn contradiction(keys: &Keys<'_, '_>) -> Option<String> {
    let of_names = SAME.iter().find_map(|names| {
        let mut given = names.iter().filter_map(|name| Some((name, value(keys, &[name])?)));
        let (first, known) = given.next()?;
        given.find(|(_, value)| *value != known).map(|(other, _)| different(first, other))
    });
    let lonely = ["target_port", "target_port_end", "target_ports"].into_iter().find(|name| keys.contains_key(name));
    let lonely = lonely.filter(|_| !keys.contains_key("target_host"));
    of_names
        .or_else(|| PORTS.iter().find_map(|(first, last, ranges)| of_ports(keys, first, last, ranges)))
        .or_else(|| of_listen(keys))
        .or_else(|| lonely.map(|name| format!("`{name}` needs `target_host`")))
}

/// A range may stand beside its first and its last port.
fn of_ports(keys: &Keys<'_, '_>, first: &str, last: &str, ranges: &[&str]) -> Option<String> {
    let range = value(keys, ranges)?;
    let text = ports_of(&range)?.text().replace(' ', "");
    let (low, high) = text.split_once('-').unwrap_or((&text, &text));
    [(first, low), (last, high)].into_iter().find_map(|(name, port)| {
        let given = words(&value(keys, &[name])?)?;
        (given.trim() != port && given.replace(' ', "") != text).then(|| different(name, ranges[0]))
    })
}

/// `listen` may hold a port of its own.
fn of_listen(keys: &Keys<'_, '_>) -> Option<String> {
    let both: SocketAddr = words(&value(keys, &["listen", "listen_address", "listen_addr"])?)?.parse().ok()?;
    let port = both.port().to_string();
    ["listen_port", "listen_ports", "listen_range"].into_iter().find_map(|name| {
        let given = ports_of(&value(keys, &[name])?)?;
        (given.text() != port).then(|| different("listen", name))
    })
}

/// True if `targets` holds the target that stands beside it: how lists of one version are shown to clients of another.
pub(super) fn holds(targets: &[Value], beside: &Value) -> bool {
    let place = |target: &Value| ["host", "port", "ports"].map(|key| target.get(key).cloned());
    targets.iter().any(|target| place(target) == place(beside))
}

fn different(one: &str, other: &str) -> String {
    format!("`{one}` and `{other}` contradict each other")
}
