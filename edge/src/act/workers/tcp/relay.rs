//! Moves bytes of one connection both ways, for one turn. I/O.
//!
//! Small reads are copied through the worker's buffer. One that fills it switches its direction to a pipe until the
//! source runs dry: up to some 16 to 32 KiB per read copying costs less than three calls more, above it splicing does.
//!
//! Keeps: the end of one direction is passed on and leaves the other alone; every byte is counted when it is written;
//! what was read is written before anything else is read; nothing is read that could not be written at once; a side
//! that fails is read to the end of what it sent; what is for a side that failed keeps nobody from taking what it is
//! owed.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use socket2::SockRef;

use super::super::timers::Tick;
use super::connection::{Connection, Direction, Held, Leg, Nagle, ReceiverDistance, Rest};
use super::quanta::{Quanta, Quantum};
use super::splice::Pipes;
use super::unacknowledged::Kernel;
use crate::decide::relaying::{Happening, Passage, RelayDecision, Side};

/// Bytes per read where they are copied.
pub(super) const BUFFER: usize = 32 << 10;
/// Bytes per call out of a pipe, so that the counters move as often as CONTRACT §8 asks here too: whole pages, and no
/// more than one segment of loopback takes (65,483 bytes), which would leave a small one behind each piece.
const PIECE: usize = 60 << 10;
/// A direction that has moved this much gets a bound on what the kernel queues for its receiver.
const BULK: u32 = 1 << 20;
/// The bound for receivers on this host, where megabytes would pile up otherwise. It turns the kernel's own choice off,
/// so receivers further away, whose round trips need more, have none: TCP_NOTSENT_LOWAT cost a fifth of the throughput
/// at 50 ms.
const NEAR_QUEUE: usize = 128 << 10;

/// What a turn came to.
pub(super) struct Pumped {
    /// Bytes from the client, and from the target.
    pub(super) moved: [usize; 2],
    /// Bytes that were read for a side that failed, and forgotten.
    pub(super) discarded: usize,
    /// There is nothing to do before the next event.
    pub(super) is_finished: bool,
    /// It moved something, until a receiver far away took no more: worth another try soon.
    pub(super) is_held_up: bool,
    /// What to do with the connection.
    pub(super) next: RelayDecision,
}

/// What the connections of a worker share, one at a time.
pub(super) struct RelayBuffers {
    pub(super) buffer: Box<[u8]>,
    pub(super) pipes: Pipes,
    pub(super) kernel: Kernel,
    pub(super) now: Tick,
}

/// The two sides of a direction.
struct Legs<'l> {
    from: &'l mut Leg,
    to: &'l mut Leg,
}

/// One turn.
pub(super) fn pump(connection: &mut Connection, quanta: Quanta, tools: &mut RelayBuffers) -> Pumped {
    let failed_before = connection.failures();
    let Connection { client, target, inward, outward, ticket, .. } = connection;
    let Some(target) = target else { return Pumped::nothing() };
    // What failed in this turn may end the connection: nothing is worth discarding then.
    let discarded_in = inward.discard(client, quanta.fair, &mut tools.buffer);
    let discarded_out = outward.discard(target, quanta.fair, &mut tools.buffer);
    let moved_in = inward.pump(Legs { from: client, to: target }, quanta.of(0), tools, |bytes| ticket.moved_in(bytes));
    let moved_out =
        outward.pump(Legs { from: target, to: client }, quanta.of(1), tools, |bytes| ticket.moved_out(bytes));
    inward.forsake(target, tools);
    outward.forsake(client, tools);
    let is_held_up = inward.is_held_up(moved_in, target) || outward.is_held_up(moved_out, client);
    let next = connection.next();
    if next != RelayDecision::Whole {
        connection.pass_ends_on();
    }
    let failed = connection.failures();
    if connection.blamed.is_none() {
        connection.blamed = match failed {
            (true, _) => Some(Side::Client),
            (_, true) => Some(Side::Target),
            _ => None,
        };
    }
    // A side that failed just now may have left something to read, and the other one something to discard.
    let is_used_up = quanta.of(0).is_used_up(moved_in) || quanta.of(1).is_used_up(moved_out);
    let is_finished = !is_used_up && discarded_in.max(discarded_out) < quanta.fair && failed == failed_before;
    let moved = [moved_in, moved_out];
    Pumped { moved, discarded: discarded_in + discarded_out, is_finished, is_held_up, next }
}

