//! A fleet with its store and its edges around it, all in memory: carries effects out as the driver does. Pure.
//!
//! Keeps, and panics where the fleet breaks it: what is sent was recorded before; one generation of one lineage has
//! one content; at most one state is in flight per edge; no state is sent that an honest edge must refuse.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use reconciler::decide::fleet::{Effect, Event, Fleet, Mode, Restored, SessionId, TreeRead};
use reconciler::decide::plan::{Allowances, Plan, PlanInput, plan};
use reconciler::decide::record::{EDGE_PREFIX, Record, restore};
use reconciler::decide::succession::Succession;
use reconciler::decide::view::Report;
use schema::canonical::Digest;
use schema::name::EdgeName;

use crate::sim_edge::{Sent, SimEdge};

/// An edge with its connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) edge: SimEdge,
    pub(crate) session: Option<SessionId>,
    /// Sent in this session and not received.
    in_flight: Option<Sent>,
    /// A confirmation on its way.
    confirmed: Option<u64>,
    /// Every report that was made, to be repeated out of time.
    said: VecDeque<Report>,
}

impl Link {
    /// True if a state is on its way there.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// True if a confirmation is.
    pub(crate) fn is_confirmation_in_flight(&self) -> bool {
        self.confirmed.is_some()
    }
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    mode: Mode,
    allow_dirty: bool,
    lineages: u32,
    now: Timestamp,
    records: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<EdgeName, Link>,
    sessions: SessionId,
    contents: BTreeMap<(EdgeName, String, u64), Digest>,
    /// Every record of the step that is carried out.
    written: Vec<Record>,
    /// The server dies after so many effects of the next event.
    pub(crate) dies_after: Option<usize>,
}

impl World {
    pub(crate) fn new(mode: Mode, allow_dirty: bool) -> Self {
        Self {
            fleet: Fleet::new("L1".to_owned(), mode, allow_dirty, Restored::default()),
            mode,
            allow_dirty,
            lineages: 1,
            now: Timestamp::from_second(1_000_000).unwrap(),
            records: BTreeMap::new(),
            links: BTreeMap::new(),
            sessions: 0,
            contents: BTreeMap::new(),
            written: Vec::new(),
            dies_after: None,
        }
    }

    /// What applying a valid tree would change, with nothing allowed.
    pub(crate) fn plan(&self, tree: &TreeRead) -> Plan {
        plan(&PlanInput {
            ruleset: tree.ruleset.as_ref().expect("a valid tree"),
            source: &tree.source,
            edges: self.fleet.edges(),
            lineage: self.fleet.lineage(),
            rails: self.fleet.applied().map(|applied| &applied.rails),
            succession: Succession::default(),
            allowances: &Allowances::default(),
            diagnostics: &[],
            now: self.now,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The edge of that name; the first mention makes it.
    pub(crate) fn link(&mut self, name: &EdgeName) -> &mut Link {
        let link =
            || Link { edge: SimEdge::new(), session: None, in_flight: None, confirmed: None, said: VecDeque::new() };
        self.links.entry(name.clone()).or_insert_with(link)
    }

    /// All edges.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&EdgeName, &Link)> {
        self.links.iter()
    }

    /// What is on disk, for telling one world from another; as bytes, for there are many.
    pub(crate) fn hash_records(&self, hasher: &mut impl Hasher) {
        self.records.hash(hasher);
    }

    /// How many states are on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.links.values().filter(|link| link.in_flight.is_some()).count()
    }

    /// One event; the effects that were carried out.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.fleet.step(event, self.now);
        let dies = self.dies_after.take();
        if let Some(count) = dies {
            effects.truncate(count);
        }
        self.written.clear();
        let mut pending: Vec<Record> = Vec::new();
        for effect in &effects {
            if let Effect::Persist(record) = effect {
                pending.push(record.clone());
                continue;
            }
            self.commit(&mut pending);
            self.carry_out(effect);
        }
        if dies.is_some() {
            // Records are written in one transaction, which the effect behind them waits for.
            self.restart_server();
        } else {
            self.commit(&mut pending);
        }
        effects
    }

