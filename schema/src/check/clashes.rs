//! Names and sockets that two rules of one edge both claim. Pure.
//!
//! Keeps: two rules that clash on many edges are one finding; the work is a sort per edge plus what is found.

use std::collections::HashMap;

use super::RuleEntry;
use super::edges::Fleet;
use super::shared_ports::SharedPorts;
use crate::codes::TreeCode;
use crate::diagnostic::Diagnostic;
use crate::findings::Findings;
use crate::net::{ListenAddress, ListenRange, Protocol};

/// Two entries, the earlier first, with one edge that has both and how many have.
type Pairs = HashMap<(u32, u32), (u32, u32)>;

/// More clashes of one rule on one edge help nobody.
const MAX_CLASHES: usize = 8;

fn note(pairs: &mut Pairs, a: u32, b: u32, edge: u32) {
    pairs.entry((a.min(b), a.max(b))).or_insert((edge, 0)).1 += 1;
}

fn in_order(pairs: Pairs) -> Vec<((u32, u32), (u32, u32))> {
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_unstable();
    pairs
}

pub(super) fn on_edges(fleet: &Fleet<'_>, (edge, count): (u32, u32)) -> String {
    match count {
        1 => format!("edge `{}`", fleet.name(edge)),
        2 => format!("edge `{}` and 1 more", fleet.name(edge)),
        more => format!("edge `{}` and {} more", fleet.name(edge), more - 1),
    }
}

/// Reports rules of one name on one edge, disabled ones too.
pub(super) fn duplicates(
    entries: &[RuleEntry<'_>],
    by_edge: &[Vec<u32>],
    fleet: &Fleet<'_>,
    diagnostics: &mut Findings,
) {
    let mut pairs = Pairs::new();
    for (edge, members) in by_edge.iter().enumerate() {
        let mut named: Vec<(&str, u32)> = members
            .iter()
            .filter_map(|member| Some((entries[*member as usize].own.name.as_ref()?.as_str(), *member)))
            .collect();
        named.sort_unstable();
        for same in named.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            same[1..].iter().for_each(|(_, later)| note(&mut pairs, same[0].1, *later, edge as u32));
        }
    }
    for ((first, second), edges) in in_order(pairs) {
        let (first, second) = (&entries[first as usize], &entries[second as usize]);
        let name = second.own.name.as_ref().map_or("", |name| name.as_str());
        let message = format!("two rules of {} are named `{name}`", on_edges(fleet, edges));
        diagnostics.push(
            Diagnostic::error(TreeCode::DuplicateRule, second.file, second.own.name_span, message)
                .label("named again here")
                .related(first.file, first.own.name_span, "named first here")
                .help("the name identifies a rule on its edges: rename one of the rules"),
        );
    }
}

/// Reports rules of one edge that claim the same socket; disabled rules claim none.
pub(super) fn ports(entries: &[RuleEntry<'_>], by_edge: &[Vec<u32>], fleet: &Fleet<'_>, diagnostics: &mut Findings) {
    let mut pairs = Pairs::new();
    let mut shared = SharedPorts::default();
    let mut listening: Vec<(u16, u32, ListenRange)> = Vec::new();
    for (edge, members) in by_edge.iter().enumerate() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            listening.clear();
            listening.extend(members.iter().filter_map(|member| {
                let own = &entries[*member as usize].own;
                let listen = own.listen.filter(|listen| own.enabled && listen.protocol == protocol)?;
                Some((listen.ports.first(), *member, listen))
            }));
            shared.gather(entries, &mut listening, edge as u32);
            listening.sort_unstable_by_key(|(first, member, _)| (*first, *member));
            sweep(&listening, |a, b| note(&mut pairs, a, b, edge as u32));
        }
    }
    shared.report(entries, fleet, diagnostics);
    for ((first, second), edges) in in_order(pairs) {
        let (first, second) = (&entries[first as usize], &entries[second as usize]);
        let (Some(one), Some(other)) = (first.own.listen, second.own.listen) else { continue };
        let name = |entry: &RuleEntry<'_>| entry.own.name.as_ref().map_or("?".to_owned(), ToString::to_string);
        let message = format!(
            "rules `{}` ({one}) and `{}` ({other}) of {} listen on the same port",
            name(first),
            name(second),
            on_edges(fleet, edges)
        );
        let place = if one.ports == other.ports { other.ports } else { overlap(one, other) };
        diagnostics.push(
            Diagnostic::error(TreeCode::PortClash, second.file, second.own.listen_span, message)
                .label(format!("{protocol} {place} is taken", protocol = other.protocol))
                .related(first.file, first.own.listen_span, format!("`{}` listens here", name(first)))
                .help(clash_help(one, other)),
        );
    }
}

fn overlap(one: ListenRange, other: ListenRange) -> crate::net::PortRange {
    let first = one.ports.first().max(other.ports.first());
    let last = one.ports.last().min(other.ports.last());
    crate::net::PortRange::new(first, last).unwrap_or(other.ports)
}

