//! The labels of counters: closed sets of words. Pure.
//!
//! Keeps: a word of a later version counts as the set's `OTHER`, so that no peer decides how many series a server holds.

use std::fmt::Debug;

use crate::access::Enforcement;

/// A closed set of words that a counter is divided by.
pub trait CounterLabel: Copy + Debug + Eq + 'static {
    /// The names of the labels. Where there are several, a word has a part for each, joined by `_`.
    const NAMES: &'static [&'static str];
    /// All words that this version uses.
    const ALL: &'static [Self];
    /// The words of [`Self::ALL`], and after them the one of [`Self::OTHER`] where that is not one of them.
    const WORDS: &'static [&'static str];
    /// Stands for the words of other versions.
    const OTHER: Self;

    /// The place among the words.
    fn index(self) -> usize;
}

macro_rules! label {
    (
        $(#[$doc:meta])+
        $name:ident [$($label:literal),+] { $($(#[$of:meta])+ $value:ident = $word:literal,)+ }
        $($(#[$other_doc:meta])+ other $other:ident = $other_word:literal)?
    ) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$of])+ $value,)+
            $($(#[$other_doc])+ $other,)?
        }

        impl $name {
            /// All words that this version uses.
            pub const ALL: &'static [Self] = <Self as CounterLabel>::ALL;

            /// The word, as in JSON.
            pub const fn as_str(self) -> &'static str {
                <Self as CounterLabel>::WORDS[self as usize]
            }
        }

        impl CounterLabel for $name {
            const NAMES: &'static [&'static str] = &[$($label),+];
            const ALL: &'static [Self] = &[$(Self::$value),+];
            const WORDS: &'static [&'static str] = &[$($word,)+ $($other_word)?];
            const OTHER: Self = Self::Other;

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Why a target was not reached.
    ConnectCause ["cause"] {
        /// The target answered with a reset, or the connection met itself.
        Refused = "refused",
        /// No answer in time.
        Timeout = "timeout",
        /// A router on the way, or a neighbour that does not answer, says that the target cannot be reached.
        Unreachable = "unreachable",
        /// Reset while connecting.
        Reset = "reset",
        /// This host has no descriptor left.
        Descriptors = "descriptors",
        /// This host has no port left to connect from.
        SourcePorts = "source_ports",
        /// This host has no memory left for another socket or packet.
        Memory = "memory",
        /// A firewall, a policy or a route of this host forbids it.
        Firewall = "firewall",
        /// The address is one of the edge's own listeners: connecting might never end.
        Loop = "loop",
        /// Anything else.
        Other = "other",
        /// The edge's own policy forbids the address, or it is a metadata address.
        Policy = "policy",
        /// This host has no route to the target.
        Route = "route",
    }
}

impl ConnectCause {
    /// False where this host is at fault, which says nothing about the target.
    pub const fn is_targets(self) -> bool {
        !matches!(
            self,
            Self::Descriptors | Self::SourcePorts | Self::Memory | Self::Firewall | Self::Policy | Self::Route
        )
    }

    /// What this host lacks or forbids, for people; of others, what they are called.
    pub const fn of_host(self) -> &'static str {
        match self {
            Self::Descriptors => "this host has no descriptor left",
            Self::SourcePorts => "this host has no source port left",
            Self::Memory => "this host has no memory left for it",
            Self::Firewall => "a firewall, a policy or a route of this host forbids it",
            Self::Policy => "the policy of this edge forbids it",
            Self::Route => "this host has no route to it",
            other => other.as_str(),
        }
    }
}

label! {
    /// Who broke a connection, and how. One that a target never took counts as broken only where its client went or the
    /// edge cut it.
    Break ["side", "cause"] {
        /// The client reset it, or took no more.
        ClientReset = "client_reset",
        /// The client's host gave no answer for too long.
        ClientTimeout = "client_timeout",
        /// Anything else on the client's side.
        ClientOther = "client_other",
        /// The target reset it, or took no more.
        TargetReset = "target_reset",
        /// The target's host gave no answer for too long.
        TargetTimeout = "target_timeout",
        /// Anything else on the target's side.
        TargetOther = "target_other",
        /// Nothing moved for the rule's idle timeout.
        EdgeIdle = "edge_idle",
        /// One side had ended its direction, and nothing moved for the rule's half-closed timeout.
        EdgeHalfClosed = "edge_half_closed",
        /// A peer that is alive took nothing of what waited for it for the rule's stalled timeout.
        EdgeStalled = "edge_stalled",
        /// The edge cut it: its drain was over, its target failed or was disabled, or the edge ended.
        EdgeCut = "edge_cut",
        /// An operator ended it.
        EdgeOperator = "edge_operator",
        /// A quota was used up.
        EdgeQuota = "edge_quota",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

label! {
    /// How a target was chosen.
    ChoiceKind ["kind"] {
        /// The first of the order took it.
        First = "first",
        /// A later one did.
        Next = "next",
        /// A target took it that carries no weight: without a verdict, on trial or as a last resort.
        Untracked = "untracked",
        /// Nobody did.
        NoServer = "no_server",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

label! {
    /// How the name that a TLS client asked for led to a rule.
    SniResult ["result"] {
        /// The rule lists the name.
        Exact = "exact",
        /// The rule lists a wildcard that stands for the name.
        Wildcard = "wildcard",
        /// No rule of the port lists the name, or there was none, and the rule is the fallback.
        Fallback = "fallback",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

label! {
    /// Why a connection to a port with names had no rule.
    SniMiss ["cause"] {
        /// No rule lists the name.
        NoMatch = "no_match",
        /// The hello has no name.
        NoName = "no_name",
        /// What the client sent is not TLS.
        NotTls = "not_tls",
        /// The hello was not whole in time, or at the client's end.
        Timeout = "timeout",
        /// The hello is longer than 64 KiB.
        TooLarge = "too_large",
        /// Too many connections of the port waited for their hellos.
        Overflow = "overflow",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

label! {
    /// Why a datagram was not passed on.
    Lost ["cause"] {
        /// The target's name had no address.
        Unresolved = "unresolved",
        /// No way to the target, or it answered that nobody listens there.
        Unreachable = "unreachable",
        /// No way on takes so much in one datagram.
        TooLarge = "too_large",
        /// A queue was full, or descriptors or memory ran out.
        NoRoom = "no_room",
        /// Anything else.
        Other = "other",
        /// The bandwidth or the quota of its rule or owner was used up.
        Rate = "rate",
    }
}

/// Why a connection or flow was refused, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalReason {
    /// The access lists do not admit its source.
    Access,
    /// The rule, or the edge, has as many connections as it may.
    Connections,
    /// Connections come faster than they may.
    ConnectionRate,
    /// Its source has as many connections as it may.
    SourceConnections,
    /// Its source connects faster than it may.
    SourceRate,
    /// The quota is used up.
    Quota,
    /// It should have begun with a PROXY header.
    ProxyHeader,
}

label! {
    /// Connections and flows that were refused, or would have been, by the mode of what refuses them and by reason.
    RefusedBy ["mode", "reason"] {
        /// [`RefusalReason::Access`], enforced.
        EnforceAccess = "enforce_access",
        /// [`RefusalReason::Connections`], enforced.
        EnforceConnections = "enforce_connections",
        /// [`RefusalReason::ConnectionRate`], enforced.
        EnforceConnectionRate = "enforce_connection_rate",
        /// [`RefusalReason::SourceConnections`], enforced.
        EnforceSourceConnections = "enforce_source_connections",
        /// [`RefusalReason::SourceRate`], enforced.
        EnforceSourceRate = "enforce_source_rate",
        /// [`RefusalReason::Quota`], enforced.
        EnforceQuota = "enforce_quota",
        /// [`RefusalReason::ProxyHeader`], enforced.
        EnforceProxyHeader = "enforce_proxy_header",
        /// [`RefusalReason::Access`], observed.
        ObserveAccess = "observe_access",
        /// [`RefusalReason::Connections`], observed.
        ObserveConnections = "observe_connections",
        /// [`RefusalReason::ConnectionRate`], observed.
        ObserveConnectionRate = "observe_connection_rate",
        /// [`RefusalReason::SourceConnections`], observed.
        ObserveSourceConnections = "observe_source_connections",
        /// [`RefusalReason::SourceRate`], observed.
        ObserveSourceRate = "observe_source_rate",
        /// [`RefusalReason::Quota`], observed.
        ObserveQuota = "observe_quota",
        /// [`RefusalReason::ProxyHeader`], observed.
        ObserveProxyHeader = "observe_proxy_header",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

impl RefusalReason {
    /// All of them, in the order of [`RefusedBy`].
    pub const ALL: [Self; 7] = [
        Self::Access,
        Self::Connections,
        Self::ConnectionRate,
        Self::SourceConnections,
        Self::SourceRate,
        Self::Quota,
        Self::ProxyHeader,
    ];

    /// The word, as in the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Connections => "connections",
            Self::ConnectionRate => "connection_rate",
            Self::SourceConnections => "source_connections",
            Self::SourceRate => "source_rate",
            Self::Quota => "quota",
            Self::ProxyHeader => "proxy_header",
        }
    }

    /// What it is counted as.
    pub const fn by(self, mode: Enforcement) -> RefusedBy {
        let first = match mode {
            Enforcement::Enforce => 0,
            Enforcement::Observe => Self::ALL.len(),
        };
        RefusedBy::ALL[first + self as usize]
    }
}

label! {
    /// Which way bytes go.
    ByteDirection ["direction"] {
        /// From clients to targets.
        In = "in",
        /// From targets to clients.
        Out = "out",
    }
    /// A word of an edge of another version.
    other Other = "other"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_by_its_mode_and_reason() {
        for reason in RefusalReason::ALL {
            for mode in [Enforcement::Enforce, Enforcement::Observe] {
                assert_eq!(reason.by(mode).as_str(), format!("{}_{}", mode.as_str(), reason.as_str()));
            }
        }
    }
}
