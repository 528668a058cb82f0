//! The letters that wait for one notifier: which are sent now, together or again, and which are given up. Pure.
//!
//! Keeps: no letter leaves but by an answer that accepts it, by a later state of the same commit, or after a day; messages
//! keep the interval between them; letters are sent in the order in which they were written, except for one
//! that its receiver refused; the number of letters is bounded, and beyond it the oldest are merged.

use std::time::Duration;

use jiff::Timestamp;

use super::letter::{Letter, LetterContent};
use super::{News, Topic};

/// What happens to many rules at once arrives within this time: one message tells all of it.
const GATHER: Duration = Duration::from_secs(1);
/// The wait after the first failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST_RETRY: Duration = Duration::from_mins(10);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(1);
/// After so long a letter is given up: what it reports is known by then.
const LIFETIME: Duration = Duration::from_hours(24);
/// Letters that wait for one notifier.
pub(super) const MOST_LETTERS: usize = 1000;

/// A letter that waits.
#[derive(Debug, Clone)]
struct WaitingLetter {
    letter: Letter,
    due: Timestamp,
    refusals: u32,
}

/// What is sent as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The first of its letters.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// What it says.
    pub content: LetterContent,
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFailure {
    /// In words, without a secret.
    pub message: String,
    /// True if the receiver refused this very message, so that another one may be accepted.
    pub is_refusal: bool,
    /// How long the receiver asks to wait.
    pub retry_after: Option<Duration>,
}

/// The last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When it ended.
    pub at: Timestamp,
    /// Why it failed.
    pub message: String,
}

/// What is to be changed in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChange {
    /// A letter holds more, or less, than before.
    Write(Letter),
    /// A letter is done with.
    Delete(u64),
}

/// The letters that wait for one notifier.
#[derive(Debug, Default)]
pub struct Outbox {
    interval: Duration,
    merges: bool,
    waiting: Vec<WaitingLetter>,
    in_flight: Vec<u64>,
    not_before: Option<Timestamp>,
    failures: u32,
    last_sent: Option<Timestamp>,
    last_failure: Option<LastFailure>,
    /// Messages that were accepted.
    pub sent: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Letters that were merged because too many waited.
    pub condensed: u64,
}

fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn backoff(failures: u32) -> Duration {
    let factor = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
}

impl Outbox {
    /// An empty outbox. An interval merges what comes within it; without one, messages are only kept `pause` apart.
    pub fn new(min_interval: Duration, pause: Duration) -> Self {
        Self { interval: min_interval.max(pause), merges: !min_interval.is_zero(), ..Self::default() }
    }

    /// Takes back what waited before a start: all of it is due at once.
    pub fn restore(&mut self, letters: Vec<Letter>, now: Timestamp) {
        let waiting = letters.into_iter().map(|letter| WaitingLetter { letter, due: now, refusals: 0 });
        self.waiting.extend(waiting);
        self.waiting.sort_by_key(|waiting| waiting.letter.id);
    }

    /// Takes a letter in; what changes in the store besides.
    pub fn add(&mut self, letter: Letter) -> Vec<StoreChange> {
        if self.waiting.iter().any(|waiting| waiting.letter.id == letter.id) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if let LetterContent::Commit(status) = &letter.content {
            let is_replaced = |waiting: &WaitingLetter| {
                matches!(&waiting.letter.content, LetterContent::Commit(before) if before.sha == status.sha)
                    && !self.in_flight.contains(&waiting.letter.id)
            };
            changes.extend(
                self.waiting.iter().filter(|one| is_replaced(one)).map(|one| StoreChange::Delete(one.letter.id)),
            );
            let deleted: Vec<u64> = changes.iter().map(StoreChange::id).collect();
            self.waiting.retain(|waiting| !deleted.contains(&waiting.letter.id));
        }
        let due = if topic(&letter).is_some_and(Topic::gathers) { later(letter.at, GATHER) } else { letter.at };
        self.waiting.push(WaitingLetter { letter, due, refusals: 0 });
        while self.waiting.len() > MOST_LETTERS {
            let Some(condensed) = self.condense() else { break };
            changes.extend(condensed);
        }
        changes
    }

    /// Merges the two oldest letters that are not being sent. Of the states of commits, the oldest is dropped: the commit is
    /// long since not the newest.
    fn condense(&mut self) -> Option<Vec<StoreChange>> {
        let mut free = (0..self.waiting.len()).filter(|at| !self.in_flight.contains(&self.waiting[*at].letter.id));
        let (first, second) = (free.next()?, free.next()?);
        self.condensed += 1;
        let merged = self.waiting[first].letter.content.with(&self.waiting[second].letter.content);
        let Some(content) = merged else {
            return Some(vec![StoreChange::Delete(self.waiting.remove(first).letter.id)]);
        };
        let gone = self.waiting.remove(second).letter.id;
        let kept = &mut self.waiting[first].letter;
        kept.content = content;
        Some(vec![StoreChange::Write(kept.clone()), StoreChange::Delete(gone)])
    }

    /// When to look again; `None` while nothing waits, or while a message is on its way.
    pub fn next_due(&self) -> Option<Timestamp> {
        if !self.in_flight.is_empty() {
            return None;
        }
        let due = self.waiting.iter().map(|waiting| waiting.due).min()?;
        let spaced = self.last_sent.map_or(due, |sent| due.max(later(sent, self.interval)));
        Some(self.not_before.map_or(spaced, |not_before| spaced.max(not_before)))
    }

