//! Which connections of a rule are meant: to be reset, or to be asked for their age. Values.

use std::sync::Arc;

use schema::ending::Endings;
use schema::net::{ListenRange, Listener};
use schema::rule::Target;

use super::meter::{Meter, TargetKey};
use crate::decide::breaks::Break;

/// The connections of a rule that a change would end.
pub(crate) struct Concerned {
    pub(crate) meter: Arc<Meter>,
    pub(crate) endings: Endings,
}

/// Which of a rule's connections are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that go to a target.
    Targets(Vec<TargetKey>),
    /// Those that go to one port of a target.
    Place(TargetKey, u16),
    /// Every one.
    All,
}

/// Connections of a rule that are to be reset.
pub(crate) struct Overdue {
    pub(crate) meter: Arc<Meter>,
    /// The listeners that the ports of targets match, first to first.
    pub(crate) listen: ListenRange,
    pub(crate) scope: Scope,
    /// Later connections are not meant.
    pub(crate) before: u64,
    /// How their end is counted.
    pub(crate) why: Break,
}

impl Overdue {
    /// True if a connection from this listener to a port of this target is meant.
    pub(crate) fn contains(&self, listener: Listener, target: &Target, port: u16) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Place((host, _), own) => target.host == *host && port == *own,
            Scope::Targets(targets) => targets.iter().any(|(host, first)| {
                // By the version that it came in under, or by the one that serves now.
                let offset = listener.port.wrapping_sub(self.listen.ports.first());
                let leads = self.listen.contains(listener) && first.checked_add(offset) == Some(port);
                target.host == *host && (leads || target.ports.first() == *first)
            }),
        }
    }
}
