//! When a UDP flow is over, and when its target's name is worth another look. Pure.

use std::time::Duration;

use schema::rule::DEFAULT_UDP_FLOW_IDLE;

/// How long a flow may go unanswered before the name of its target is looked at again.
pub const SILENCE: Duration = Duration::from_secs(3);
/// How long a flow that has all of its answers goes on passing on late ones.
pub const ANSWERED: Duration = Duration::from_secs(3);

/// Ports of services where each datagram of a client gets one answer and no other: DNS, NTP, RADIUS.
const IN_PAIRS: [u16; 4] = [53, 123, 1812, 1813];

/// True if a flow takes no room once it has as many answers as questions, by the port that it came in at and the port
/// of its target: either may be the one of the service. Whoever sets `udp_flow_idle_secs` wants flows to last, whatever
/// the ports say: a tunnel on port 53 is not a name server.
pub fn ends_with_its_answers(ports: [u16; 2], idle: Duration) -> bool {
    idle == DEFAULT_UDP_FLOW_IDLE && ports.iter().any(|port| IN_PAIRS.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_in_pairs_end_early_unless_the_rule_says_how_long_they_last() {
        for ports in [[53, 53], [5353, 53], [53, 30_000], [443, 1812]] {
            assert!(ends_with_its_answers(ports, DEFAULT_UDP_FLOW_IDLE), "{ports:?}");
            assert!(!ends_with_its_answers(ports, Duration::from_mins(2)), "{ports:?}");
        }
        assert!(!ends_with_its_answers([443, 30_000], DEFAULT_UDP_FLOW_IDLE));
    }
}
