//! The tasks that a server relies on, by name. Values.

use std::fmt;

/// What a server cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The task that owns the fleet.
    Driver,
    /// The port for edges.
    Control,
    /// The sessions of an edge in the same process.
    InProcess,
    /// The port for operators.
    Operator,
    /// The port for metrics.
    Metrics,
    /// The task that follows a directory.
    Follower,
    /// The task that follows a remote repository.
    RemoteFollower,
    /// The task that owns the operators and the audit.
    Operators,
    /// The task that gives disk space back.
    Upkeep,
    /// The task that goes on with a rollout that a restart cut off.
    Rollout,
    /// The task that owns the register of edges.
    Registrar,
    /// The task that owns the notices that wait.
    Notices,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "the owner of the fleet",
            Self::Control => "the control port",
            Self::InProcess => "the in-process session of the edge",
            Self::Operator => "the operator port",
            Self::Metrics => "the metrics port",
            Self::Follower => "the follower of the directory",
            Self::RemoteFollower => "the follower of the remote",
            Self::Operators => "the owner of operators and audit",
            Self::Upkeep => "the upkeep of the state",
            Self::Rollout => "the task that continues rollouts",
            Self::Registrar => "the owner of the register of edges",
            Self::Notices => "the owner of the notices",
        })
    }
}
