//! Who put a port on an edge, over the API: from the records of the applies, and from their trees where none of them
//! bound the port. I/O.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Extract};
use axum::{Extension, Json};
use schema::canonical::Digest;
use schema::check::{CheckLimits, check_tree};
use schema::name::EdgeName;
use schema::net::Protocol;
use schema::ruleset::{EdgeRules, Placed, RuleSet, TreeFiles};
use serde::Deserialize;

use super::heavy::heavy;
use super::identity::Who;
use super::ledger::{lines, recorded_changes, revision};
use super::{Failure, State};
use crate::act::source;
use crate::act::store::Store;
use crate::decide::blame::{Blame, How, Port, PortOwner, applied, taken_over};
use crate::decide::break_glass::Override;
use crate::decide::codes::ProblemCode;
use crate::decide::view::EdgeView;

/// The query: which protocol, where both have the port.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BlameQuery {
    protocol: Option<String>,
}

/// What the fleet knows of a port.
enum Known {
    NoEdge,
    Nobody,
    Both,
    Over(Box<Override>, Protocol),
    Rule { owner: Placed, protocol: Protocol, serving: bool },
}

pub(super) async fn blame(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Path((edge, port)): Path<(String, String)>,
    Query(query): Query<BlameQuery>,
) -> Result<Json<Blame>, Failure> {
    let bad = |detail: String| Failure::new(400, ProblemCode::BadRequest, "Not a port", detail);
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    let number = number.ok_or_else(|| bad(format!("{port} is not a valid port: expected 1 to 65535")))?;
    let protocols = match query.protocol.as_deref() {
        None => vec![Protocol::Tcp, Protocol::Udp],
        Some("tcp") => vec![Protocol::Tcp],
        Some("udp") => vec![Protocol::Udp],
        Some(other) => return Err(bad(format!("{other} is not a valid protocol: expected tcp or udp"))),
    };
    let unknown_edge = || Failure::not_found(format!("edge {edge} is unknown"));
    let name = EdgeName::new(&edge).map_err(|_| unknown_edge())?;
    let port_of = {
        let name = name.clone();
        move |protocol| Port { edge: name.clone(), port: number, protocol }
    };
    let ports: Vec<Port> = protocols.iter().copied().map(&port_of).collect();
    let look = move |edges: &crate::decide::edges::Edges| {
        let view = edges.get(&name).filter(|_| who.caller.limits.has_edge(&name));
        match view.map(|view| known(view, &ports)) {
            None => Known::NoEdge,
            Some(Known::Rule { owner, .. }) if !who.sees(edges, &name, &owner.rule.name) => Known::Nobody,
            Some(Known::Over(held, _)) if !who.sees(edges, &name, &held.rule.name) => Known::Nobody,
            Some(Known::Both) if !who.caller.limits.is_of_edges_only() => Known::Nobody,
            Some(known) => known,
        }
    };
    let known = state.context.fleet.read(move |view| look(view.fleet.edges())).await?;
    let place = match query.protocol.as_deref() {
        Some(protocol) => format!("{edge}:{number}/{protocol}"),
        None => format!("{edge}:{number}"),
    };
    let (owner, protocol, serving) = match known {
        Known::NoEdge => return Err(unknown_edge()),
        Known::Nobody => return Err(Failure::not_found(format!("no rule listens on {place}"))),
        Known::Both => {
            let detail = format!("{place} is open for both TCP and UDP: specify {place}/tcp or {place}/udp");
            return Err(Failure::new(409, ProblemCode::AmbiguousPort, "Two rules listen on that port", detail));
        }
        Known::Over(held, protocol) => return Err(of_override(&format!("{edge}:{number}/{protocol}"), &held)),
        Known::Rule { owner, protocol, serving } => (owner, protocol, serving),
    };
    let port = port_of(protocol);
    let store = Arc::clone(&state.context.store);
    let limits = state.context.limits;
    heavy(move || found(&store, limits, &port, &owner, serving)).await?.map(Json)
}

