//! Receives many datagrams per call, into buffers that all flows of a worker share. I/O.
//!
//! Keeps: a datagram that was cut off, or whose pieces are not known apart, is never passed on.

use std::array;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrLike, SockaddrStorage, recvmmsg};
use rustix::io::Errno;

use crate::decide::datagrams::Received;

/// Datagrams, or pieces of several, per call. The peers' measure too: more gain nothing.
pub(super) const BATCH: usize = 64;
/// Those of a flow that is not known to get many at once: further headers would be filled in for nothing.
pub(super) const FEW: usize = 4;
/// Above the longest datagram, 65,507 bytes, and the longest piece.
const SLOT: usize = 1 << 16;
/// Distance of two slots: what is not a power of two spreads their beginnings over the sets of the caches.
const STRIDE: usize = SLOT + 1280;

/// Addresses as a socket of its family has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
    /// IPv6 with mapped IPv4 addresses.
    Both,
}

/// Where a datagram came from, and to which address of this host. IPv4 addresses are never mapped ones here.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatagramPath {
    pub(super) client: SocketAddr,
    /// None where the socket has one address only.
    pub(super) local: Option<IpAddr>,
}

const NOWHERE: DatagramPath =
    DatagramPath { client: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), local: None };

/// What a listening socket tells with every datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiveOptions {
    pub(super) family: Family,
    /// The address that the datagram came to.
    pub(super) local: bool,
    /// The sizes of what came in one piece.
    pub(super) pieces: bool,
}

/// Datagrams of one call, or of several.
pub(super) struct Slots {
    bytes: Box<[u8]>,
    pub(super) received: [Received; BATCH],
    pub(super) ways: [DatagramPath; BATCH],
}

impl Slots {
    /// Empty ones. What was never used takes no memory.
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BATCH * STRIDE].into(), received: [Received::default(); BATCH], ways: [NOWHERE; BATCH] }
    }

    /// What is in a slot.
    pub(super) fn bytes(&self, slot: usize) -> &[u8] {
        &self.bytes[slot * STRIDE..][..self.received[slot].length]
    }
}

type Headers<S> = MultiHeaders<S>;

fn headers<S: SockaddrLike + Copy>(count: usize, control: Option<Vec<u8>>) -> Headers<S> {
    Headers::preallocate(count, control)
}

/// The headers of calls, used again where the kernel leaves them as they were: it writes the lengths of addresses and
/// control messages over the room that there is for them, and nobody puts that right.
#[derive(Default)]
pub(super) struct DatagramReceiver {
    /// Of connected sockets.
    few: Option<Headers<()>>,
    all: Option<Headers<()>>,
    /// Of listening sockets, by family and by whether they tell the local address.
    many: [[Option<Headers<SockaddrStorage>>; 2]; 3],
}

/// What a call came to.
pub(super) struct Got {
    /// Slots that were filled.
    pub(super) count: usize,
    /// Nothing more waits, unless an event announces it.
    pub(super) is_drained: bool,
}

impl DatagramReceiver {
    /// Receives from a listening socket into all slots.
    pub(super) fn of_clients(
        &mut self,
        socket: &impl AsRawFd,
        asked: ReceiveOptions,
        slots: &mut Slots,
    ) -> Result<Got, Errno> {
        let kept = &mut self.many[asked.family as usize][usize::from(asked.local)];
        let control = match (asked.local, asked.pieces) {
            (false, false) => None,
            (false, true) => Some(cmsg_space!(i32)),
            (true, false) if asked.family == Family::V4 => Some(cmsg_space!(in_pktinfo)),
            (true, false) if asked.family == Family::V6 => Some(cmsg_space!(in6_pktinfo)),
            (true, false) => Some(cmsg_space!(in_pktinfo, in6_pktinfo)),
            (true, true) => Some(cmsg_space!(i32, in_pktinfo, in6_pktinfo)),
        };
        let mut fresh;
        let headers = if asked.pieces {
            fresh = headers(BATCH, control);
            &mut fresh
        } else {
            kept.get_or_insert_with(|| headers(BATCH, control))
        };
        let Slots { bytes, received, ways } = slots;
        let mut is_worn = false;
        let got = receive::<BATCH, _>(socket.as_raw_fd(), headers, bytes, BATCH, |slot, message| {
            let told = told(message);
            let client = message.address.as_ref().and_then(address);
            // A header whose control message was missing has no room for the next one.
            is_worn |= told.is_none_or(|told| asked.local && !told.has_all_of(asked.family));
            received[slot] = whole(message, told);
            let local = told.and_then(|told| told.v4.or(told.v6));
            ways[slot] = DatagramPath { client: client.unwrap_or(NOWHERE.client), local };
        });
        if is_worn && !asked.pieces {
            *kept = None;
        }
        got
    }

