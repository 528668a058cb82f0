//! What people see: values into text with styles, which the output takes out where there is no terminal. Pure.

pub(crate) mod apply;
pub(crate) mod connections;
pub(crate) mod diagnostic;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod rules;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod target_list;
pub(crate) mod targets;
pub(crate) mod unused;

pub(crate) use reconciler::decide::render::{
    change, drift, plan, plan_lines, plan_markdown, rails, rule_words, style, summary, words,
};
