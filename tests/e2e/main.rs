//! End to end: the real binary, real sockets, several edges on loopback. Each test is one promise of CONTRACT.md.

#![allow(clippy::unwrap_used, reason = "tests")]

mod abilities;
mod bad_input;
mod bisect;
mod blame;
mod blast;
mod confirming;
mod drift;
mod ending;
mod events;
mod exit_codes;
mod failing_ports;
mod faults;
mod firewalled;
mod forwarding;
mod git_over_https;
mod git_source;
mod health;
mod journey;
mod ledger;
mod logs;
mod metrics;
mod modes;
mod moving_on;
mod namespaces;
mod overflow;
mod overrides;
mod peers;
mod plan_files;
mod processes;
mod proofs;
mod provenance;
mod ranges;
mod recipes;
mod restarts;
mod rollout;
mod saving;
mod secrets;
mod signals;
mod standalone;
mod steering;
mod support;
mod surfaces;
mod vanishing;
mod waiting;
