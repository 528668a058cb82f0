//! Which targets a new connection tries, and in which order. Pure, and without allocation: it runs once per connection.
//!
//! Eligible targets of the active pool by balance, then those of later pools, then those that nobody has asked yet,
//! then the failed ones by priority. Keeps: no target twice, never one that is paused, disabled or without weight.

use std::net::IpAddr;

use super::pool::{Pools, Standing};
use super::rendezvous::{ClientSeed, Distance, TargetSeed};
use super::rotation::Rotation;
use super::state::TargetState;
use crate::rule::{Balance, LastResort, MAX_TARGETS};

/// The places of targets in a rule, in the order in which they are dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DialOrder {
    places: [u8; MAX_TARGETS],
    length: u8,
}

impl DialOrder {
    fn push(&mut self, index: usize) {
        if !self.contains(index)
            && let Some(place) = self.places.get_mut(usize::from(self.length))
        {
            // Below MAX_TARGETS, by the loops that call it.
            *place = index as u8;
            self.length += 1;
        }
    }

    /// Leaves out those behind the first `done` that are not wanted any more.
    pub fn retain_behind(&mut self, done: usize, is_wanted: impl Fn(usize) -> bool) {
        let before = *self;
        self.length = before.len().min(done) as u8;
        for index in before.iter().skip(done).filter(|index| is_wanted(*index)) {
            self.push(index);
        }
    }

    /// True if the target at this place is dialled.
    pub fn contains(&self, index: usize) -> bool {
        self.iter().any(|other| other == index)
    }

    /// The places, first dialled first.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.places[..self.len()].iter().map(|place| usize::from(*place))
    }

    /// The first.
    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.length.into()
    }

    /// True if there is nothing to dial: the connection is refused.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// What a choice depends on besides the targets.
#[derive(Debug)]
pub struct Request<'a> {
    /// Who connects.
    pub client: IpAddr,
    /// Live connections of each target, for `least-connections`; a missing one counts 0.
    pub connections: &'a [u32],
    /// The worker's rotation.
    pub turn: &'a mut Rotation,
    /// A failed target whose trial this connection is.
    pub trial: Option<usize>,
}

/// What is fixed until the state of a target changes; made then, used for every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    standings: Vec<Standing>,
    seeds: Vec<TargetSeed>,
    pools: Pools,
    balance: Balance,
    last_resort: LastResort,
    // By priority; equal ones in file order.
    by_priority: DialOrder,
}

impl Selection {
    /// For targets in file order; more than eight are cut, no rule has them.
    pub fn new(targets: &[(Standing, TargetSeed)], balance: Balance, last_resort: LastResort) -> Self {
        let targets = &targets[..targets.len().min(MAX_TARGETS)];
        let standings: Vec<Standing> = targets.iter().map(|(standing, _)| *standing).collect();
        let mut places: Vec<usize> = (0..standings.len()).collect();
        places.sort_by_key(|place| standings[*place].priority);
        let mut by_priority = DialOrder::default();
        for place in places {
            by_priority.push(place);
        }
        let seeds = targets.iter().map(|(_, seed)| *seed).collect();
        Self { pools: Pools::new(&standings), standings, seeds, balance, last_resort, by_priority }
    }

    /// The pools behind it.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// What it was made of.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// The effective weight of every target, in file order.
    pub fn weights(&self) -> Vec<u8> {
        (0..self.standings.len()).map(|index| self.pools.effective_weight(&self.standings, index)).collect()
    }

    /// True if a connection may be a trial of this failed target: a client is never sent to a less preferred pool
    /// for that.
    pub fn allows_trial(&self, index: usize) -> bool {
        self.standings.get(index).is_some_and(|standing| {
            standing.takes_connections()
                && standing.state == TargetState::Down
                && self.pools.active().is_none_or(|active| standing.priority <= active)
        })
    }

    /// The order for one connection.
    pub fn order(&self, request: &mut Request<'_>) -> DialOrder {
        let mut order = DialOrder::default();
        // Most rules have one target that is well: there is nothing to choose.
        if self.standings.len() == 1 && self.pools.is_eligible(0) {
            order.push(0);
            return order;
        }
        if let Some(trial) = request.trial.filter(|trial| self.allows_trial(*trial)) {
            order.push(trial);
        }
        let mut done: Option<u8> = None;
        while let Some(pool) = self.pool_after(done) {
            self.share(pool, request, &mut order);
            done = Some(pool);
        }
        self.push_in(TargetState::Unknown, &mut order);
        if order.is_empty() {
            self.resort(&mut order);
        } else {
            self.push_in(TargetState::Down, &mut order);
        }
        order
    }

