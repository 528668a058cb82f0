//! What becomes of the bytes of one direction when one of its sides ends or fails, wherever they are by then.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown as Ends, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::*;
use crate::decide::relaying::Passage;

#[test]
fn only_a_far_receiver_that_took_something_and_then_no_more_holds_a_direction_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut leg = Leg::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap().into());
    let mut direction = Direction::to_target();
    assert_eq!(look_at(&leg), ReceiverDistance::Near);
    for (receiver, moved, is_writable, expected) in [
        (ReceiverDistance::Far, 1, false, true),
        (ReceiverDistance::Far, 0, false, false),
        (ReceiverDistance::Far, 1, true, false),
        (ReceiverDistance::Near, 1, false, false),
        (ReceiverDistance::Unknown, 1, false, false),
    ] {
        (direction.receiver, leg.is_writable) = (receiver, is_writable);
        assert_eq!(direction.is_held_up(moved, &leg), expected, "{receiver:?} {moved} {is_writable}");
    }
}

#[test]
fn only_a_second_write_needs_an_option_to_leave_at_once() {
    let mut line = Line::new();
    for (sent, nagle) in [(1, Nagle::Due), (2, Nagle::Off), (3, Nagle::Off)] {
        line.send(1);
        while line.got.len() < sent {
            line.learn();
            line.pump();
            line.read(1);
        }
        assert_eq!(line.direction.nagle, nagle, "{sent} sent");
        assert_eq!(sockopt::tcp_nodelay(&line.to.socket), Ok(nagle == Nagle::Off), "{sent} sent");
    }
}

#[test]
fn the_end_that_came_with_the_last_bytes_is_known_without_another_read() {
    let mut line = Line::new();
    line.send(100);
    line.source.shutdown(Ends::Write).unwrap();
    line.arrive();
    while !line.from.is_closing {
        line.learn();
    }
    let mut buffer = vec![0; BUFFER];
    assert_eq!(line.direction.read(&mut line.from, &mut buffer), 100);
    assert_eq!((line.direction.passage, line.from.is_readable), (Passage::Ended, false));
}

/// How bytes move when it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Copied,
    /// Copied, and some of them found no room.
    Rest,
    Piped,
}

/// Where there are bytes that are not delivered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Nowhere,
    /// In the kernel's queue of the source.
    Kernel,
    /// In the edge.
    Held,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    SourceEnds,
    SourceResets,
    SourceEndsAndResets,
    /// Noticed while reading from it: there is nothing to write, or no room.
    ReceiverResets,
    /// Noticed by a write.
    ReceiverResetsUnseen,
}

/// A socket that does not block, and its peer.
fn pair(room: usize) -> (Leg, TcpStream) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // The peer inherits how much it takes before it reads.
    listener.set_recv_buffer_size(room).unwrap();
    listener.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap().as_socket().unwrap()).unwrap();
    stream.set_nonblocking(true).unwrap();
    sockopt::set_socket_send_buffer_size(&stream, room).unwrap();
    sockopt::set_socket_recv_buffer_size(&stream, room).unwrap();
    let peer = TcpStream::from(listener.accept().unwrap().0);
    peer.set_nonblocking(true).unwrap();
    (Leg::new(stream.into()), peer)
}

/// One direction between two sockets, with events as the worker gets them.
struct Line {
    source: TcpStream,
    from: Leg,
    direction: Direction,
    to: Leg,
    receiver: TcpStream,
    tools: RelayBuffers,
    poll: Poll,
    sent: Vec<u8>,
    got: Vec<u8>,
}

impl Line {
    fn new() -> Self {
        let ((from, source), (to, receiver)) = (pair(1 << 20), pair(8 << 10));
        let poll = Poll::new().unwrap();
        for (leg, token) in [(&from, 0), (&to, 1)] {
            let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
            poll.registry().register(&mut SourceFd(&leg.socket.as_raw_fd()), Token(token), interest).unwrap();
        }
        let tools =
            RelayBuffers { buffer: vec![0; BUFFER].into(), pipes: Pipes::new(1), kernel: Kernel::new(), now: 0 };
        let direction = Direction::to_target();
        Self { source, from, direction, to, receiver, tools, poll, sent: Vec::new(), got: Vec::new() }
    }

