//! What would happen to a connection: which rule takes it, who refuses it, and where it is sent. Pure.
//!
//! It asks the judges that edges ask: the lists of `access`, the pools and orders of `schema::health`. What depends on the
//! connections of the moment (counts, rates, quotas, rotations) is shown and not judged.
//!
//! Keeps: nothing is sent anywhere, and nothing is counted.

mod document;
mod places;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schema::access::Enforcement;
use schema::health::{Request, Rotation, Selection, Standing, TargetGroup, TargetSeed, TargetState};
use schema::name::EdgeName;
use schema::net::{ListenAddress, Protocol};
use schema::networks::{ListFile, Lists};
use schema::rule::{Balance, Rule, Target};
use schema::ruleset::Origin;
use schema::sni::ServerName;
use schema::spec;
use serde_json::Value;

use super::status::{EdgeStatus, InvalidStatus};
use super::target::TargetView;
use super::view::EdgeView;

pub use document::{Trace, TracePlace, TracedAccess, TracedLimit, TracedName, TracedPool, TracedTarget};
pub use places::{OwnerPlace, of_tree};

/// The version of the document.
const FORMAT_VERSION: &str = "1.0";

/// Lines of a rule's keys in its file, by their paths.
pub type KeyLines = BTreeMap<String, u32>;

/// A connection that somebody asks about.
#[derive(Debug, Clone)]
pub struct TraceQuestion {
    /// The edge.
    pub edge: EdgeName,
    /// Who connects.
    pub from: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port that is connected to.
    pub port: u16,
    /// The address that is connected to, where several rules have the port.
    pub listen_address: Option<ListenAddress>,
    /// The name in the TLS hello.
    pub server_name: Option<ServerName>,
}

/// A rule as it is traced.
#[derive(Debug, Clone)]
pub struct TracedRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Where the tree has it.
    pub origin: Option<Origin>,
    /// Its targets as the edge sees them; empty where that is not known.
    pub targets: Vec<TargetView>,
    /// Where its keys stand, if its file is at hand.
    pub lines: KeyLines,
    /// Where the entry of its owner stands, if that limits it and its file is at hand.
    pub owner: Option<OwnerPlace>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untraceable {
    /// Several rules listen on the port, on addresses of their own.
    #[error("several rules listen on port {port}, on {}: name one of these addresses with --listen-address", .addresses.join(", "))]
    Ambiguous {
        /// The port.
        port: u16,
        /// Their addresses.
        addresses: Vec<String>,
    },
    /// The networks of the rule's list files are not at hand.
    #[error("the networks of the list files of rule {rule} are not at hand: trace in the rule tree instead")]
    Unread {
        /// The rule.
        rule: String,
    },
}

/// The rules that serve on an edge.
pub fn of_status(edge: &EdgeStatus) -> Result<Vec<TracedRule>, InvalidStatus> {
    // A rule without health does not serve; what it should be says nothing about connections now.
    let serving = edge.rules.iter().filter(|rule| rule.health.is_some());
    let traced = serving.map(|status| {
        let rule = spec::from_json(&Value::Object(status.spec.clone())).map_err(|reason| InvalidStatus {
            edge: edge.name.clone(),
            rule: status.rule.clone(),
            reason,
        })?;
        let (origin, targets) = (status.origin.clone(), status.targets.clone());
        Ok(TracedRule { rule: rule.into(), origin, targets, lines: KeyLines::new(), owner: None })
    });
    traced.collect()
}

/// The rules that serve on an edge, with the networks of their list files: reports name those by their digests, and what was
/// decided for the edge has them.
pub fn of_edge(view: &EdgeView, edge: &EdgeStatus) -> Result<Vec<TracedRule>, InvalidStatus> {
    let mut rules = of_status(edge)?;
    let decided = view.desired.iter().flat_map(|desired| {
        let placed = desired.wanted.values().chain(desired.rules.values()).map(|placed| &placed.rule);
        placed.chain(desired.before.values()).chain(desired.leaving.values())
    });
    let files = decided.flat_map(|rule| rule.access.iter().flat_map(|access| access.files()));
    let lists: Lists = files.filter_map(ListFile::list).collect();
    for traced in rules.iter_mut().filter(|traced| !traced.rule.is_resolved()) {
        traced.rule = Arc::new(Rule::clone(&traced.rule).resolved(&lists));
    }
    Ok(rules)
}

