//! Whether an old revision is held in force, and why, in words. Pure.

use super::fleet::{Fleet, Verdict};
use super::plan::Uncommitted;

/// Whether the tree in force is held although another one is followed, and why.
pub fn held(fleet: &Fleet) -> (bool, String) {
    let (is_held_back, reason) = fleet
        .attempt()
        .map_or((false, String::new()), |attempt| held_back(&attempt.verdict, fleet.applied().is_some()));
    let Some(hold) = fleet.hold() else { return (is_held_back, reason) };
    let why = if hold.why.is_empty() { String::new() } else { format!(": {}", hold.why) };
    let also = if is_held_back && !reason.is_empty() { format!("; {reason}") } else { String::new() };
    (true, format!("{} rolled back at {:.0}{why}{also}", hold.by, hold.since))
}

/// Whether the followed tree is kept out, and why.
fn held_back(verdict: &Verdict, is_anything_in_force: bool) -> (bool, String) {
    match verdict {
        Verdict::Applied => (false, String::new()),
        Verdict::Invalid if !is_anything_in_force => {
            (true, "the followed tree has errors; nothing is in force".to_owned())
        }
        Verdict::Invalid => (true, "the followed tree has errors; the last good revision stays in force".to_owned()),
        Verdict::NoCommit { in_git } => {
            let why = Uncommitted::NoCommit { in_git: *in_git }.message();
            (true, format!("{why}; commit it, or start the server with --allow-dirty"))
        }
        Verdict::Dirty => (true, "the followed tree differs from its commit: commit the changes".to_owned()),
        Verdict::Railed { rails } => {
            let names: Vec<&str> = rails.iter().map(|rail| rail.name.as_str()).collect();
            (
                true,
                format!("the followed tree trips {}: apply it by hand with the flag that allows it", names.join(", ")),
            )
        }
        Verdict::Stopped { reason } => (true, format!("the rollout was stopped: {reason}; `apply` continues it")),
        Verdict::Waiting => (false, "the followed tree waits for an apply".to_owned()),
        // The hold itself says it.
        Verdict::Held => (true, String::new()),
        Verdict::Frozen => (true, "applying is frozen".to_owned()),
    }
}
