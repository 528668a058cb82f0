//! Which apply put a port on an edge: back through the recorded plans, port by port and rename by rename. Pure.
//!
//! Keeps: an apply that only kept, renamed or updated what was there is never the answer; what the ledger cannot show
//! is said to be older than it, never guessed.

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};
use schema::net::{ListenRange, PortRange, Protocol};
use schema::ruleset::{EdgeRules, Origin, Placed};
use schema::spec::FieldChange;
use serde::{Deserialize, Serialize};

use super::ledger::{self, Entry};
use super::plan::{Action, RuleChange};

/// A port of one protocol on an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The edge.
    pub edge: EdgeName,
    /// The port, never 0.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// How the rule came by the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The apply bound it, or handed it over from another rule.
    Applied,
    /// It was open before: by a break-glass rule, or since before the ledger. The apply is the first whose tree has it.
    TakenOver,
}

/// Who put a port there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// The edge.
    pub edge: EdgeName,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The rule that owns it.
    pub rule: RuleName,
    /// The name that it had in that apply, where it was renamed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_then: Option<RuleName>,
    /// True if the rule serves on the edge, as far as is known.
    pub serving: bool,
    /// How it came by the port.
    pub how: How,
    /// Where the rule stood in the tree of that apply.
    pub origin: Option<Origin>,
    /// Where it stands in the tree in force.
    pub current: Option<Origin>,
    /// The commit of that apply, full hash.
    pub commit: Option<String>,
    /// Who wrote the commit.
    pub author: Option<String>,
    /// Digest of the tree.
    pub digest: Digest,
    /// True if the tree differed from its commit.
    pub dirty: bool,
    /// The apply.
    pub apply_id: String,
    /// Its entry in the ledger.
    pub entry: u64,
    /// Whether that was an apply, a rollback or a resume.
    pub action: ledger::LedgerAction,
    /// Its plan.
    pub plan_id: Digest,
    /// When.
    pub at: Timestamp,
    /// Who applied it.
    pub actor: String,
    /// How the apply ended.
    pub outcome: String,
}

/// The apply that is to blame, with what it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Blamed<'e> {
    /// Its line.
    pub entry: &'e Entry,
    /// The name of the rule then.
    pub rule: RuleName,
    /// Where the rule stood then.
    pub origin: Option<Origin>,
}

/// A port with the rule that has it.
#[derive(Debug, Clone, Copy)]
pub struct PortOwner<'o> {
    /// The port.
    pub port: &'o Port,
    /// The rule.
    pub owner: &'o Placed,
    /// True if the rule serves on the edge, as far as is known.
    pub serving: bool,
}

/// What one change did, seen from the port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PortHistory {
    /// The rule came by the port.
    Got,
    /// The rule had it before and after.
    Kept,
    /// The same under another name.
    Renamed(RuleName),
    /// Afterwards the rule did not have it.
    Without,
}

impl Port {
    /// The rule of a set that has the port.
    pub fn owner<'a>(&self, rules: &'a EdgeRules) -> Option<&'a Placed> {
        rules.values().find(|placed| self.is_in(placed.rule.listen.protocol, placed.rule.listen.ports))
    }

    /// True if listeners of that protocol on those ports include it, on whatever address.
    pub fn is_in(&self, protocol: Protocol, ports: PortRange) -> bool {
        protocol == self.protocol && ports.contains(self.port)
    }

    /// True if one of the listeners includes it.
    fn is_among(&self, ranges: &[ListenRange]) -> bool {
        ranges.iter().any(|range| self.is_in(range.protocol, range.ports))
    }

    fn turn(&self, change: &RuleChange) -> PortHistory {
        let has_now = self.is_among(&change.ports.bind) || self.is_among(&change.ports.keep);
        match change.action {
            Action::Activate if has_now => PortHistory::Got,
            Action::Rebind if self.is_among(&change.ports.bind) => PortHistory::Got,
            Action::Rebind if has_now && !self.was_in(&change.fields) => PortHistory::Got,
            Action::Activate | Action::Rebind if !has_now => PortHistory::Without,
            Action::Remove => PortHistory::Without,
            Action::Move => match &change.previous_rule {
                Some(previous) => PortHistory::Renamed(previous.clone()),
                None => PortHistory::Kept,
            },
            // A rejected rule keeps its version before, a failed one is tried again with what it had.
            Action::Activate | Action::Rebind | Action::Update | Action::Reject | Action::Retry => PortHistory::Kept,
        }
    }

    /// True if the listeners before these changes of fields include it; the rule has it afterwards.
    fn was_in(&self, fields: &[FieldChange]) -> bool {
        let before = |path: &str| fields.iter().find(|field| field.path == path).map(|field| &field.before);
        let protocol = match before("protocol") {
            Some(before) => before.as_str() == Some(self.protocol.as_str()),
            None => true,
        };
        let single = before("listen_port").filter(|before| !before.is_null());
        let several = before("listen_ports").filter(|before| !before.is_null());
        let ports = match (single, several) {
            (Some(port), _) => port.as_u64() == Some(self.port.into()),
            (None, Some(ports)) => {
                ports.as_str().and_then(PortRange::parse).is_some_and(|ports| ports.contains(self.port))
            }
            (None, None) => true,
        };
        protocol && ports
    }
}

