//! Where the live connections of a rule are, as its edge counts them. Pure.
//!
//! Keeps: what drains already is counted for itself, and no change ends it again; a connection whose place is not known
//! counts as one that ends where any of its rule's do, so that a plan never promises too much.

use jiff::Timestamp;
use schema::ending::Part;
use schema::proto;
use schema::rule::Host;
use schema::state::RuleState;
use serde::{Deserialize, Serialize};

use super::target::time_from_wire;

/// The live connections of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Those that go on, by place.
    pub places: Vec<PlaceCount>,
    /// Those that go on, and whose place was left out for want of room.
    pub left_out: u64,
    /// Those that drain.
    pub drains: Vec<DrainCount>,
}

/// Connections of one listen port to one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceCount {
    /// Where they came in.
    pub listen_port: u16,
    /// The host that they go to.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How many.
    pub connections: u64,
}

/// Connections that end together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainCount {
    /// Where they came in, as `ADDRESS:PORTS`.
    pub listen: Vec<String>,
    /// How many.
    pub connections: u64,
    /// When what is left of them is reset.
    pub ends_at: Timestamp,
}

impl DrainCount {
    /// The whole seconds that they have left.
    pub fn secs_left(&self, now: Timestamp) -> u64 {
        let left = self.ends_at.duration_since(now).as_millis().max(0);
        u64::try_from(left).unwrap_or_default().div_ceil(1000)
    }
}

/// Connections that drain, as a status shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Always `draining`.
    pub state: RuleState,
    /// Where they came in, as in a plan.
    pub ports: Vec<String>,
    /// How many.
    pub connections: u64,
    /// When what is left of them is reset.
    pub ends_at: Timestamp,
    /// The same as whole seconds from now on.
    pub secs_left: u64,
}

impl DrainStatus {
    /// As of now.
    pub fn of(drain: &DrainCount, now: Timestamp) -> Self {
        let (ports, ends_at) = (drain.listen.clone(), drain.ends_at);
        let (connections, secs_left) = (drain.connections, drain.secs_left(now));
        Self { state: RuleState::Draining, ports, connections, ends_at, secs_left }
    }
}

impl From<DrainStatus> for DrainCount {
    fn from(status: DrainStatus) -> Self {
        Self { listen: status.ports, connections: status.connections, ends_at: status.ends_at }
    }
}

impl Live {
    /// Those of a rule in a saved status. Those that a file written by hand says nothing more about may be anywhere.
    pub(super) fn saved(connections: u64, places: &[PlaceCount], draining: &[DrainStatus]) -> Self {
        let known: u64 = places.iter().map(|place| place.connections).sum();
        Self {
            places: places.to_vec(),
            left_out: connections.saturating_sub(known),
            drains: draining.iter().cloned().map(Into::into).collect(),
        }
    }

    /// Connections that drain.
    pub fn draining(&self) -> u64 {
        self.drains.iter().map(|drain| drain.connections).sum()
    }

    /// Connections that these parts of the rule's endings end.
    pub fn ended_by(&self, parts: &[&Part]) -> u64 {
        if parts.is_empty() {
            return 0;
        }
        let is_ended = |place: &&PlaceCount| {
            let Ok(host) = Host::parse(&place.host) else { return true };
            parts.iter().any(|part| part.ends(part.listen.at(place.listen_port), &host, place.port))
        };
        let known: u64 = self.places.iter().filter(is_ended).map(|place| place.connections).sum();
        known + self.left_out
    }
}

impl From<proto::Live> for Live {
    fn from(live: proto::Live) -> Self {
        let place = |place: proto::PlaceCount| {
            let port = |port: u32| u16::try_from(port).ok();
            let (listen_port, port) = (port(place.listen_port)?, port(place.port)?);
            Some(PlaceCount { listen_port, host: place.host, port, connections: place.connections })
        };
        let drain = |drain: proto::DrainCount| DrainCount {
            listen: drain.listen,
            connections: drain.connections,
            ends_at: time_from_wire(drain.ends_at_ms).unwrap_or(Timestamp::MAX),
        };
        Self {
            places: live.places.into_iter().filter_map(place).collect(),
            left_out: live.left_out,
            drains: live.drains.into_iter().map(drain).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::diff::{Rules, diff};
    use schema::ending::ends;
    use schema::testing::rule;

    #[test]
    fn a_range_that_loses_some_ports_ends_their_connections_and_those_of_unknown_places() {
        let place = |listen_port: u16| PlaceCount {
            listen_port,
            host: "127.0.0.1".to_owned(),
            port: listen_port + 10,
            connections: 2,
        };
        let places = (100..110).map(place).collect();
        let drains = vec![DrainCount { listen: Vec::new(), connections: 9, ends_at: Timestamp::UNIX_EPOCH }];
        let live = Live { places, left_out: 1, drains };
        let rules = |first, last| -> Rules { [(rule("a", 1, 1).name.clone(), rule("a", first, last))].into() };
        let endings = ends(&diff(&rules(100, 109), &Rules::new()));
        assert_eq!(live.ended_by(&endings.parts().iter().collect::<Vec<_>>()), 21);
        // To the ports above it: another place for every listener.
        let endings = ends(&diff(&rules(100, 109), &rules(105, 109)));
        assert_eq!(live.ended_by(&endings.parts().iter().collect::<Vec<_>>()), 21);
        assert_eq!((live.ended_by(&[]), live.draining()), (0, 9));
    }

    #[test]
    fn a_second_that_has_begun_is_left() {
        let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
        let drain = DrainCount { listen: Vec::new(), connections: 1, ends_at: at(5000) };
        assert_eq!([0, 4000, 4001, 5000, 6000].map(|now| drain.secs_left(at(now))), [5, 1, 1, 0, 0]);
    }
}
