//! The live connections of a worker, one slice at a time: to list them, or to end those that are meant. Values.
//!
//! Keeps: what one slice finds is bounded by the limit of the list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schema::net::Listener;
use schema::policy::Networks;
use schema::proto::ConnectionOrder;
use schema::rule::Host;

use super::counting::meter::Meter;
use super::counting::source::Source;
use super::counting::ticket::Ticket;
use super::timers::{Tick, lasting};
use crate::decide::live::{ConnectionId, Ranked, leave_first, rank};

/// Places of a worker that one look goes through: a fraction of a millisecond, less than a bulk turn takes.
pub(super) const SLICE: usize = 2048;

/// Which connections are meant, and what is done with them. All that is set must match.
pub struct ConnectionQuery {
    /// The rules, in the order of their names.
    pub rules: Vec<Arc<Meter>>,
    /// This one alone.
    pub id: Option<ConnectionId>,
    /// Those from these networks.
    pub source: Option<Networks>,
    /// Those that go to this host and port.
    pub target: Option<(Host, u16)>,
    /// Those that came in at this port.
    pub listen_port: Option<u16>,
    /// Those that are at least so old.
    pub older: Duration,
    /// Those that are at most so old.
    pub younger: Option<Duration>,
    /// Which of them come first.
    pub order: ConnectionOrder,
    /// How many are listed.
    pub limit: usize,
    /// They are reset instead of listed.
    pub ends: bool,
}

/// What a list shows of one connection.
#[derive(Debug, Clone)]
pub struct LiveConnection {
    rank: u64,
    /// The place of its rule in [`ConnectionQuery::rules`].
    pub rule: usize,
    /// Its name.
    pub id: ConnectionId,
    /// Where it comes from.
    pub source: Source,
    /// Where it came in.
    pub listener: Listener,
    /// The host that serves it.
    pub host: Host,
    /// The port there.
    pub port: u16,
    /// How long ago it came.
    pub age: Duration,
    /// How long nothing has moved.
    pub idle: Duration,
    /// From the client to the target.
    pub bytes_in: u64,
    /// From the target to the client.
    pub bytes_out: u64,
    /// It ends with a drain.
    pub drains: bool,
}

/// What a query found.
#[derive(Debug, Default)]
pub struct QueryResult {
    /// How many were meant, by the place of their rule in [`ConnectionQuery::rules`].
    pub matched: HashMap<usize, u64>,
    /// The first of them in the order that was asked for.
    pub connections: Vec<LiveConnection>,
}

/// The same as asked of workers.
pub(super) struct SlabQuery {
    wanted: ConnectionQuery,
    /// By the address of the meter, which is held above.
    by_meter: HashMap<usize, usize>,
    run: u32,
}

/// What a worker found in one slice, and where the next one begins.
#[derive(Default)]
pub(super) struct QuerySlice {
    found: QueryResult,
    next: Option<u32>,
}

/// One connection as a worker has it.
pub(super) struct SeenConnection<'a> {
    pub(super) ticket: &'a Ticket,
    pub(super) id: ConnectionId,
    /// When something moved last.
    pub(super) active: Tick,
}

impl SlabQuery {
    /// What is wanted of the connections of this run.
    pub(super) fn new(wanted: ConnectionQuery, run: u32) -> Self {
        let by_meter = wanted.rules.iter().enumerate().map(|(index, meter)| (Arc::as_ptr(meter).addr(), index));
        Self { by_meter: by_meter.collect(), wanted, run }
    }

    /// The run that names are of.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    /// The place of its rule, if it is meant.
    fn rule_of(&self, seen: &SeenConnection<'_>, age: u32) -> Option<usize> {
        let (wanted, ticket) = (&self.wanted, seen.ticket);
        let rule = *self.by_meter.get(&Arc::as_ptr(&ticket.route().meter).addr())?;
        let age = lasting(age.into());
        let is_meant = wanted.id.is_none_or(|id| id == seen.id)
            && wanted.listen_port.is_none_or(|port| port == ticket.listener().port)
            && age >= wanted.older
            && wanted.younger.is_none_or(|most| age <= most)
            && wanted
                .target
                .as_ref()
                .is_none_or(|(host, port)| *port == ticket.target_port() && *host == ticket.target().host)
            && wanted.source.as_ref().is_none_or(|networks| networks.contain(ticket.source().ip()));
        is_meant.then_some(rule)
    }

    /// Looks at one slice of the connections of a worker. The keys are those of the ones that are meant.
    pub(super) fn slice<'a, K: Copy>(
        &self,
        seen: impl Iterator<Item = (K, SeenConnection<'a>)>,
        now: Tick,
    ) -> (QueryResult, Vec<K>) {
        let mut found = QueryResult::default();
        let mut meant: Vec<(u64, usize, K, SeenConnection<'a>)> = Vec::new();
        for (key, seen) in seen {
            let age = seen.ticket.age(now);
            let Some(rule) = self.rule_of(&seen, age) else { continue };
            *found.matched.entry(rule).or_default() += 1;
            let (bytes_in, bytes_out) = seen.ticket.moved();
            let ranked = Ranked { rule: rule as u32, age, bytes: bytes_in.saturating_add(bytes_out) };
            meant.push((rank(self.wanted.order, ranked), rule, key, seen));
        }
        if self.wanted.ends {
            return (found, meant.into_iter().map(|(_, _, key, _)| key).collect());
        }
        leave_first(&mut meant, self.wanted.limit, |(rank, ..)| *rank);
        found.connections = meant.into_iter().map(|(rank, rule, _, seen)| row(rank, rule, &seen, now)).collect();
        (found, Vec::new())
    }
}

impl QuerySlice {
    /// What was found, and where to go on.
    pub(super) fn new(found: QueryResult, next: Option<u32>) -> Self {
        Self { found, next }
    }

    /// The same, taken apart.
    pub(super) fn into_parts(self) -> (QueryResult, Option<u32>) {
        (self.found, self.next)
    }
}

fn row(rank: u64, rule: usize, seen: &SeenConnection<'_>, now: Tick) -> LiveConnection {
    let ticket = seen.ticket;
    let (bytes_in, bytes_out) = ticket.moved();
    let age = ticket.age(now);
    // One that has moved nothing yet is idle since it came.
    let idle = Tick::from(age).min(now.saturating_sub(seen.active));
    LiveConnection {
        rank,
        rule,
        id: seen.id,
        source: ticket.source(),
        listener: ticket.listener(),
        host: ticket.target().host.clone(),
        port: ticket.target_port(),
        age: lasting(age.into()),
        idle: lasting(idle),
        bytes_in,
        bytes_out,
        drains: ticket.drain.is_some(),
    }
}

impl QueryResult {
    /// Puts the first connections in order, and leaves the others out.
    pub(super) fn finish(&mut self, limit: usize) {
        leave_first(&mut self.connections, limit, |row| row.rank);
        self.connections.sort_by_key(|row| row.rank);
    }

    /// Takes in what another slice has, and leaves about as many as the limit.
    pub(super) fn add(&mut self, more: Self, limit: usize) {
        for (rule, count) in more.matched {
            *self.matched.entry(rule).or_default() += count;
        }
        self.connections.extend(more.connections);
        // So that the sum over all slices sorts each row a few times only.
        if self.connections.len() > limit.saturating_mul(2) {
            leave_first(&mut self.connections, limit, |row| row.rank);
        }
    }
}
