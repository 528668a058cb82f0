//! The reconciler from outside: the fleet by script and by property, the server over real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod explorer;
mod glossary;
mod interleavings;
mod script;
mod shell;
mod sim_edge;
mod words;
mod world;
