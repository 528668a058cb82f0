//! From a flow to a connected socket: targets, their names and addresses, and what is left when one fails. I/O.
//!
//! Nothing answers to a connect here. A target has failed where the system says that nobody listens there, or that there
//! is no way to it; the flow goes on to the next address and then to the next target with the client's next datagram.
//!
//! Keeps: every failure is counted by its cause, and health hears of a target when all of its addresses failed.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, socket_with};
use schema::rule::Host;

use super::super::choice::Met;
use super::super::resolve::{Asker, Kind, Question, Resolved};
use super::super::slab::Key;
use super::super::timers::ticks;
use super::flow::{Upstream, Waiting};
use super::{Around, MARK, Udp};
use crate::act::descriptors::for_client;
use crate::act::interfaces;
use crate::decide::datagrams::Lost;
use crate::decide::dial::{self, Cause};

/// How long a flow waits for the name of its last target: as long as a connection is dialled in all.
const NAME_TIMEOUT: Duration = Duration::from_secs(10);

/// What an error on the way to a target means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These datagrams did not leave, and the next ones may.
    Lost(Lost),
    /// A queue is full.
    Full,
    /// The target is not there.
    Failed(Cause),
}

pub(super) fn judge(error: Errno) -> Verdict {
    match error {
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => Verdict::Full,
        Errno::MSGSIZE => Verdict::Lost(Lost::TooLarge),
        Errno::CONNREFUSED => Verdict::Failed(Cause::Refused),
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN => {
            Verdict::Failed(Cause::Unreachable)
        }
        // A firewall of this host.
        Errno::PERM | Errno::ACCESS => Verdict::Lost(Lost::Unreachable),
        _ => Verdict::Lost(Lost::Other),
    }
}

/// True where the way takes no pieces, and may take their datagrams one by one.
pub(super) fn refuses_pieces(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::IO | Errno::MSGSIZE | Errno::OPNOTSUPP | Errno::NOPROTOOPT)
}

fn start(address: SocketAddr, registry: &Registry, key: Key) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = for_client(socket_with(family, SocketType::DGRAM, flags, None)?)?;
    connect(&socket, &address)?;
    let token = Token(MARK | key.pack(0));
    registry
        .register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
    Ok(socket)
}

impl Udp {
    /// Opens the way to the target that the flow is at, or to one behind it; while a name is looked up, the flow waits.
    /// Fails where nothing is left: the flow is to be ended.
    pub(super) fn open(&mut self, key: Key, around: &mut Around<'_>) -> Result<(), Lost> {
        loop {
            self.look_up(key, around);
            let Some(flow) = self.flows.get_mut(key) else { return Err(Lost::Other) };
            let address = match (flow.addresses.pop(), &flow.ticket.target().host) {
                (Some(address), _) => address,
                (None, Host::Ip(ip)) => SocketAddr::new(*ip, flow.ticket.target_port()),
                (None, Host::Scoped(scoped)) => match interfaces::socket_address(scoped, flow.ticket.target_port()) {
                    Some(address) => address,
                    None if !self.fail(key, Cause::Unreachable) => return Err(Lost::Unreachable),
                    None => continue,
                },
                (None, Host::Name(_)) => match self.ask(key, around) {
                    Ok(()) => return Ok(()),
                    Err(lost) if !self.go_on(key, None) => return Err(lost),
                    Err(_) => continue,
                },
            };
            let listener = flow.ticket.listener();
            let is_loop =
                dial::is_loop((listener.address, listener.port), address, |ip| around.own.contains(ip, around.now));
            let opened = if is_loop {
                Err(Cause::Loop)
            } else {
                start(address, around.registry, key).map_err(|error| Cause::of(&error.into()))
            };
            match opened {
                Ok(socket) => {
                    flow.upstream = Upstream::Open(socket);
                    (flow.is_busy, flow.joins_in) = (false, false);
                    flow.ticket.opened();
                    return Ok(());
                }
                Err(cause) if !self.fail(key, cause) => {
                    let is_short = !cause.is_targets() && cause != Cause::Firewall;
                    return Err(if is_short { Lost::NoRoom } else { Lost::Unreachable });
                }
                Err(_) => {}
            }
        }
    }

    /// Gives up the address that the flow is at. False where nothing is left to try.
    pub(super) fn fail(&mut self, key: Key, cause: Cause) -> bool {
        let Some(flow) = self.flows.get_mut(key) else { return false };
        flow.upstream = Upstream::Failed;
        flow.ticket.connect_failed(cause);
        !flow.addresses.is_empty() || self.go_on(key, cause.is_targets().then_some(Met::Failure(cause)))
    }

    fn go_on(&mut self, key: Key, met: Option<Met>) -> bool {
        let Some(flow) = self.flows.get_mut(key) else { return false };
        flow.ticket.failed(met);
        let goes_on = flow.ticket.go_on();
        if !goes_on {
            flow.ticket.unserved();
        }
        goes_on
    }

