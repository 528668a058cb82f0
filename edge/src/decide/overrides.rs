//! What operators ordered about targets beside the tree, and what follows from it. Pure: the time is an argument.
//!
//! Keeps: applying a list twice is applying it once; what has ended leaves the target as the tree has it.

use std::collections::HashMap;

use schema::health::{Admin, Operation};
use schema::proto::{TargetOverride, TargetOverrides};

/// The orders for one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetOrders {
    /// Takes no connections, and live ones are reset.
    pub is_disabled: bool,
    /// Takes no new connections.
    pub is_paused: bool,
    /// Another weight than in the tree.
    pub weight: Option<u8>,
}

/// All orders in force, by rule and target.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    targets: HashMap<String, HashMap<String, TargetOrders>>,
    ends: Option<u64>,
}

impl Overrides {
    /// Those of a list that have not ended at `now_ms`, in milliseconds since 1970. What a newer server orders and
    /// this version does not know is left out.
    pub fn read(list: &TargetOverrides, now_ms: u64) -> Self {
        let mut overrides = Self::default();
        for order in list.overrides.iter().filter(|order| end_of(order).is_none_or(|end| end > now_ms)) {
            let Some(change) = change(order) else { continue };
            let targets = overrides.targets.entry(order.rule.clone()).or_default();
            change(targets.entry(order.target.clone()).or_default(), order);
            overrides.ends = [overrides.ends, end_of(order)].into_iter().flatten().min();
        }
        overrides
    }

    /// The orders for one target, none by default.
    pub fn of(&self, rule: &str, target: &str) -> TargetOrders {
        self.targets.get(rule).and_then(|targets| targets.get(target)).copied().unwrap_or_default()
    }

    /// When the next one ends, in milliseconds since 1970.
    pub fn ends(&self) -> Option<u64> {
        self.ends
    }
}

/// When an order ends, by the edge's clock as far as the message allowed to tell.
fn end_of(order: &TargetOverride) -> Option<u64> {
    [order.at_ms, order.until_ms].into_iter().find(|end| *end > 0)
}

/// Turns the time that orders have left into ends by the edge's clock. An end that is known is not put off: it comes
/// again with other time left where the server's clock was set.
pub fn set_ends(list: &mut TargetOverrides, known: &TargetOverrides, now_ms: u64) {
    for order in list.overrides.iter_mut().filter(|order| order.rest_ms > 0) {
        let at_ms = now_ms.saturating_add(std::mem::take(&mut order.rest_ms));
        let is_same = |other: &&TargetOverride| **other == TargetOverride { at_ms: other.at_ms, ..order.clone() };
        order.at_ms = known.overrides.iter().find(is_same).map_or(at_ms, |known| known.at_ms.min(at_ms));
    }
}

fn change(order: &TargetOverride) -> Option<fn(&mut TargetOrders, &TargetOverride)> {
    match order.operation.as_str() {
        "pause" => Some(|orders, _| orders.is_paused = true),
        "disable" => Some(|orders, _| orders.is_disabled = true),
        // A weight that no rule could have is not applied.
        "weight" if order.weight <= 100 => Some(|orders, order| orders.weight = Some(order.weight as u8)),
        _ => None,
    }
}

impl TargetOrders {
    /// What leads from what is in force to what should be: by these orders, else by the tree's `enabled`.
    pub fn steps(&self, admin: Admin, is_enabled: bool) -> &'static [Operation] {
        let wanted = match (self.is_disabled || !is_enabled, self.is_paused) {
            (true, _) => Admin::Disabled,
            (false, true) => Admin::Paused,
            (false, false) => Admin::Enabled,
        };
        match (admin, wanted) {
            (Admin::Enabled, Admin::Paused) => &[Operation::Pause],
            (Admin::Enabled | Admin::Paused, Admin::Disabled) => &[Operation::Disable],
            (Admin::Paused, Admin::Enabled) => &[Operation::Resume],
            (Admin::Disabled, Admin::Enabled) => &[Operation::Enable],
            (Admin::Disabled, Admin::Paused) => &[Operation::Enable, Operation::Pause],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(operation: &str, weight: u32, until_ms: u64) -> TargetOverride {
        TargetOverride {
            rule: "web".to_owned(),
            target: "a:1".to_owned(),
            operation: operation.to_owned(),
            weight,
            until_ms,
            ..TargetOverride::default()
        }
    }

    #[test]
    fn orders_end_by_themselves_and_unknown_ones_change_nothing() {
        let list =
            TargetOverrides { overrides: vec![order("pause", 0, 50), order("weight", 7, 0), order("dance", 1, 9)] };
        let before = Overrides::read(&list, 49);
        let expected = TargetOrders { is_paused: true, is_disabled: false, weight: Some(7) };
        assert_eq!((before.of("web", "a:1"), before.ends()), (expected, Some(50)));
        let after = Overrides::read(&list, 50);
        assert_eq!((after.of("web", "a:1"), after.ends()), (TargetOrders { is_paused: false, ..expected }, None));
        assert_eq!(after.of("web", "a:2"), TargetOrders::default());
        let heavy = TargetOverrides { overrides: vec![order("weight", 101, 0)] };
        assert_eq!(Overrides::read(&heavy, 0).of("web", "a:1").weight, None);
    }

    #[test]
    fn an_order_that_comes_again_is_not_put_off_by_a_clock_that_was_set() {
        let sent = |until_ms, rest_ms| TargetOverrides {
            overrides: vec![TargetOverride { rest_ms, ..order("pause", 0, until_ms) }],
        };
        let taken = |known: &TargetOverrides, mut list: TargetOverrides, now_ms| {
            set_ends(&mut list, known, now_ms);
            list
        };
        let first = taken(&TargetOverrides::default(), sent(5000, 1000), 100);
        assert_eq!(Overrides::read(&first, 1099).ends(), Some(1100));
        let back = taken(&first, sent(5000, 3_601_000), 200);
        assert_eq!(back, first, "the server's clock was set back");
        assert_eq!(Overrides::read(&back, 1100).ends(), None);
        assert_eq!(Overrides::read(&taken(&first, sent(5000, 100), 200), 200).ends(), Some(300));
        assert_eq!(Overrides::read(&taken(&first, sent(9000, 5000), 200), 200).ends(), Some(5200), "it was renewed");
    }

    #[test]
    fn steps_lead_to_what_is_wanted_and_nowhere_when_there() {
        let all = [Admin::Enabled, Admin::Paused, Admin::Disabled];
        for (is_disabled, is_paused, is_enabled) in (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)) {
            let orders = TargetOrders { is_disabled, is_paused, weight: None };
            let ends: Vec<Admin> = all
                .iter()
                .map(|admin| orders.steps(*admin, is_enabled).iter().fold(*admin, |admin, step| admin.after(*step)))
                .collect();
            assert!(ends.iter().all(|end| *end == ends[0]), "{orders:?}: {ends:?}");
            assert_eq!(ends[0] == Admin::Enabled, is_enabled && !is_disabled && !is_paused);
            assert!(orders.steps(ends[0], is_enabled).is_empty());
        }
    }
}
