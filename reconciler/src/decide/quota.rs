//! Quotas as edges report them: what was used of how much, and until when. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use schema::proto;
use serde::{Deserialize, Serialize};

/// Quotas of one edge that are remembered: as many as its rules, and their owners.
pub const MOST: usize = 65_536;

/// How much of a quota is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaLevel {
    /// Enough.
    Available,
    /// The warning percentage is reached.
    Warning,
    /// Nothing.
    Exhausted,
}

impl QuotaLevel {
    /// As in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Warning => "warning",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Whose quota it is on an edge: a rule, or an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaOf {
    /// All rules of an owner.
    Owner(String),
    /// One rule.
    Rule(RuleName),
}

impl QuotaOf {
    /// With its edge, for people: `fra-01/web`, or `owner team of fra-01`.
    pub fn on(&self, edge: &EdgeName) -> String {
        match self {
            Self::Rule(rule) => format!("{edge}/{rule}"),
            Self::Owner(owner) => format!("owner {owner} of {edge}"),
        }
    }
}

/// A quota on an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaView {
    /// Bytes of this period.
    pub used: u64,
    /// Bytes that a period has.
    pub limit: u64,
    /// When a warning is given.
    pub warn_percent: u64,
    /// As in a rule file.
    pub period: String,
    /// As in a rule file.
    pub on_exhausted: String,
    /// When the period began; none where it has no beginning.
    pub starts: Option<Timestamp>,
    /// When the next one begins; none where it never does.
    pub ends: Option<Timestamp>,
}

/// The quotas of one edge.
pub type Quotas = BTreeMap<QuotaOf, QuotaView>;

impl QuotaView {
    /// How much is left.
    pub fn level(&self) -> QuotaLevel {
        let warns_at = u128::from(self.limit) * u128::from(self.warn_percent) / 100;
        match self.used {
            used if used >= self.limit => QuotaLevel::Exhausted,
            used if u128::from(used) >= warns_at.max(1) => QuotaLevel::Warning,
            _ => QuotaLevel::Available,
        }
    }

    /// How much was used, in percent with one decimal.
    pub fn percent(&self) -> f64 {
        let per_mille = u128::from(self.used) * 1000 / u128::from(self.limit.max(1));
        per_mille as f64 / 10.0
    }
}

/// What an edge says about its quotas. What cannot be read is left out.
pub fn quotas_from_wire(states: &[proto::QuotaState]) -> Quotas {
    let quota = |state: &proto::QuotaState| {
        let of = if state.rule.is_empty() {
            QuotaOf::Owner(state.owner.clone())
        } else {
            QuotaOf::Rule(RuleName::new(&state.rule).ok()?)
        };
        let time = |seconds| Timestamp::from_second(seconds).ok();
        let view = QuotaView {
            used: state.used_bytes,
            limit: state.limit_bytes,
            warn_percent: state.warn_percent.into(),
            period: state.period.clone(),
            on_exhausted: state.on_exhausted.clone(),
            starts: state.ends_at.and_then(|_| time(state.starts_at)),
            ends: state.ends_at.and_then(time),
        };
        Some((of, view))
    };
    states.iter().take(MOST).filter_map(quota).collect()
}

/// The quotas that have another level now than before, with it.
pub fn turns<'a>(before: &'a Quotas, now: &'a Quotas) -> impl Iterator<Item = (&'a QuotaOf, &'a QuotaView)> {
    now.iter().filter(|(of, view)| {
        let level = before.get(*of).map_or(QuotaLevel::Available, QuotaView::level);
        view.level() != level
    })
}

/// A quota, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotaDocument {
    /// The edge.
    pub edge: EdgeName,
    /// The rule; absent where the quota is that of an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The owner; empty where the rule has none.
    pub owner: String,
    /// How much is left.
    pub state: QuotaLevel,
    /// Bytes of this period.
    pub used: u64,
    /// Bytes that a period has.
    pub limit: u64,
    /// Used, in percent.
    pub percent: f64,
    /// As in a rule file.
    pub period: String,
    /// When the period began; absent where it has no beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Timestamp>,
    /// When the next one begins; absent where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// As in a rule file.
    pub on_exhausted: String,
}

impl QuotaDocument {
    /// A row of the list.
    pub fn new(edge: EdgeName, rule: Option<RuleName>, owner: String, view: &QuotaView) -> Self {
        Self {
            edge,
            rule,
            owner,
            state: view.level(),
            used: view.used,
            limit: view.limit,
            percent: view.percent(),
            period: view.period.clone(),
            starts: view.starts,
            ends: view.ends,
            on_exhausted: view.on_exhausted.clone(),
        }
    }
}

/// The result of a reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReset {
    /// The edge.
    pub edge: EdgeName,
    /// The rule; absent where the quota is that of an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The owner whose quota it is; absent where it is that of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Bytes that had been used.
    pub used: u64,
    /// In words.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(rule: &str, used_bytes: u64) -> proto::QuotaState {
        proto::QuotaState {
            rule: rule.to_owned(),
            used_bytes,
            limit_bytes: 1000,
            warn_percent: 80,
            period: "day".to_owned(),
            on_exhausted: "stop".to_owned(),
            starts_at: 86_400,
            ends_at: Some(2 * 86_400),
            ..proto::QuotaState::default()
        }
    }

    #[test]
    fn a_quota_warns_at_its_percentage_and_is_exhausted_at_its_limit() {
        let quotas = quotas_from_wire(&[state("a", 799), state("b", 800), state("c", 1000), state("not a name", 1)]);
        let levels: Vec<QuotaLevel> = quotas.values().map(QuotaView::level).collect();
        assert_eq!(levels, [QuotaLevel::Available, QuotaLevel::Warning, QuotaLevel::Exhausted]);
        let percents: Vec<f64> = quotas.values().map(QuotaView::percent).collect();
        assert_eq!(percents, [79.9, 80.0, 100.0]);
    }

    #[test]
    fn a_turn_is_told_once_in_each_direction() {
        let [low, high] = [100, 1000].map(|used| quotas_from_wire(&[state("a", used)]));
        assert_eq!(turns(&Quotas::default(), &high).count(), 1);
        assert_eq!((turns(&low, &high).count(), turns(&high, &high).count(), turns(&high, &low).count()), (1, 0, 1));
    }
}