fn clash_help(one: ListenRange, other: ListenRange) -> &'static str {
    if one.address == other.address {
        "change the ports or the `listen_address` of one of the rules"
    } else {
        "a rule without `listen_address` listens on every address, and `0.0.0.0` and `::` on every address of their \
         family"
    }
}

/// Calls `found` for rules that clash. `listening` is one edge's and one protocol's, sorted by first port.
///
/// A range that another one covers wholly is compared with that one only: whatever clashes with it clashes with
/// the other too. So many rules on one port are one finding each, and never all pairs.
fn sweep(listening: &[(u16, u32, ListenRange)], mut found: impl FnMut(u32, u32)) {
    let mut open = OpenRanges::default();
    for (first, member, listen) in listening {
        let mut covered = false;
        let mut count = 0;
        open.clashes(*first, listen.address, |(other, range)| {
            found(other, *member);
            count += 1;
            covered |= covers(range.address, listen.address) && range.ports.last() >= listen.ports.last();
            !covered && count < MAX_CLASHES
        });
        if !covered {
            open.add(*member, *listen);
        }
    }
}

/// True if every socket that overlaps the second address overlaps the first too.
fn covers(wide: ListenAddress, narrow: ListenAddress) -> bool {
    match (wide.ip(), narrow.ip()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(all), Some(one)) => wide == narrow || (all.is_unspecified() && all.is_ipv4() == one.is_ipv4()),
    }
}

type Claimant = (u32, ListenRange);

/// Ranges that later ones may still meet, in lists by what a newcomer's address meets.
#[derive(Default)]
struct OpenRanges {
    /// By the very address.
    exact: HashMap<ListenAddress, Vec<Claimant>>,
    /// Of one family, IPv4 and IPv6, specific and wildcard.
    families: [Vec<Claimant>; 2],
}

impl OpenRanges {
    fn add(&mut self, member: u32, listen: ListenRange) {
        let entry = (member, listen);
        self.exact.entry(listen.address).or_default().push(entry);
        if let Some(ip) = listen.address.ip() {
            self.families[usize::from(ip.is_ipv6())].push(entry);
        }
    }

    /// Calls `visit` for every open range that meets the address at a port from `first` up, widest addresses
    /// first, until it says false.
    fn clashes(&mut self, first: u16, address: ListenAddress, mut visit: impl FnMut(Claimant) -> bool) {
        let mut go_on = true;
        let mut walk = |list: &mut Vec<Claimant>| {
            let mut index = 0;
            while go_on && index < list.len() {
                if list[index].1.ports.last() < first {
                    // Ports only grow, so it meets nobody any more.
                    list.swap_remove(index);
                } else {
                    go_on = visit(list[index]);
                    index += 1;
                }
            }
        };
        let mut exact = |address: ListenAddress| self.exact.get_mut(&address).map(&mut walk);
        match address.ip() {
            None => {
                exact(ListenAddress::Any);
                // The rest of them: those on all addresses were visited above.
                let (v4, v6) = self.families.split_at_mut(1);
                walk(&mut v4[0]);
                walk(&mut v6[0]);
            }
            Some(ip) => {
                let wildcard = match ip {
                    std::net::IpAddr::V4(_) => ListenAddress::all_ipv4(),
                    std::net::IpAddr::V6(_) => ListenAddress::Ip(std::net::Ipv6Addr::UNSPECIFIED.into()),
                };
                exact(ListenAddress::Any);
                if address == wildcard {
                    walk(&mut self.families[usize::from(ip.is_ipv6())]);
                } else {
                    exact(wildcard);
                    exact(address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::arbitrary;

    proptest! {
        #[test]
        fn every_range_that_clashes_with_one_before_it_is_found_and_no_other(
            drawn in proptest::collection::vec((arbitrary::address(), arbitrary::ports()), 0..24),
        ) {
            let listen = |(address, ports)| ListenRange { protocol: Protocol::Tcp, address, ports };
            let mut listening: Vec<_> = drawn.into_iter().map(listen).zip(0_u32..).collect();
            listening.sort_by_key(|(listen, member)| (listen.ports.first(), *member));
            let sorted: Vec<_> = listening.iter().map(|(listen, member)| (listen.ports.first(), *member, *listen)).collect();
            let clash = |one: u32, other: u32| {
                let of = |member| listening.iter().find(|(_, own)| *own == member).expect("drawn above").0;
                of(one).conflicts_with(&of(other))
            };
            let mut later = BTreeSet::new();
            let mut pairs = Vec::new();
            sweep(&sorted, |one, other| {
                pairs.push((one, other));
                later.insert(other);
            });
            prop_assert!(pairs.iter().all(|(one, other)| clash(*one, *other)));
            let mut expected = BTreeSet::new();
            for (index, (_, member, _)) in sorted.iter().enumerate() {
                if sorted[..index].iter().any(|(_, before, _)| clash(*before, *member)) {
                    expected.insert(*member);
                }
            }
            prop_assert_eq!(later, expected);
        }
    }
}
