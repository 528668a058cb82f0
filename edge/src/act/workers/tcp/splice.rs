//! Pipes, through which bytes move from socket to socket without being copied. I/O.
//!
//! Keeps: a pipe is lent out only while bytes are in it, and comes back only empty, so that no byte of one connection
//! can show up in another; all pipes together stay below what the kernel grants a user without privileges.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use rustix::process::{Resource, getrlimit};

use super::super::timers::{Tick, ticks};
use crate::act::descriptors::for_client;

/// What a pipe is to hold: the kernel's largest without privileges (`fs.pipe-max-size`).
const CAPACITY: usize = 1 << 20;
/// A pipe that holds less than this gains nothing over copying.
const WORTHWHILE: usize = 64 << 10;
/// Default of `fs.pipe-user-pages-soft`.
const USER_PAGES: usize = 16_384;
/// Pages of the kernel are that large on every host that this was measured on; larger ones only make the bound lower.
const PAGE: usize = 4096;
/// How long after a failure no new pipe is tried, and how long an unused one is kept.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A pipe.
pub(super) struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    capacity: u32,
}

impl Pipe {
    fn new() -> Result<Self, Errno> {
        let (output, input) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let (output, input) = (for_client(output)?, for_client(input)?);
        // What comes back is what it is, also where the user has too many already (see `fs.pipe-user-pages-soft`).
        let capacity = match fcntl_setpipe_size(&input, CAPACITY) {
            Ok(capacity) => capacity,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&input)?,
        };
        if capacity < WORTHWHILE {
            return Err(Errno::NOBUFS);
        }
        Ok(Self { output, input, capacity: u32::try_from(capacity).unwrap_or(u32::MAX) })
    }

    /// Moves up to so many bytes from a socket into the empty pipe. 0 is the end of the data.
    pub(super) fn fill(&self, from: &OwnedFd, limit: usize) -> Result<u32, Errno> {
        let limit = limit.min(self.capacity as usize);
        // Never more than the capacity.
        splice(from, None, &self.input, None, limit, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
            .map(|bytes| bytes as u32)
    }

    /// Moves so many bytes, which it holds, to a socket, or fewer.
    pub(super) fn drain(&self, to: &OwnedFd, bytes: usize) -> Result<usize, Errno> {
        splice(&self.output, None, to.as_fd(), None, bytes, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)
    }
}

/// The pipes of one worker.
pub(super) struct Pipes {
    free: Vec<Pipe>,
    /// Free and lent ones.
    open: usize,
    max: usize,
    /// No new one before this.
    not_before: Tick,
    /// The fewest that were free since the last look.
    unused: usize,
    /// When to look which are unused.
    look: Tick,
}

impl Pipes {
    /// No pipe yet, and at most this worker's share.
    pub(super) fn new(workers: usize) -> Self {
        let granted = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").ok();
        // 0 is no limit.
        let granted = granted.and_then(|text| text.trim().parse().ok()).filter(|pages| *pages > 0);
        let by_pages = granted.unwrap_or(USER_PAGES).min(USER_PAGES) / 4 * 3 * PAGE / CAPACITY;
        let by_descriptors = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize) / 16;
        let max = by_pages.min(by_descriptors).div_ceil(workers);
        Self { free: Vec::new(), open: 0, max, not_before: 0, unused: 0, look: 0 }
    }

    /// An empty pipe, if there is one to be had.
    pub(super) fn take(&mut self, now: Tick) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            self.unused = self.unused.min(self.free.len());
            return Some(pipe);
        }
        self.unused = 0;
        if self.open >= self.max || now < self.not_before {
            return None;
        }
        match Pipe::new() {
            Ok(pipe) => {
                self.open += 1;
                Some(pipe)
            }
            Err(error) => {
                tracing::debug!(%error, "no pipe is available, bytes are copied");
                self.not_before = now + ticks(PAUSE);
                None
            }
        }
    }

    /// Takes an empty pipe back.
    pub(super) fn give(&mut self, pipe: Pipe, now: Tick) {
        debug_assert_eq!(ioctl_fionread(&pipe.output), Ok(0), "only empty pipes come back");
        if self.free.is_empty() && self.look <= now {
            self.look = now + ticks(PAUSE);
        }
        self.free.push(pipe);
    }

    /// Closes a pipe whose bytes nobody gets any more.
    pub(super) fn discard(&mut self, pipe: Pipe) {
        drop(pipe);
        self.open -= 1;
    }

    /// When to call [`Pipes::close_unused`].
    pub(super) fn next_look(&self) -> Option<Tick> {
        (!self.free.is_empty()).then_some(self.look)
    }

    /// Closes those that were free all the time since the last look.
    pub(super) fn close_unused(&mut self, now: Tick) {
        if now < self.look {
            return;
        }
        let unused = self.unused.min(self.free.len());
        self.free.truncate(self.free.len() - unused);
        self.open -= unused;
        self.unused = self.free.len();
        self.look = now + ticks(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_used_again_bounded_and_closed_when_nobody_needs_them() {
        let mut pipes = Pipes::new(1);
        assert!(pipes.max >= 1);
        pipes.max = 2;
        let (first, second) = (pipes.take(0).unwrap(), pipes.take(0).unwrap());
        assert!(pipes.take(0).is_none());
        pipes.discard(second);
        pipes.give(first, 0);
        let look = pipes.next_look().unwrap();
        pipes.close_unused(look);
        let again = pipes.take(look).unwrap();
        assert_eq!(pipes.open, 1);
        pipes.give(again, look);
        for _ in 0..2 {
            let look = pipes.next_look().unwrap();
            pipes.close_unused(look);
        }
        assert_eq!((pipes.open, pipes.next_look()), (0, None));
    }
}