    /// The number of the next pool with an eligible target.
    fn pool_after(&self, done: Option<u8>) -> Option<u8> {
        let mut places = self.by_priority.iter().filter(|place| self.pools.is_eligible(*place));
        let next = places.find(|place| done.is_none_or(|done| self.standings[*place].priority > done));
        next.map(|place| self.standings[place].priority)
    }

    fn resort(&self, order: &mut DialOrder) {
        match self.last_resort {
            LastResort::None => (),
            LastResort::All => self.push_in(TargetState::Down, order),
            LastResort::Top => {
                let mut failed = self.by_priority.iter().filter(|place| self.standings[*place].takes_connections());
                if let Some(place) = failed.next() {
                    order.push(place);
                }
            }
        }
    }

    fn push_in(&self, state: TargetState, order: &mut DialOrder) {
        for place in self.by_priority.iter() {
            let standing = &self.standings[place];
            if standing.state == state && standing.takes_connections() {
                order.push(place);
            }
        }
    }

    /// The eligible targets of one pool, the chosen one first.
    fn share(&self, pool: u8, request: &mut Request<'_>, order: &mut DialOrder) {
        let mut weights = [0; MAX_TARGETS];
        for (index, standing) in self.standings.iter().enumerate() {
            if standing.priority == pool && self.pools.is_eligible(index) {
                weights[index] = standing.weight;
            }
        }
        match self.balance {
            Balance::SourceIp => self.push_by_distance(request.client, weights, order),
            // The rotation is for the pool that carries weight; a later pool is only there if that one does not answer.
            Balance::RoundRobin if Some(pool) == self.pools.active() => {
                if let Some(chosen) = request.turn.next(weights) {
                    order.push(chosen);
                }
            }
            Balance::LeastConnections => push_by_load(weights, request, order),
            Balance::Failover | Balance::RoundRobin => (),
        }
        for place in self.by_priority.iter().filter(|place| weights[*place] > 0) {
            order.push(place);
        }
    }

    fn push_by_distance(&self, client: IpAddr, weights: [u8; MAX_TARGETS], order: &mut DialOrder) {
        let client = ClientSeed::new(client);
        let mut rest: [Option<Distance>; MAX_TARGETS] = [None; MAX_TARGETS];
        for (place, seed) in self.seeds.iter().enumerate().filter(|(place, _)| weights[*place] > 0) {
            rest[place] = Some(Distance::new(client, *seed, weights[place]));
        }
        while let Some((place, _)) = rest
            .iter()
            .enumerate()
            .filter_map(|(place, distance)| Some((place, (*distance)?)))
            .reduce(|nearest, other| if other.1.is_nearer_than(&nearest.1) { other } else { nearest })
        {
            order.push(place);
            rest[place] = None;
        }
    }
}

/// By connections per weight, counting the one that comes; equal ones take turns.
fn push_by_load(weights: [u8; MAX_TARGETS], request: &mut Request<'_>, order: &mut DialOrder) {
    let load = |place: usize| u64::from(request.connections.get(place).copied().unwrap_or(0)) + 1;
    let is_less =
        |one: usize, other: usize| load(one) * u64::from(weights[other]) < load(other) * u64::from(weights[one]);
    let mut rest = weights;
    loop {
        let mut least = [0; MAX_TARGETS];
        let Some(lowest) = (0..MAX_TARGETS)
            .filter(|place| rest[*place] > 0)
            .reduce(|lowest, other| if is_less(other, lowest) { other } else { lowest })
        else {
            return;
        };
        for place in (0..MAX_TARGETS).filter(|place| rest[*place] > 0 && !is_less(lowest, *place)) {
            least[place] = rest[place];
        }
        // The rotation is asked once per connection, for the choice; the rest of the order is in file order.
        let chosen = if order.is_empty() { request.turn.next(least).unwrap_or(lowest) } else { lowest };
        order.push(chosen);
        rest[chosen] = 0;
    }
}