    /// The message that is to be sent now.
    pub fn take(&mut self, now: Timestamp) -> Option<OutgoingMessage> {
        if self.next_due().is_none_or(|due| due > now) {
            return None;
        }
        // What gathers goes in front of a later letter that does not, even if it may be incomplete.
        let is_any_due = self.waiting.iter().any(|waiting| waiting.refusals == 0 && waiting.due <= now);
        let is_next = |waiting: &WaitingLetter| if waiting.refusals == 0 { is_any_due } else { waiting.due <= now };
        let first = self.waiting.iter().position(is_next)?;
        let mut delivery = OutgoingMessage {
            first: self.waiting[first].letter.id,
            last: self.waiting[first].letter.id,
            content: self.waiting[first].letter.content.clone(),
        };
        self.in_flight = vec![delivery.first];
        let about = topic(&self.waiting[first].letter);
        // A letter that was refused goes alone, so that it does not hold up others.
        let is_alone = self.waiting[first].refusals > 0;
        for waiting in self.waiting[first + 1..].iter().take_while(|_| !is_alone) {
            // What gathers may still be incomplete; it is sent with what came before it.
            let is_alike = self.merges || (topic(&waiting.letter) == about && about.is_some_and(Topic::gathers));
            let joined = delivery.content.with(&waiting.letter.content).filter(|_| is_alike && waiting.refusals == 0);
            let Some(content) = joined else { break };
            delivery.content = content;
            delivery.last = waiting.letter.id;
            self.in_flight.push(waiting.letter.id);
        }
        Some(delivery)
    }

    /// The receiver has accepted the message that was on its way: its letters are done with.
    pub fn delivered(&mut self, now: Timestamp) -> Vec<StoreChange> {
        let done = std::mem::take(&mut self.in_flight);
        self.waiting.retain(|waiting| !done.contains(&waiting.letter.id));
        self.sent += 1;
        (self.failures, self.not_before, self.last_failure) = (0, None, None);
        self.last_sent = Some(now);
        done.into_iter().map(StoreChange::Delete).collect()
    }

    /// The message that was on its way was not accepted; what changes in the store, for a later state of a commit replaces
    /// the one that failed.
    pub fn not_delivered(&mut self, failed: DeliveryFailure, now: Timestamp) -> Vec<StoreChange> {
        let tried = std::mem::take(&mut self.in_flight);
        self.failed += 1;
        self.last_failure = Some(LastFailure { at: now, message: failed.message });
        let asked = failed.retry_after.unwrap_or_default().min(LONGEST_ASKED);
        let replaced: Vec<u64> = tried.iter().copied().filter(|id| self.is_replaced(*id)).collect();
        self.waiting.retain(|waiting| !replaced.contains(&waiting.letter.id));
        let changes = replaced.into_iter().map(StoreChange::Delete).collect();
        if !failed.is_refusal {
            self.failures += 1;
            self.not_before = Some(later(now, backoff(self.failures).max(asked)));
            return changes;
        }
        (self.failures, self.not_before) = (0, None);
        for waiting in self.waiting.iter_mut().filter(|waiting| tried.contains(&waiting.letter.id)) {
            waiting.refusals += 1;
            waiting.due = later(now, backoff(waiting.refusals).max(asked));
        }
        changes
    }

    /// True if a later state of the same commit waits.
    fn is_replaced(&self, id: u64) -> bool {
        let sha = |waiting: &WaitingLetter| match &waiting.letter.content {
            LetterContent::Commit(status) => Some(status.sha.clone()),
            LetterContent::News { .. } => None,
        };
        let of = self.waiting.iter().find(|waiting| waiting.letter.id == id).and_then(sha);
        of.is_some() && self.waiting.iter().any(|waiting| waiting.letter.id > id && sha(waiting) == of)
    }

    /// The letters that are given up, for they are a day old.
    pub fn give_up(&mut self, now: Timestamp) -> Vec<Letter> {
        let (in_flight, mut given_up) = (self.in_flight.clone(), Vec::new());
        self.waiting.retain(|waiting| {
            let is_over = later(waiting.letter.at, LIFETIME) <= now && !in_flight.contains(&waiting.letter.id);
            given_up.extend(is_over.then(|| waiting.letter.clone()));
            !is_over
        });
        given_up
    }

    /// How many letters wait.
    pub fn pending(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// When the oldest of them was written.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|waiting| waiting.letter.at).min()
    }

    /// When a message was accepted last.
    pub fn last_sent(&self) -> Option<Timestamp> {
        self.last_sent
    }

    /// The failure of the last attempt; `None` once a message was accepted.
    pub fn last_failure(&self) -> Option<&LastFailure> {
        self.last_failure.as_ref()
    }
}

impl StoreChange {
    /// The letter.
    pub const fn id(&self) -> u64 {
        match self {
            Self::Write(letter) => letter.id,
            Self::Delete(id) => *id,
        }
    }
}

fn topic(letter: &Letter) -> Option<Topic> {
    match &letter.content {
        LetterContent::News { items, .. } => items.first().map(|News { event, .. }| *event),
        LetterContent::Commit(_) => None,
    }
}

#[cfg(test)]
mod tests;