/// What would happen to a connection.
pub fn trace(rules: &[TracedRule], question: &TraceQuestion) -> Result<Trace, Untraceable> {
    let mut trace = unanswered(question);
    let Some(listening) = listening(rules, question)? else {
        "no_listener".clone_into(&mut trace.refused);
        return Ok(trace);
    };
    let listen = listening[0].rule.listen;
    trace.listener = Some(format!("{}:{}", listen.address.to_text().unwrap_or_else(|| "*".to_owned()), question.port));
    trace.accept_proxy = listening[0].rule.accept_proxy.contains(question.from);
    let Some((found, matched)) = led_to(&listening, question.server_name.as_ref()) else {
        let why = if question.server_name.is_some() { "no_match" } else { "no_name" };
        why.clone_into(&mut trace.refused);
        return Ok(trace);
    };
    let is_shared = listening.iter().any(|other| !other.rule.sni.is_empty());
    trace.sni = is_shared.then_some(matched);
    trace.rule = Some(found.rule.name.clone());
    trace.place = place(found, "listen_port").or_else(|| place(found, "listen_ports"));
    if !found.rule.is_resolved() {
        return Err(Untraceable::Unread { rule: found.rule.name.to_string() });
    }
    trace.access = access(found, question.from);
    trace.limits = limits(found);
    let is_refused =
        trace.access.as_ref().is_some_and(|access| !access.admitted && access.mode == Enforcement::Enforce.as_str());
    (trace.pool, trace.dial_order) = targets(found, question);
    trace.proxy_protocol = trace.dial_order.first().and_then(|first| first.proxy_protocol.clone());
    if is_refused {
        "access".clone_into(&mut trace.refused);
    } else if trace.dial_order.is_empty() {
        "no_target".clone_into(&mut trace.refused);
    }
    trace.forwarded = trace.refused.is_empty();
    Ok(trace)
}

fn unanswered(question: &TraceQuestion) -> Trace {
    Trace {
        format_version: FORMAT_VERSION.to_owned(),
        kind: "trace".to_owned(),
        edge: question.edge.clone(),
        from: question.from.to_canonical(),
        protocol: question.protocol.as_str().to_owned(),
        port: question.port,
        server_name: question.server_name.as_ref().map(ToString::to_string),
        forwarded: false,
        refused: String::new(),
        listener: None,
        rule: None,
        place: None,
        sni: None,
        accept_proxy: false,
        access: None,
        limits: Vec::new(),
        pool: None,
        dial_order: Vec::new(),
        proxy_protocol: None,
    }
}

/// The rules of the one listener that takes the connection; `None` where nobody listens.
fn listening<'r>(
    rules: &'r [TracedRule],
    question: &TraceQuestion,
) -> Result<Option<Vec<&'r TracedRule>>, Untraceable> {
    let is_asked = |address: ListenAddress| question.listen_address.is_none_or(|asked| asked.overlaps(address));
    let mut by_address: BTreeMap<ListenAddress, Vec<&TracedRule>> = BTreeMap::new();
    for rule in rules {
        let listen = rule.rule.listen;
        if listen.protocol == question.protocol && listen.ports.contains(question.port) && is_asked(listen.address) {
            by_address.entry(listen.address).or_default().push(rule);
        }
    }
    // A socket on IPv6 addresses never takes an IPv4 connection here, nor the other way round.
    let is_ipv4 = question.from.to_canonical().is_ipv4();
    by_address.retain(|address, _| address.ip().is_none_or(|ip| ip.is_ipv4() == is_ipv4));
    if by_address.len() > 1 {
        let addresses = by_address.keys().map(|address| address.to_text().unwrap_or_else(|| "*".to_owned())).collect();
        return Err(Untraceable::Ambiguous { port: question.port, addresses });
    }
    Ok(by_address.into_values().next())
}

/// The rule that a server name leads to, and how.
fn led_to<'r>(rules: &[&'r TracedRule], name: Option<&ServerName>) -> Option<(&'r TracedRule, TracedName)> {
    let parent = name.and_then(|name| name.as_str().split_once('.')).map(|(_, parent)| parent);
    let lists = |matched: &str, is_it: &dyn Fn(&ServerName) -> bool| {
        rules.iter().find_map(|rule| {
            let own = rule.rule.sni.iter().find(|own| is_it(own))?;
            let place = place(rule, &format!("sni[{own}]"));
            Some((*rule, TracedName { matched: matched.to_owned(), name: Some(own.to_string()), place }))
        })
    };
    let exact = || lists("exact", &|own| Some(own) == name);
    let wildcard = || lists("wildcard", &|own| own.wildcard().is_some() && own.wildcard() == parent);
    let fallback = || {
        let rule = rules.iter().find(|rule| rule.rule.sni.is_empty())?;
        Some((*rule, TracedName { matched: "fallback".to_owned(), name: None, place: None }))
    };
    exact().or_else(wildcard).or_else(fallback)
}

/// Where a key of a rule stands, or where the rule does.
fn place(of: &TracedRule, key: &str) -> Option<TracePlace> {
    let origin = of.origin.as_ref()?;
    let mut parents = std::iter::successors(Some(key), |key| key.rfind(['.', '[']).map(|end| &key[..end]));
    let line = parents.find_map(|key| of.lines.get(key)).copied();
    Some(TracePlace { file: origin.file.clone(), line: line.unwrap_or(origin.line) })
}

