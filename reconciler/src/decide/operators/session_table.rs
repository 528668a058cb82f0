//! Who is signed in to the page, and the links that sign somebody in once. Pure.
//!
//! Keeps: of identifiers and codes only digests are kept; a session ends with its operator's token, after [`IDLE`] without
//! a request, and when its operator signs in too often; how many there are is bounded.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;

use super::Roster;
use super::roster::Recognised;

/// How long a session lasts without a request.
pub const IDLE: Duration = Duration::from_hours(8);
/// How long a sign-in link is valid.
pub const LINK_LIFETIME: Duration = Duration::from_mins(15);
/// Sessions of one operator: each browser has one.
const MOST_OF_ONE: usize = 32;
/// Sessions of all operators: some hundred bytes each.
const MOST: usize = 4096;
/// Links that are valid at a time.
const MOST_LINKS: usize = 16;

/// One browser that is signed in.
#[derive(Debug)]
struct SignedIn {
    who: Recognised,
    /// When it was used last.
    used_at: Timestamp,
    /// What the next page is to say.
    note: Option<String>,
}

impl SignedIn {
    fn is_live(&self, roster: &Roster, now: Timestamp) -> bool {
        let is_valid = self.who.until.is_none_or(|until| until > now) && roster.has(&self.who.caller);
        is_valid && !is_past(self.used_at, IDLE, now)
    }
}

fn is_past(since: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    now.duration_since(since) >= jiff::SignedDuration::try_from(lifetime).unwrap_or(jiff::SignedDuration::MAX)
}

/// All sessions of the page, and the links that are valid.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: HashMap<Digest, SignedIn>,
    /// By the digest of the code, with the time when each was made.
    links: HashMap<Digest, Timestamp>,
}

impl SessionTable {
    /// Begins a session. The sessions that were unused for longest give way.
    pub fn begin(&mut self, id: Digest, who: Recognised, roster: &Roster, now: Timestamp) {
        self.sessions.retain(|_, session| session.is_live(roster, now));
        let name = who.caller.name.clone();
        self.make_room(MOST_OF_ONE, |session| session.who.caller.name == name);
        self.make_room(MOST, |_| true);
        self.sessions.insert(id, SignedIn { who, used_at: now, note: None });
    }

    /// Leaves room for one more among those that are meant.
    fn make_room(&mut self, most: usize, is_meant: impl Fn(&SignedIn) -> bool) {
        let meant = || self.sessions.iter().filter(|(_, session)| is_meant(session));
        if meant().count() < most {
            return;
        }
        if let Some(oldest) = meant().min_by_key(|(_, session)| session.used_at).map(|(id, _)| *id) {
            self.sessions.remove(&oldest);
        }
    }

    /// Whom a session belongs to; the session has been used.
    pub fn find(&mut self, id: &Digest, roster: &Roster, now: Timestamp) -> Option<Recognised> {
        let session = self.sessions.get_mut(id)?;
        if !session.is_live(roster, now) {
            self.sessions.remove(id);
            return None;
        }
        session.used_at = session.used_at.max(now);
        Some(session.who.clone())
    }

    /// True if the session goes on. Asking does not count as using it.
    pub fn is_live(&self, id: &Digest, roster: &Roster, now: Timestamp) -> bool {
        self.sessions.get(id).is_some_and(|session| session.is_live(roster, now))
    }

    /// Ends a session; whose it was.
    pub fn end(&mut self, id: &Digest) -> Option<Recognised> {
        self.sessions.remove(id).map(|session| session.who)
    }

