//! Listening ports whose peers cannot hold on to what they do not use: the server's three and the edge's one. I/O.
//!
//! - [`places`]: pure bookkeeping. How many connections a port has, and which of them gives way to a newcomer.
//! - [`connection`]: one accepted connection, which ends when its peer is silent or when its place is needed.
//! - [`listener`]: accepts while there is a place, and serves HTTP/1 with bounded heads.
//!
//! Server and edge share this and never see each other: it knows neither of them, only sockets and requests.

pub mod connection;
pub mod listener;
pub mod places;

pub use connection::Guarded;
pub use listener::{GuardedListener, Limits};
pub use places::{NoPlace, Seat};