    fn commit(&mut self, pending: &mut Vec<Record>) {
        self.written.extend(pending.iter().cloned());
        self.records.extend(pending.drain(..).map(|record| (record.key, record.value)));
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Welcome { session } => {
                assert_eq!(*session, self.sessions, "only the newest session can be welcomed");
            }
            Effect::Send { session, edge, generation, digest, rules, basis, confirm_within, .. } => {
                let lineage = self.fleet.lineage().to_owned();
                let record = self.records.get_key_value(&format!("{EDGE_PREFIX}{edge}"));
                let record = record.map(|(key, value)| (key.as_str(), value.as_slice()));
                let recorded =
                    restore(record).expect("our own record").edges.get(edge).and_then(|view| view.desired.clone());
                let recorded = recorded.expect("what is sent was recorded before");
                // The same step may have decided something newer, which is sent when this is answered.
                let is_newer = recorded.generation > *generation;
                let is_this = (recorded.generation, recorded.digest) == (*generation, *digest);
                assert!(is_newer || is_this, "another state is recorded");
                let content = self.contents.entry((edge.clone(), lineage.clone(), *generation)).or_insert(*digest);
                assert_eq!(*content, *digest, "{edge} gets generation {generation} with two contents");
                let link = self.links.get_mut(edge).expect("states are sent to edges that said hello");
                assert_eq!(link.session, Some(*session), "a state is sent into a session that is not there");
                let (generation, digest, basis) = (*generation, *digest, *basis);
                let sent = Sent {
                    lineage,
                    generation,
                    digest,
                    rules: rules.clone(),
                    basis,
                    is_on_trial: confirm_within.is_some(),
                };
                let before = link.in_flight.replace(sent);
                // Told once more what it has accepted, an edge touches nothing: that one does not count.
                let accepted = link.edge.generation();
                assert!(before.is_none_or(|before| before.generation <= accepted), "two states in flight to {edge}");
            }
            Effect::Confirm { session, edge, generation } => {
                let link = self.links.get_mut(edge).expect("confirmations are sent to edges that said hello");
                assert_eq!(link.session, Some(*session), "a confirmation is sent into a session that is not there");
                link.confirmed = Some(*generation);
            }
            Effect::SendOverrides { session, edge, overrides } => {
                let record = Record::deviations(edge, overrides);
                let is_stored = self.records.get(&record.key).map_or(overrides.is_empty(), |now| *now == record.value);
                // What the same step ended again is sent as well, and then the rest of it.
                assert!(is_stored || self.written.contains(&record), "what is sent was recorded before");
                let link = self.links.get(edge).expect("overrides are sent to edges that said hello");
                assert_eq!(link.session, Some(*session), "overrides are sent into a session that is not there");
            }
            Effect::Persist(_)
            | Effect::Deliver(_)
            | Effect::Refuse { .. }
            | Effect::Emit(_)
            | Effect::EmitUnlogged(_)
            | Effect::Answer { .. }
            | Effect::Answered { .. }
            | Effect::Controlled { .. } => {}
        }
    }

    fn restored(&self) -> Restored {
        restore(self.records.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).expect("our own records")
    }

    /// The edge opens a session. A real one does so only where it has none: see [`World::second_hello`].
    pub(crate) fn hello(&mut self, name: &EdgeName) -> Vec<Effect> {
        self.sessions += 1;
        let session = self.sessions;
        let link = self.link(name);
        assert_eq!(link.session, None, "{name} has a session");
        (link.session, link.in_flight, link.confirmed) = (Some(session), None, None);
        let (hello, report) = (link.edge.hello(), link.edge.report());
        link.said = VecDeque::from([report.clone()]);
        self.step(Event::Hello { session, edge: name.clone(), hello, report })
    }

    /// A stranger opens a session under the name, and goes.
    pub(crate) fn second_hello(&mut self, name: &EdgeName) -> Vec<Effect> {
        self.sessions += 1;
        let session = self.sessions;
        let stranger = SimEdge::new();
        let (hello, report) = (stranger.hello(), stranger.report());
        let mut effects = self.step(Event::Hello { session, edge: name.clone(), hello, report });
        effects.extend(self.step(Event::Gone { session, edge: name.clone() }));
        effects
    }

    /// The edge takes what is in flight; its answer arrives or is lost. `None` where nothing is in flight.
    pub(crate) fn deliver(&mut self, name: &EdgeName, is_answer_lost: bool) -> Option<Vec<Effect>> {
        let link = self.link(name);
        let session = link.session?;
        let sent = link.in_flight.take()?;
        let is_at_base = link.edge.is_at(&sent);
        let is_willing = !link.edge.refuses_next && is_at_base;
        let before = link.edge.generation();
        let (report, is_taken) = link.edge.receive(&sent);
        assert_eq!(is_taken, is_willing, "{name} at {before} must refuse generation {}", sent.generation);
        assert!(link.edge.generation() >= before, "a generation went down");
        link.said.push_front(report.clone());
        if is_answer_lost {
            // A stream loses nothing but its end: an answer that would be missed for ever goes with its session.
            return Some(if is_at_base { Vec::new() } else { self.gone(name) });
        }
        Some(self.step(Event::Report { session, edge: name.clone(), report }))
    }

    /// The edge hears the confirmation that is on its way. `None` where none is.
    pub(crate) fn hear(&mut self, name: &EdgeName) -> Option<Vec<Effect>> {
        let link = self.link(name);
        let generation = link.confirmed.take()?;
        link.edge.confirm(generation);
        Some(self.report(name))
    }

    /// The time of an edge for a confirmation is over, and it says what came of it.
    pub(crate) fn window_ends(&mut self, name: &EdgeName) -> Vec<Effect> {
        self.link(name).edge.window_ends();
        self.report(name)
    }

    /// The edge reports of its own accord.
    pub(crate) fn report(&mut self, name: &EdgeName) -> Vec<Effect> {
        let link = self.link(name);
        let Some(session) = link.session else { return Vec::new() };
        let report = link.edge.report();
        link.said.push_front(report.clone());
        self.step(Event::Report { session, edge: name.clone(), report })
    }

    /// A report of this session arrives once more, however old.
    pub(crate) fn repeat_report(&mut self, name: &EdgeName, age: usize) -> Vec<Effect> {
        let link = self.link(name);
        let Some(session) = link.session else { return Vec::new() };
        let Some(report) = link.said.get(age.min(link.said.len().saturating_sub(1))).cloned() else {
            return Vec::new();
        };
        self.step(Event::Report { session, edge: name.clone(), report })
    }

    /// A report of another session arrives.
    pub(crate) fn report_of_session(&mut self, name: &EdgeName, session: SessionId) -> Vec<Effect> {
        let report = SimEdge::new().report();
        self.step(Event::Report { session, edge: name.clone(), report })
    }

    /// The session ends; what is in flight is lost.
    pub(crate) fn gone(&mut self, name: &EdgeName) -> Vec<Effect> {
        let link = self.link(name);
        (link.in_flight, link.confirmed) = (None, None);
        let Some(session) = link.session.take() else { return Vec::new() };
        self.step(Event::Gone { session, edge: name.clone() })
    }

    /// The edge's process ends and comes back from its disk, or without.
    pub(crate) fn restart_edge(&mut self, name: &EdgeName, is_disk_lost: bool) -> Vec<Effect> {
        let effects = self.gone(name);
        let edge = &mut self.link(name).edge;
        if is_disk_lost {
            *edge = SimEdge::new();
        } else {
            edge.restart();
        }
        effects
    }

    /// The server dies and comes back from its records. Edges notice and have no session.
    pub(crate) fn restart_server(&mut self) {
        let lineage = format!("L{}", self.lineages);
        self.fleet = Fleet::new(lineage, self.mode, self.allow_dirty, self.restored());
        for link in self.links.values_mut() {
            (link.session, link.in_flight, link.confirmed) = (None, None, None);
        }
    }

    /// The same in another mode.
    pub(crate) fn restart_in(&mut self, mode: Mode) {
        self.mode = mode;
        self.restart_server();
    }

    /// The server dies and its disk with it.
    pub(crate) fn lose_state(&mut self) {
        self.records.clear();
        self.lineages += 1;
        self.restart_server();
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, by: Duration) -> Vec<Effect> {
        self.now = self.now.checked_add(by).unwrap();
        self.step(Event::Tick)
    }
}
