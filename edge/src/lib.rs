//! What moves bytes: an edge takes whole desired sets from its server, brings its sockets there without closing a
//! port that stays, and forwards whether the server lives or not.
//!
//! - [`decide`]: pure. Which desired state is admitted, which sockets are bound, kept and released, how long to wait.
//! - [`act`]: I/O. [`act::agent`] keeps a session, [`act::session`] speaks it, [`act::runtime`] owns rules and
//!   sockets, [`act::last_good`] keeps what a restart needs, [`act::workers`] is the seam to what moves bytes.
//!
//! `act` uses `decide`, never the reverse.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod act;
pub mod decide;

pub use act::edge::{Edge, EdgeConfig, EdgeError, ShutdownDrain};
pub use act::last_good::{StateError, has_last_good};
#[cfg(feature = "testing")]
pub use act::parts::Killer;
pub use act::parts::Part;
pub use act::server_connector::{Endpoint, InProcessConnector};
