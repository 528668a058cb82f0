//! Rounds of probes that somebody asked for and waits for. Values, no I/O.
//!
//! Keeps: a round has ended when every probe of it that still exists has a result of after the question.

use std::collections::BTreeSet;
use std::time::Duration;

use schema::health::TargetKey;
use schema::name::RuleName;
use schema::proto;
use tokio::sync::oneshot;

use crate::decide::probe_schedule::ProbeId;

/// One of them.
pub(super) struct Round {
    pub(super) rule: RuleName,
    /// None: all targets.
    pub(super) target: Option<TargetKey>,
    pub(super) request_id: u64,
    pub(super) asked: Duration,
    pub(super) awaited: BTreeSet<ProbeId>,
    pub(super) reply: oneshot::Sender<proto::TargetsChecked>,
}

impl Round {
    /// Notes the end of a probe; true if the round has ended.
    pub(super) fn note(&mut self, id: ProbeId, started: Duration) -> bool {
        if started >= self.asked {
            self.awaited.remove(&id);
        }
        self.awaited.is_empty()
    }
}

/// Why there is nothing to check.
pub(super) fn refusal(request_id: u64, code: &str, message: String) -> proto::TargetsChecked {
    let refused = Some(proto::Refusal { code: code.to_owned(), message });
    proto::TargetsChecked { request_id, refused, targets: Vec::new() }
}
