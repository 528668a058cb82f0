//! Binds what a transition needs, in bulk, and settles what serves then. I/O, blocking: one call per switch.
//!
//! Keeps: a rule that does not get all of its sockets closes those it got before anything is switched, and the
//! sockets it would have replaced are as before.

use std::collections::{BTreeMap, HashMap, HashSet};

use schema::codes::RuleCode;
use schema::name::RuleName;
use schema::net::Listener;
use socket2::Socket;

use crate::act::holders::Holders;
use crate::act::sockets;
use crate::act::workers::Acceptor;
use crate::decide::transition::{self, RuleFailure, Settled, Transition};

/// One socket to bind, with the open ones that it takes over from.
pub(crate) struct BindOrder {
    pub(crate) listener: Listener,
    pub(crate) replaces: Vec<Acceptor>,
    /// The socket itself, where it was released and is open still.
    pub(crate) open: Option<Acceptor>,
}

/// All sockets to bind, by rule.
pub(crate) type BindOrders = BTreeMap<RuleName, Vec<BindOrder>>;

/// What a switch starts from.
pub(crate) struct Prepared {
    pub(crate) settled: Settled,
    /// New sockets of rules that serve, listening.
    pub(crate) acceptors: Vec<(Listener, Acceptor)>,
    /// Those of them that share their port until the old socket is closed.
    pub(crate) shared: Vec<Acceptor>,
}

/// Binds all orders. `held` are sockets that were bound for them beforehand, `budget` is how many more sockets the edge
/// may open, those counted.
pub(crate) fn prepare(
    plan: &Transition,
    orders: &BindOrders,
    mut held: HashMap<Listener, Socket>,
    mut budget: u64,
) -> Prepared {
    let mut failures = BTreeMap::new();
    let mut bound: HashMap<Listener, Socket> = HashMap::new();
    let mut holders = Holders::default();
    for (name, orders) in orders {
        // Rules that are chosen by name share what one of them has bound.
        let missing: Vec<&BindOrder> = orders.iter().filter(|order| !bound.contains_key(&order.listener)).collect();
        match bind_all(&missing, &mut held, budget, &mut holders) {
            Ok(sockets) => {
                budget -= sockets.len() as u64;
                bound.extend(sockets);
            }
            Err(failure) => _ = failures.insert(name.clone(), failure),
        }
    }
    let mut ready: HashMap<Listener, Acceptor> = HashMap::new();
    let mut unusable: HashMap<Listener, RuleFailure> = HashMap::new();
    let settled = loop {
        let settled = transition::settle(plan, &failures);
        let count = failures.len();
        for (name, orders) in orders.iter().filter(|(name, _)| !settled.failed.contains_key(*name)) {
            if let Err(failure) = open_all(orders, &mut bound, &mut ready, &mut unusable, &mut holders) {
                failures.insert(name.clone(), failure);
            }
        }
        if failures.len() == count {
            break settled;
        }
    };
    collect(settled, orders, ready)
}

/// What the rules that serve have of it. Sockets that nobody needs close.
fn collect(settled: Settled, orders: &BindOrders, mut ready: HashMap<Listener, Acceptor>) -> Prepared {
    let mut prepared = Prepared { settled, acceptors: Vec::with_capacity(ready.len()), shared: Vec::new() };
    let (failed, serving): (Vec<_>, Vec<_>) =
        orders.iter().partition(|(name, _)| prepared.settled.failed.contains_key(*name));
    let mut taken: HashSet<Listener> = HashSet::new();
    for order in serving.into_iter().flat_map(|(_, orders)| orders) {
        let acceptor = ready.remove(&order.listener).or_else(|| order.open.clone());
        let Some(acceptor) = acceptor.filter(|_| taken.insert(order.listener)) else { continue };
        if !order.replaces.is_empty() {
            prepared.shared.push(acceptor.clone());
        }
        prepared.acceptors.push((order.listener, acceptor));
    }
    for order in failed.into_iter().flat_map(|(_, orders)| orders).filter(|order| !taken.contains(&order.listener)) {
        order.replaces.iter().for_each(|old| share(old, false));
    }
    prepared
}

/// Lets a socket share its port, or not any more.
pub(crate) fn share(acceptor: &Acceptor, is_shared: bool) {
    if let Err(error) = sockets::set_shared(&acceptor.socket(), is_shared) {
        tracing::warn!(%error, is_shared, "port sharing could not be changed");
    }
}

/// All sockets of one rule. Those that replace another one do not listen yet: they would draw its connections
/// while the rule may still fail.
fn bind_all(
    orders: &[&BindOrder],
    held: &mut HashMap<Listener, Socket>,
    budget: u64,
    holders: &mut Holders,
) -> Result<Vec<(Listener, Socket)>, RuleFailure> {
    if orders.len() as u64 > budget {
        let message = format!("{} more listeners are needed, but the edge has descriptors for {budget}", orders.len());
        return Err(RuleFailure { code: RuleCode::FdBudgetExceeded, message, blocked_by: None });
    }
    let mut bound = Vec::with_capacity(orders.len());
    for order in orders.iter().filter(|order| order.open.is_none()) {
        let listener = order.listener;
        let is_shared = !order.replaces.is_empty();
        order.replaces.iter().for_each(|old| share(old, true));
        let socket = match held.remove(&listener) {
            Some(socket) => socket,
            None => sockets::bind(&listener, is_shared).map_err(|error| error.told(holders))?,
        };
        if !is_shared {
            sockets::listen(&listener, &socket).map_err(|error| error.told(holders))?;
        }
        bound.push((listener, socket));
    }
    Ok(bound)
}

/// Makes the sockets of a rule that serves ready to accept from. What one rule finds `unusable` is so for all that share
/// it.
fn open_all(
    orders: &[BindOrder],
    bound: &mut HashMap<Listener, Socket>,
    ready: &mut HashMap<Listener, Acceptor>,
    unusable: &mut HashMap<Listener, RuleFailure>,
    holders: &mut Holders,
) -> Result<(), RuleFailure> {
    for order in orders {
        if let Some(failure) = unusable.get(&order.listener) {
            return Err(failure.clone());
        }
        let Some(socket) = bound.remove(&order.listener) else { continue };
        if !order.replaces.is_empty()
            && let Err(error) = sockets::listen(&order.listener, &socket)
        {
            let failure = error.told(holders);
            unusable.insert(order.listener, failure.clone());
            return Err(failure);
        }
        ready.insert(order.listener, Acceptor::new(socket));
    }
    Ok(())
}
