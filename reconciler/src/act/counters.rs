//! The newest counters of every rule, and what a reading of them comes to. Pure state, owned by the driver; bounded by
//! rules.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schema::counters::Figures;
use schema::name::{EdgeName, RuleName};
use schema::proto;

use super::codec;
use super::questions::NoAnswer;
use super::rates::{self, Window};
use crate::decide::quota::{self, QuotaOf, QuotaView, Quotas};
use crate::decide::statistics::{AgesDocument, PortStatsDocument, RatesDocument, StatsDocument, TargetStatsDocument};
use crate::decide::target::time_from_wire;
use crate::decide::words;

/// How long an asker waits for an edge.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there are no counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountersError {
    /// The edge gave no answer.
    #[error(transparent)]
    Unanswered(#[from] NoAnswer),
    /// It does not run the rule.
    #[error("the edge does not run the rule")]
    UnknownRule,
}

/// The newest counters by edge and rule.
pub type Rows = BTreeMap<EdgeName, BTreeMap<RuleName, Figures>>;

/// What an edge answered when it was asked, with what the server knows besides.
#[derive(Debug)]
pub(super) struct Reading {
    at: Timestamp,
    rules: Vec<(proto::RuleStats, RatesDocument)>,
}

/// Probes of one edge: what it counted last, which begins anew with its process.
type Probes = BTreeMap<String, u64>;

/// Counters by edge and rule.
#[derive(Debug, Default)]
pub struct Counters {
    rules: Rows,
    windows: BTreeMap<EdgeName, BTreeMap<RuleName, Window>>,
    probes_of: BTreeMap<EdgeName, Probes>,
    probes: Probes,
    quotas: BTreeMap<EdgeName, Quotas>,
    sni_missed: Missed,
}

/// Connections that no rule was for, by cause, as each edge counted them last.
pub type Missed = BTreeMap<EdgeName, BTreeMap<&'static str, u64>>;

impl Counters {
    /// All rows.
    pub fn rows(&self) -> &Rows {
        &self.rules
    }

    /// What was reported of a rule last.
    pub fn of(&self, edge: &EdgeName, rule: &RuleName) -> Option<&Figures> {
        self.rules.get(edge)?.get(rule)
    }

    /// Probes of all edges by result code, since this server started to count.
    pub fn probes(&self) -> &BTreeMap<String, u64> {
        &self.probes
    }

    /// What was used of quotas, by edge.
    pub fn quotas(&self) -> &BTreeMap<EdgeName, Quotas> {
        &self.quotas
    }

    /// Takes the quotas of an edge in. Returns those that have another level than before; of an edge that said nothing
    /// before, nothing is new.
    pub(super) fn take_quotas(&mut self, edge: &EdgeName, quotas: Quotas) -> Vec<(QuotaOf, QuotaView)> {
        let before = self.quotas.insert(edge.clone(), quotas);
        let now = &self.quotas[edge];
        let turned = before.iter().flat_map(|before| quota::turns(before, now));
        turned.map(|(of, view)| (of.clone(), view.clone())).collect()
    }

    /// Connections to ports with server names that no rule was for, by edge and cause.
    pub fn sni_missed(&self) -> &Missed {
        &self.sni_missed
    }

    /// Takes a report in: a periodic one, or the answer to a question.
    pub(super) fn take(&mut self, edge: &EdgeName, report: &proto::StatsReport, now: Timestamp) {
        let known = self.rules.entry(edge.clone()).or_default();
        for stats in &report.rules {
            if let (Ok(rule), Some(total)) = (RuleName::new(&stats.rule), &stats.total)
                // Rules come and go with reports; names that no report has are counted up to a bound.
                && (known.len() < codec::most_rules() || known.contains_key(&rule))
            {
                known.insert(rule, counters(total));
            }
        }
        if report.request_id == 0 {
            self.sample(edge, now);
        }
        self.count_probes(edge, &report.probes);
        self.sni_missed.insert(edge.clone(), words::sni_missed(&report.sni_missed));
    }

    /// An answer, with how fast its rules grow.
    pub(super) fn reading(&self, edge: &EdgeName, rules: Vec<proto::RuleStats>, now: Timestamp) -> Reading {
        let rates = |stats: proto::RuleStats| {
            let rates = RuleName::new(&stats.rule).map(|rule| self.rates(edge, &rule, now));
            (stats, rates.unwrap_or_default())
        };
        Reading { at: now, rules: rules.into_iter().map(rates).collect() }
    }

    /// Takes a periodic report as one more reading. Rules that it does not name stood still.
    fn sample(&mut self, edge: &EdgeName, now: Timestamp) {
        let windows = self.windows.entry(edge.clone()).or_default();
        for (rule, counters) in self.rules.get(edge).into_iter().flatten() {
            match windows.get_mut(rule) {
                Some(window) => window.take(counters, now),
                None => drop(windows.insert(rule.clone(), Window::new(counters, now))),
            }
        }
    }

    /// How fast a rule's counters grow.
    pub fn rates(&self, edge: &EdgeName, rule: &RuleName, now: Timestamp) -> RatesDocument {
        let window = self.windows.get(edge).and_then(|windows| windows.get(rule));
        window.map_or_else(rates::none, |window| window.rates(now))
    }

