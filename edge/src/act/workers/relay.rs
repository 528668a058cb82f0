//! Moves bytes of one connection both ways, for one turn. I/O.
//!
//! Small reads are copied through the worker's buffer. One that fills it switches its direction to a pipe until the
//! source runs dry: up to some 16 to 32 KiB per read copying costs less than three calls more, above it splicing does.
//!
//! Keeps: the end of one direction is passed on and leaves the other alone; every byte is counted when it is written;
//! what was read is written before anything else is read; nothing is read that could not be written at once.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use socket2::SockRef;

use super::splice::Pipes;
use super::tcp::{Connection, Direction, Held, Leg, Receiver, Rest};
use super::timers::Tick;
use crate::decide::breaks::Break;

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

/// A connection that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Break);

/// What failed of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// The side that is read.
    From(Errno),
    /// The side that is written.
    To(Errno),
}

impl Failed {
    /// Of the direction from the client to the target.
    fn inward(self) -> Broken {
        Broken(match self {
            Self::From(error) => of_client(error),
            Self::To(error) => of_target(error),
        })
    }

    /// Of the other one.
    fn outward(self) -> Broken {
        Broken(match self {
            Self::From(error) => of_target(error),
            Self::To(error) => of_client(error),
        })
    }
}

fn of_client(error: Errno) -> Break {
    match error {
        Errno::CONNRESET | Errno::PIPE => Break::ClientReset,
        Errno::TIMEDOUT => Break::ClientTimeout,
        _ => Break::ClientOther,
    }
}

fn of_target(error: Errno) -> Break {
    match error {
        Errno::CONNRESET | Errno::PIPE => Break::TargetReset,
        Errno::TIMEDOUT => Break::TargetTimeout,
        _ => Break::TargetOther,
    }
}

/// What a turn came to.
pub(super) struct Turn {
    pub(super) moved: usize,
    /// There is nothing to do before the next event.
    pub(super) is_finished: bool,
    /// It moved something, until a receiver far away took no more: worth another try soon.
    pub(super) is_held_up: bool,
}

/// What the connections of a worker share, one at a time.
pub(super) struct Tools {
    pub(super) buffer: Box<[u8]>,
    pub(super) pipes: Pipes,
    pub(super) now: Tick,
}

/// One turn: at most `quantum` bytes each way, and what one call moves beyond it.
pub(super) fn pump(connection: &mut Connection, quantum: usize, tools: &mut Tools) -> Result<Turn, Broken> {
    let Connection { client, target, inward, outward, ticket, .. } = connection;
    let Some(target) = target else { return Ok(Turn { moved: 0, is_finished: true, is_held_up: false }) };
    let moved_in =
        inward.pump(client, target, quantum, tools, |bytes| ticket.moved_in(bytes)).map_err(Failed::inward)?;
    let moved_out =
        outward.pump(target, client, quantum, tools, |bytes| ticket.moved_out(bytes)).map_err(Failed::outward)?;
    let is_over = inward.is_at_end() && outward.is_at_end();
    inward.pass_end_on(client, target, is_over).map_err(Failed::inward)?;
    outward.pass_end_on(target, client, is_over).map_err(Failed::outward)?;
    let is_held_up = inward.is_held_up(moved_in, target) || outward.is_held_up(moved_out, client);
    Ok(Turn { moved: moved_in + moved_out, is_finished: moved_in < quantum && moved_out < quantum, is_held_up })
}

/// Sends what the target is told first, in one segment with what the client has sent already. Waits for nothing: a
/// target that speaks first gets it at once.
pub(super) fn open(connection: &mut Connection, header: &[u8], tools: &mut Tools) -> Result<(), Broken> {
    let Connection { client, target, inward, ticket, .. } = connection;
    let Some(target) = target else { return Ok(()) };
    let (start, rest) = tools.buffer.split_at_mut(header.len());
    start.copy_from_slice(header);
    let length = inward.read(client, rest).map_err(Failed::inward)?.unwrap_or(0);
    let written = inward.write_new(target, &tools.buffer[..header.len() + length], header.len());
    ticket.moved_in(written.map_err(Failed::inward)?);
    Ok(())
}

/// Tells the receiver that no more comes.
fn end(to: &Leg) -> Result<(), Failed> {
    match shutdown(&to.socket, Shutdown::Write) {
        Err(error) if error != Errno::NOTCONN => Err(Failed::To(error)),
        _ => Ok(()),
    }
}

