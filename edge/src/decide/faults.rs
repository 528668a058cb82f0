//! Whose fault it is that a target was not reached, by what the system says about it. Pure.
//!
//! Connections and probes both ask here. Keeps: an error of this host is never a verdict about a target.

use std::io::{Error, ErrorKind};
use std::time::Duration;

pub use schema::counters::ConnectCause;
use schema::counters::CounterLabel as _;

/// The limit of open files of the whole system: the same number on every Linux.
const ENFILE: i32 = 23;
/// The limit of open files of this process.
const EMFILE: i32 = 24;
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
