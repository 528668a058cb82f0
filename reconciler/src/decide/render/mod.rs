//! What people read: documents into text with styles of terminals, which an output without colours takes out. Pure.
//!
//! The tool prints these texts, the page shows them and notices send them, so that a plan reads the same everywhere.

pub mod change;
pub mod clean;
pub mod difference;
pub mod drift;
pub mod new_rule;
pub mod plan;
pub mod plan_lines;
pub mod plan_markdown;
pub mod rails;
pub mod rule_words;
pub mod style;
pub mod summary;
pub mod words;

/// How much of what is alike a text shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What is alike is grouped or counted.
    Brief,
    /// Everything.
    Full,
}