/// What one call did.
enum Step {
    Moved(usize),
    Read,
    Blocked,
}

impl Direction {
    fn is_empty(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    fn is_at_end(&self) -> bool {
        self.has_read_all && self.is_empty()
    }

    fn pump(
        &mut self,
        from: &mut Leg,
        to: &mut Leg,
        quantum: usize,
        tools: &mut Tools,
        count: impl Fn(usize),
    ) -> Result<usize, Failed> {
        let mut moved = 0;
        while moved < quantum {
            if !to.is_writable || (self.is_empty() && (self.has_read_all || !from.is_readable)) {
                break;
            }
            let step = match self.held {
                Held::Nothing if self.is_splicing => self.fill_pipe(from, quantum - moved, tools)?,
                Held::Nothing => self.copy(from, to, &mut tools.buffer)?,
                Held::Rest(_) => self.write_rest(to)?,
                Held::Piped(..) => self.drain_pipe(to, tools)?,
            };
            match step {
                Step::Moved(bytes) => {
                    count(bytes);
                    moved += bytes;
                }
                Step::Read => {}
                Step::Blocked => break,
            }
        }
        self.moved = self.moved.saturating_add(moved as u32);
        if self.moved >= BULK && self.receiver == Receiver::Unknown {
            self.receiver = look_at(to);
        }
        Ok(moved)
    }

    /// Tells the receiver of the end of the data, unless both directions are over: the close of the sockets says so then.
    fn pass_end_on(&mut self, from: &Leg, to: &Leg, is_over: bool) -> Result<(), Failed> {
        // Nothing that will be read tells of this failure.
        if from.has_failed && (self.is_at_end() || !self.is_empty()) {
            return Err(Failed::From(error_of(from)));
        }
        if self.is_at_end() && !self.has_ended {
            self.has_ended = true;
            if !is_over {
                end(to)?;
            }
        }
        Ok(())
    }

    /// The kernel tells of room only when a third of the queue is free, which over a long way is late: by then less is
    /// under way than there could be.
    fn is_held_up(&self, moved: usize, to: &Leg) -> bool {
        moved > 0 && !to.is_writable && self.receiver == Receiver::Far
    }

    /// Reads into the buffer and writes from it.
    fn copy(&mut self, from: &mut Leg, to: &mut Leg, buffer: &mut [u8]) -> Result<Step, Failed> {
        match self.read(from, buffer)? {
            None => Ok(Step::Read),
            Some(0) => Ok(Step::Blocked),
            Some(length) => Ok(Step::Moved(self.write_new(to, &buffer[..length], 0)?)),
        }
    }

    /// Reads once. 0 is the end of the data, `None` that there is nothing now.
    fn read(&mut self, from: &mut Leg, buffer: &mut [u8]) -> Result<Option<usize>, Failed> {
        let length = match recv(&from.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, length)) => length,
            Err(error) => return from.not_readable(error).map(|_| None).map_err(Failed::From),
        };
        if length == 0 {
            self.has_read_all = true;
        } else if length == buffer.len() {
            self.is_splicing = true;
        } else if !from.is_closing {
            // What comes later comes with an event; only the end of the data may have come with this one.
            from.is_readable = false;
        }
        Ok(Some(length))
    }

    /// Writes what begins with a header of that many bytes, and keeps what finds no room. Returns how much of it was
    /// payload and is written.
    fn write_new(&mut self, to: &mut Leg, bytes: &[u8], header: usize) -> Result<usize, Failed> {
        let written = write(to, bytes)?;
        if written < bytes.len() {
            // A header and a buffer at most.
            let header = header.saturating_sub(written) as u32;
            self.held = Held::Rest(Rest { bytes: bytes[written..].into(), start: 0, header });
        }
        Ok(written.saturating_sub(header))
    }

    fn write_rest(&mut self, to: &mut Leg) -> Result<Step, Failed> {
        let Held::Rest(rest) = &mut self.held else { return Ok(Step::Read) };
        let written = write(to, &rest.bytes[rest.start as usize..])?;
        let header = written.min(rest.header as usize);
        rest.start += written as u32;
        rest.header -= header as u32;
        if rest.start as usize == rest.bytes.len() {
            self.held = Held::Nothing;
        }
        Ok(Step::Moved(written - header))
    }

    fn fill_pipe(&mut self, from: &mut Leg, limit: usize, tools: &mut Tools) -> Result<Step, Failed> {
        let Some(pipe) = tools.pipes.take(tools.now) else {
            self.is_splicing = false;
            return Ok(Step::Read);
        };
        let filled = pipe.fill(&from.socket, limit.max(BUFFER));
        if let Ok(bytes) = filled
            && bytes > 0
        {
            self.held = Held::Piped(pipe, bytes);
            return Ok(Step::Read);
        }
        tools.pipes.give(pipe, tools.now);
        self.is_splicing = false;
        match filled {
            Ok(_) => {
                self.has_read_all = true;
                Ok(Step::Blocked)
            }
            Err(error) => from.not_readable(error).map_err(Failed::From),
        }
    }

    fn drain_pipe(&mut self, to: &mut Leg, tools: &mut Tools) -> Result<Step, Failed> {
        let Held::Piped(pipe, held) = &mut self.held else { return Ok(Step::Read) };
        let piece = PIECE.min(*held);
        let written = match pipe.drain(&to.socket, piece) {
            Ok(written) => written,
            Err(error) => return to.not_writable(error).map_err(Failed::To),
        };
        // The kernel stops before the end only where the socket takes no more, and tells when it does again.
        to.is_writable = written == piece;
        *held -= written;
        if *held == 0
            && let Held::Piped(pipe, _) = std::mem::replace(&mut self.held, Held::Nothing)
        {
            tools.pipes.give(pipe, tools.now);
        }
        Ok(Step::Moved(written))
    }
}

