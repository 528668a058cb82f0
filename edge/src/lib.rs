//! What moves bytes: an edge takes whole desired sets from its server, brings its sockets there without closing a
//! port that stays, and forwards whether the server lives or not.
//!
//! Read in this order:
//!
//! 1. [`decide::admission`] and [`decide::desired`]: which desired state is taken, and what it says.
//! 2. [`decide::transition`]: which sockets a switch binds, keeps and releases. [`decide::parting`]: what becomes of the
//!    connections.
//! 3. [`decide::dialling`]: how a connection or a flow reaches a target. [`decide::relaying`]: how a connection ends.
//! 4. [`act::agent`] keeps a session with the server, and [`act::session`] speaks the protocol.
//! 5. [`act::runtime`] owns rules and sockets and carries switches out; [`act::last_good`] keeps what a restart needs.
//! 6. [`act::workers`] moves the bytes, on threads of its own; ARCHITECTURE.md tells a connection's life file by file.
//! 7. `act::health` owns the verdicts about targets, and [`act::names`] resolves their names.
//!
//! ARCHITECTURE.md shows every task and thread with its channels and their bounds.
//!
//! `act` uses `decide`, never the reverse.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod act;
pub mod decide;

pub use act::edge::{Edge, EdgeConfig, EdgeError, ShutdownDrain};
pub use act::joining::FleetAccess;
pub use act::last_good::{StateError, has_last_good};
pub use act::membership::{Membership, members_below, membership};
#[cfg(feature = "testing")]
pub use act::parts::Killer;
pub use act::parts::Part;
pub use act::server_connector::{Endpoint, InProcessConnector};
pub use guard::InheritedSockets;
pub use guard::inherited::close_unmatched;
