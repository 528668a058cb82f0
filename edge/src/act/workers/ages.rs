//! How old the live connections of a rule are that a change would end. Values, and one question to every worker.
//!
//! Keeps: nobody counts ages while connections come and go; each connection knows when it came, and workers look when
//! somebody asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::counting::meant::Concerned;
use super::mailbox::WorkerCommand;
use super::shared::Shared;
use super::timers;

/// How old they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// Of the oldest one.
    pub oldest: Duration,
    /// Half of them are at most as old.
    pub median: Duration,
}

impl Ages {
    /// Of ages in ticks; `None` where there are none.
    fn of(mut ages: Vec<u32>) -> Option<Self> {
        let oldest = *ages.iter().max()?;
        let middle = (ages.len() - 1) / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        Some(Self { oldest: timers::lasting(oldest.into()), median: timers::lasting((*median).into()) })
    }
}

/// Asks all workers.
pub(super) async fn ask(shared: &Shared, concerned: Concerned) -> Option<Ages> {
    let concerned = Arc::new(concerned);
    let mut answers = Vec::with_capacity(shared.workers.len());
    for worker in &shared.workers {
        let (reply, answer) = oneshot::channel();
        worker.send(WorkerCommand::Ages(concerned.clone(), reply)).await;
        answers.push(answer);
    }
    let mut ages = Vec::new();
    for answer in answers {
        // A worker that is gone has no connections.
        ages.extend(answer.await.unwrap_or_default());
    }
    Ages::of(ages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_oldest_at_the_end() {
        let ages = |list: &[u32]| Ages::of(list.to_vec()).map(|ages| (ages.oldest, ages.median));
        let lasting = |count| timers::lasting(count);
        assert_eq!(ages(&[]), None);
        assert_eq!(ages(&[7]), Some((lasting(7), lasting(7))));
        assert_eq!(ages(&[9, 1, 5, 3]), Some((lasting(9), lasting(3))));
        assert_eq!(ages(&[100, 1, 2]), Some((lasting(100), lasting(2))));
    }
}
