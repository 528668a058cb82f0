//! Where rule trees come from: a directory or an upload, and what git knows about a directory.

pub mod directory;
pub mod git;