    fn ask(&mut self, key: Key, around: &Around<'_>) -> Result<(), Lost> {
        let Some(flow) = self.flows.get_mut(key) else { return Err(Lost::Other) };
        let Host::Name(name) = &flow.ticket.target().host else { return Err(Lost::Other) };
        let asker = Asker { worker: around.index, key, step: flow.ticket.step(), kind: Kind::Flow };
        if around.shared.questions.try_send(Question { name: name.clone(), asker }).is_err() {
            tracing::warn!("too many names wait to be looked up");
            flow.ticket.dns_failed();
            return Err(Lost::Unresolved);
        }
        // Where other targets are left, one whose name does not resolve may not take all of the time.
        let limit = if flow.ticket.has_more() { flow.ticket.route().rule.connect_timeout } else { NAME_TIMEOUT };
        flow.upstream = Upstream::Named(Waiting::default());
        self.timers.set(key.slot(), around.now + ticks(limit));
        Ok(())
    }

    /// Finds the addresses of a name that is known already.
    fn look_up(&mut self, key: Key, around: &Around<'_>) {
        let Some(flow) = self.flows.get_mut(key).filter(|flow| flow.addresses.is_empty()) else { return };
        if let Host::Name(name) = &flow.ticket.target().host
            && let Some(ips) = around.shared.names.known(name)
        {
            self.set_addresses(key, &ips);
        }
    }

    pub(super) fn set_addresses(&mut self, key: Key, ips: &[IpAddr]) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let port = flow.ticket.target_port();
        let ordered = dial::order(ips, flow.ticket.route().rule.prefer_ipv6, self.names);
        self.names = self.names.wrapping_add(1);
        flow.addresses = ordered.into_iter().rev().map(|ip| SocketAddr::new(ip, port)).collect();
    }

    /// Takes the answer to a question.
    pub(in super::super) fn resolved(&mut self, resolved: &Resolved, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(resolved.key) else { return };
        if flow.ticket.step() == resolved.step && matches!(flow.upstream, Upstream::Open(_)) {
            return self.answered_meanwhile(resolved);
        }
        // It has given up waiting, and is at another target since.
        if flow.ticket.step() != resolved.step || !matches!(flow.upstream, Upstream::Named(_)) {
            return;
        }
        if resolved.addresses.is_empty() {
            return self.unresolved(resolved.key, around);
        }
        self.set_addresses(resolved.key, &resolved.addresses);
        self.end_waiting(resolved.key, Lost::Unreachable, true, around);
    }

    /// The name of the target did not resolve, or not in time.
    pub(super) fn unresolved(&mut self, key: Key, around: &mut Around<'_>) {
        if let Some(flow) = self.flows.get_mut(key) {
            flow.ticket.dns_failed();
        }
        let goes_on = self.go_on(key, Some(Met::NoAddress));
        self.end_waiting(key, Lost::Unresolved, goes_on, around);
    }

    /// Sends what waited for a name, or lets it wait for the next one.
    fn end_waiting(&mut self, key: Key, lost: Lost, goes_on: bool, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        let former = std::mem::replace(&mut flow.upstream, Upstream::Failed);
        let Upstream::Named(waiting) = former else { return };
        let opened = if goes_on { self.open(key, around) } else { Err(lost) };
        let Some(flow) = self.flows.get_mut(key) else { return };
        if let (Upstream::Named(next), Ok(())) = (&mut flow.upstream, opened) {
            *next = waiting;
            return;
        }
        let datagrams = waiting.take(&mut self.waiting);
        if let Err(lost) = opened {
            flow.ticket.lost(lost, datagrams.len() as u64);
            return self.end(key, around);
        }
        self.timers.set(key.slot(), around.now + ticks(flow.ticket.route().rule.udp_flow_idle));
        let Upstream::Open(socket) = &flow.upstream else { return };
        for datagram in datagrams {
            match send(socket, &datagram, SendFlags::NOSIGNAL).map_err(judge) {
                Ok(_) => flow.ticket.passed_in(1, datagram.len()),
                Err(Verdict::Lost(lost)) => flow.ticket.lost(lost, 1),
                Err(Verdict::Full) => flow.ticket.lost(Lost::NoRoom, 1),
                Err(Verdict::Failed(_)) => flow.ticket.lost(Lost::Unreachable, 1),
            }
        }
    }

    /// Looks at a flow whose time may have come.
    pub(super) fn overdue(&mut self, key: Key, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(key) else { return };
        if matches!(flow.upstream, Upstream::Named(_)) {
            return self.unresolved(key, around);
        }
        let end = flow.active + flow.idle();
        if end <= around.now {
            return self.end(key, around);
        }
        self.timers.set(key.slot(), end);
    }
}
