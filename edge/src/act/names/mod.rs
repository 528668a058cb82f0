//! From targets' names to their addresses, for all that connects. Shared memory here, I/O below.
//!
//! Keeps: whoever asks for a name whose answer is fresh waits for nothing and sends no message.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

/// What is known about names; clones are the same.
#[derive(Clone, Default)]
pub struct Names {
    known: Arc<ArcSwap<HashMap<Arc<str>, Arc<Known>>>>,
}

/// What is known about one name.
#[derive(Default)]
struct Known {
    addresses: ArcSwapOption<Addresses>,
    /// Somebody asked since the answer was last looked at: only such answers are fetched again.
    is_used: AtomicBool,
}

type Addresses = Arc<[IpAddr]>;

impl Names {
    /// The addresses of a name, if they are fresh, in the order of the answer. Takes no lock and waits for nothing.
    pub fn known(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let names = self.known.load();
        let known = names.get(name)?;
        // A store only where it changes something: the line stays shared between the workers.
        if !known.is_used.load(Ordering::Relaxed) {
            known.is_used.store(true, Ordering::Relaxed);
        }
        known.addresses.load().as_deref().cloned()
    }
}
