//! The edge over real sockets on loopback.

mod connections;
mod restarting;
mod sessions;
mod support;
mod switching;
