//! Health of targets: the check that a rule carries, and the model that judges what comes of it. Pure: no sockets, no
//! clock; every function that depends on the time takes `now`, as the time since any fixed start.
//!
//! From one result to the next connection: [`Outcome`] of a probe or a connection → [`TargetHealth`] with its
//! [`Counter`], [`PassiveWindow`] and [`History`] → [`TargetGroup`], the targets of a rule → [`Pools`] → [`Selection`] →
//! [`DialOrder`]. What connections meet at one port of a range goes to [`PortVerdicts`] instead, and by [`Selections`] to
//! that port alone. Beside it: [`simulate`](mod@simulate) for people, [`Retry`] for a rule that waits for its targets.

mod by_port;
mod check;
mod counter;
mod group;
mod history;
mod passive;
mod pool;
mod ports;
mod rendezvous;
mod result;
mod retry;
mod rotation;
mod select;
pub mod simulate;
mod snapshot;
mod state;
mod target;
mod terms;

pub use by_port::{Selections, TargetSet};
pub use check::{
    DEFAULT_FALL, DEFAULT_INTERVAL_SECS, DEFAULT_JITTER_PERCENT, DEFAULT_RISE, DEFAULT_TIMEOUT_MS, HealthCheck,
    HealthKind, StatusRanges,
};
pub use counter::{Counter, Mode, Thresholds};
pub use group::TargetGroup;
pub use history::{ChangeCause, DEFAULT_HISTORY, History, MAX_HISTORY, StateChange};
pub use passive::{PASSIVE_FAILURES, PASSIVE_SUCCESSES, PASSIVE_WINDOW, PassiveWindow};
pub use pool::{Pools, RuleHealth, Standing};
pub use ports::{PORT_MEMORY, PORTS_REMEMBERED, PortChange, PortVerdicts, port_bit};
pub use rendezvous::{ClientSeed, Distance, TargetSeed};
pub use result::{Layer, MAX_DETAIL, Outcome, ResultCode};
pub use retry::Retry;
pub use rotation::Rotation;
pub use select::{DialOrder, Request, Selection};
pub use snapshot::{RuleEvent, Snapshot, TargetKey, TargetView};
pub use state::{Admin, Operation, TargetState, Verdict};
pub use target::{Input, TRIAL_AFTER, TargetHealth};
pub use terms::{Initial, Pace, Terms};
