//! From targets' names to their addresses, for all that connects. Shared memory here, I/O below.
//!
//! This file is the handle; `resolver` is the task behind it, `lookup` asks name servers, `system` reads how the host
//! resolves names. When to ask is decided in [`crate::decide::names`].
//!
//! Keeps: whoever asks for a name whose answer is fresh waits for nothing and sends no message.

mod lookup;
mod resolver;
mod system;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use guard::Supervisor;
use schema::rule::Host;
use tokio::sync::{mpsc, oneshot};

use crate::act::parts::Part;
use crate::decide::deferred::Deferred;
use crate::decide::names::Limits;
pub use crate::decide::names::NameError;
pub use system::ResolverFiles;

/// Questions that may wait for the resolver, which does nothing that lasts; who comes later waits for a place.
const QUESTIONS: usize = 1024;

/// The names of an edge; clones are the same. The resolver ends with the last of them.
#[derive(Clone)]
pub struct Names {
    served: Arc<ServedNames>,
    questions: mpsc::Sender<LookupRequest>,
}

/// Whoever needs the addresses of a name, and cannot have them at once.
struct LookupRequest {
    name: Arc<str>,
    asker: oneshot::Sender<LookupAnswer>,
}

type LookupAnswer = Result<Arc<[IpAddr]>, NameError>;

impl Names {
    /// Starts a resolver that resolves names as the host does. Must run inside the runtime.
    pub fn start(source: ResolverFiles) -> Self {
        Self::with_limits(source, Limits::default())
    }

    /// The same with other limits: what a test of minutes needs.
    pub fn with_limits(source: ResolverFiles, limits: Limits) -> Self {
        Self::supervised(source, limits, &Supervisor::new())
    }

    /// The same, where somebody wants to know that the resolver has ended.
    pub(crate) fn supervised(source: ResolverFiles, limits: Limits, supervisor: &Supervisor) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let served = Arc::new(ServedNames::new());
        let resolver = resolver::run(asked, Arc::clone(&served), source, limits);
        tokio::spawn(supervisor.lasting(Part::Names, resolver));
        Self { served, questions }
    }

    /// The addresses of a name, if they are fresh, in the order of the answer. Takes no lock and waits for nothing.
    pub fn known(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        self.served.known(name)
    }

    /// An address of a target failed: it is put off for a while.
    pub(crate) fn defer(&self, host: &Host, address: SocketAddr) {
        let Some(slot) = self.served.slot(host) else { return };
        let now = self.served.start.elapsed();
        slot.deferred.rcu(|deferred| {
            let before = deferred.as_deref().cloned().unwrap_or_default();
            Some(Arc::new(before.with(address, now)))
        });
    }

    /// An address of a target answered: it has its turn again.
    pub(crate) fn trust(&self, host: &Host, address: SocketAddr) {
        let Some(slot) = self.served.slot(host) else { return };
        if slot.deferred.load().as_ref().is_some_and(|deferred| deferred.holds(address, Duration::ZERO)) {
            slot.deferred
                .rcu(|deferred| deferred.as_ref().and_then(|deferred| deferred.without(address)).map(Arc::new));
        }
    }

    /// Tells which addresses of a target are put off.
    pub(crate) fn deferred(&self, host: &Host) -> impl Fn(SocketAddr) -> bool + use<> {
        let deferred = self.served.slot(host).and_then(|slot| slot.deferred.load_full());
        let deferred = deferred.map(|deferred| (deferred, self.served.start.elapsed()));
        move |address| deferred.as_ref().is_some_and(|(deferred, now)| deferred.holds(address, *now))
    }

    /// The addresses of a name: the fresh ones, or what a lookup brings, within the 10 s of a connection's dialling.
    /// Where that fails, the last good answer if it is not too old.
    pub async fn resolve(&self, name: Arc<str>) -> Result<Arc<[IpAddr]>, NameError> {
        if let Some(addresses) = self.known(&name) {
            return Ok(addresses);
        }
        let (asker, answer) = oneshot::channel();
        self.questions.send(LookupRequest { name, asker }).await.map_err(|_| NameError::Stopped)?;
        answer.await.map_err(|_| NameError::Stopped)?
    }
}

/// What is served without a question. Only the resolver writes the addresses.
struct ServedNames {
    slots: ArcSwap<HashMap<Arc<str>, Arc<Slot>>>,
    /// Times of deferred addresses count from here.
    start: Instant,
}

/// The place of one name.
#[derive(Default)]
struct Slot {
    addresses: ArcSwapOption<Arc<[IpAddr]>>,
    /// Used since the resolver looked: only such answers are fetched again.
    is_used: AtomicBool,
    /// Those that failed not long ago.
    deferred: ArcSwapOption<Deferred>,
}

impl ServedNames {
    fn new() -> Self {
        Self { slots: ArcSwap::default(), start: Instant::now() }
    }

    /// The place of a target's name.
    fn slot(&self, host: &Host) -> Option<Arc<Slot>> {
        let Host::Name(name) = host else { return None };
        self.slots.load().get(name).cloned()
    }

    fn known(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let names = self.slots.load();
        let slot = names.get(name)?;
        // A store only where it changes something: the line stays shared between the workers.
        if !slot.is_used.load(Ordering::Relaxed) {
            slot.is_used.store(true, Ordering::Relaxed);
        }
        slot.addresses.load().as_deref().cloned()
    }

    fn take_use(&self, name: &str) -> bool {
        self.slots.load().get(name).is_some_and(|slot| slot.is_used.swap(false, Ordering::Relaxed))
    }

    /// Serves these addresses, or none. The map itself is exchanged only where a name comes or goes.
    fn serve(&self, name: &Arc<str>, addresses: Option<Arc<[IpAddr]>>) {
        let addresses = addresses.map(Arc::new);
        if let Some(slot) = self.slots.load().get(name) {
            slot.addresses.store(addresses);
        } else if addresses.is_some() {
            let mut names = HashMap::clone(&self.slots.load());
            let slot = Slot { addresses: addresses.into(), ..Slot::default() };
            names.insert(name.clone(), Arc::new(slot));
            self.slots.store(Arc::new(names));
        }
    }

    fn forget(&self, name: &str) {
        let names = self.slots.load();
        if names.contains_key(name) {
            let mut names = HashMap::clone(&names);
            names.remove(name);
            self.slots.store(Arc::new(names));
        }
    }
}