impl Pumped {
    fn nothing() -> Self {
        Self { moved: [0; 2], discarded: 0, is_finished: true, is_held_up: false, next: RelayDecision::GoOn }
    }
}

/// Sends what the target is told first, in one segment with what the client has sent already. Waits for nothing: a
/// target that speaks first gets it at once.
pub(super) fn open(connection: &mut Connection, header: &[u8], tools: &mut RelayBuffers) {
    let Connection { client, target, inward, ticket, .. } = connection;
    let Some(target) = target else { return };
    let (start, rest) = tools.buffer.split_at_mut(header.len());
    start.copy_from_slice(header);
    let length = inward.read(client, rest);
    let written = inward.write_new(target, &tools.buffer[..header.len() + length], header.len());
    ticket.moved_in(written);
}

/// What one call did.
enum Transfer {
    Moved(usize),
    Read,
    Blocked,
}

impl Connection {
    /// Informs each receiver of an end that was reached. Where both are over the close of the sockets does it.
    pub(super) fn pass_ends_on(&mut self) {
        let Some(target) = &mut self.target else { return };
        for (direction, to) in [(&mut self.inward, target), (&mut self.outward, &mut self.client)] {
            let is_over = direction.passage.has_ended() && direction.is_empty();
            let after = direction.passage.after(Happening::EndPassedOn);
            if is_over && direction.passage != after {
                direction.passage = after;
                match shutdown(&to.socket, Shutdown::Write) {
                    Err(error) if error != Errno::NOTCONN => to.fail(error),
                    _ => {}
                }
            }
        }
    }
}

impl Direction {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// True if there may be something to move now.
    pub(super) fn may_move(&self, from: &Leg, to: &Leg) -> bool {
        let may_read = self.passage.is_reading() && from.is_readable;
        to.is_writable && !to.has_failed() && (may_read || !self.is_empty())
    }

    fn pump(&mut self, legs: Legs<'_>, quantum: Quantum, tools: &mut RelayBuffers, count: impl Fn(usize)) -> usize {
        let Legs { from, to } = legs;
        let mut moved = 0;
        while moved < quantum.bytes {
            if !self.may_move(from, to) {
                break;
            }
            // Splicing stops at urgent data, and takes what is behind it for an end where the side has failed.
            let splices = self.is_splicing && !from.is_urgent && !from.has_failed();
            let step = match self.held {
                // A pipe is worth its calls from a buffer full on.
                Held::Nothing if splices => {
                    self.fill_pipe(from, quantum.call(moved, (quantum.bytes - moved).max(BUFFER)), tools)
                }
                Held::Nothing => {
                    let most = quantum.call(moved, BUFFER);
                    self.copy(from, to, &mut tools.buffer[..most])
                }
                Held::Rest(_) => self.write_rest(to, quantum.call(moved, usize::MAX)),
                Held::Piped(..) => self.drain_pipe(to, quantum.call(moved, PIECE), tools),
            };
            match step {
                Transfer::Moved(bytes) => {
                    count(bytes);
                    moved += bytes;
                }
                Transfer::Read => {}
                Transfer::Blocked => break,
            }
        }
        self.moved = self.moved.saturating_add(moved as u32);
        if self.moved >= BULK && self.receiver == ReceiverDistance::Unknown {
            self.receiver = look_at(to);
        }
        moved
    }

