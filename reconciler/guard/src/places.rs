//! The places of one port: who has one, and who gives way where a newcomer finds none free. No I/O.
//!
//! Keeps: a connection that is within a request is never the one that gives way; of the others the one that has been
//! without a complete request for longest is, and where it is granted a while for that, not before; strangers never take
//! the places of those that are known.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Why a request or session cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The part of the places for peers that nothing names is taken.
    GuestsOnly,
    /// The connection is within another one.
    Within,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has said nothing complete since this moment, by number.
    Waiting(u64),
    /// Within a request or a session, of a peer that nothing names.
    Guest,
    /// Within a request or a session.
    Busy,
}

/// Ends a connection that gives way.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }
}

#[derive(Debug, Default)]
struct Room {
    open: HashMap<u64, Stage>,
    /// Those without a complete request, the oldest first, and since when.
    waiting: BTreeMap<u64, (u64, Arc<Bell>, Instant)>,
    guests: usize,
    /// Numbers both connections and moments.
    next: u64,
}

impl Room {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes a connection out of its stage, if it has not given way.
    fn lift(&mut self, id: u64) -> Option<Stage> {
        let stage = self.open.remove(&id)?;
        match stage {
            Stage::Waiting(since) => drop(self.waiting.remove(&since)),
            Stage::Guest => self.guests -= 1,
            Stage::Busy => {}
        }
        Some(stage)
    }

    fn wait(&mut self, id: u64, bell: &Arc<Bell>) {
        let since = self.number();
        self.open.insert(id, Stage::Waiting(since));
        self.waiting.insert(since, (id, Arc::clone(bell), Instant::now()));
    }

    /// Has the connection give way that has been without a complete request for longest.
    fn evict(&mut self, grace: Duration) -> Result<(), NoneGivesWay> {
        let oldest = self.waiting.first_entry().ok_or(NoneGivesWay { until: None })?;
        let until = oldest.get().2 + grace;
        if until > Instant::now() {
            return Err(NoneGivesWay { until: Some(until) });
        }
        let (id, bell, _) = oldest.remove();
        self.open.remove(&id);
        bell.ring();
        Ok(())
    }
}

/// Nobody gives way for a newcomer, until this moment or until one ends.
#[derive(Debug, PartialEq, Eq)]
struct NoneGivesWay {
    until: Option<Instant>,
}

/// How many connections a port may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    /// In all.
    pub(crate) open: usize,
    /// Without a complete request.
    pub(crate) waiting: usize,
    /// Within a session, of peers that nothing names.
    pub(crate) guests: usize,
    /// How long a connection has for a complete request before it gives way.
    pub(crate) grace: Duration,
}

/// The places of one port.
#[derive(Debug)]
pub(crate) struct Places {
    room: Mutex<Room>,
    freed: Notify,
    caps: Caps,
}

impl Places {
    pub(crate) fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { room: Mutex::default(), freed: Notify::new(), caps })
    }

    /// The same for connections that need some time before their first request can be complete.
    pub(crate) fn with_grace(&self, grace: Duration) -> Arc<Self> {
        Self::new(Caps { grace, ..self.caps })
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Every change below is complete before anything in it could panic.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that has said nothing yet: a free one, else that of the oldest without a complete
    /// request. Where all connections are within one, waits until one of them ends; where the oldest still has time for
    /// its request, until that time is over.
    pub(crate) async fn take(self: &Arc<Self>) -> Seat {
        loop {
            let freed = self.freed.notified();
            match self.try_take() {
                Ok(seat) => return seat,
                Err(NoneGivesWay { until: None }) => freed.await,
                // It is woken earlier where one becomes free.
                Err(NoneGivesWay { until: Some(until) }) => drop(timeout_at(until, freed).await),
            }
        }
    }

    fn try_take(self: &Arc<Self>) -> Result<Seat, NoneGivesWay> {
        let mut room = self.room();
        let is_full = room.open.len() >= self.caps.open || room.waiting.len() >= self.caps.waiting;
        if is_full {
            room.evict(self.caps.grace)?;
        }
        let id = room.number();
        let bell = Arc::new(Bell::default());
        room.wait(id, &bell);
        drop(room);
        Ok(Seat { places: Arc::clone(self), id, bell })
    }
}

/// The place of one connection.
#[derive(Debug, Clone)]
pub struct Seat {
    places: Arc<Places>,
    id: u64,
    bell: Arc<Bell>,
}

impl Seat {
    /// A complete request came: from now on the connection does not give way. Peers that nothing names have a part of
    /// the places only.
    pub fn begin(&self, is_named: bool) -> Result<(), NoPlace> {
        let mut room = self.places.room();
        match room.open.get(&self.id) {
            Some(Stage::Busy | Stage::Guest) => return Err(NoPlace::Within),
            Some(Stage::Waiting(_)) if !is_named && room.guests >= self.places.caps.guests => {
                return Err(NoPlace::GuestsOnly);
            }
            Some(Stage::Waiting(_)) => {}
            // It has given way and is about to end.
            None => return Ok(()),
        }
        room.lift(self.id);
        let stage = if is_named {
            Stage::Busy
        } else {
            room.guests += 1;
            Stage::Guest
        };
        room.open.insert(self.id, stage);
        Ok(())
    }

