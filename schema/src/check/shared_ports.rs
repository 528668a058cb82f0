//! Rules that share one listener because TLS clients name the one they mean. Pure.
//!
//! Keeps: of the rules on a listener at most one is without names, the fallback; no name leads to two rules; a PROXY
//! header is expected from the same networks by all of them.

use std::collections::HashMap;

use super::RuleEntry;
use super::clashes::on_edges;
use super::edges::Fleet;
use crate::codes::TreeCode;
use crate::diagnostic::{Diagnostic, Span};
use crate::findings::Findings;
use crate::net::{ListenAddress, ListenRange};
use crate::sni::ServerName;

/// What the rules of all edges that share listeners contradict each other in. Two rules that meet on many edges are one
/// finding.
#[derive(Default)]
pub(super) struct SharedPorts {
    /// By the two entries: the first name that both have, an edge, and on how many edges they meet.
    names: HashMap<(u32, u32), (ServerName, u32, u32)>,
    proxies: HashMap<(u32, u32), (u32, u32)>,
}

impl SharedPorts {
    /// Takes the rules that share a listener out of `listening`, but for one of each listener.
    pub(super) fn gather(
        &mut self,
        entries: &[RuleEntry<'_>],
        listening: &mut Vec<(u16, u32, ListenRange)>,
        edge: u32,
    ) {
        let names = |member: u32| &entries[member as usize].own.sni;
        if listening.iter().all(|(_, member, _)| names(*member).is_empty()) {
            return;
        }
        let (plain, named): (Vec<_>, Vec<_>) = listening.iter().partition(|(_, member, _)| names(*member).is_empty());
        let fallbacks = Fallbacks::new(plain);
        let mut groups: HashMap<ListenRange, Vec<u32>> = HashMap::new();
        for (_, member, listen) in named {
            groups.entry(*listen).or_default().push(*member);
        }
        let mut beside: Vec<u32> = Vec::new();
        for (listen, named) in groups {
            let fallback = fallbacks.find(listen);
            self.compare(entries, &named, fallback, edge);
            // The fallback stands for all of them, so that a second one clashes with it.
            beside.extend(&named[usize::from(fallback.is_none())..]);
        }
        beside.sort_unstable();
        listening.retain(|(_, member, _)| beside.binary_search(member).is_err());
    }

    fn compare(&mut self, entries: &[RuleEntry<'_>], named: &[u32], fallback: Option<u32>, edge: u32) {
        let mut first_with: HashMap<&ServerName, u32> = HashMap::new();
        for member in named {
            for (name, _) in &entries[*member as usize].own.sni {
                let first = *first_with.entry(name).or_insert(*member);
                if first != *member {
                    let pair = (first.min(*member), first.max(*member));
                    let known = self.names.entry(pair).or_insert_with(|| (name.clone(), edge, 0));
                    known.2 += u32::from(known.0 == *name);
                }
            }
        }
        let mut all: Vec<u32> = named.iter().copied().chain(fallback).collect();
        all.sort_unstable();
        let proxy = |member: u32| entries[member as usize].own.rule.as_ref().map(|rule| &rule.accept_proxy);
        let Some(first) = all.iter().copied().find(|member| proxy(*member).is_some()) else { return };
        for other in all.into_iter().filter(|other| proxy(*other).is_some() && proxy(*other) != proxy(first)) {
            self.proxies.entry((first, other)).or_insert((edge, 0)).1 += 1;
        }
    }

    /// Reports what was found, in the order of the tree.
    pub(super) fn report(self, entries: &[RuleEntry<'_>], fleet: &Fleet<'_>, diagnostics: &mut Findings) {
        let mut names: Vec<_> = self.names.into_iter().collect();
        names.sort_unstable_by_key(|(pair, _)| *pair);
        for ((first, second), (name, edge, count)) in names {
            let (first, second) = (&entries[first as usize], &entries[second as usize]);
            let message = format!(
                "`{name}` leads to two rules on {} of {}",
                second.own.listen.map_or_else(String::new, |listen| listen.to_string()),
                on_edges(fleet, (edge, count))
            );
            diagnostics.push(
                Diagnostic::error(TreeCode::PortClash, second.file, place_of(second, &name), message)
                    .label("listed again here")
                    .related(first.file, place_of(first, &name), "listed first here")
                    .help("a server name may lead to one rule of a port only: remove it from one of the rules"),
            );
        }
        let mut proxies: Vec<_> = self.proxies.into_iter().collect();
        proxies.sort_unstable();
        for ((first, second), edges) in proxies {
            let (first, second) = (&entries[first as usize], &entries[second as usize]);
            let message = format!("rules that share a port of {} differ in `accept_proxy`", on_edges(fleet, edges));
            diagnostics.push(
                Diagnostic::error(TreeCode::ConflictingKeys, second.file, proxy_place(second), message)
                    .related(first.file, proxy_place(first), "the other rule expects these headers")
                    .help(
                        "a PROXY header comes before the server name: set the same networks in all rules of the port",
                    ),
            );
        }
    }
}

/// The rules without names, which may be ranges, by their addresses. Each list goes by the first port, and each place of it
/// has the rule that reaches the highest port of those up to there.
struct Fallbacks(HashMap<ListenAddress, Vec<(u16, u16, u32)>>);

impl Fallbacks {
    fn new(mut plain: Vec<&(u16, u32, ListenRange)>) -> Self {
        plain.sort_unstable_by_key(|(first, member, _)| (*first, *member));
        let mut lists: HashMap<ListenAddress, Vec<(u16, u16, u32)>> = HashMap::new();
        for (first, member, listen) in plain {
            let list = lists.entry(listen.address).or_default();
            let own = (*first, listen.ports.last(), *member);
            let widest = list
                .last()
                .filter(|(_, last, _)| *last >= own.1)
                .map_or(own, |(_, last, member)| (own.0, *last, *member));
            list.push(widest);
        }
        Self(lists)
    }

    /// The rule that takes who has none of the names of a port.
    fn find(&self, listen: ListenRange) -> Option<u32> {
        let (list, port) = (self.0.get(&listen.address)?, listen.ports.first());
        let until = list.partition_point(|(first, ..)| *first <= port);
        let (_, last, member) = list.get(until.checked_sub(1)?)?;
        (*last >= port).then_some(*member)
    }
}

fn place_of(entry: &RuleEntry<'_>, name: &ServerName) -> Span {
    entry.own.sni.iter().find(|(own, _)| own == name).map_or(entry.own.listen_span, |(_, span)| *span)
}

fn proxy_place(entry: &RuleEntry<'_>) -> Span {
    entry.own.accept_proxy_span.unwrap_or(entry.own.listen_span)
}