/// Who has one of the ports: what serves there, else what is decided for there.
fn known(view: &EdgeView, ports: &[Port]) -> Known {
    let running: EdgeRules = view
        .running()
        .into_iter()
        .map(|(name, rule)| {
            let origin = view.placed(&name).and_then(|placed| placed.origin.clone());
            (name, Placed { rule, origin })
        })
        .collect();
    let none = EdgeRules::new();
    let decided = view.desired.as_ref().map_or(&none, |desired| &desired.rules);
    let mut found = ports.iter().filter_map(|port| {
        let serves = port.owner(&running).map(|owner| (owner, true));
        let (owner, serving) = serves.or_else(|| port.owner(decided).map(|owner| (owner, false)))?;
        Some((owner.clone(), port.protocol, serving))
    });
    let Some((owner, protocol, serving)) = found.next() else { return Known::Nobody };
    if found.next().is_some() {
        return Known::Both;
    }
    match view.overrides.get(&owner.rule.name) {
        Some(held) => Known::Over(Box::new(held.clone()), protocol),
        None => Known::Rule { owner, protocol, serving },
    }
}

fn of_override(place: &str, held: &Override) -> Failure {
    let detail = format!(
        "{place} belongs to the break-glass rule {}, which does not come from a commit: {} added it at {:.0}, until \
         {:.0}: {}",
        held.rule.name, held.actor, held.since, held.until, held.why
    );
    Failure::new(409, ProblemCode::OverrideRule, "A break-glass rule listens on that port", detail)
}

/// Looks through the records. Blocks.
fn found(store: &Store, limits: CheckLimits, port: &Port, owner: &Placed, serving: bool) -> Result<Blame, Failure> {
    let entries = lines(store)?;
    let rule = &owner.rule.name;
    if let Some(found) = applied(port, rule, &entries, |entry| recorded_changes(store, &entry.apply_id))? {
        return Ok(Blame::new(PortOwner { port, owner, serving }, How::Applied, found, &entries));
    }
    let mut trees = Trees { store, limits, last: None };
    let owner_in = |entry: &crate::decide::ledger::Entry| trees.owner(entry.digest, port);
    if let Some(found) = taken_over(rule, &entries, owner_in) {
        return Ok(Blame::new(PortOwner { port, owner, serving }, How::TakenOver, found, &entries));
    }
    let (number, protocol) = (port.port, port.protocol);
    let detail = format!(
        "{}:{number}/{protocol} has belonged to {rule} since before the ledger, or since an apply whose plan and tree \
         are no longer kept",
        port.edge
    );
    Err(Failure::new(409, ProblemCode::BeforeLedger, "Older than the ledger", detail))
}

/// The trees of revisions, one after the other.
struct Trees<'s> {
    store: &'s Store,
    limits: CheckLimits,
    /// The newest read one: applies in a row often have the same.
    last: Option<(Digest, Option<RuleSet>)>,
}

impl Trees<'_> {
    /// Who has the port in a revision; an error where its files are kept no longer, or are no valid tree any more.
    fn owner(&mut self, digest: Digest, port: &Port) -> Result<Option<Placed>, ()> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != digest) {
            let ruleset = revision(self.store, digest).ok().flatten().and_then(|revision| {
                let labelled = revision.files.into_iter().map(|file| (file.path, file.text)).collect();
                let tree = source::from_upload(labelled).ok()?;
                let files = TreeFiles { files: tree.sources(), problems: tree.diagnostics };
                check_tree(&files, &CheckLimits { allow_empty: true, ..self.limits }).ruleset
            });
            self.last = Some((digest, ruleset));
        }
        let ruleset = self.last.as_ref().and_then(|(_, ruleset)| ruleset.as_ref()).ok_or(())?;
        Ok(ruleset.edges.get(&port.edge).and_then(|rules| port.owner(rules)).cloned())
    }
}
