//! Deviations of targets from the tree that operators order: who, what, why and until when. Pure.
//!
//! Keeps: repeating an order changes nothing; a pause does not soften a disable, and what is in force stays until its
//! own counterpart, its expiry or the tree ends it. None ends without a notice.

use jiff::Timestamp;
use schema::name::RuleName;
use schema::rule::{Host, Rule, Target};
use serde::{Deserialize, Serialize};

use super::target_override::{Deviation, TargetOverride};
use super::view::EdgeView;

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Take it out of use gently.
    Pause,
    /// End a pause.
    Resume,
    /// Take it out of use at once.
    Disable,
    /// End that.
    Enable,
    /// Give it another weight; the one of the tree ends the deviation.
    Weight(u8),
    /// End every deviation of the target.
    End,
}

impl Order {
    /// As in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Weight(_) => "weight",
            Self::End => "end",
        }
    }
}

/// How a deviation came or went, for events and the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviationChange {
    /// An operator ordered it.
    Set,
    /// An operator ended it, or another order took its place.
    Ended,
    /// Its time was over.
    Expired,
    /// The tree has no such rule or target any more.
    Dropped,
}

impl DeviationChange {
    /// As in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }

    /// The outcome of its line in the ledger.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Set => "override",
            Self::Ended => "override_ended",
            Self::Expired => "override_expired",
            Self::Dropped => "override_dropped",
        }
    }
}

/// The targets of a rule, as the tree has them or, where the edge serves an older version, that one.
fn versions<'a>(view: &'a EdgeView, rule: &RuleName) -> Vec<&'a Rule> {
    let desired = view.desired.as_ref();
    let wanted = desired.and_then(|desired| desired.wanted.get(rule)).map(|placed| &*placed.rule);
    let sent = desired.and_then(|desired| desired.rules.get(rule)).map(|placed| &*placed.rule);
    let decided: Vec<&Rule> = wanted.into_iter().chain(sent).collect();
    if decided.is_empty() && desired.is_none() {
        view.serving(rule).map(|rule| &**rule).into_iter().collect()
    } else {
        decided
    }
}

/// True if the rule still has the target.
pub fn is_known(view: &EdgeView, rule: &RuleName, target: &str) -> bool {
    versions(view, rule).iter().any(|version| version.targets.iter().any(|known| known.to_string() == target))
}

/// The names of all targets of a rule; `None` for a rule that the edge is not to run.
pub fn targets_of(view: &EdgeView, rule: &RuleName) -> Option<Vec<String>> {
    let versions = versions(view, rule);
    let mut names: Vec<String> = Vec::new();
    for target in versions.iter().flat_map(|version| &version.targets) {
        let name = target.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!versions.is_empty()).then_some(names)
}

/// The target that a person means: by its whole name, or by its host and any of its ports, where no other target of the rule
/// has that port. Of targets that overlap, the first port of one is that one.
pub fn find<'a>(view: &'a EdgeView, rule: &RuleName, text: &str) -> Option<&'a Target> {
    let (host, ports) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = Host::parse(host).ok()?;
    let all = versions(view, rule);
    let of_host = || all.iter().flat_map(|version| &version.targets).filter(|target| target.host == host);
    let whole = of_host().find(|target| target.ports.to_string() == ports);
    let first = || of_host().find(|target| target.ports.first().to_string() == ports);
    let any = || {
        let port: u16 = ports.parse().ok()?;
        let has = |target: &&Target| (target.ports.first()..=target.ports.last()).contains(&port);
        // Another version of the rule may have the same target once more.
        let found = of_host().find(has)?;
        of_host().filter(has).all(|other| other.ports == found.ports).then_some(found)
    };
    whole.or_else(first).or_else(any)
}

/// The weight of a target in the tree.
fn weight_in_tree(view: &EdgeView, rule: &RuleName, target: &str) -> Option<u8> {
    let all = versions(view, rule);
    all.iter().flat_map(|version| &version.targets).find(|known| known.to_string() == target).map(|known| known.weight)
}

/// What an order does to the deviations of an edge: those that went, and the one that came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effected {
    /// Ended by the order.
    pub ended: Vec<TargetOverride>,
    /// In force from now on.
    pub set: Option<TargetOverride>,
}

/// Who orders what about which target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<'a> {
    /// The rule.
    pub rule: &'a RuleName,
    /// The target, by its whole name.
    pub target: &'a str,
    /// What.
    pub order: Order,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub why: &'a str,
    /// Until when.
    pub until: Option<Timestamp>,
    /// The time.
    pub now: Timestamp,
}

/// Carries out an order; nothing came and nothing went where it changes nothing.
pub fn carry_out(view: &mut EdgeView, given: &Given<'_>) -> Effected {
    let is_same = |known: &TargetOverride| known.rule == *given.rule && known.target == given.target;
    let current = view.deviations.iter().find(|known| is_same(known) && !known.deviation.is_weight());
    let admin = current.map(|known| known.deviation);
    let wanted = match (given.order, admin) {
        (Order::Pause, Some(Deviation::Disable)) => return Effected::default(),
        (Order::Pause, _) => Some(Deviation::Pause),
        (Order::Disable, _) => Some(Deviation::Disable),
        (Order::Weight(weight), _) if weight_in_tree(view, given.rule, given.target) != Some(weight) => {
            Some(Deviation::Weight { weight })
        }
        (Order::Weight(_) | Order::Resume | Order::Enable | Order::End, _) => None,
    };
    let is_ended = |known: &TargetOverride| {
        is_same(known)
            && match given.order {
                Order::Resume => known.deviation == Deviation::Pause,
                Order::Enable => known.deviation == Deviation::Disable,
                Order::Weight(_) => known.deviation.is_weight(),
                Order::Pause | Order::Disable => !known.deviation.is_weight(),
                Order::End => true,
            }
    };
    let before = view.deviations.iter().find(|known| is_ended(known));
    let is_repeated = before.is_some_and(|before| {
        Some(before.deviation) == wanted
            && (given.until.is_none() || given.until == before.until)
            && (given.why.is_empty() || given.why == before.why)
    });
    if is_repeated {
        return Effected::default();
    }
    let (ended, mut kept): (Vec<_>, Vec<_>) = view.deviations.drain(..).partition(is_ended);
    let set = wanted.map(|deviation| TargetOverride {
        rule: given.rule.clone(),
        target: given.target.to_owned(),
        deviation,
        actor: given.actor.to_owned(),
        why: given.why.to_owned(),
        since: given.now,
        until: given.until,
    });
    kept.extend(set.clone());
    kept.sort_by(|one, other| one.place().cmp(&other.place()));
    view.deviations = kept;
    Effected { ended, set }
}