    /// The request or session is over.
    pub fn idle(&self) {
        let mut room = self.places.room();
        if matches!(room.open.get(&self.id), Some(Stage::Busy | Stage::Guest)) {
            room.lift(self.id);
            room.wait(self.id, &self.bell);
            drop(room);
            // Where all were busy, somebody may wait for one that is not.
            self.places.freed.notify_waiters();
        }
    }

    /// True within a request or session.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.places.room().open.get(&self.id), Some(Stage::Busy | Stage::Guest))
    }

    /// The connection is closed.
    pub(crate) fn leave(&self) {
        self.places.room().lift(self.id);
        self.places.freed.notify_waiters();
    }

    /// True once the place was given to another connection; until then the task is woken when it is.
    pub(crate) fn poll_evicted(&self, cx: &Context<'_>) -> bool {
        if !self.is_evicted() {
            self.bell.waker.register(cx.waker());
        }
        self.is_evicted()
    }

    fn is_evicted(&self) -> bool {
        self.bell.rung.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(open: usize, waiting: usize, guests: usize) -> Arc<Places> {
        Places::new(Caps { open, waiting, guests, grace: Duration::ZERO })
    }

    #[test]
    fn the_oldest_without_a_complete_request_gives_way() {
        let places = places(3, 3, 3);
        let seats: Vec<Seat> = (0..3).map(|_| places.try_take().expect("a place")).collect();
        seats[0].begin(true).expect("its place");
        let fourth = places.try_take().expect("the place of the second");
        assert_eq!(seats.iter().map(Seat::is_evicted).collect::<Vec<_>>(), [false, true, false]);
        // Idle again, it is the newest of those that wait.
        seats[0].idle();
        places.try_take().expect("the place of the third");
        assert!(seats[2].is_evicted() && !seats[0].is_evicted() && !fourth.is_evicted());
        // What gave way is not counted twice when it closes.
        seats[1].leave();
        assert_eq!(seats[1].begin(true), Ok(()));
        assert_eq!(places.room().open.len(), 3);
    }

    #[test]
    fn where_all_are_within_a_request_nobody_gives_way() {
        let places = places(2, 2, 2);
        let seats: Vec<Seat> = (0..2).map(|_| places.try_take().expect("a place")).collect();
        for seat in &seats {
            seat.begin(true).expect("its place");
        }
        assert_eq!(places.try_take().err(), Some(NoneGivesWay { until: None }));
        seats[0].leave();
        assert!(places.try_take().is_ok());
    }

    #[test]
    fn guests_have_a_part_of_the_places_and_strangers_a_part_of_the_rest() {
        let places = places(4, 2, 1);
        let first = places.try_take().expect("a place");
        assert_eq!(first.begin(false), Ok(()));
        assert_eq!(first.begin(true), Err(NoPlace::Within));
        let second = places.try_take().expect("a place");
        assert_eq!(second.begin(false), Err(NoPlace::GuestsOnly));
        assert_eq!(second.begin(true), Ok(()));
        let strangers: Vec<Seat> = (0..2).map(|_| places.try_take().expect("a place")).collect();
        places.try_take().expect("that of the older stranger");
        assert_eq!(strangers.iter().map(Seat::is_evicted).collect::<Vec<_>>(), [true, false]);
        assert!(!first.is_evicted() && !second.is_evicted());
        first.idle();
        assert_eq!(places.room().guests, 0);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_place_gets_the_next_that_is_free() {
        let places = places(1, 1, 1);
        let seat = places.take().await;
        seat.begin(true).expect("its place");
        let waiting = Arc::clone(&places);
        let waiting = tokio::spawn(async move { waiting.take().await });
        tokio::task::yield_now().await;
        seat.idle();
        waiting.await.expect("a place");
        assert!(seat.is_evicted());
    }

    #[tokio::test]
    async fn nobody_gives_way_before_it_had_time_for_its_request() {
        const GRACE: Duration = Duration::from_millis(50);
        let places = places(2, 2, 2).with_grace(GRACE);
        let begun = Instant::now();
        let (first, second) = (places.take().await, places.take().await);
        let third = places.take().await;
        assert!(begun.elapsed() >= GRACE && first.is_evicted() && !second.is_evicted());
        // What is within a request stays, however old it is.
        third.begin(true).expect("its place");
        let fourth = places.take().await;
        assert!(second.is_evicted() && !third.is_evicted());
        let fifth = places.take().await;
        assert!(begun.elapsed() >= 2 * GRACE && fourth.is_evicted() && !third.is_evicted());
        // One that ends makes room at once.
        let patient = places.with_grace(Duration::from_hours(1));
        let (one, _other) = (patient.take().await, patient.take().await);
        one.leave();
        patient.take().await;
        drop(fifth);
    }
}
