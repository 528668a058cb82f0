//! Whose fault it is that a target was not reached, by what the system says about it. Pure.
//!
//! Connections and probes both ask here. Keeps: an error of this host is never a verdict about a target.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use schema::counters::ConnectCause;
use schema::counters::CounterLabel as _;

/// The limit of open files of the whole system: the same number on every Linux.
const ENFILE: i32 = 23;
/// The limit of open files of this process.
const EMFILE: i32 = 24;
/// An invalid argument: the same number on every Linux.
const EINVAL: i32 = 22;
/// No buffer space, as Linux numbers it apart from a few processors that no edge runs on.
const ENOBUFS: i32 = 105;

/// Whose fault an error of the system is, while connecting or sending.
pub fn fault_of(error: &Error) -> ConnectCause {
    match error.kind() {
        ErrorKind::ConnectionRefused => return ConnectCause::Refused,
        ErrorKind::TimedOut => return ConnectCause::Timeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            return ConnectCause::Unreachable;
        }
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            return ConnectCause::Reset;
        }
        // A socket of datagrams that finds no free port is to try again, says the system.
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::WouldBlock => return ConnectCause::SourcePorts,
        // ENOSPC: this user has as many descriptors in event queues as the system allows.
        ErrorKind::OutOfMemory | ErrorKind::StorageFull => return ConnectCause::Memory,
        // EPERM and EACCES: a filter on the way out, a policy of the kernel, or a route that prohibits.
        ErrorKind::PermissionDenied => return ConnectCause::Firewall,
        _ => {}
    }
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => ConnectCause::Descriptors,
        Some(ENOBUFS) => ConnectCause::Memory,
        _ => ConnectCause::Other,
    }
}

/// Whose fault it is that the call that connects fails at once. Nothing was sent by then, so it is the routing table of
/// this host that speaks; what routers and targets say comes later, as an error of the socket ([`fault_of`]):
///
/// - `ENETUNREACH`, `ENETDOWN`: there is no route, or its interface is down. An edge that lost its default route would
///   otherwise take every target for dead.
/// - `EHOSTUNREACH`, `EINVAL`, `EACCES`: a route of the types `unreachable`, `blackhole` and `prohibit`, by which an
///   administrator of this host forbids the address.
///
/// An address that can serve nobody (multicast, broadcast, an IPv6 address of a link without its interface) has the same
/// errors, and is the target's fault.
pub fn fault_at_once(error: &Error, to: SocketAddr) -> ConnectCause {
    let forbids = |error: &Error| error.kind() == ErrorKind::HostUnreachable || error.raw_os_error() == Some(EINVAL);
    match fault_of(error) {
        cause @ (ConnectCause::Unreachable | ConnectCause::Other) if is_unusable(to.ip()) => cause,
        ConnectCause::Unreachable | ConnectCause::Other if forbids(error) => ConnectCause::Firewall,
        ConnectCause::Unreachable => ConnectCause::Route,
        cause => cause,
    }
}

fn is_unusable(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    match ip {
        _ if ip.is_multicast() => true,
        IpAddr::V4(ip) => ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// How long a cause that was logged is only counted.
const BETWEEN_LINES: Duration = Duration::from_mins(1);

/// Decides which faults of this host are logged: each cause once a minute, however many connections or probes meet it.
#[derive(Debug, Default)]
pub struct Complaints([Complaint; ConnectCause::ALL.len()]);

#[derive(Debug, Default)]
struct Complaint {
    logged: Option<Duration>,
    /// Met since then.
    count: u64,
}

impl Complaints {
    /// Notes that a cause was met; how often since the last line, this time included, if a line is due.
    pub fn note(&mut self, cause: ConnectCause, now: Duration) -> Option<u64> {
        let complaint = &mut self.0[cause.index()];
        complaint.count += 1;
        if complaint.logged.is_some_and(|logged| now.saturating_sub(logged) < BETWEEN_LINES) {
            return None;
        }
        complaint.logged = Some(now);
        Some(std::mem::take(&mut complaint.count))
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_this_host_lacks_or_forbids_is_not_the_fault_of_a_target() {
        let of_host = [
            (Errno::MFILE, ConnectCause::Descriptors),
            (Errno::NFILE, ConnectCause::Descriptors),
            (Errno::ADDRNOTAVAIL, ConnectCause::SourcePorts),
            (Errno::ADDRINUSE, ConnectCause::SourcePorts),
            (Errno::AGAIN, ConnectCause::SourcePorts),
            (Errno::NOBUFS, ConnectCause::Memory),
            (Errno::NOMEM, ConnectCause::Memory),
            (Errno::NOSPC, ConnectCause::Memory),
            (Errno::PERM, ConnectCause::Firewall),
            (Errno::ACCESS, ConnectCause::Firewall),
        ];
        let of_target = [
            (Errno::CONNREFUSED, ConnectCause::Refused),
            (Errno::TIMEDOUT, ConnectCause::Timeout),
            (Errno::HOSTUNREACH, ConnectCause::Unreachable),
            (Errno::NETUNREACH, ConnectCause::Unreachable),
            (Errno::NETDOWN, ConnectCause::Unreachable),
            (Errno::CONNRESET, ConnectCause::Reset),
            (Errno::PIPE, ConnectCause::Reset),
            (Errno::INVAL, ConnectCause::Other),
        ];
        for (errno, cause) in of_host {
            assert_eq!((fault_of(&errno.into()), cause.is_targets()), (cause, false), "{errno:?}");
        }
        for (errno, cause) in of_target {
            assert_eq!((fault_of(&errno.into()), cause.is_targets()), (cause, true), "{errno:?}");
        }
    }

    #[test]
    fn what_the_routes_of_this_host_refuse_at_once_is_not_the_fault_of_a_target() {
        let target: SocketAddr = "192.0.2.7:80".parse().unwrap();
        for (errno, cause) in [
            (Errno::NETUNREACH, ConnectCause::Route),
            (Errno::NETDOWN, ConnectCause::Route),
            (Errno::HOSTUNREACH, ConnectCause::Firewall),
            (Errno::INVAL, ConnectCause::Firewall),
            (Errno::ACCESS, ConnectCause::Firewall),
        ] {
            assert_eq!((fault_at_once(&errno.into(), target), cause.is_targets()), (cause, false), "{errno:?}");
        }
        assert_eq!(fault_at_once(&Errno::CONNREFUSED.into(), target), ConnectCause::Refused);
        for (to, errno) in [
            ("224.0.0.1:80", Errno::NETUNREACH),
            ("255.255.255.255:80", Errno::NETUNREACH),
            ("[fe80::1]:80", Errno::INVAL),
            ("[ff02::1]:80", Errno::NETUNREACH),
        ] {
            let cause = fault_at_once(&errno.into(), to.parse().unwrap());
            assert!(cause.is_targets(), "{to}: {cause:?}");
        }
    }

    #[test]
    fn each_cause_has_one_line_a_minute_with_what_was_met_meanwhile() {
        let mut complaints = Complaints::default();
        let secs = Duration::from_secs;
        assert_eq!(complaints.note(ConnectCause::Memory, secs(5)), Some(1));
        assert!((6..65).all(|at| complaints.note(ConnectCause::Memory, secs(at)).is_none()));
        assert_eq!(complaints.note(ConnectCause::Firewall, secs(64)), Some(1), "each cause has its own");
        assert_eq!(complaints.note(ConnectCause::Memory, secs(65)), Some(60));
        assert_eq!(complaints.note(ConnectCause::Memory, secs(66)), None);
    }
}
