//! What a connection passes before a target is dialled, in order. Pure.
//!
//! Before its rule is known, a PROXY header says where it comes from and a TLS hello may name the rule. What follows is asked
//! of the rule that takes it: [`EntryCheck::ORDER`]. UDP flows pass the same checks.
//!
//! Keeps: the first check that enforces its refusal ends it, and is the only one that is counted as refusing; a check that
//! observes is counted, and decides nothing.

pub use schema::access::Enforcement;
pub use schema::counters::labels::RefusalReason;

/// A check that a rule may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryCheck {
    /// The networks that may connect.
    Access,
    /// The rate of new connections to all rules of the owner.
    OwnerConnectionRate,
    /// The bytes of all rules of the owner.
    OwnerQuota,
    /// The live connections of one source.
    SourceConnections,
    /// The rate of new connections of one source.
    SourceRate,
    /// The rate of new connections to the rule.
    ConnectionRate,
    /// The bytes of the rule.
    Quota,
}

impl EntryCheck {
    /// The order in which they are asked: what one source does too much of takes nothing from the others.
    pub const ORDER: [Self; 7] = [
        Self::Access,
        Self::OwnerConnectionRate,
        Self::OwnerQuota,
        Self::SourceConnections,
        Self::SourceRate,
        Self::ConnectionRate,
        Self::Quota,
    ];

    /// What its refusals are counted as.
    pub const fn reason(self) -> RefusalReason {
        match self {
            Self::Access => RefusalReason::Access,
            Self::OwnerConnectionRate | Self::ConnectionRate => RefusalReason::ConnectionRate,
            Self::OwnerQuota | Self::Quota => RefusalReason::Quota,
            Self::SourceConnections => RefusalReason::SourceConnections,
            Self::SourceRate => RefusalReason::SourceRate,
        }
    }
}

/// Asks the checks in their order. `objects` says how a check takes it that it would refuse the connection, and `None`
/// where it would not, or where the rule has no such check; `observed` hears of those that only count.
pub fn pass(
    mut objects: impl FnMut(EntryCheck) -> Option<Enforcement>,
    mut observed: impl FnMut(RefusalReason),
) -> Result<(), RefusalReason> {
    for check in EntryCheck::ORDER {
        match objects(check) {
            None => {}
            Some(Enforcement::Observe) => observed(check.reason()),
            Some(Enforcement::Enforce) => return Err(check.reason()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(objections: &[(EntryCheck, Enforcement)]) -> (Result<(), RefusalReason>, Vec<RefusalReason>) {
        let mut observed = Vec::new();
        let objects =
            |check| objections.iter().find(|(objecting, _)| *objecting == check).map(|(_, enforcement)| *enforcement);
        (pass(objects, |reason| observed.push(reason)), observed)
    }

    #[test]
    fn the_first_check_that_enforces_refuses_and_later_ones_are_not_asked() {
        use Enforcement::{Enforce, Observe};
        use EntryCheck::{Access, OwnerQuota, Quota, SourceRate};
        assert_eq!(passed(&[]), (Ok(()), vec![]));
        let enforced = passed(&[(Quota, Enforce), (Access, Observe), (SourceRate, Enforce)]);
        assert_eq!(enforced, (Err(RefusalReason::SourceRate), vec![RefusalReason::Access]));
        assert_eq!(passed(&[(OwnerQuota, Enforce), (SourceRate, Observe)]), (Err(RefusalReason::Quota), vec![]));
    }

    #[test]
    fn every_check_that_observes_is_counted_and_refuses_nobody() {
        let all = EntryCheck::ORDER.map(|check| (check, Enforcement::Observe));
        let (passed, observed) = passed(&all);
        assert_eq!(passed, Ok(()));
        assert_eq!(observed, EntryCheck::ORDER.map(EntryCheck::reason));
    }

    #[test]
    fn the_owner_is_asked_before_the_rule_and_access_before_both() {
        assert!(EntryCheck::ORDER.is_sorted());
        assert_eq!(EntryCheck::ORDER[0], EntryCheck::Access);
    }
}
