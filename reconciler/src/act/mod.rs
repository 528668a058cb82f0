//! The I/O around the decisions: where trees come from, what is remembered, and who is spoken to.

pub mod private_file;
pub mod source;
pub mod store;
pub mod watch;
