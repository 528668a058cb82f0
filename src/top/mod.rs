//! `portunus top`: the fleet at a terminal.
//!
//! Everything that decides is pure: documents and keys go into [`state`], and [`frame`] draws a state. [`feed`] asks the
//! operator API, and [`terminal`] owns the terminal; the loop that joins them is `cmd/top.rs`.

pub(crate) mod details;
pub(crate) mod feed;
pub(crate) mod filter;
pub(crate) mod frame;
pub(crate) mod input;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod marks;
pub(crate) mod rates;
pub(crate) mod rows;
pub(crate) mod state;
pub(crate) mod styled;
pub(crate) mod table;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod view;
