//! What limits and quotas hold for the rules that serve, and what becomes of quotas with time. I/O towards the state
//! folder and the workers.
//!
//! Keeps: limits hold before the routing that needs them is published; what was used is on the disk within five seconds;
//! a quota that stops ends what is live, and again whatever came in meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schema::name::RuleName;
use schema::proto;
use schema::quota::{OnExhausted, Quota};
use schema::rule::{OwnerLimits, Rule};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::actor::Actor;
use crate::act::last_good::LastGood;
use crate::act::quota_file::{self, StoredQuotas};
use crate::act::workers::{LimitScope, Meter, Overdue, QuotaCount, RuleLimits, Scope, limits_now, warns_at};
use crate::decide::breaks::Break;
use crate::decide::periods::Calendar;
use crate::decide::quotas::{QuotaOf, Usage, hand_over, keep_absent};
use crate::decide::rates::Moment;

/// How often quotas are looked at: a period begins that late at most.
const LOOK: Duration = Duration::from_secs(1);
/// How often what was used is written: five seconds at most may be forgotten.
pub(super) const STORE: Duration = Duration::from_secs(3);
/// How often others learn what was used, beside every change that matters.
const SHOW: Duration = Duration::from_secs(5);

/// What was used of a quota, and the quota while somebody has it.
pub(super) struct QuotaEntry {
    /// As of the last look; what is counted since is in the count.
    pub(super) usage: Usage,
    pub(super) count: Option<Arc<QuotaCount>>,
    terms: Option<(Quota, Calendar)>,
    /// What its rule was called before.
    pub(super) former: Option<String>,
    /// What was said about it last.
    level: QuotaLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum QuotaLevel {
    #[default]
    Free,
    Warned,
    Exhausted,
}

impl QuotaEntry {
    pub(super) fn restored(usage: Usage, former: Option<String>) -> Self {
        Self { usage, count: None, terms: None, former, level: QuotaLevel::Free }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { used: self.count.as_ref().map_or(self.usage.used, |count| count.used()), ..self.usage }
    }

    fn level_now(&self) -> QuotaLevel {
        let Some((quota, _)) = &self.terms else { return QuotaLevel::Free };
        match self.usage().used {
            used if used >= quota.bytes.get() => QuotaLevel::Exhausted,
            used if used >= warns_at(quota) => QuotaLevel::Warned,
            _ => QuotaLevel::Free,
        }
    }

    fn to_wire(&self, of: &QuotaOf) -> Option<proto::QuotaState> {
        let (quota, _) = self.terms.as_ref()?;
        let usage = self.usage();
        let (rule, owner) = match of {
            QuotaOf::Rule(rule) => (rule.clone(), String::new()),
            QuotaOf::Owner(owner) => (String::new(), owner.clone()),
        };
        Some(proto::QuotaState {
            rule,
            owner,
            used_bytes: usage.used,
            limit_bytes: quota.bytes.get(),
            warn_percent: quota.warn_percent.into(),
            starts_at: usage.within.starts,
            ends_at: usage.within.ends,
            period: quota.period.as_str().to_owned(),
            on_exhausted: quota.on_exhausted.as_str().to_owned(),
        })
    }
}

/// The quotas of an edge, and the limits of its owners.
pub(super) struct Quotas {
    pub(super) entries: BTreeMap<QuotaOf, QuotaEntry>,
    owners: BTreeMap<String, Arc<LimitScope>>,
    /// Told by a worker that counts past a mark.
    pub(super) keeper: Arc<Notify>,
    view: watch::Sender<Arc<Vec<proto::QuotaState>>>,
    pub(super) stored: Option<StoredQuotas>,
    pub(super) store_due: Instant,
    shown: Instant,
    pub(super) look_due: Instant,
    /// Since the folder was left: where it is, and what had been used by then.
    pub(super) left: Option<(PathBuf, BTreeMap<QuotaOf, Usage>)>,
}

fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Quotas {
    /// What a folder holds. One that cannot be read holds nothing: it is about to fail where the rules are stored.
    pub(super) fn new(store: Option<&LastGood>) -> Self {
        let stored = store.map(|store| quota_file::read(store.folder())).transpose();
        let stored = stored.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the counts of quotas cannot be read");
            None
        });
        let entries = stored.clone().unwrap_or_default().into_kept();
        let now = Instant::now();
        Self {
            entries: entries.map(|(of, former, usage)| (of, QuotaEntry::restored(usage, former))).collect(),
            owners: BTreeMap::new(),
            keeper: Arc::default(),
            view: watch::Sender::default(),
            stored,
            store_due: now,
            shown: now,
            look_due: now,
            left: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Vec<proto::QuotaState>>> {
        self.view.subscribe()
    }

    /// When to look next; never while there is nothing to look at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.entries.values().any(|entry| entry.terms.is_some()).then_some(self.look_due)
    }

