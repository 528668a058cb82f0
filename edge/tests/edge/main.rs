//! The edge over real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod announced;
mod beside;
mod confirming;
mod connections;
mod daemons;
mod datagrams;
mod delivery;
mod departing;
mod dialling;
mod dns;
mod draining_quotas;
mod endings;
mod faults;
mod fields;
mod flows;
mod limits;
mod moving;
mod names;
mod parts;
mod policy;
mod ports;
mod proving;
mod proxied;
mod reconnecting;
mod relaying;
mod restarting;
mod server;
mod sessions;
mod shared_ports;
mod sni;
mod support;
mod switching;
mod targets;
mod vanishing;
mod verdicts;
