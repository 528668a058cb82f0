//! What keeps a process that serves in order, whether it is a server or an edge. I/O.
//!
//! Listening ports whose peers cannot hold on to what they do not use, the server's three and the edge's one:
//!
//! - [`places`]: pure bookkeeping. How many connections a port has, and which of them gives way to a newcomer.
//! - [`connection`]: one accepted connection, which ends when its peer is silent or when its place is needed.
//! - [`listener`]: accepts while there is a place, and serves HTTP/1 with bounded heads.
//! - [`tls`]: handshakes, bounded in time and number, before anything is served.
//! - [`port`]: which of these ports somebody has reached, for whoever connects to the wrong one.
//!
//! Tasks and threads that do not end unnoticed:
//!
//! - [`supervisor`]: catches the panic of a part, and says which part it was.
//!
//! What both do with the host that they run on:
//!
//! - [`descriptors`]: the limit of open files.
//! - [`trust`]: which files and folders nobody else can have written.
//!
//! Server and edge share this and never see each other: it knows neither of them, only sockets and requests.

pub mod connection;
pub mod descriptors;
pub mod inherited;
pub mod listener;
pub mod places;
pub mod port;
pub mod supervisor;
pub mod tls;
pub mod trust;

pub use connection::Guarded;
pub use inherited::InheritedSockets;
pub use listener::{GuardedListener, Limits};
pub use places::{NoPlace, Seat};
pub use port::Port;
pub use supervisor::{Failed, Supervisor};
pub use tls::Tls;
