//! What a list of results would do to one target: for tuning a check before it is committed. Pure.

use std::fmt;
use std::time::Duration;

use super::result::{Outcome, ResultCode};
use super::state::{Operation, TargetState};
use super::target::{Input, TargetHealth};
use super::terms::Terms;

/// The latest time of an event: what is tuned here takes seconds to hours, and sums stay far from overflow.
const LATEST_SECS: u64 = 366 * 24 * 3600;

/// One kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A probe passes.
    Pass,
    /// A probe fails.
    Fail,
    /// A connection succeeds.
    Ok,
    /// A connection fails.
    Err,
    /// An operator pauses the target.
    Pause,
    /// An operator ends the pause.
    Resume,
    /// An operator disables the target.
    Disable,
    /// An operator enables it again.
    Enable,
    /// Time passes.
    Tick,
}

impl EventKind {
    /// Every word.
    pub const WORDS: &'static [&'static str] =
        &["pass", "fail", "ok", "err", "pause", "resume", "disable", "enable", "tick"];

    const ALL: [Self; 9] = [
        Self::Pass,
        Self::Fail,
        Self::Ok,
        Self::Err,
        Self::Pause,
        Self::Resume,
        Self::Disable,
        Self::Enable,
        Self::Tick,
    ];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        // Both lists are in the order of the variants.
        Self::WORDS[self as usize]
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn input(self) -> Input {
        let outcome = |code| Outcome::new(code, "simulated");
        match self {
            Self::Pass => Input::Active(outcome(ResultCode::L4Ok)),
            Self::Fail => Input::Active(outcome(ResultCode::L4Con)),
            Self::Ok => Input::Passive(outcome(ResultCode::L4Ok)),
            Self::Err => Input::Passive(outcome(ResultCode::L4Con)),
            Self::Pause => Input::Operation(Operation::Pause),
            Self::Resume => Input::Operation(Operation::Resume),
            Self::Disable => Input::Operation(Operation::Disable),
            Self::Enable => Input::Operation(Operation::Enable),
            Self::Tick => Input::Tick,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One event of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happens.
    pub kind: EventKind,
    /// When, since the start; none: when the next probe is due.
    pub at: Option<Duration>,
}

/// Why a list of events cannot be played; places count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvents {
    /// Nothing there.
    #[error("no events are given; the events are {}", EventKind::WORDS.join(", "))]
    Empty,
    /// A word that is none.
    #[error("event {place}, `{word}`: unknown event `{name}`; the events are {}", EventKind::WORDS.join(", "))]
    Unknown {
        /// Which one.
        place: usize,
        /// The whole word.
        word: String,
        /// Its part before the `@`.
        name: String,
    },
    /// A time that is none.
    #[error(
        "event {place}, `{word}`: the text after `@` is not a time; write seconds since the start, for example \
         `fail@31`"
    )]
    Time {
        /// Which one.
        place: usize,
        /// The whole word.
        word: String,
    },
    /// A time that nobody tunes.
    #[error("event {place}, `{word}`: the time is more than a year after the start")]
    TooLate {
        /// Which one.
        place: usize,
        /// The whole word.
        word: String,
    },
    /// A time before that of the event before.
    #[error(
        "event {place}, `{word}`: the time is before that of event {}, which is at {} s",
        place - 1,
        before.as_secs_f64()
    )]
    Backwards {
        /// Which one.
        place: usize,
        /// The whole word.
        word: String,
        /// When the event before is.
        before: Duration,
    },
}

/// Reads `pass fail@31 …`: words with spaces or commas between them.
pub fn parse_events(text: &str) -> Result<Vec<Event>, InvalidEvents> {
    let words = text.split(|letter: char| letter.is_whitespace() || letter == ',').filter(|word| !word.is_empty());
    let events: Result<Vec<Event>, InvalidEvents> =
        words.enumerate().map(|(index, word)| parse_event(index + 1, word)).collect();
    events.and_then(|events| if events.is_empty() { Err(InvalidEvents::Empty) } else { Ok(events) })
}

fn parse_event(place: usize, text: &str) -> Result<Event, InvalidEvents> {
    // A command line can hold anything; a message shows the beginning of it.
    let word: String = text.chars().take(40).collect();
    let (name, time) = match text.split_once('@') {
        Some((name, time)) => (name, Some(time)),
        None => (text, None),
    };
    let Some(kind) = EventKind::parse(name) else {
        return Err(InvalidEvents::Unknown { place, word, name: name.chars().take(40).collect() });
    };
    let Some(time) = time else { return Ok(Event { kind, at: None }) };
    match parse_secs(time) {
        None => Err(InvalidEvents::Time { place, word }),
        Some(at) if at > Duration::from_secs(LATEST_SECS) => Err(InvalidEvents::TooLate { place, word }),
        at => Ok(Event { kind, at }),
    }
}

/// Seconds with up to three digits behind the point, and perhaps an `s`.
fn parse_secs(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 3 {
        return None;
    }
    // More digits than a u64 takes are a time beyond every bound.
    let secs = whole.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(secs).saturating_add(Duration::from_millis(format!("{part:0<3}").parse().ok()?)))
}

/// What one event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When, since the start.
    pub at: Duration,
    /// What happened.
    pub kind: EventKind,
    /// The state before.
    pub before: TargetState,
    /// The state after.
    pub state: TargetState,
    /// The counter after.
    pub health: u16,
    /// How long after the event the next probe is due; none if there is none.
    pub next: Option<Duration>,
}

impl Step {
    /// True if the event changed the state.
    pub fn is_change(&self) -> bool {
        self.before != self.state
    }
}

/// Plays the events on a target that starts at 0 and whose first probe is due then.
pub fn simulate(terms: Terms, events: &[Event]) -> Result<Vec<Step>, InvalidEvents> {
    let mut target = TargetHealth::new(terms, Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut steps = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        // A probe that is overdue is late: it comes now. Where none is due, no time passes.
        let at = event.at.unwrap_or_else(|| target.next_probe().map_or(now, |due| due.max(now)));
        if at < now {
            let word = format!("{}@{}", event.kind, at.as_secs_f64());
            return Err(InvalidEvents::Backwards { place: index + 1, word, before: now });
        }
        now = at;
        let before = target.state();
        target.apply(event.kind.input(), now);
        steps.push(Step {
            at: now,
            kind: event.kind,
            before,
            state: target.state(),
            health: target.counter().value(),
            next: target.next_probe().map(|due| due.saturating_sub(now)),
        });
    }
    Ok(steps)
}
