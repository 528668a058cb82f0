//! The I/O around the decisions: where trees come from, what is remembered, and who is spoken to.

mod ancestries;
mod backlog;
pub mod checked_tree;
pub mod checks;
pub mod codec;
mod continuing;
pub mod counters;
pub mod directory_follower;
pub mod driver;
pub mod edges;
pub mod guarded;
mod inflow;
pub mod metrics;
mod notice_log;
mod oidc;
pub mod operator;
pub mod operators;
mod outgoing;
pub mod parts;
pub mod private_file;
pub mod proofs;
pub mod questions;
mod rates;
pub mod recent;
pub mod remote;
mod revisions;
pub mod server;
pub mod source;
pub mod state;
pub mod store;
pub mod timings;
pub mod trust;
mod upkeep;
pub mod wake;
pub mod watch;

pub use guard::port::{Port, recognised};
