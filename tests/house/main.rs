//! The rules of the house as facts: direction, purity, dependencies, files, documents. I/O: reads the work tree.
//!
//! Keeps: a rule that ARCHITECTURE.md states holds in every commit, or the tests of that commit fail.

mod bench;
mod circles;
mod codes;
mod dependencies;
mod direction;
mod documents;
mod english;
mod files;
mod limits;
mod names;
mod purity;
mod source;
mod targets;
mod workspace;
