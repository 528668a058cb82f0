//! What a planned change means for live connections. Values.

use jiff::Timestamp;
use schema::ending::Loss;
use serde::{Deserialize, Serialize};

use crate::decide::unused::ImpactSource;

/// What a change means for live connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImpactKind {
    /// Nothing.
    None,
    /// New connections see the change, live ones go on.
    NewConnections,
    /// Connections of closed listeners and of places that are no longer targets, or no longer enabled, drain, then are
    /// reset.
    Drain,
    /// A port is closed for a moment.
    Gap,
}

/// What the connections lose that a change ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Losing {
    /// Their listeners are closed.
    Listeners,
    /// Their targets are no longer targets, or no longer enabled.
    Targets,
    /// Some lose their listener, some their target.
    Both,
    /// New access lists refuse their sources.
    Access,
}

impl From<Loss> for Losing {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::Listeners => Self::Listeners,
            Loss::Places => Self::Targets,
            Loss::Both => Self::Both,
        }
    }
}

/// What a change means for live connections, how many it ends, how old those are, and how fast new ones come.
///
/// Ages and rates are asked of the edges for the plan: they are missing where an edge is not connected or did not
/// answer at once, from plans against a saved status, and where only those of the whole rule are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// What happens to them.
    pub kind: ImpactKind,
    /// Live connections that it ends, after their drain timeout; 0 where it ends none.
    pub connections: u64,
    /// What those lose, where it ends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losing: Option<Losing>,
    /// Live connections of the rule that drain already: an earlier change ends them, not this one.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub draining: u64,
    /// How long the last of those have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_secs: Option<u64>,
    /// Live connections that new access lists refuse; absent where the edge did not list them all. They continue unless the
    /// rule says `live = "drain"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// How old the oldest of them is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_secs: Option<u64>,
    /// Half of them are at most as old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_secs: Option<u64>,
    /// New connections of the rule per second, over the last five seconds; absent where there were none, where they see nothing
    /// of the change, and where it ends some of the rule's connections and leaves others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_sec: Option<f64>,
    /// When the last connection came to what is released or removed, or from a source that is refused; absent where none
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_connection_at: Option<Timestamp>,
    /// Where connections of the rule came from in the last 24 hours, the busiest networks first; only of what is released,
    /// removed or refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<ImpactSource>,
}

impl Impact {
    /// What is known without asking the edge.
    pub const fn new(kind: ImpactKind, connections: u64) -> Self {
        Self {
            kind,
            connections,
            losing: None,
            draining: 0,
            draining_secs: None,
            refused: None,
            oldest_secs: None,
            median_secs: None,
            connections_per_sec: None,
            last_connection_at: None,
            sources: Vec::new(),
        }
    }
}
