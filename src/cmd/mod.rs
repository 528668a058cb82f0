//! One file per command: each reads its arguments, does its work and gives an exit code.

pub(crate) mod apply;
pub(crate) mod bisect;
pub(crate) mod blame;
mod check_all;
pub(crate) mod completions;
pub(crate) mod edge;
pub(crate) mod edges;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod freeze;
pub(crate) mod health;
mod healthy;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod override_rule;
pub(crate) mod plan;
pub(crate) mod resume;
pub(crate) mod rollback;
pub(crate) mod rules;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod target;
pub(crate) mod up;
pub(crate) mod validate;