    /// Gives up what is for a receiver that failed.
    fn forsake(&mut self, to: &Leg, tools: &mut RelayBuffers) {
        if to.has_failed() {
            self.passage = self.passage.after(Happening::ReceiverFailed);
            if let Held::Piped(pipe, _) = std::mem::replace(&mut self.held, Held::Nothing) {
                tools.pipes.discard(pipe);
            }
        }
    }

    /// Reads what is for a receiver that failed. Its source may be one that takes what it is owed only once it has sent
    /// all of its own, as most clients do with the answer to an upload: if nobody read that, both would wait for ever.
    fn discard(&mut self, from: &mut Leg, quantum: usize, buffer: &mut [u8]) -> usize {
        let mut discarded = 0;
        while self.passage == Passage::Abandoned && from.is_readable && !from.has_failed() && discarded < quantum {
            // TCP copies nothing of what is truncated.
            match recv(&from.socket, &mut *buffer, RecvFlags::TRUNC) {
                Ok((_, 0)) | Err(Errno::AGAIN) => (from.is_readable, from.is_urgent) = (false, false),
                Ok((_, length)) => discarded += length,
                Err(Errno::INTR) => {}
                Err(error) => from.fail(error),
            }
        }
        discarded
    }

    /// The kernel tells of room only when a third of the queue is free, which over a long way is late: by then less is
    /// under way than there could be.
    fn is_held_up(&self, moved: usize, to: &Leg) -> bool {
        moved > 0 && !to.is_writable && self.receiver == ReceiverDistance::Far
    }

    /// Reads into the buffer and writes from it.
    fn copy(&mut self, from: &mut Leg, to: &mut Leg, buffer: &mut [u8]) -> Transfer {
        match self.read(from, buffer) {
            0 if self.passage.is_reading() => Transfer::Read,
            0 => Transfer::Blocked,
            length => Transfer::Moved(self.write_new(to, &buffer[..length], 0)),
        }
    }

    /// Reads once. 0 is that there is nothing now, or that nothing more comes.
    fn read(&mut self, from: &mut Leg, buffer: &mut [u8]) -> usize {
        let length = match recv(&from.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(Errno::INTR) => return 0,
            Err(Errno::AGAIN) if !from.has_failed() => {
                (from.is_readable, from.is_urgent) = (false, false);
                return 0;
            }
            // All that it sent is read: the kernel reports an error only once its queue is empty.
            Err(error) => {
                from.fail(error);
                self.passage = self.passage.after(Happening::SourceFailed);
                return 0;
            }
        };
        if length == 0 {
            let happening = if from.is_cut() { Happening::SourceFailed } else { Happening::SourceEnded };
            self.passage = self.passage.after(happening);
        } else if length == buffer.len() {
            // Where less is granted than a buffer holds, copying costs less.
            self.is_splicing |= length >= BUFFER;
        } else if !from.has_failed() && !from.is_urgent {
            // What comes later comes with an event. A read stops short at urgent data, at the end of what has come, and
            // at the end of all: no further read is needed to learn of that where the event was seen before this one.
            from.is_readable = false;
            if from.is_closing {
                self.passage = self.passage.after(Happening::SourceEnded);
            }
        }
        length
    }

    /// Writes what begins with a header of that many bytes, and keeps what finds no room. Returns how much of it was
    /// payload and is written.
    fn write_new(&mut self, to: &mut Leg, bytes: &[u8], header: usize) -> usize {
        self.hurry(to);
        let written = write(to, bytes);
        if written < bytes.len() {
            // A header and a buffer at most.
            let header = header.saturating_sub(written) as u32;
            self.held = Held::Rest(Box::new(Rest { bytes: bytes[written..].into(), start: 0, header }));
        }
        written.saturating_sub(header)
    }

