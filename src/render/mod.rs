//! What people see: values into text with styles, which the output takes out where there is no terminal. Pure.

pub(crate) mod apply;
pub(crate) mod connections;
pub(crate) mod diagnostic;
pub(crate) mod difference;
pub(crate) mod drift;
pub(crate) mod history;
pub(crate) mod new_rule;
pub(crate) mod plan;
pub(crate) mod plan_lines;
pub(crate) mod plan_markdown;
pub(crate) mod rails;
pub(crate) mod rules;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod target_list;
pub(crate) mod targets;
pub(crate) mod unused;
pub(crate) mod words;
