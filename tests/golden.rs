//! Golden tests of the visible behaviour: what the real binary prints and its exit code.
//!
//! `PORTUNUS_UPDATE_GOLDEN=1 cargo test -p portunus --test golden` writes the expected files anew.

#[path = "golden/cli.rs"]
mod cli;
#[path = "golden/diagnostics.rs"]
mod diagnostics;
#[path = "golden/environment.rs"]
mod environment;
#[path = "golden/import.rs"]
mod import;
#[path = "golden/plan.rs"]
mod plan;
#[path = "golden/scale.rs"]
mod scale;
#[path = "golden/support.rs"]
mod support;
#[path = "golden/trace.rs"]
mod trace;
