//! Datagrams there and back: so many under way in all, over one flow or many in turn. I/O.
//!
//! Keeps: a reply counts once and only for the datagram that is awaited; one that does not come is lost after 100 ms,
//! and another takes its place.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SocketType, sockopt};

use super::{Clock, Phase, Work};
use crate::latency::Latency;
use crate::report::Report;
use crate::sockets::{Poll, READABLE, receive, send, start};

/// After which a datagram counts as lost.
const LOST: Duration = Duration::from_millis(100);
/// Between two looks for lost ones.
const LOOK: Duration = Duration::from_millis(50);
/// Type, slot and generation at the start of each.
const HEADER: usize = 12;

struct Slot {
    generation: u32,
    sent: Instant,
}

struct Sender {
    flows: Vec<OwnedFd>,
    next: usize,
    message: Vec<u8>,
    slots: Vec<Slot>,
    refused: u64,
}

impl Sender {
    /// Sends the next datagram of a slot over the next flow.
    fn fire(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        slot.generation = slot.generation.wrapping_add(1);
        slot.sent = Instant::now();
        self.message[4..8].copy_from_slice(&(number as u32).to_le_bytes());
        self.message[8..12].copy_from_slice(&slot.generation.to_le_bytes());
        let flow = &self.flows[self.next];
        self.next = (self.next + 1) % self.flows.len();
        if !send(flow, &self.message).is_ok_and(|sent| sent.is_some()) {
            self.refused += 1;
        }
    }

    /// The slot that awaits this reply.
    fn awaited(&self, reply: &[u8]) -> Option<usize> {
        let word = |at: usize| reply.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four")));
        let number = word(4)? as usize;
        (self.slots.get(number)?.generation == word(8)?).then_some(number)
    }
}

pub fn run(work: &Work) -> io::Result<()> {
    let mut poll = Poll::new(512)?;
    let mut flows = Vec::new();
    for number in 0..work.conns {
        let flow = start(work.address, SocketType::DGRAM)?;
        sockopt::set_socket_recv_buffer_size(&flow, 1 << 20)?;
        poll.add(&flow, number, READABLE)?;
        flows.push(flow);
    }
    let mut message = vec![b'.'; work.size.max(HEADER)];
    message[0] = b'E';
    let slots = (0..work.outstanding).map(|_| Slot { generation: 0, sent: Instant::now() }).collect();
    let mut sender = Sender { flows, next: 0, message, slots, refused: 0 };
    (0..work.outstanding).for_each(|number| sender.fire(number));

    let (mut latency, mut buffer, mut looked) = (Latency::new(), [0; 2048], Instant::now());
    let (mut count, mut lost) = (0, 0);
    let mut clock = Clock::start(work);
    loop {
        for place in 0..poll.wait(Some(Duration::from_millis(20)))? {
            let flow = poll.event(place).0;
            for _ in 0..64 {
                // An ICMP error of an earlier datagram shows as lost.
                let Ok(Some(length)) = receive(&sender.flows[flow], &mut buffer, RecvFlags::empty()) else { break };
                let Some(number) = sender.awaited(&buffer[..length]) else { continue };
                count += 1;
                if clock.is_measuring() {
                    latency.add(sender.slots[number].sent.elapsed());
                }
                sender.fire(number);
            }
        }
        let now = Instant::now();
        if now - looked > LOOK {
            looked = now;
            for number in 0..work.outstanding {
                if now.saturating_duration_since(sender.slots[number].sent) > LOST {
                    lost += 1;
                    sender.fire(number);
                }
            }
        }
        match clock.phase(now) {
            Phase::WarmingUp | Phase::Measuring => {}
            Phase::Starts => (count, lost) = (0, 0),
            Phase::Done(time, before, after) => {
                let report = Report::default()
                    .count("n", count)
                    .count("lost", lost)
                    .count("refused", sender.refused)
                    .number("per_s", count as f64 / time.as_secs_f64());
                before.report_until(after, latency.report(report)).print();
                return Ok(());
            }
        }
    }
}
