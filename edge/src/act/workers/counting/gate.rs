//! What a rule asks of a connection before it takes it: the checks of `decide::entry` with what they remember. Shared
//! memory, no I/O.
//!
//! Keeps: a rule without such checks has no gate, and pays one comparison.

use std::net::IpAddr;
use std::sync::Arc;

use schema::rule::Rule;

use crate::decide::entry::{self, Enforcement, EntryCheck, RefusalReason};

/// The checks of one version of a rule.
pub struct Gate {
    rule: Arc<Rule>,
}

impl Gate {
    /// The gate of a rule, if it has any check.
    pub fn of(rule: &Arc<Rule>) -> Option<Arc<Self>> {
        rule.access.is_some().then(|| Arc::new(Self { rule: rule.clone() }))
    }

    /// Whether a connection from this source may enter; `observed` hears of the checks that would refuse it and only count.
    pub(crate) fn pass(&self, source: IpAddr, observed: impl FnMut(RefusalReason)) -> Result<(), RefusalReason> {
        entry::pass(|check| self.objects(check, source), observed)
    }

    fn objects(&self, check: EntryCheck, source: IpAddr) -> Option<Enforcement> {
        match check {
            EntryCheck::Access => {
                let access = self.rule.access.as_deref()?;
                (!access.admits(source)).then_some(access.mode)
            }
            _ => None,
        }
    }
}
