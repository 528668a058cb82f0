//! How a connection ends. Values.

use crate::decide::breaks::Break;
use crate::decide::endings::ConnectionEnd;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both sides have ended it.
    Whole,
    /// No target took it, which is counted for itself; the client may not take it for whole.
    Reset,
    /// Somebody broke it: neither may take it for whole.
    Broken(Break),
    /// The same, where it is not known whether everything has arrived: a reset could lose what is under way.
    Unproven(Break),
}

impl Ending {
    /// The same for the log.
    pub(super) fn as_end(self) -> ConnectionEnd {
        match self {
            Self::Whole => ConnectionEnd::Closed,
            Self::Reset => ConnectionEnd::NoTarget,
            Self::Broken(why) | Self::Unproven(why) => ConnectionEnd::Broken(why),
        }
    }

    /// The same where a reset could lose something.
    pub(super) fn without_reset(self) -> Self {
        match self {
            Self::Broken(why) => Self::Unproven(why),
            Self::Whole | Self::Reset | Self::Unproven(_) => self,
        }
    }
}
