//! The part of one connection in the limits of its rule: what it may move in a turn, and when it may again. SharedRate
//! memory.
//!
//! Keeps: what was granted is moved or given back; who waits counts as waiting in the bucket that it waits for, and is
//! counted out when it moves less than it may, or ends.

use std::sync::Arc;

use super::bucket::Bucket;
use super::limits::{LimitScope, RuleLimits};
use super::quota::PIECE;
use crate::decide::rates::{Grant, LONGEST_WAIT, Moment};
use crate::decide::ticks::Tick;

/// From clients to targets.
pub(crate) const IN: usize = 0;
/// From targets to clients.
pub(crate) const OUT: usize = 1;

/// Bandwidth and throttle of the owner, then those of the rule.
const GATES: usize = 4;

/// One direction of a connection.
#[derive(Default)]
struct LimitedDirection {
    /// Up to when it has used its part of each bucket, where it waits for more.
    own: [Option<Moment>; GATES],
    /// When to try again, while it waits.
    wakes: Option<Moment>,
    /// Since when it waits.
    since: Option<Moment>,
}

/// One limited connection.
pub(crate) struct Throttle {
    limits: Arc<RuleLimits>,
    lanes: [LimitedDirection; 2],
    /// When its worker tries again, in ticks of that.
    pub(crate) due: Tick,
}

impl Throttle {
    pub(crate) fn new(limits: Arc<RuleLimits>) -> Self {
        Self { limits, lanes: [LimitedDirection::default(), LimitedDirection::default()], due: Tick::MAX }
    }

    /// True if these are the limits that hold for it.
    pub(crate) fn is_of(&self, limits: &Arc<RuleLimits>) -> bool {
        Arc::ptr_eq(&self.limits, limits)
    }

    /// What it may move of at most `want` in a direction; nothing until [`Self::wakes`]. The second is for how long it
    /// has waited for that.
    pub(crate) fn ask(&mut self, direction: usize, want: usize, now: Moment) -> (usize, u64) {
        let Self { limits, lanes, .. } = self;
        let lane = &mut lanes[direction];
        let mut grant = want as u64;
        if limits.scopes().any(|scope| scope.quota.is_some()) {
            grant = grant.min(PIECE);
        }
        if limits.scopes().any(|scope| scope.quota.as_ref().is_some_and(|quota| quota.stops())) {
            // It is about to be reset.
            lane.wakes = Some(now + LONGEST_WAIT);
            return (0, 0);
        }
        for gate in 0..GATES {
            let Some(bucket) = active(limits, gate, direction) else { continue };
            match bucket.grant(lane.own[gate], now, grant) {
                Grant::Bytes(bytes) => {
                    give_back(limits, direction, gate, grant - bytes);
                    grant = bytes;
                }
                Grant::Wait(until) => {
                    give_back(limits, direction, gate, grant);
                    if lane.own[gate].is_none() {
                        lane.own[gate] = Some(now);
                        bucket.join();
                    }
                    lane.wakes = Some(until);
                    lane.since.get_or_insert(now);
                    return (0, 0);
                }
            }
        }
        lane.wakes = None;
        (usize::try_from(grant).unwrap_or(want), lane.since.take().map_or(0, |since| now.saturating_sub(since)))
    }

    /// Learns what became of a grant. Returns how long that would have had to wait where limits only observe.
    pub(crate) fn settle(&mut self, direction: usize, granted: usize, moved: usize, now: Moment) -> u64 {
        let Self { limits, lanes, .. } = self;
        let lane = &mut lanes[direction];
        let (granted, moved) = (granted as u64, moved as u64);
        if granted > 0 {
            for gate in 0..GATES {
                if let Some(bucket) = active(limits, gate, direction) {
                    bucket.give_back(granted.saturating_sub(moved));
                    if moved > granted {
                        bucket.take(moved - granted, now);
                    }
                }
                let Some(own) = lane.own[gate] else { continue };
                let Some(bucket) = of(limits, gate, direction) else { continue };
                if moved < granted || active(limits, gate, direction).is_none() {
                    lane.own[gate] = None;
                    bucket.leave();
                } else {
                    lane.own[gate] = Some(bucket.own_after(own, now, moved));
                }
            }
        }
        if moved == 0 {
            return 0;
        }
        limits.scopes().map(|scope| observe(scope, direction, moved, now)).sum()
    }

    /// It has nothing to move in a direction.
    pub(crate) fn rest(&mut self, direction: usize) {
        let Self { limits, lanes, .. } = self;
        let lane = &mut lanes[direction];
        if lane.wakes.take().is_some() || lane.own.iter().any(Option::is_some) {
            leave(limits, lane, direction);
            lane.since = None;
        }
    }

    /// When to try again, if it waits.
    pub(crate) fn wakes(&self) -> Option<Moment> {
        self.lanes.iter().filter_map(|lane| lane.wakes).min()
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let Self { limits, lanes, .. } = self;
        for (direction, lane) in lanes.iter_mut().enumerate() {
            leave(limits, lane, direction);
        }
    }
}

/// Counts out of every bucket that a direction waits for.
fn leave(limits: &RuleLimits, lane: &mut LimitedDirection, direction: usize) {
    for (gate, own) in lane.own.iter_mut().enumerate() {
        if own.take().is_some()
            && let Some(bucket) = of(limits, gate, direction)
        {
            bucket.leave();
        }
    }
}

/// Counts what was moved where nothing waits for it: in quotas, and in limits that only observe.
fn observe(scope: &LimitScope, direction: usize, moved: u64, now: Moment) -> u64 {
    if let Some(quota) = &scope.quota {
        quota.add(moved);
    }
    match &scope.bandwidth[direction] {
        Some(bucket) if scope.enforced(direction).is_none() => bucket.watch(moved, now),
        _ => 0,
    }
}

/// Gives back to the gates before this one.
fn give_back(limits: &RuleLimits, direction: usize, before: usize, units: u64) {
    (0..before).filter_map(|gate| active(limits, gate, direction)).for_each(|bucket| bucket.give_back(units));
}

fn scope(limits: &RuleLimits, gate: usize) -> Option<&LimitScope> {
    if gate < GATES / 2 { limits.owner.as_deref() } else { limits.rule.as_deref() }
}

/// The bucket of a gate.
fn of(limits: &RuleLimits, gate: usize, direction: usize) -> Option<&Bucket> {
    let scope = scope(limits, gate)?;
    if gate.is_multiple_of(2) {
        scope.bandwidth[direction].as_deref()
    } else {
        scope.quota.as_ref().map(|quota| quota.throttle_of(direction))
    }
}

/// The same, where it limits now.
fn active(limits: &RuleLimits, gate: usize, direction: usize) -> Option<&Bucket> {
    let scope = scope(limits, gate)?;
    if gate.is_multiple_of(2) {
        scope.enforced(direction)
    } else {
        scope.quota.as_ref().and_then(|quota| quota.throttle(direction))
    }
}
