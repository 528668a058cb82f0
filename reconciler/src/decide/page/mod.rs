//! What the page shows: documents of the API in, views out. Pure.
//!
//! - [`words`]: times, counts and sizes as people read them.
//! - [`head`]: the line about the fleet that every page begins with, and the navigation.
//! - [`problem`]: a refusal with what to do about it.
//! - [`styled`]: text for terminals, such as a plan, as pieces with CSS classes.
//! - One file for each view, named as the view is.
//!
//! Keeps: a view holds texts and the names of CSS classes, so that a template decides nothing; a state is a word and a shape
//! before it is a colour.

pub mod applies;
pub mod attention;
pub mod audit;
pub mod connections;
pub mod drift;
pub mod edge;
pub mod edges;
pub mod filter;
pub mod fleet;
pub mod head;
pub mod history;
pub mod plan;
pub mod problem;
pub mod proposal;
pub mod query;
pub mod quotas;
pub mod rule;
pub mod rule_figures;
pub mod rule_line;
pub mod rule_targets;
pub mod rules;
pub mod styled;
pub mod words;
