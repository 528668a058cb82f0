//! What limits mean for the turns of a connection. I/O: reads a clock.
//!
//! Keeps: a connection without limits pays for one look at a flag; one that waits for a grant is woken by its timer, and
//! no timeout ends it for that.

use std::time::Duration;

use super::super::limiting::clock;
use super::super::limiting::throttle::{IN, OUT, Throttle};
use super::super::timers::{Tick, ticks};
use super::connection::Connection;
use super::quanta::Quanta;

impl Connection {
    /// What it may move in its turn.
    pub(super) fn quanta(&mut self, fair: usize, tick: Tick) -> Quanta {
        if self.ticket.is_limited() {
            return self.limited_quanta(fair, tick);
        }
        if self.throttle.is_some() {
            self.throttle = None;
        }
        Quanta::free(fair)
    }

    fn limited_quanta(&mut self, fair: usize, tick: Tick) -> Quanta {
        let Self { client, target, inward, outward, throttle, ticket, .. } = self;
        let limits = ticket.limits();
        let (Some(limits), Some(target)) = (&*limits, target) else { return Quanta::free(fair) };
        if !throttle.as_ref().is_some_and(|throttle| throttle.is_of(limits)) {
            *throttle = Some(Box::new(Throttle::new(limits.clone())));
        }
        let Some(throttle) = throttle else { return Quanta::free(fair) };
        let now = clock::now();
        let mut granted = [0; 2];
        for (direction, may_move) in [(IN, inward.may_move(client, target)), (OUT, outward.may_move(target, client))] {
            if may_move {
                let (grant, waited) = throttle.ask(direction, fair, now);
                ticket.throttled(direction, waited);
                granted[direction] = grant;
            } else {
                throttle.rest(direction);
            }
        }
        let wait = |wakes: u64| tick + ticks(Duration::from_nanos(wakes.saturating_sub(now)));
        throttle.due = throttle.wakes().map_or(Tick::MAX, wait);
        Quanta { fair, granted: Some(granted) }
    }

    /// Learns what became of its quanta.
    pub(super) fn settle(&mut self, quanta: Quanta, moved: [usize; 2]) {
        let (Some(throttle), Some(granted)) = (&mut self.throttle, quanta.granted) else { return };
        let now = clock::now();
        for direction in [IN, OUT] {
            let late = throttle.settle(direction, granted[direction], moved[direction], now);
            self.ticket.throttled(direction, late);
        }
    }

    /// True while it waits for a grant.
    pub(super) fn is_waiting(&self) -> bool {
        self.next_grant() < Tick::MAX
    }

    /// When to ask for a grant again.
    pub(super) fn next_grant(&self) -> Tick {
        self.throttle.as_ref().map_or(Tick::MAX, |throttle| throttle.due)
    }

    /// True if it is time to ask for a grant again.
    pub(super) fn may_ask(&mut self, now: Tick) -> bool {
        let Some(throttle) = self.throttle.as_mut().filter(|throttle| throttle.due <= now) else { return false };
        throttle.due = Tick::MAX;
        // What waits for a grant is not idle.
        self.active = now;
        true
    }
}