fn access(of: &TracedRule, from: IpAddr) -> Option<TracedAccess> {
    let access = of.rule.access.as_deref()?;
    let (from, admitted) = (from.to_canonical(), access.admits(from));
    let in_file = |file: Option<&ListFile>| file.and_then(ListFile::list).and_then(|list| list.find(from));
    let found = [
        ("deny", access.deny.find(from)),
        ("deny_file", in_file(access.deny_file.as_ref())),
        ("allow", access.allow.find(from)),
        ("allow_file", in_file(access.allow_file.as_ref())),
    ];
    let found = found.into_iter().find_map(|(list, network)| Some((list, network?.to_string())));
    let (list, network) = found.map_or(("default", None), |(list, network)| (list, Some(network)));
    let key = network.as_ref().map_or_else(|| "access".to_owned(), |network| format!("access.{list}[{network}]"));
    Some(TracedAccess {
        admitted,
        mode: access.mode.as_str().to_owned(),
        list: list.to_owned(),
        network,
        place: place(of, &key),
    })
}

/// In the order in which they are asked.
fn limits(of: &TracedRule) -> Vec<TracedLimit> {
    let fields = spec::new_fields(&of.rule);
    let is_limit = |path: &str| {
        let tables = ["owner_limits.", "rate_limit.", "quota."];
        tables.iter().any(|table| path.starts_with(table)) || matches!(path, "max_connections" | "udp_max_flows")
    };
    let rank = |path: &str| usize::from(!path.starts_with("owner_limits."));
    let mut limits: Vec<_> =
        fields.into_iter().filter(|field| is_limit(&field.path) && !field.after.is_null()).collect();
    limits.sort_by_key(|field| rank(&field.path));
    let limits = limits.into_iter().map(|field| {
        let of_owner = field.path.strip_prefix("owner_limits.");
        let of_owner = of_owner.and_then(|key| of.owner.as_ref()?.of(key));
        let place = of_owner.or_else(|| place(of, &field.path));
        TracedLimit { key: field.path.replacen("owner_limits", "owner", 1), value: field.after, place }
    });
    limits.collect()
}

/// The pool that would serve the connection, and whom it would dial.
fn targets(of: &TracedRule, question: &TraceQuestion) -> (Option<TracedPool>, Vec<TracedTarget>) {
    let rule = &of.rule;
    let selection = selection(of, question.port);
    let mut turn = Rotation::default();
    let mut request = Request { client: question.from.to_canonical(), connections: &[], turn: &mut turn, trial: None };
    let order = selection.order(&mut request);
    let balance = rule.balance.as_str().to_owned();
    let key = if rule.balance == Balance::default() { "targets" } else { "balance" };
    let pool = TracedPool { priority: selection.pools().active(), balance, place: place(of, key) };
    let offset = question.port - rule.listen.ports.first();
    let dialled = order.iter().map(|index| {
        let (target, standing) = (&rule.targets[index], selection.standings()[index]);
        let one = Target { ports: one_port(target, offset), ..target.clone() };
        TracedTarget {
            target: one.to_string(),
            state: standing.state,
            priority: standing.priority,
            proxy_protocol: target.proxy_protocol.map(|version| version.as_str().to_owned()),
            place: place(of, &format!("targets[{index}].host"))
                .filter(|_| of.lines.contains_key("targets"))
                .or_else(|| place(of, "target")),
        }
    });
    (Some(pool), dialled.collect())
}

/// The port of a target that matches a listen port so far into the range.
fn one_port(target: &Target, offset: u16) -> schema::net::PortRange {
    let port = target.ports.first().saturating_add(offset);
    schema::net::PortRange::single(port).unwrap_or(target.ports)
}

/// How the targets stand: as the edge sees them, or as those of a new rule.
fn selection(of: &TracedRule, port: u16) -> Selection {
    let rule = &of.rule;
    if of.targets.is_empty() {
        return TargetGroup::new(rule, std::time::Duration::ZERO).selection().clone();
    }
    let offset = port - rule.listen.ports.first();
    let standings: Vec<(Standing, TargetSeed)> = rule
        .targets
        .iter()
        .map(|target| {
            let name = target.to_string();
            let seen = of.targets.iter().find(|seen| seen.target == name);
            let mut state = seen.map_or(TargetState::Unknown, |seen| seen.state);
            let own = target.ports.first().saturating_add(offset);
            if state.is_in_use() && seen.is_some_and(|seen| seen.failing_ports.contains(&own)) {
                state = TargetState::Down;
            }
            let weight = seen.map_or(target.weight, |seen| u8::try_from(seen.weight).unwrap_or(target.weight));
            let standing = Standing { priority: target.priority, weight, state, is_checked: rule.health.is_some() };
            (standing, TargetSeed::new(&name))
        })
        .collect();
    Selection::new(&standings, rule.balance, rule.last_resort)
}

#[cfg(test)]
mod tests;
