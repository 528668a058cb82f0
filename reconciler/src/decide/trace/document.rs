//! What `trace` says of a connection, as JSON has it. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where something stands in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePlace {
    /// The file, relative to the tree.
    pub file: Arc<str>,
    /// Line from 1: of the key, or of its rule where only that is known.
    pub line: u32,
}

/// How a server name led to the rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedName {
    /// `exact`, `wildcard` or `fallback`.
    pub matched: String,
    /// The name in the rule; null for the fallback.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Option<TracePlace>,
}

/// What the access lists say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedAccess {
    /// Whether the lists admit the source.
    pub admitted: bool,
    /// `enforce` or `observe`.
    pub mode: String,
    /// Which list decides: `deny`, `deny_file`, `allow`, `allow_file`, or `default` where no network of them matches.
    pub list: String,
    /// The network that matches; null where none does.
    pub network: Option<String>,
    /// Where it stands.
    pub place: Option<TracePlace>,
}

/// A limit that holds for the connection; whether it is reached depends on the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedLimit {
    /// The key, such as `rate_limit.new_connections_per_sec`; that of an owner begins with `owner`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it stands.
    pub place: Option<TracePlace>,
}

/// The pool that carries the weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPool {
    /// Its priority; null where no target is eligible.
    pub priority: Option<u8>,
    /// How it shares new connections.
    pub balance: String,
    /// Where that stands.
    pub place: Option<TracePlace>,
}

/// One target that would be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedTarget {
    /// `HOST:PORT`, with the port that matches the listen port.
    pub target: String,
    /// Its state.
    pub state: TargetState,
    /// Its pool.
    pub priority: u8,
    /// The PROXY header that it is sent, if any.
    pub proxy_protocol: Option<String>,
    /// Where it stands.
    pub place: Option<TracePlace>,
}

/// What would happen to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Of this document.
    pub format_version: String,
    /// `trace`
    pub kind: String,
    /// The edge.
    pub edge: EdgeName,
    /// Who connects.
    pub from: IpAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port that is connected to.
    pub port: u16,
    /// The name in the TLS hello.
    pub server_name: Option<String>,
    /// Whether it would be forwarded.
    pub forwarded: bool,
    /// Why not: `no_listener`, `no_name`, `no_match`, `access` or `no_target`; empty where it would be.
    pub refused: String,
    /// Where it comes in, as `ADDRESS:PORT`; null where nobody listens.
    pub listener: Option<String>,
    /// The rule that takes it; null where none does.
    pub rule: Option<RuleName>,
    /// Where the rule stands.
    pub place: Option<TracePlace>,
    /// How the server name led to it; null on a port that is not shared.
    pub sni: Option<TracedName>,
    /// Whether it has to begin with a PROXY header, which then says who connects.
    pub accept_proxy: bool,
    /// What the access lists say; null where the rule has none.
    pub access: Option<TracedAccess>,
    /// The limits that hold for it.
    pub limits: Vec<TracedLimit>,
    /// The pool that would serve it.
    pub pool: Option<TracedPool>,
    /// The targets in the order in which they would be dialled.
    pub dial_order: Vec<TracedTarget>,
    /// The PROXY header that the first of them is sent, if any.
    pub proxy_protocol: Option<String>,
}
