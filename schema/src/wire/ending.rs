//! What a change ends, to and from the message in which an edge is asked about it. Pure.
//!
//! Keeps: both ends of the wire judge by [`Part::ends`]; a part that was read ends what the written one ends.

use std::time::Duration;

use super::{InvalidWire, address_from_wire, address_to_wire, ports_from_wire, protocol_from_wire, protocol_to_wire};
use crate::ending::{End, Part, Row};
use crate::name::RuleName;
use crate::net::ListenRange;
use crate::proto;
use crate::rule::Host;

/// What the hello of an edge names that answers for the connections of a part alone.
pub const AGES_FEATURE: &str = "ending_ages";

/// The message of a part.
pub fn part_to_wire(part: &Part) -> proto::EndingPart {
    let kept = match &part.end {
        End::Released => &[][..],
        End::Places { kept, .. } => kept,
    };
    proto::EndingPart {
        protocol: protocol_to_wire(part.listen.protocol).into(),
        listen_address: address_to_wire(part.listen.address),
        first_port: part.listen.ports.first().into(),
        last_port: part.listen.ports.last().into(),
        kept: kept
            .iter()
            .map(|row| proto::KeptPlaces { host: row.host.to_string(), first_port: row.first.into() })
            .collect(),
    }
}

/// The part of a message, for the rule that was asked about. How long its connections may drain is not in it.
pub fn part_from_wire(rule: &RuleName, message: &proto::EndingPart) -> Result<Part, InvalidWire> {
    let row = |row: &proto::KeptPlaces| {
        let host = Host::parse(&row.host).map_err(|_| InvalidWire::Field("kept.host"))?;
        let first = u16::try_from(row.first_port).map_err(|_| InvalidWire::Field("kept.first_port"))?;
        Ok(Row { host, first })
    };
    let kept = message.kept.iter().map(row).collect::<Result<_, _>>()?;
    let listen = ListenRange {
        protocol: protocol_from_wire(message.protocol)?,
        address: address_from_wire(&message.listen_address)?,
        ports: ports_from_wire(message.first_port, message.last_port, "first_port")?,
    };
    let end = End::Places { lost: Vec::new(), kept };
    Ok(Part { rule: rule.clone(), listen, drain_timeout: Duration::ZERO, end })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::diff::diff;
    use crate::ending::ends;
    use crate::testing::{arbitrary, places};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_read_ends_what_was_written(
            before in arbitrary::crowded_rules(), after in arbitrary::crowded_rules(),
        ) {
            let endings = ends(&diff(&before, &after));
            for part in endings.parts() {
                let read = part_from_wire(&part.rule, &part_to_wire(part)).expect("valid");
                for (listener, to) in places(&before) {
                    for (host, port) in to {
                        prop_assert_eq!(read.ends(listener, &host, port), part.ends(listener, &host, port));
                    }
                }
            }
        }
    }

    #[test]
    fn a_message_that_makes_no_sense_is_refused() {
        let rule = RuleName::new("web").expect("a name");
        let good = proto::EndingPart {
            protocol: proto::Protocol::Tcp.into(),
            first_port: 80,
            last_port: 81,
            ..proto::EndingPart::default()
        };
        assert!(part_from_wire(&rule, &good).is_ok());
        let kept = vec![proto::KeptPlaces { host: "a b".to_owned(), first_port: 1 }];
        for bad in [
            proto::EndingPart { protocol: 9, ..good.clone() },
            proto::EndingPart { last_port: 70_000, ..good.clone() },
            proto::EndingPart { kept, ..good },
        ] {
            assert!(part_from_wire(&rule, &bad).is_err(), "{bad:?}");
        }
    }
}