    fn send(&mut self, length: usize) {
        let start = self.sent.len();
        self.sent.extend((start..start + length).map(|index| (index * 31 + index / 251) as u8));
        let mut left = &self.sent[start..];
        while !left.is_empty() {
            match self.source.write(left) {
                Ok(written) => left = &left[written..],
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    fn learn(&mut self) {
        let mut events = Events::with_capacity(8);
        self.poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
        for event in &events {
            let leg = if event.token() == Token(0) { &mut self.from } else { &mut self.to };
            leg.note(event);
        }
    }

    fn pump(&mut self) {
        let Self { from, direction, to, tools, .. } = self;
        direction.pump(Legs { from, to }, Quanta::free(1 << 20).of(0), tools, |_| ());
        direction.forsake(to, tools);
    }

    /// Reads what has come, up to a limit.
    fn read(&mut self, limit: usize) {
        let mut buffer = vec![0; limit];
        if let Ok(length) = self.receiver.read(&mut buffer) {
            self.got.extend(&buffer[..length]);
        }
    }

    /// Moves bytes until they are where they are to be.
    fn bring(&mut self, way: Way, place: Place) {
        let start = Instant::now();
        match way {
            Way::Copied => {}
            Way::Rest => self.send(BUFFER - 1),
            Way::Piped => self.send(8 * BUFFER),
        }
        let is_there = |line: &Self| match (way, &line.direction.held) {
            (Way::Copied, Held::Nothing) | (Way::Rest, Held::Rest(_)) => true,
            (Way::Piped, Held::Piped(..)) => !line.to.is_writable,
            _ => false,
        };
        loop {
            self.learn();
            self.pump();
            if is_there(self) {
                break;
            }
            self.read(4096);
            assert!(start.elapsed() < Duration::from_secs(10), "{way:?} does not come about");
        }
        if place == Place::Nowhere || way == Way::Piped && place == Place::Held {
            self.settle(place == Place::Nowhere);
        }
        if matches!(place, Place::Kernel | Place::Both) {
            self.send(5000);
        }
    }

    /// Lets the source run dry, and its receiver take everything if asked for.
    fn settle(&mut self, is_all: bool) {
        let start = Instant::now();
        while rustix::io::ioctl_fionread(&self.from.socket).unwrap() > 0 || is_all && self.got.len() < self.sent.len() {
            self.learn();
            self.pump();
            self.read(4096);
            assert!(start.elapsed() < Duration::from_secs(10), "it does not settle");
        }
    }

    fn meet(&mut self, event: Event) {
        self.arrive();
        let reset = |stream: &TcpStream| super::super::connection::reset(stream);
        let gone = || TcpStream::connect(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()).unwrap();
        match event {
            Event::SourceEnds => self.source.shutdown(Ends::Write).unwrap(),
            Event::SourceResets => {
                reset(&self.source);
                self.source = gone();
            }
            Event::SourceEndsAndResets => {
                self.source.shutdown(Ends::Write).unwrap();
                reset(&self.source);
                self.source = gone();
            }
            Event::ReceiverResets | Event::ReceiverResetsUnseen => {
                reset(&self.receiver);
                self.receiver = gone();
            }
        }
        if event == Event::ReceiverResetsUnseen {
            self.to.is_writable = true;
            self.send(1);
            self.from.is_readable = true;
            self.pump();
        }
    }

    /// Waits until the kernel has taken in everything: a reset takes back what is still on the side of its sender.
    fn arrive(&mut self) {
        let (start, source) = (Instant::now(), self.source.try_clone().unwrap().into());
        while self.tools.kernel.look(&source).unwrap().waiting > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "it does not arrive");
        }
    }

    fn end(&mut self) {
        let start = Instant::now();
        while self.direction.passage.is_reading() || !self.direction.is_empty() || self.to_come() {
            self.learn();
            self.pump();
            self.read(64 << 10);
            let (passage, got) = (self.direction.passage, self.got.len());
            assert!(start.elapsed() < Duration::from_secs(10), "{passage:?}, {got} of {} bytes", self.sent.len());
        }
    }

    fn to_come(&self) -> bool {
        self.direction.passage != Passage::Abandoned && self.got.len() < self.sent.len()
    }
}

#[test]
fn every_end_and_every_error_leaves_whole_what_there_was_on_every_way_of_bytes() {
    use Event::{ReceiverResets, ReceiverResetsUnseen, SourceEnds, SourceEndsAndResets, SourceResets};
    let cells = [
        (Way::Copied, Place::Nowhere),
        (Way::Copied, Place::Kernel),
        (Way::Rest, Place::Nowhere),
        (Way::Rest, Place::Held),
        (Way::Rest, Place::Both),
        (Way::Piped, Place::Nowhere),
        (Way::Piped, Place::Held),
        (Way::Piped, Place::Both),
    ];
    for (way, place) in cells {
        for (event, passage) in [
            (SourceEnds, Passage::Ended),
            (SourceResets, Passage::Cut),
            // An end that was received stays one.
            (SourceEndsAndResets, Passage::Ended),
            (ReceiverResets, Passage::Abandoned),
            (ReceiverResetsUnseen, Passage::Abandoned),
        ] {
            let mut line = Line::new();
            line.bring(way, place);
            line.meet(event);
            line.end();
            let cell = format!("{way:?}, {place:?}, {event:?}");
            assert_eq!(line.direction.passage, passage, "{cell}");
            if passage == Passage::Abandoned {
                assert!(line.sent.starts_with(&line.got), "{cell}");
            } else {
                assert!(line.got == line.sent, "{cell}: {} of {} bytes", line.got.len(), line.sent.len());
            }
            // Its pipe has come back, or was closed with what was in it.
            assert!(line.direction.is_empty(), "{cell}");
        }
    }
}