/// Walks back from the newest apply through what each was to change on the edge; `None` where no recorded plan gave the
/// rule the port. `changes_of` tells what an apply was to change, `None` where that is kept no longer, which ends the
/// walk.
///
/// # Errors
///
/// Those of `changes_of`.
pub fn applied<'e, E>(
    port: &Port,
    rule: &RuleName,
    entries: &'e [Entry],
    mut changes_of: impl FnMut(&Entry) -> Result<Option<Vec<RuleChange>>, E>,
) -> Result<Option<Blamed<'e>>, E> {
    let mut name = rule.clone();
    let mut found: Option<Blamed<'e>> = None;
    for entry in entries.iter().rev().filter(|entry| entry.is_start()) {
        let Some(changes) = changes_of(entry)? else { break };
        let is_meant = |change: &&RuleChange| change.edge == port.edge && change.rule == name;
        let Some(change) = changes.iter().find(is_meant) else { continue };
        match port.turn(change) {
            PortHistory::Got => {
                // The same once more means that a newer apply found it not there yet; the first that reached the edge
                // is the one that put it there.
                if found.is_none() || reached(port, entry, entries) {
                    found = Some(Blamed { entry, rule: name.clone(), origin: change.origin.clone() });
                }
            }
            PortHistory::Renamed(previous) => name = previous,
            PortHistory::Without if found.is_some() => break,
            // Without anything found yet: the newest version need not be the one that serves.
            PortHistory::Kept | PortHistory::Without => {}
        }
    }
    Ok(found)
}

/// True if the apply gave the edge a generation and did not take it back.
fn reached(port: &Port, started: &Entry, entries: &[Entry]) -> bool {
    let ended = entries.iter().find(|entry| entry.of == Some(started.id)).unwrap_or(started);
    ended.generations.contains_key(&port.edge) && !ended.brought_back.contains(&port.edge)
}

/// The oldest apply since which every tree has that rule on that port: for ports that were open before. `owner_in` tells
/// the rule that has the port in the tree of an apply, an error where the tree is kept no longer, which ends the walk.
pub fn taken_over<'e, E>(
    rule: &RuleName,
    entries: &'e [Entry],
    mut owner_in: impl FnMut(&Entry) -> Result<Option<Placed>, E>,
) -> Option<Blamed<'e>> {
    let mut found = None;
    for entry in entries.iter().rev().filter(|entry| entry.is_start()) {
        let Ok(owner) = owner_in(entry) else { break };
        match owner.filter(|owner| owner.rule.name == *rule) {
            Some(owner) => found = Some(Blamed { entry, rule: rule.clone(), origin: owner.origin }),
            None if found.is_some() => break,
            None => {}
        }
    }
    found
}

impl Blame {
    /// Puts together what was found.
    pub fn new(of: PortOwner<'_>, how: How, found: Blamed<'_>, entries: &[Entry]) -> Self {
        let PortOwner { port, owner, serving } = of;
        let entry = found.entry;
        let ended = entries.iter().find(|line| line.of == Some(entry.id)).unwrap_or(entry);
        Self {
            edge: port.edge.clone(),
            port: port.port,
            protocol: port.protocol.as_str().to_owned(),
            rule: owner.rule.name.clone(),
            rule_then: (found.rule != owner.rule.name).then_some(found.rule),
            serving,
            how,
            origin: found.origin,
            current: owner.origin.clone(),
            commit: entry.commit.clone(),
            author: entry.author.clone(),
            digest: entry.digest,
            dirty: entry.dirty,
            apply_id: entry.apply_id.clone(),
            entry: entries.iter().filter(|line| line.of.is_none() && line.id <= entry.id).count() as u64,
            action: entry.action,
            plan_id: entry.plan_id,
            at: entry.at,
            actor: entry.actor.clone(),
            outcome: ended.outcome.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