    /// The counts of those who are to have a quota now, each with its name of before.
    fn renew(
        &mut self,
        next: Vec<(QuotaOf, Option<QuotaOf>, Quota)>,
        now: Moment,
    ) -> BTreeMap<QuotaOf, Arc<QuotaCount>> {
        let wall = wall_clock();
        let mut before = std::mem::take(&mut self.entries);
        Self::take_back_names(&mut before, &next);
        let (names, quotas): (Vec<_>, Vec<_>) =
            next.into_iter().map(|(of, former, quota)| ((of.clone(), former), (of, quota))).unzip();
        let quotas: BTreeMap<QuotaOf, Quota> = quotas.into_iter().collect();
        let formers: BTreeMap<QuotaOf, QuotaOf> =
            names.iter().filter_map(|(of, former)| Some((of.clone(), former.clone()?))).collect();
        let (handed, mut left) = hand_over(before, names);
        let mut counts = BTreeMap::new();
        for (of, entry) in handed {
            let Some(quota) = quotas.get(&of) else { continue };
            let entry = entry.unwrap_or_else(|| QuotaEntry::restored(Usage::default(), None));
            let calendar = Calendar::new(quota);
            let used = entry.usage().used;
            let usage = entry.usage().at(&calendar, wall);
            let count = match entry.count {
                Some(count) => {
                    count.forget(used - usage.used);
                    count.retune(quota, now);
                    count
                }
                None => Arc::new(QuotaCount::new(quota, usage.used, self.keeper.clone(), now)),
            };
            counts.insert(of.clone(), count.clone());
            let former = formers.get(&of).filter(|former| **former != of).and_then(|former| match former {
                QuotaOf::Rule(rule) => Some(rule.clone()),
                QuotaOf::Owner(_) => None,
            });
            let (terms, former) = (Some((quota.clone(), calendar)), former.or(entry.former));
            self.entries.insert(of, QuotaEntry { usage, count: Some(count), terms, former, level: entry.level });
        }
        for entry in left.values_mut() {
            (entry.terms, entry.usage) = (None, entry.usage());
        }
        keep_absent(&mut left, wall, QuotaEntry::usage);
        self.entries.extend(left);
        counts
    }

    /// After a restart between the two writes of a rename, the rules bear names of before.
    fn take_back_names(before: &mut BTreeMap<QuotaOf, QuotaEntry>, next: &[(QuotaOf, Option<QuotaOf>, Quota)]) {
        let is_next = |of: &QuotaOf| next.iter().any(|(name, ..)| name == of);
        let renamed: Vec<(QuotaOf, QuotaOf)> = before
            .iter()
            .filter(|(of, entry)| entry.count.is_none() && !is_next(of))
            .filter_map(|(of, entry)| Some((of.clone(), QuotaOf::Rule(entry.former.clone()?))))
            .filter(|(_, former)| is_next(former) && !before.contains_key(former))
            .collect();
        for (of, former) in renamed {
            if let Some(entry) = before.remove(&of) {
                before.insert(former, entry);
            }
        }
    }

    /// Begins periods that are due, and says whose connections are to end.
    fn look(&mut self) -> Vec<QuotaOf> {
        let wall = wall_clock();
        let mut ends = Vec::new();
        for (of, entry) in &mut self.entries {
            let Some((quota, calendar)) = &entry.terms else { continue };
            let (used, within) = (entry.usage().used, entry.usage.within);
            let usage = entry.usage().at(calendar, wall);
            if usage.within.starts > within.starts
                && let Some(count) = &entry.count
            {
                count.forget(used);
            }
            entry.usage.within = usage.within;
            let (stops, level) = (quota.on_exhausted == OnExhausted::Stop, entry.level_now());
            if std::mem::replace(&mut entry.level, level) != level {
                log(of, level, quota);
                self.shown = Instant::now().checked_sub(SHOW).unwrap_or(self.shown);
            }
            if level == QuotaLevel::Exhausted && stops {
                ends.push(of.clone());
            }
        }
        self.look_due = Instant::now() + LOOK;
        ends
    }

    /// Lets others learn what was used: now, or when it is time.
    fn show(&mut self, at_once: bool) {
        let now = Instant::now();
        if !at_once && now < self.shown + SHOW {
            return;
        }
        self.shown = now;
        let states: Vec<_> = self.entries.iter().filter_map(|(of, entry)| entry.to_wire(of)).collect();
        self.view.send_if_modified(|shown| {
            let is_new = **shown != states;
            if is_new {
                *shown = Arc::new(states);
            }
            is_new
        });
    }

    pub(super) fn to_store(&self) -> StoredQuotas {
        let kept = |(of, entry): (&QuotaOf, &QuotaEntry)| (of.clone(), entry.former.clone(), entry.usage());
        StoredQuotas::new(self.entries.iter().map(kept))
    }
}

