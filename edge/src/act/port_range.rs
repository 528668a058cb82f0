//! The ports that this host gives to outgoing connections. I/O.

use std::fs;

use schema::net::{PortRange, PortSet};

/// Both bounds of the range, for IPv6 too.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// What of it is given to nobody who does not ask for it.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// As the system says at this moment; none where it does not say.
pub(crate) fn ephemeral_ports() -> PortSet {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    without_reserved(&read(RANGE), &read(RESERVED)).unwrap_or_default()
}

fn without_reserved(range: &str, reserved: &str) -> Option<PortSet> {
    let mut bounds = range.split_whitespace().map(str::parse);
    let range = PortRange::new(bounds.next()?.ok()?, bounds.next()?.ok()?)?;
    let one = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        PortRange::new(first.parse().ok()?, last.parse().ok()?)
    };
    let (_, left) = PortSet::from_ranges(reserved.trim().split(',').filter_map(one)).split(range);
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_taken_out_of_the_range() {
        let left = |range: &str, reserved: &str| {
            let left = without_reserved(range, reserved)?;
            Some(left.ranges().iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        };
        assert_eq!(left("32768\t60999\n", "\n").as_deref(), Some("32768-60999"));
        let reserved = "8080,32768-32770,40000,60000-65535\n";
        assert_eq!(left("32768\t60999\n", reserved).as_deref(), Some("32771-39999,40001-59999"));
        assert_eq!(left("", ""), None);
        assert_eq!(left("9 8", ""), None);
    }
}
