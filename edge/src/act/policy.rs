//! The policy in force, for everything that connects and for the session. Shared memory.
//!
//! Keeps: nothing that asks waits; who asks after a change sees the new policy.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use schema::policy::Policy;
use tokio::sync::watch;

/// The policy in force. Clones share it.
#[derive(Clone)]
pub struct PolicyInForce {
    policy: Arc<ArcSwap<Policy>>,
    /// The same, for the session, which waits for changes.
    changes: watch::Sender<Arc<Policy>>,
}

impl PolicyInForce {
    /// With this policy.
    pub fn new(policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let (changes, _) = watch::channel(policy.clone());
        Self { policy: Arc::new(ArcSwap::new(policy)), changes }
    }

    /// Another one from now on.
    pub(crate) fn set(&self, policy: Policy) {
        let policy = Arc::new(policy);
        self.policy.store(policy.clone());
        self.changes.send_replace(policy);
    }

    /// As it is now.
    pub(crate) fn load(&self) -> Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// Every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Policy>> {
        self.changes.subscribe()
    }

    /// True if the edge may not connect to this address.
    pub(crate) fn refuses(&self, to: SocketAddr) -> bool {
        let policy = self.load();
        !(policy.allows_address(to.ip()) && policy.allows_target_port(to.port()))
    }
}

impl Default for PolicyInForce {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}
