//! What makes a follower look before its time: a webhook, or the server itself. Values.

use std::sync::Arc;

use tokio::sync::Notify;

/// Makes a follower look at once.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Any number of calls before the look that they lead to are one.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    /// Waits for a call.
    pub(super) async fn woken(&self) {
        self.0.notified().await;
    }
}
