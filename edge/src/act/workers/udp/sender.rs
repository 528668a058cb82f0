//! Sends many datagrams per call, and runs of one size as one piece where the kernel takes them apart again. I/O.
//!
//! Keeps: what is sent in pieces leaves with the sizes that it had; nothing is sent twice.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::UdpGsoSegment;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, getsockopt, sendmmsg, sendmsg};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::slots::{BATCH, Family, Slots};
use crate::decide::datagrams::Piece;

/// A piece, and where it goes: nowhere else than to the peer on a connected socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parcel {
    pub(super) piece: Piece,
    pub(super) to: Option<SocketAddr>,
}

impl Parcel {
    /// What a place holds that is not used.
    pub(super) const NONE: Self =
        Self { piece: Piece { first: 0, parts: 0, segment: 0, datagrams: 0, bytes: 0 }, to: None };
}

/// The address of this host that datagrams leave from, as a socket of a family takes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    pub(super) family: Family,
    pub(super) local: IpAddr,
}

/// Control messages of a call.
enum Control {
    None,
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Control {
    fn of(from: Option<From>) -> Self {
        match from.map(|from| (from.family, from.local)) {
            None => Self::None,
            Some((Family::V4, IpAddr::V4(ip))) => Self::V4(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            }),
            Some((_, ip)) => {
                Self::V6(in6_pktinfo { ipi6_addr: in6_addr { s6_addr: mapped(ip).octets() }, ipi6_ifindex: 0 })
            }
        }
    }

    /// Room for them, as the kernel wants it: not a byte more.
    fn space(&self, is_segmented: bool) -> Option<Vec<u8>> {
        match (self, is_segmented) {
            (Self::None, false) => None,
            (Self::None, true) => Some(cmsg_space!(u16)),
            (Self::V4(_), false) => Some(cmsg_space!(in_pktinfo)),
            (Self::V4(_), true) => Some(cmsg_space!(u16, in_pktinfo)),
            (Self::V6(_), false) => Some(cmsg_space!(in6_pktinfo)),
            (Self::V6(_), true) => Some(cmsg_space!(u16, in6_pktinfo)),
        }
    }

    fn index(&self, is_segmented: bool) -> usize {
        let kind = match self {
            Self::None => 0,
            Self::V4(_) => 1,
            Self::V6(_) => 2,
        };
        2 * kind + usize::from(is_segmented)
    }

    fn message(&self) -> Option<ControlMessage<'_>> {
        match self {
            Self::None => None,
            Self::V4(info) => Some(ControlMessage::Ipv4PacketInfo(info)),
            Self::V6(info) => Some(ControlMessage::Ipv6PacketInfo(info)),
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// An address as a socket of a family takes it.
pub(super) fn as_family(address: SocketAddr, family: Family) -> SocketAddr {
    match (address, family) {
        (SocketAddr::V4(v4), Family::V6 | Family::Both) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        (address, _) => address,
    }
}

/// True where the kernel takes pieces apart. Others would send one as a single datagram.
pub(super) fn can_segment(socket: &impl AsFd) -> bool {
    getsockopt(socket, UdpGsoSegment).is_ok()
}

/// The headers of calls, made when first used.
#[derive(Default)]
pub(super) struct Sender([Option<MultiHeaders<SockaddrStorage>>; 6]);

impl Sender {
    /// Sends until something does not leave. How many left, and why the next one did not. `slots` are read in the given
    /// order.
    pub(super) fn send(
        &mut self,
        socket: &(impl AsFd + AsRawFd),
        from: Option<From>,
        slots: (&Slots, &[u8]),
        parcels: &[Parcel],
    ) -> (usize, Option<Errno>) {
        let mut sent = 0;
        while let Some(first) = parcels.get(sent) {
            let segment = first.piece.segment;
            let alike = parcels[sent..].iter().take_while(|parcel| parcel.piece.segment == segment).count();
            let stretch = &parcels[sent..sent + alike];
            let outcome = match stretch {
                [one] if from.is_none() && one.to.is_none() && segment == 0 => {
                    let bytes = slots.0.bytes(usize::from(slots.1[one.piece.first]));
                    send(socket, bytes, SendFlags::NOSIGNAL).map(|_| 1)
                }
                stretch => self.send_alike(socket, from, slots, stretch),
            };
            match outcome {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(error) => return (sent, Some(error)),
            }
        }
        (sent, None)
    }

    /// One call for parcels that come apart by the same size.
    fn send_alike(
        &mut self,
        socket: &impl AsRawFd,
        from: Option<From>,
        (slots, order): (&Slots, &[u8]),
        parcels: &[Parcel],
    ) -> Result<usize, Errno> {
        let mut parts = [IoSlice::new(&[]); BATCH];
        let mut places = [(0, 0); BATCH];
        let mut to = [const { None }; BATCH];
        let (mut used, mut count) = (0, 0);
        for parcel in parcels {
            let first = used;
            for slot in &order[parcel.piece.first..][..parcel.piece.parts] {
                parts[used] = IoSlice::new(slots.bytes(usize::from(*slot)));
                used += 1;
            }
            places[count] = (first, used);
            to[count] = parcel.to.map(SockaddrStorage::from);
            count += 1;
        }
        let mut groups = [&parts[..0]; BATCH];
        for (group, (first, end)) in groups.iter_mut().zip(places) {
            *group = &parts[first..end];
        }
        let control = Control::of(from);
        let segment = parcels.first().map_or(0, |parcel| parcel.piece.segment);
        let is_segmented = segment > 0;
        let both;
        let one;
        let messages: &[ControlMessage<'_>] = match (is_segmented, control.message()) {
            (true, Some(local)) => {
                both = [ControlMessage::UdpGsoSegments(&segment), local];
                &both
            }
            (true, None) => {
                one = [ControlMessage::UdpGsoSegments(&segment)];
                &one
            }
            (false, Some(local)) => {
                one = [local];
                &one
            }
            (false, None) => &[],
        };
        let headers = self.0[control.index(is_segmented)]
            .get_or_insert_with(|| MultiHeaders::preallocate(BATCH, control.space(is_segmented)));
        let sent =
            sendmmsg(socket.as_raw_fd(), headers, &groups[..count], &to[..count], messages, MsgFlags::MSG_NOSIGNAL);
        sent.map(Iterator::count).map_err(errno)
    }
}

/// Sends one datagram that is a part of a piece.
pub(super) fn send_alone(
    socket: &impl AsRawFd,
    from: Option<From>,
    to: Option<SocketAddr>,
    bytes: &[u8],
) -> Result<(), Errno> {
    let control = Control::of(from);
    let to = to.map(SockaddrStorage::from);
    let messages = control.message();
    let sent = sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        messages.as_slice(),
        MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
        to.as_ref(),
    );
    sent.map(|_| ()).map_err(errno)
}

fn errno(error: nix::Error) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
