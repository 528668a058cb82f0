//! Whose fault it is that a target was not reached, by what the system says about it. Pure.
//!
//! Connections and probes both ask here. Keeps: an error of this host is never a verdict about a target.

use std::io::{Error, ErrorKind};
use std::time::Duration;

/// The limit of open files of the whole system: the same number on every Linux.
const ENFILE: i32 = 23;
/// The limit of open files of this process.
const EMFILE: i32 = 24;
/// No buffer space, as Linux numbers it apart from a few processors that no edge runs on.
const ENOBUFS: i32 = 105;

/// Why a target was not reached; the label of `portunus_rule_connect_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The target answered with a reset, or the connection met itself.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way to the target.
    Unreachable,
    /// Reset while connecting.
    Reset,
    /// This host has no descriptor left.
    Descriptors,
    /// This host has no port left to connect from.
    SourcePorts,
    /// This host has no memory left for another socket or packet.
    Memory,
    /// A firewall, a policy or a route of this host forbids it.
    Firewall,
    /// The address is one of the edge's own listeners: connecting might never end.
    Loop,
    /// Anything else.
    Other,
}

impl Cause {
    /// Every cause, in the order of the counters.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Timeout,
        Self::Unreachable,
        Self::Reset,
        Self::Descriptors,
        Self::SourcePorts,
        Self::Memory,
        Self::Firewall,
        Self::Loop,
        Self::Other,
    ];

    /// Whose fault an error of the system is, while connecting or sending.
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => return Self::Refused,
            ErrorKind::TimedOut => return Self::Timeout,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                return Self::Unreachable;
            }
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => return Self::Reset,
            // A socket of datagrams that finds no free port is to try again, says the system.
            ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse | ErrorKind::WouldBlock => return Self::SourcePorts,
            // ENOSPC: this user has as many descriptors in event queues as the system allows.
            ErrorKind::OutOfMemory | ErrorKind::StorageFull => return Self::Memory,
            // EPERM and EACCES: a filter on the way out, a policy of the kernel, or a route that prohibits.
            ErrorKind::PermissionDenied => return Self::Firewall,
            _ => {}
        }
        match error.raw_os_error() {
            Some(EMFILE | ENFILE) => Self::Descriptors,
            Some(ENOBUFS) => Self::Memory,
            _ => Self::Other,
        }
    }

    /// False where this host is at fault, which says nothing about the target.
    pub const fn is_targets(self) -> bool {
        !matches!(self, Self::Descriptors | Self::SourcePorts | Self::Memory | Self::Firewall)
    }

    /// What this host lacks or forbids, for people; of others, what they are called.
    pub const fn of_host(self) -> &'static str {
        match self {
            Self::Descriptors => "this host has no descriptor left",
            Self::SourcePorts => "this host has no source port left",
            Self::Memory => "this host has no memory left for it",
            Self::Firewall => "a firewall or policy of this host forbids it",
            other => other.as_str(),
        }
    }

    /// As in the protocol and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Descriptors => "descriptors",
            Self::SourcePorts => "source_ports",
            Self::Memory => "memory",
            Self::Firewall => "firewall",
            Self::Loop => "loop",
            Self::Other => "other",
        }
    }
}

/// How long a cause that was logged is only counted.
const BETWEEN_LINES: Duration = Duration::from_mins(1);

/// Decides which faults of this host are logged: each cause once a minute, however many connections or probes meet it.
#[derive(Debug, Default)]
pub struct Complaints([Complaint; Cause::ALL.len()]);

#[derive(Debug, Default)]
struct Complaint {
    logged: Option<Duration>,
    /// Met since then.
    count: u64,
}

impl Complaints {
    /// Notes that a cause was met; how often since the last line, this time included, if a line is due.
    pub fn note(&mut self, cause: Cause, now: Duration) -> Option<u64> {
        // The variants are in the order of `Cause::ALL`, which a test compares.
        let complaint = &mut self.0[cause as usize];
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
            (Errno::MFILE, Cause::Descriptors),
            (Errno::NFILE, Cause::Descriptors),
            (Errno::ADDRNOTAVAIL, Cause::SourcePorts),
            (Errno::ADDRINUSE, Cause::SourcePorts),
            (Errno::AGAIN, Cause::SourcePorts),
            (Errno::NOBUFS, Cause::Memory),
            (Errno::NOMEM, Cause::Memory),
            (Errno::NOSPC, Cause::Memory),
            (Errno::PERM, Cause::Firewall),
            (Errno::ACCESS, Cause::Firewall),
        ];
        let of_target = [
            (Errno::CONNREFUSED, Cause::Refused),
            (Errno::TIMEDOUT, Cause::Timeout),
            (Errno::HOSTUNREACH, Cause::Unreachable),
            (Errno::NETUNREACH, Cause::Unreachable),
            (Errno::NETDOWN, Cause::Unreachable),
            (Errno::CONNRESET, Cause::Reset),
            (Errno::PIPE, Cause::Reset),
            (Errno::INVAL, Cause::Other),
        ];
        for (errno, cause) in of_host {
            assert_eq!((Cause::of(&errno.into()), cause.is_targets()), (cause, false), "{errno:?}");
        }
        for (errno, cause) in of_target {
            assert_eq!((Cause::of(&errno.into()), cause.is_targets()), (cause, true), "{errno:?}");
        }
    }

    #[test]
    fn every_cause_is_counted_under_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(names.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().enumerate().all(|(index, cause)| *cause as usize == index));
    }

    #[test]
    fn each_cause_has_one_line_a_minute_with_what_was_met_meanwhile() {
        let mut complaints = Complaints::default();
        let secs = Duration::from_secs;
        assert_eq!(complaints.note(Cause::Memory, secs(5)), Some(1));
        assert!((6..65).all(|at| complaints.note(Cause::Memory, secs(at)).is_none()));
        assert_eq!(complaints.note(Cause::Firewall, secs(64)), Some(1), "each cause has its own");
        assert_eq!(complaints.note(Cause::Memory, secs(65)), Some(60));
        assert_eq!(complaints.note(Cause::Memory, secs(66)), None);
    }
}