fn log(of: &QuotaOf, level: QuotaLevel, quota: &Quota) {
    let (kind, name) = match of {
        QuotaOf::Rule(name) => ("rule", name),
        QuotaOf::Owner(name) => ("owner", name),
    };
    let (bytes, period, then) = (quota.bytes, quota.period.as_str(), quota.on_exhausted.as_str());
    match level {
        QuotaLevel::Exhausted => tracing::warn!(kind, name, bytes, period, then, "a quota is exhausted"),
        QuotaLevel::Warned => {
            tracing::warn!(kind, name, bytes, period, percent = quota.warn_percent, "a quota is nearly exhausted");
        }
        QuotaLevel::Free => tracing::info!(kind, name, bytes, period, "a quota is available again"),
    }
}

impl Actor {
    /// Lets the limits of the rules that serve hold for their connections. `previous` has the names that rules had.
    pub(super) fn limit(&mut self, previous: &BTreeMap<RuleName, RuleName>) {
        let now = limits_now();
        let rules: Vec<(Arc<Rule>, Arc<Meter>)> =
            self.serving.values().map(|served| (served.rule.clone(), served.meter.clone())).collect();
        let of_rule = |name: &RuleName| QuotaOf::Rule(name.to_string());
        let mut next: Vec<(QuotaOf, Option<QuotaOf>, Quota)> = rules
            .iter()
            .filter_map(|(rule, _)| {
                let former = previous.get(&rule.name).map(of_rule);
                Some((of_rule(&rule.name), former, (**rule.quota.as_ref()?).clone()))
            })
            .collect();
        let owners: BTreeMap<String, OwnerLimits> = rules
            .iter()
            .filter_map(|(rule, _)| Some((rule.owner.clone(), (**rule.owner_limits.as_ref()?).clone())))
            .collect();
        let of_owner =
            |(name, owner): (&String, &OwnerLimits)| Some((QuotaOf::Owner(name.clone()), None, owner.quota.clone()?));
        next.extend(owners.iter().filter_map(of_owner));
        let counts = self.quotas.renew(next, now);
        let before = std::mem::take(&mut self.quotas.owners);
        for (name, limits) in owners {
            let former = before.get(&name).map(|scope| (**scope).clone()).unwrap_or_default();
            let quota = counts.get(&QuotaOf::Owner(name.clone())).cloned();
            self.quotas.owners.insert(name, Arc::new(former.next(limits.rate_limit.as_ref(), quota, now)));
        }
        for (rule, meter) in rules {
            let owner = rule.owner_limits.as_ref().and_then(|_| self.quotas.owners.get(&rule.owner)).cloned();
            let former = meter.limits().and_then(|limits| limits.rule.as_deref().cloned()).unwrap_or_default();
            let quota = counts.get(&of_rule(&rule.name)).cloned();
            let own = former.next(rule.rate_limit.as_deref(), quota, now);
            let own = (!own.is_empty()).then(|| Arc::new(own));
            let limits = (owner.is_some() || own.is_some()).then(|| Arc::new(RuleLimits { owner, rule: own }));
            meter.set_limits(limits.as_ref());
        }
        self.quotas.show(true);
    }

    /// Looks at quotas: periods begin, what is exhausted ends, what was used is stored and shown.
    pub(super) async fn look_at_quotas(&mut self) {
        for of in self.quotas.look() {
            self.end_exhausted(&of).await;
        }
        self.quotas.show(false);
        if Instant::now() >= self.quotas.store_due {
            self.store_quotas().await;
        }
    }

    async fn end_exhausted(&self, of: &QuotaOf) {
        let is_concerned = |rule: &Rule| match of {
            QuotaOf::Rule(name) => rule.name.as_str() == name,
            QuotaOf::Owner(owner) => rule.owner_limits.is_some() && rule.owner == *owner,
        };
        let concerned = self.serving.values().filter(|served| is_concerned(&served.rule) && served.meter.active() > 0);
        for served in concerned {
            let meter = served.meter.clone();
            let before = meter.next_connection();
            let overdue =
                Overdue { meter, listen: served.rule.listen, scope: Scope::All, before, why: Break::EdgeQuota };
            self.dataplane.reset(overdue).await;
        }
    }

    /// Begins the period of a quota anew; what was used in it until now, or nothing where there is no such quota.
    pub(super) async fn reset_quota(&mut self, of: &QuotaOf) -> Option<u64> {
        let entry = self.quotas.entries.get(of).filter(|entry| entry.terms.is_some())?;
        let used = entry.usage().used;
        if let Some(count) = &entry.count {
            count.forget(used);
        }
        self.quotas.look();
        self.quotas.show(true);
        self.store_quotas().await;
        Some(used)
    }
}
