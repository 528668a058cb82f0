//! What lists of networks promise.

use proptest::prelude::*;

use super::*;
use crate::diagnostic::SourceFile;
use crate::findings::Findings;

fn list(networks: &[&str]) -> NetworkList {
    networks.iter().map(|text| text.parse::<Network>().expect("a network")).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The list of a file, or line, column and message of what is wrong with it.
fn read(text: &str) -> Result<NetworkList, Vec<(u32, u32, String)>> {
    let file = SourceFile::new("lists/a.txt", text);
    let mut found = Findings::new();
    let list = read_list(&file, &mut found);
    let faults = found.into_sorted();
    list.ok_or_else(|| {
        let place = |fault: &crate::diagnostic::Diagnostic| fault.position().map(|at| (at.line, at.column));
        faults
            .iter()
            .filter_map(|fault| place(fault).map(|(line, column)| (line, column, fault.message.clone())))
            .collect()
    })
}

#[test]
fn nested_and_neighbouring_networks_hold_exactly_their_addresses() {
    let list = list(&["10.0.0.0/8", "10.1.0.0/16", "11.0.0.1", "2001:db8::/32", "0.0.0.0/32", "255.255.255.255"]);
    for inside in ["10.0.0.0", "10.1.2.3", "10.255.255.255", "11.0.0.1", "0.0.0.0", "255.255.255.255", "2001:db8::1"] {
        assert!(list.contains(ip(inside)), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "11.0.0.2", "0.0.0.1", "2001:db9::", "::"] {
        assert!(!list.contains(ip(outside)), "{outside}");
    }
    assert_eq!(list.find(ip("10.1.2.3")).map(|network| network.to_string()).as_deref(), Some("10.1.0.0/16"));
    assert_eq!(list.find(ip("10.2.2.3")).map(|network| network.to_string()).as_deref(), Some("10.0.0.0/8"));
    assert_eq!(list.find(ip("12.0.0.0")), None);
}

#[test]
fn a_mapped_address_is_the_ipv4_one_in_lists_and_in_questions() {
    let mapped = read("::ffff:10.0.0.0/104\n").expect("a list");
    assert_eq!(mapped, list(&["10.0.0.0/8"]));
    assert!(mapped.contains(ip("::ffff:10.2.3.4")) && mapped.contains(ip("10.2.3.4")));
    assert_eq!(mapped.len(), 1);
}

#[test]
fn order_repetitions_comments_and_blanks_make_no_other_list() {
    let one = read("10.0.0.0/8\n192.0.2.1\n2001:db8::/32\n").expect("a list");
    let other = read("# office\r\n2001:db8::/32 # v6\r\n\n  192.0.2.1/32\n10.0.0.0/8\n10.0.0.0/8").expect("a list");
    assert_eq!(one, other);
    assert_eq!(one.digest(), other.digest());
    assert_ne!(one, read("10.0.0.0/8\n").expect("a list"));
    assert!(read("# nobody\n").expect("an empty list").is_empty());
}

#[test]
fn each_wrong_line_is_reported_at_its_place() {
    let faults = read("10.0.0.0/8\n  10.0.0.1/8 # office\nhost.example\n10.0.0.0/33\n10.0.0.0/08\n::1/x\n")
        .expect_err("five lines are wrong");
    let places: Vec<(u32, u32)> = faults.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(2, 3), (3, 1), (4, 1), (5, 1), (6, 1)]);
    assert_eq!(faults[0].2, "`10.0.0.1/8` has bits set beyond its prefix: write 10.0.0.0/8");
    assert!(faults[1].2.contains("`host.example` is not a network"), "{}", faults[1].2);
}

#[test]
fn one_network_more_than_a_million_is_refused_at_its_line() {
    let mut text = "10.0.0.1\n".repeat(MAX_LISTED);
    assert_eq!(read(&text).expect("a million lines").len(), 1);
    text.push_str("10.0.0.2\n");
    let faults = read(&text).expect_err("one more");
    assert_eq!((faults.len(), faults[0].0), (1, 1_000_001));
}

#[test]
fn records_come_back_and_damaged_ones_do_not() {
    let list = list(&["10.0.0.0/8", "10.0.0.0/9", "0.0.0.0/0", "2001:db8::/32", "::/0"]);
    let again = NetworkList::from_records(list.ipv4().to_vec(), list.ipv6().to_vec()).expect("its own records");
    assert_eq!(again, list);
    let damaged: [(&[u8], &[u8]); 5] = [
        (&[10, 0, 0, 0], &[]),
        (&[10, 0, 0, 0, 33], &[]),
        (&[10, 0, 0, 1, 8], &[]),
        (&[10, 0, 0, 0, 8, 10, 0, 0, 0, 8], &[]),
        (&[], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 0, 104]),
    ];
    for (ipv4, ipv6) in damaged {
        assert!(NetworkList::from_records(ipv4.to_vec(), ipv6.to_vec()).is_none(), "{ipv4:?} {ipv6:?}");
    }
}

#[test]
fn a_difference_names_what_came_and_what_left() {
    let before = list(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    let after = list(&["10.0.0.0/8", "10.0.0.0/16", "198.51.100.0/24", "2001:db8::/32"]);
    let found = difference(&before, &after);
    let named = |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(named(&found.added), ["10.0.0.0/16", "198.51.100.0/24"]);
    assert_eq!(named(&found.removed), ["192.0.2.1/32"]);
    assert_eq!((found.added_total, found.removed_total), (2, 1));
    assert_eq!(difference(&before, &before), ListDifference::default());
    let many: NetworkList =
        read(&(0..100).map(|n| format!("10.0.{n}.0/24\n")).collect::<Vec<_>>().concat()).expect("a list");
    let found = difference(&NetworkList::default(), &many);
    assert_eq!((found.added.len(), found.added_total, found.removed_total), (20, 100, 0));
}

proptest! {
    #[test]
    fn asking_a_list_is_asking_each_of_its_networks(
        networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..40),
        probes in prop::collection::vec(any::<u32>(), 40),
    ) {
        let networks: Vec<ipnet::Ipv4Net> = networks.into_iter()
            .map(|(bits, prefix)| ipnet::Ipv4Net::new(std::net::Ipv4Addr::from_bits(bits), prefix).expect("a prefix").trunc())
            .collect();
        let list: NetworkList = networks.iter().map(|network| Network::from_net(IpNet::V4(*network)).expect("no host bits")).collect();
        let edges = networks.iter().flat_map(|network| [network.network().to_bits(), network.broadcast().to_bits()]);
        for bits in edges.flat_map(|bits| [bits, bits.wrapping_sub(1), bits.wrapping_add(1)]).chain(probes) {
            let ip = std::net::Ipv4Addr::from_bits(bits);
            let is_in = networks.iter().any(|network| network.contains(&ip));
            prop_assert_eq!(list.contains(IpAddr::V4(ip)), is_in, "{}", ip);
            prop_assert_eq!(list.find(IpAddr::V4(ip)).is_some(), is_in, "{}", ip);
        }
    }

    #[test]
    fn no_bytes_make_reading_a_list_panic(text in "\\PC*") {
        _ = read(&text);
    }
}