    /// Adds what an edge has probed since its last report; an edge that began anew counts from nothing.
    fn count_probes(&mut self, edge: &EdgeName, probes: &[proto::CauseCount]) {
        let known = self.probes_of.entry(edge.clone()).or_default();
        for (cause, count) in words::probes(probes) {
            let before = known.insert(cause.to_owned(), count).unwrap_or_default();
            let more = if count >= before { count - before } else { count };
            let sum = self.probes.entry(cause.to_owned()).or_default();
            *sum = sum.saturating_add(more);
        }
    }

    /// Forgets edges that the server knows no more.
    pub(super) fn retain_edges(&mut self, is_known: impl Fn(&EdgeName) -> bool) {
        self.rules.retain(|edge, _| is_known(edge));
        self.windows.retain(|edge, _| is_known(edge));
        self.probes_of.retain(|edge, _| is_known(edge));
        self.quotas.retain(|edge, _| is_known(edge));
        self.sni_missed.retain(|edge, _| is_known(edge));
    }

    /// Forgets rules that are gone, so that a later one of the same name begins at nothing.
    pub(super) fn retain(&mut self, edge: &EdgeName, is_there: impl Fn(&RuleName) -> bool) {
        if let Some(rules) = self.rules.get_mut(edge) {
            rules.retain(|rule, _| is_there(rule));
        }
        if let Some(windows) = self.windows.get_mut(edge) {
            windows.retain(|rule, _| is_there(rule));
        }
    }
}

/// What a reading says of the rule that was asked about.
pub(super) fn document(
    edge: EdgeName,
    asked: &proto::StatsRequest,
    reading: &Reading,
) -> Result<StatsDocument, CountersError> {
    let (stats, rates) =
        reading.rules.iter().find(|(stats, _)| stats.rule == asked.rule).ok_or(CountersError::UnknownRule)?;
    let ports = || {
        stats
            .ports
            .iter()
            .map(|port| PortStatsDocument {
                port: port.port as u16,
                counters: port.counters.as_ref().map(counters).unwrap_or_default(),
                rates: None,
            })
            .collect()
    };
    let targets = || {
        stats
            .targets
            .iter()
            .map(|target| TargetStatsDocument {
                host: target.host.clone(),
                port: target.port as u16,
                state: target.state.clone(),
                counters: target.counters.as_ref().map(counters).unwrap_or_default(),
                rates: None,
                last_success: time_from_wire(target.last_success_ms),
                last_failure: time_from_wire(target.last_failure_ms),
                report: target.report.clone().map(Into::into),
            })
            .collect()
    };
    Ok(StatsDocument {
        edge,
        rule: RuleName::new(&stats.rule).map_err(|_| CountersError::UnknownRule)?,
        at: reading.at,
        counters: stats.total.as_ref().map(counters).unwrap_or_default(),
        rates: *rates,
        ages: stats
            .ages
            .map(|ages| AgesDocument { oldest_secs: ages.oldest_ms / 1000, median_secs: ages.median_ms / 1000 }),
        ports: asked.per_port.then(ports),
        targets: asked.per_target.then(targets),
    })
}

/// What a message counts; lists that do not fit together count nothing.
fn counters(message: &proto::Counters) -> Figures {
    Figures::from_wire(message).unwrap_or_default()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Gives the ports and targets of a reading their rates since an earlier one.
pub(crate) fn rates_since(before: &StatsDocument, after: &mut StatsDocument) {
    let secs = seconds(before.at, after.at);
    if secs <= 0.0 {
        return;
    }
    for port in after.ports.iter_mut().flatten() {
        let earlier = before.ports.iter().flatten().find(|earlier| earlier.port == port.port);
        // A port without a row had no traffic.
        let earlier = earlier.map(|earlier| earlier.counters).unwrap_or_default();
        port.rates = Some(RatesDocument::between(&earlier, &port.counters, secs));
    }
    for target in after.targets.iter_mut().flatten() {
        let is_same = |earlier: &&TargetStatsDocument| (&earlier.host, earlier.port) == (&target.host, target.port);
        let earlier = before.targets.iter().flatten().find(is_same);
        let earlier = earlier.map(|earlier| earlier.counters).unwrap_or_default();
        target.rates = Some(RatesDocument::between(&earlier, &target.counters, secs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + millis).expect("in range")
    }

    #[test]
    fn probes_of_all_edges_add_up_and_never_go_down() {
        let mut counters = Counters::default();
        let mut count = |edge: &str, number| {
            let probes = vec![proto::CauseCount { cause: "L4OK".to_owned(), count: number }];
            let report = proto::StatsReport { request_id: 0, rules: Vec::new(), probes, sni_missed: Vec::new() };
            counters.take(&EdgeName::new(edge).expect("a name"), &report, at(0));
            counters.probes()["L4OK"]
        };
        assert_eq!([count("a", 5), count("b", 3), count("a", 6)], [5, 8, 9]);
        assert_eq!(count("a", 2), 11, "a process that began anew counts from nothing");
    }
}
