//! When a UDP flow is over, and when its target's name is worth another look. Pure.

use std::time::Duration;

use schema::rule::DEFAULT_UDP_FLOW_IDLE;

/// How long a flow may go unanswered before the name of its target is looked at again.
pub const SILENCE: Duration = Duration::from_secs(3);
/// How long a flow that has all of its answers goes on passing on late ones.
pub const ANSWERED: Duration = Duration::from_secs(3);

/// Ports of services where each datagram of a client gets one answer and no other: DNS, NTP, RADIUS.
const IN_PAIRS: [u16; 4] = [53, 123, 1812, 1813];

/// True if a flow to this port of a target takes no room once it has as many answers as questions. Whoever sets
/// `udp_flow_idle_secs` wants flows to last, whatever the port says: a tunnel on port 53 is no name server.
pub fn ends_with_its_answers(target_port: u16, idle: Duration) -> bool {
    idle == DEFAULT_UDP_FLOW_IDLE && IN_PAIRS.contains(&target_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_in_pairs_end_early_unless_the_rule_says_how_long_they_last() {
        assert!(ends_with_its_answers(53, DEFAULT_UDP_FLOW_IDLE));
        assert!(!ends_with_its_answers(53, Duration::from_mins(2)));
        assert!(!ends_with_its_answers(443, DEFAULT_UDP_FLOW_IDLE));
    }
}