    /// Keeps small data from waiting for acknowledgements of what was sent before it.
    fn hurry(&mut self, to: &Leg) {
        self.nagle = match self.nagle {
            Nagle::Idle => Nagle::Due,
            Nagle::Due => {
                if let Err(error) = sockopt::set_tcp_nodelay(&to.socket, true) {
                    tracing::debug!(%error, "small data may wait for acknowledgements");
                }
                Nagle::Off
            }
            Nagle::Off => return,
        };
    }

    fn write_rest(&mut self, to: &mut Leg, most: usize) -> Transfer {
        self.hurry(to);
        let Held::Rest(rest) = &mut self.held else { return Transfer::Read };
        let left = &rest.bytes[rest.start as usize..];
        let written = write(to, &left[..left.len().min(most.saturating_add(rest.header as usize))]);
        let header = written.min(rest.header as usize);
        rest.start += written as u32;
        rest.header -= header as u32;
        if rest.start as usize == rest.bytes.len() {
            self.held = Held::Nothing;
        }
        Transfer::Moved(written - header)
    }

    fn fill_pipe(&mut self, from: &mut Leg, limit: usize, tools: &mut RelayBuffers) -> Transfer {
        let Some(pipe) = tools.pipes.take(tools.now) else {
            self.is_splicing = false;
            return Transfer::Read;
        };
        let filled = pipe.fill(&from.socket, limit);
        if let Ok(bytes) = filled
            && bytes > 0
        {
            self.held = Held::Piped(pipe, bytes);
            return Transfer::Read;
        }
        tools.pipes.give(pipe, tools.now);
        self.is_splicing = false;
        match filled {
            // The mark of urgent data looks like the end: a read tells them apart.
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => from.is_readable = false,
            Err(error) => from.fail(error),
        }
        Transfer::Read
    }

    fn drain_pipe(&mut self, to: &mut Leg, most: usize, tools: &mut RelayBuffers) -> Transfer {
        self.hurry(to);
        let Held::Piped(pipe, held) = &mut self.held else { return Transfer::Read };
        let piece = PIECE.min(most).min(*held as usize);
        let written = match pipe.drain(&to.socket, piece) {
            Ok(written) => written,
            Err(error) => {
                to.not_writable(error);
                return Transfer::Read;
            }
        };
        // The kernel stops before the end only where the socket takes no more, and tells when it does again.
        to.is_writable = written == piece;
        *held -= written as u32;
        if *held == 0
            && let Held::Piped(pipe, _) = std::mem::replace(&mut self.held, Held::Nothing)
        {
            tools.pipes.give(pipe, tools.now);
        }
        Transfer::Moved(written)
    }
}

impl Leg {
    fn not_writable(&mut self, error: Errno) {
        match error {
            Errno::INTR => {}
            Errno::AGAIN => self.is_writable = false,
            _ => self.fail(error),
        }
    }
}

fn write(to: &mut Leg, bytes: &[u8]) -> usize {
    match send(&to.socket, bytes, SendFlags::NOSIGNAL) {
        Ok(written) => {
            to.is_writable = written == bytes.len();
            written
        }
        Err(error) => {
            to.not_writable(error);
            0
        }
    }
}

/// Bounds what the kernel queues for a receiver of much that is near.
fn look_at(to: &Leg) -> ReceiverDistance {
    if !is_near(to) {
        return ReceiverDistance::Far;
    }
    if let Err(error) = sockopt::set_socket_send_buffer_size(&to.socket, NEAR_QUEUE) {
        tracing::debug!(%error, "the queue of a receiver is not bounded");
    }
    ReceiverDistance::Near
}

/// True for a peer on this host.
fn is_near(leg: &Leg) -> bool {
    let socket = SockRef::from(&leg.socket);
    let ip = |address: std::io::Result<socket2::SockAddr>| Some(address.ok()?.as_socket()?.ip().to_canonical());
    ip(socket.peer_addr()).is_some_and(|peer| peer.is_loopback() || ip(socket.local_addr()) == Some(peer))
}

#[cfg(test)]
mod tests;