    /// What the next page of the session is to say.
    pub fn set_note(&mut self, id: &Digest, note: String) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.note = Some(note);
        }
    }

    /// What the page is to say, once.
    pub fn take_note(&mut self, id: &Digest) -> Option<String> {
        self.sessions.get_mut(id)?.note.take()
    }

    /// Makes a link valid.
    pub fn add_link(&mut self, code: Digest, now: Timestamp) {
        self.links.retain(|_, made_at| !is_past(*made_at, LINK_LIFETIME, now));
        if self.links.len() >= MOST_LINKS
            && let Some(oldest) = self.links.iter().min_by_key(|(_, made_at)| **made_at).map(|(code, _)| *code)
        {
            self.links.remove(&oldest);
        }
        self.links.insert(code, now);
    }

    /// Uses a link up; true if it was valid.
    pub fn use_link(&mut self, code: &Digest, now: Timestamp) -> bool {
        self.links.remove(code).is_some_and(|made_at| !is_past(made_at, LINK_LIFETIME, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::operators::{Grant, Operator, Role, Secret};

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    fn id(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn operator(name: &str, expires_at: Option<Timestamp>) -> Operator {
        let name = schema::name::OperatorName::new(name).expect("a name");
        let secret = Secret::Token(Digest::of(name.as_str().as_bytes()));
        Operator::new(name, (Role::Viewer, Grant::default()), (at(0), String::new()), expires_at, secret)
    }

    fn roster() -> Roster {
        Roster::new("own").with(operator("ann", None)).with(operator("bob", Some(at(100))))
    }

    fn who(roster: &Roster, token: &str) -> Recognised {
        roster.find(token).expect("an operator")
    }

    #[test]
    fn a_session_ends_after_eight_hours_without_a_request() {
        let (roster, mut table) = (roster(), SessionTable::default());
        table.begin(id("a"), who(&roster, "ann"), &roster, at(0));
        let hours = |hours: i64| at(hours * 3600);
        assert!(table.find(&id("a"), &roster, hours(7)).is_some());
        assert!(table.find(&id("a"), &roster, hours(14)).is_some(), "the request at 7 h counts");
        assert!(!table.is_live(&id("a"), &roster, hours(22)));
        assert!(table.find(&id("a"), &roster, hours(22)).is_none());
        assert!(table.find(&id("a"), &roster, hours(14)).is_none(), "it has ended");
    }

    #[test]
    fn a_session_ends_with_the_token_of_its_operator() {
        let (roster, mut table) = (roster(), SessionTable::default());
        table.begin(id("a"), who(&roster, "ann"), &roster, at(0));
        table.begin(id("b"), who(&roster, "bob"), &roster, at(0));
        assert!(table.find(&id("b"), &roster, at(99)).is_some());
        assert!(table.find(&id("b"), &roster, at(100)).is_none(), "the token has expired");
        let name = schema::name::OperatorName::new("ann").expect("a name");
        let revoked = roster.clone().without(&name);
        assert!(table.is_live(&id("a"), &roster, at(100)));
        assert!(!table.is_live(&id("a"), &revoked, at(100)));
        let again = revoked.with(operator("ann", None));
        assert!(table.find(&id("a"), &again, at(100)).is_none(), "another operator of the same name");
    }

    #[test]
    fn the_session_that_was_unused_for_longest_gives_way() {
        let (roster, mut table) = (roster(), SessionTable::default());
        table.begin(id("own"), who(&roster, "own"), &roster, at(0));
        for (number, secs) in (0..MOST_OF_ONE).zip(0..) {
            table.begin(id(&number.to_string()), who(&roster, "ann"), &roster, at(secs));
        }
        table.find(&id("0"), &roster, at(1000));
        table.begin(id("new"), who(&roster, "ann"), &roster, at(1001));
        assert!(table.is_live(&id("0"), &roster, at(1001)) && table.is_live(&id("new"), &roster, at(1001)));
        assert!(!table.is_live(&id("1"), &roster, at(1001)));
        assert!(table.is_live(&id("own"), &roster, at(1001)), "that of another operator");
    }

    #[test]
    fn a_link_works_once_and_for_a_quarter_of_an_hour() {
        let mut table = SessionTable::default();
        table.add_link(id("a"), at(0));
        table.add_link(id("b"), at(0));
        assert!(!table.use_link(&id("c"), at(1)));
        assert!(table.use_link(&id("a"), at(1)));
        assert!(!table.use_link(&id("a"), at(1)));
        assert!(!table.use_link(&id("b"), at(900)));
        for number in 0..100 {
            table.add_link(id(&number.to_string()), at(1000 + number));
        }
        assert!(table.links.len() <= MOST_LINKS && table.use_link(&id("99"), at(1100)));
    }

    #[test]
    fn a_note_is_said_once() {
        let (roster, mut table) = (roster(), SessionTable::default());
        table.begin(id("a"), who(&roster, "ann"), &roster, at(0));
        table.set_note(&id("a"), "done".to_owned());
        assert_eq!(table.take_note(&id("a")).as_deref(), Some("done"));
        assert_eq!(table.take_note(&id("a")), None);
    }
}
