//! What the edge does: sockets, files, sessions, bytes. I/O; every decision is made in [`crate::decide`].

pub mod abilities;
pub mod agent;
pub mod connection_log;
pub mod descriptors;
mod drain;
pub mod edge;
mod folder;
pub(crate) mod health;
mod holders;
mod interfaces;
pub mod joining;
pub mod last_good;
mod listing;
pub mod liveness;
pub mod membership;
pub mod metrics;
pub mod names;
pub mod parts;
mod pending;
pub mod policy;
mod port_range;
pub mod prepare;
mod proving;
mod quota_file;
mod quota_spool;
pub mod runtime;
pub mod server_connector;
mod server_tls;
pub mod session;
pub mod sockets;
pub mod status;
pub(crate) mod steady;
pub(crate) mod usage;
mod wording;
pub mod workers;

/// The gRPC client of the edge protocol, as tonic generates it.
#[expect(unreachable_pub, reason = "generated")]
mod rpc {
    include!(concat!(env!("OUT_DIR"), "/portunus.v1.rs"));
}
