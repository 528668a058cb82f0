//! The descriptors of this process: how many there are, how many are in use, and what clients may not have. I/O.
//!
//! The kernel hands out the lowest number that is free. A number above the ceiling thus means that everything below it
//! is in use, and that this one is of the reserve: for binds, the state on disk, the session, probes and operators.
//!
//! Keeps: whatever clients do, the reserve is left to control.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use guard::descriptors::{highest, limit};
use rustix::io::Errno;

/// Kept back from clients: an apply of some listeners, a session, probes and a handful of operators at once.
const RESERVE: u64 = 64;
/// Of a small limit no more than one in four is kept back.
const RESERVED_SHARE: u64 = 4;
/// What a process needs before it serves anybody: its runtime, its ports, its files, and a few of each to spare.
const FEWEST: u64 = 40;
/// Of each core: the events of a worker and its wake-up, and as many for the runtime.
const PER_CORE: u64 = 4;

/// The first number that clients' sockets may not have. One per process, as the limit is.
static CEILING: AtomicI32 = AtomicI32::new(i32::MAX);

/// The limit is too low to run at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, but at least {needed} are needed: raise it with `ulimit -n 65536`, or with \
     `LimitNOFILE=65536` in the systemd unit"
)]
pub struct TooFew {
    limit: u64,
    needed: u64,
}

/// Refuses to start with fewer descriptors than the process itself needs. A soft limit is raised later and does not
/// matter.
pub fn check() -> Result<(), TooFew> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let (limit, needed) = (highest(), FEWEST + PER_CORE * cores);
    if limit < needed { Err(TooFew { limit, needed }) } else { Ok(()) }
}

/// How many are in use.
pub(crate) fn in_use() -> u64 {
    match fs::metadata("/proc/self/fd") {
        // Linux reports it since 6.2; before, the size is 0.
        Ok(folder) if folder.len() > 0 => folder.len(),
        Ok(_) => fs::read_dir("/proc/self/fd").map_or(0, |entries| (entries.count() as u64).saturating_sub(1)),
        // Without /proc nothing is known, and the ceiling alone holds.
        Err(_) => 0,
    }
}

/// How many are in use, and how many more clients may take, at this moment.
pub(crate) fn left_for_clients() -> (u64, u64) {
    let limit = limit();
    let ceiling = limit - reserve(limit);
    CEILING.store(i32::try_from(ceiling).unwrap_or(i32::MAX), Ordering::Relaxed);
    let in_use = in_use();
    (in_use, ceiling.saturating_sub(in_use))
}

/// A socket or pipe for a client, unless it is one of the reserve.
pub(crate) fn for_client<D: AsRawFd>(descriptor: D) -> Result<D, Errno> {
    if descriptor.as_raw_fd() < CEILING.load(Ordering::Relaxed) { Ok(descriptor) } else { Err(Errno::MFILE) }
}

fn reserve(limit: u64) -> u64 {
    kept_back(RESERVE, limit)
}

/// What is kept back of so many: this much, and of a small limit no more than one in four.
pub(crate) fn kept_back(much: u64, limit: u64) -> u64 {
    much.min(limit / RESERVED_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_64_and_at_most_a_quarter() {
        let kept: Vec<u64> = [0, 12, 64, 256, 1024, u64::MAX].into_iter().map(reserve).collect();
        assert_eq!(kept, [0, 3, 16, 64, 64, 64]);
    }

    #[test]
    fn what_is_opened_is_in_use() {
        let before = in_use();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests open and close meanwhile.
        assert!(in_use() + 50 > before + files.len() as u64);
    }

    #[test]
    fn a_limit_that_is_too_low_says_what_to_do() {
        check().unwrap();
        let text = TooFew { limit: 12, needed: 48 }.to_string();
        assert!(text.starts_with("the limit of open files is 12, but at least 48 are needed"), "{text}");
        assert!(text.contains("ulimit -n 65536") && text.contains("LimitNOFILE="), "{text}");
    }
}