impl Leg {
    fn not_readable(&mut self, error: Errno) -> Result<Step, Errno> {
        if error != Errno::AGAIN && error != Errno::INTR {
            return Err(error);
        }
        self.is_readable &= error == Errno::INTR;
        Ok(Step::Read)
    }

    fn not_writable(&mut self, error: Errno) -> Result<Step, Errno> {
        if error != Errno::AGAIN && error != Errno::INTR {
            return Err(error);
        }
        self.is_writable &= error == Errno::INTR;
        Ok(Step::Read)
    }
}

fn write(to: &mut Leg, bytes: &[u8]) -> Result<usize, Failed> {
    match send(&to.socket, bytes, SendFlags::NOSIGNAL) {
        Ok(written) => {
            to.is_writable = written == bytes.len();
            Ok(written)
        }
        Err(error) => to.not_writable(error).map(|_| 0).map_err(Failed::To),
    }
}

/// What the kernel says of a socket that has failed.
fn error_of(leg: &Leg) -> Errno {
    sockopt::socket_error(&leg.socket).ok().and_then(Result::err).unwrap_or(Errno::IO)
}

/// Bounds what the kernel queues for a receiver of much that is near.
fn look_at(to: &Leg) -> Receiver {
    if !is_near(to) {
        return Receiver::Far;
    }
    if let Err(error) = sockopt::set_socket_send_buffer_size(&to.socket, NEAR_QUEUE) {
        tracing::debug!(%error, "what is queued for a receiver is not bounded");
    }
    Receiver::Near
}

/// True for a peer on this host.
fn is_near(leg: &Leg) -> bool {
    let socket = SockRef::from(&leg.socket);
    let ip = |address: std::io::Result<socket2::SockAddr>| Some(address.ok()?.as_socket()?.ip().to_canonical());
    ip(socket.peer_addr()).is_some_and(|peer| peer.is_loopback() || ip(socket.local_addr()) == Some(peer))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_a_far_receiver_that_took_something_and_then_no_more_holds_a_direction_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut leg = Leg::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
        let mut direction = Direction::new();
        assert_eq!(look_at(&leg), Receiver::Near);
        for (receiver, moved, is_writable, expected) in [
            (Receiver::Far, 1, false, true),
            (Receiver::Far, 0, false, false),
            (Receiver::Far, 1, true, false),
            (Receiver::Near, 1, false, false),
            (Receiver::Unknown, 1, false, false),
        ] {
            (direction.receiver, leg.is_writable) = (receiver, is_writable);
            assert_eq!(direction.is_held_up(moved, &leg), expected, "{receiver:?} {moved} {is_writable}");
        }
    }
}