    /// Receives from a connected socket into the slots from `at` on: many of them where it `is_busy`, with their sizes
    /// where it `joins` what it receives.
    pub(super) fn of_target(
        &mut self,
        socket: &impl AsRawFd,
        (is_busy, joins): (bool, bool),
        at: usize,
        slots: &mut Slots,
    ) -> Result<Got, Errno> {
        let Slots { bytes, received, .. } = slots;
        let bytes = &mut bytes[at * STRIDE..];
        let most = if is_busy { BATCH - at } else { FEW.min(BATCH - at) };
        let fill = |slot: usize, message: &RecvMsg<'_, '_, ()>| received[at + slot] = whole(message, told(message));
        if joins {
            let mut headers = headers(most, Some(cmsg_space!(i32)));
            receive::<BATCH, _>(socket.as_raw_fd(), &mut headers, bytes, most, fill)
        } else if is_busy {
            let headers = self.all.get_or_insert_with(|| headers(BATCH, None));
            receive::<BATCH, _>(socket.as_raw_fd(), headers, bytes, most, fill)
        } else {
            let headers = self.few.get_or_insert_with(|| headers(FEW, None));
            receive::<FEW, _>(socket.as_raw_fd(), headers, bytes, most, fill)
        }
    }
}

/// What came with a datagram.
#[derive(Clone, Copy, Default)]
struct ControlData {
    segment: u16,
    /// The address of this host that answers leave from, which of a broadcast is not the one that it was sent to.
    v4: Option<IpAddr>,
    /// The address that it was sent to.
    v6: Option<IpAddr>,
}

impl ControlData {
    /// True if it has every address that a socket of the family can tell.
    fn has_all_of(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4.is_some(),
            Family::V6 => self.v6.is_some(),
            Family::Both => self.v4.is_some() && self.v6.is_some(),
        }
    }
}

/// None where something of it was cut off.
fn told<S>(message: &RecvMsg<'_, '_, S>) -> Option<ControlData> {
    let mut told = ControlData::default();
    for one in message.cmsgs().ok()? {
        match one {
            ControlMessageOwned::UdpGroSegments(size) => told.segment = u16::try_from(size).ok()?,
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                told.v4 = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                told.v6 = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
            }
            _ => {}
        }
    }
    Some(told)
}

/// The mark of a datagram that is not whole.
pub(super) const CUT: Received = Received { length: 0, segment: u16::MAX };

fn whole<S>(message: &RecvMsg<'_, '_, S>, told: Option<ControlData>) -> Received {
    match told {
        Some(_) if message.flags.contains(MsgFlags::MSG_TRUNC) => CUT,
        Some(ControlData { segment, .. }) if message.bytes > usize::from(segment) => {
            Received { length: message.bytes, segment }
        }
        Some(_) => Received { length: message.bytes, segment: 0 },
        None => CUT,
    }
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(match v6.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), v6.port()),
        IpAddr::V6(_) => SocketAddr::V6((*v6).into()),
    })
}

/// One call for at most `most` datagrams, and no more than `N`.
fn receive<const N: usize, S: SockaddrLike + Copy>(
    socket: RawFd,
    headers: &mut Headers<S>,
    bytes: &mut [u8],
    most: usize,
    mut each: impl FnMut(usize, &RecvMsg<'_, '_, S>),
) -> Result<Got, Errno> {
    let mut chunks = bytes.chunks_exact_mut(STRIDE);
    let mut slices: [[IoSliceMut<'_>; 1]; N] =
        array::from_fn(|_| [IoSliceMut::new(chunks.next().map_or(&mut [][..], |chunk| &mut chunk[..SLOT]))]);
    let messages = recvmmsg(socket, headers, slices.iter_mut().take(most), MsgFlags::MSG_DONTWAIT, None)
        .map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let mut count = 0;
    for message in messages {
        each(count, &message);
        count += 1;
    }
    Ok(Got { count, is_drained: count < most })
}
