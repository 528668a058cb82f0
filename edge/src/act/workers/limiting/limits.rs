//! What holds for the connections of a rule: the limits of its owner, then its own. SharedRate memory.
//!
//! Keeps: the owner is asked first; who only observes refuses nobody.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use schema::rate::{PerSource, RateLimit};

use super::bucket::Bucket;
use super::quota::QuotaCount;
use super::sources::{Seat, SharedSources};
use crate::decide::entry::{self, Enforcement, EntryCheck, RefusalReason};
use crate::decide::rates::{Moment, Rate};
use crate::decide::sources::{SourceTerms, SourceVerdict};

/// The limits of one rule, or of one owner on this edge.
#[derive(Default, Clone)]
pub(crate) struct LimitScope {
    /// From clients to targets, and from targets to clients.
    pub(crate) bandwidth: [Option<Arc<Bucket>>; 2],
    connections: Option<Arc<Bucket>>,
    sources: Option<Arc<SharedSources>>,
    pub(crate) quota: Option<Arc<QuotaCount>>,
    pub(crate) mode: Enforcement,
}

fn connections(per_sec: NonZeroU32, burst: Option<NonZeroU32>) -> Rate {
    Rate { per_sec: per_sec.get().into(), burst: burst.unwrap_or(per_sec).get().into() }
}

fn source_terms(terms: &PerSource) -> SourceTerms {
    SourceTerms {
        connections: terms.connections.map(NonZeroU32::get),
        rate: terms.new_connections.map(|per_sec| connections(per_sec, terms.new_connections_burst)),
        prefix_v4: terms.prefix_v4,
        prefix_v6: terms.prefix_v6,
    }
}

/// The bucket of before with another rate, or a new one.
fn bucket(
    before: Option<&Arc<Bucket>>,
    rate: Option<Rate>,
    now: Moment,
    begin: impl FnOnce(Rate) -> Bucket,
) -> Option<Arc<Bucket>> {
    let rate = rate?;
    if let Some(bucket) = before {
        bucket.retune(rate, now);
        return Some(bucket.clone());
    }
    Some(Arc::new(begin(rate)))
}

impl LimitScope {
    /// The next limits, with what is in the buckets of those before.
    pub(crate) fn next(&self, limit: Option<&RateLimit>, quota: Option<Arc<QuotaCount>>, now: Moment) -> Self {
        let Some(limit) = limit else { return Self { quota, ..Self::default() } };
        let burst = limit.bandwidth_burst.map(NonZeroU64::get);
        let of = |bytes: Option<NonZeroU64>| bytes.map(|bytes| Rate::bandwidth(bytes.get(), burst));
        let [inward, outward] = &self.bandwidth;
        let bytes =
            |before: &Option<Arc<Bucket>>, rate| bucket(before.as_ref(), rate, now, |rate| Bucket::empty(rate, now));
        let rate = limit.new_connections.map(|per_sec| connections(per_sec, limit.new_connections_burst));
        let sources = limit.per_source.as_ref().map(source_terms).map(|terms| match &self.sources {
            Some(sources) => {
                sources.retune(terms, now);
                sources.clone()
            }
            None => Arc::new(SharedSources::new(terms)),
        });
        Self {
            bandwidth: [bytes(inward, of(limit.bandwidth_in)), bytes(outward, of(limit.bandwidth_out))],
            connections: bucket(self.connections.as_ref(), rate, now, Bucket::full),
            sources,
            quota,
            mode: limit.mode,
        }
    }

    /// True if it limits nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { bandwidth, connections, sources, quota, .. } = self;
        bandwidth.iter().all(Option::is_none) && connections.is_none() && sources.is_none() && quota.is_none()
    }

    /// How its quota takes one more connection, if it objects.
    fn quota_objects(&self) -> Option<Enforcement> {
        match &self.quota {
            Some(quota) if quota.stops() => Some(Enforcement::Enforce),
            Some(quota) if quota.only_observes() => Some(Enforcement::Observe),
            _ => None,
        }
    }

    /// Lets so many bytes of datagrams pass, or not.
    fn passes(&self, direction: usize, now: Moment) -> bool {
        let throttle = self.quota.as_ref().and_then(|quota| quota.throttle(direction));
        let mut buckets = self.enforced(direction).into_iter().chain(throttle);
        buckets.all(|bucket| bucket.holds_any(now)) && !self.quota.as_ref().is_some_and(|quota| quota.stops())
    }

    /// Counts so many bytes.
    fn count(&self, direction: usize, bytes: u64, now: Moment) -> u64 {
        let mut late = 0;
        if let Some(bucket) = &self.bandwidth[direction] {
            match self.mode {
                Enforcement::Enforce => bucket.take(bytes, now),
                Enforcement::Observe => late = bucket.watch(bytes, now),
            }
        }
        if let Some(quota) = &self.quota {
            if let Some(bucket) = quota.throttle(direction) {
                bucket.take(bytes, now);
            }
            quota.add(bytes);
        }
        late
    }

    /// The bandwidth of a direction, unless it only observes.
    pub(crate) fn enforced(&self, direction: usize) -> Option<&Bucket> {
        self.bandwidth[direction].as_deref().filter(|_| self.mode == Enforcement::Enforce)
    }
}

/// What holds for the connections of one rule.
#[derive(Default)]
pub(crate) struct RuleLimits {
    pub(crate) owner: Option<Arc<LimitScope>>,
    pub(crate) rule: Option<Arc<LimitScope>>,
}

impl RuleLimits {
    /// Of the owner first.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &LimitScope> {
        [&self.owner, &self.rule].into_iter().flatten().map(|scope| &**scope)
    }

    /// Lets a connection in, or says why not. `observed` hears of the checks that only count.
    pub(crate) fn admit(
        &self,
        source: IpAddr,
        now: Moment,
        observed: impl FnMut(RefusalReason),
    ) -> Result<Option<Box<Seat>>, RefusalReason> {
        let mut entering = Entering { limits: self, source, now, arrival: None, seat: None, taken: [None; 2] };
        let passed = entry::pass(|check| entering.objects(check), observed);
        if passed.is_err() {
            entering.give_back();
        }
        passed.map(|()| entering.seat.map(Box::new))
    }

    /// Lets so many bytes of datagrams of a direction pass, or not: all or nothing. Returns how long they would have had
    /// to wait where that is only observed.
    pub(crate) fn pass(&self, direction: usize, bytes: u64, now: Moment) -> Option<u64> {
        let passes = self.scopes().all(|scope| scope.passes(direction, now));
        passes.then(|| self.scopes().map(|scope| scope.count(direction, bytes, now)).sum())
    }
}

/// A connection that comes, and what it has taken so far.
struct Entering<'a> {
    limits: &'a RuleLimits,
    source: IpAddr,
    now: Moment,
    arrival: Option<SourceVerdict>,
    seat: Option<Seat>,
    /// Of the owner and of the rule.
    taken: [Option<&'a Bucket>; 2],
}

impl Entering<'_> {
    /// How a check takes it, if it objects.
    fn objects(&mut self, check: EntryCheck) -> Option<Enforcement> {
        match check {
            // Asked before, by the gate of the rule.
            EntryCheck::Access => None,
            EntryCheck::OwnerConnectionRate => self.takes(0),
            EntryCheck::OwnerQuota => self.limits.owner.as_ref()?.quota_objects(),
            EntryCheck::SourceConnections => {
                let rule = self.limits.rule.as_ref()?;
                let observes = rule.mode == Enforcement::Observe;
                let (arrival, seat) = rule.sources.as_ref()?.arrive(self.source, self.now, observes);
                (self.arrival, self.seat) = (Some(arrival), seat);
                arrival.over_connections.then_some(rule.mode)
            }
            EntryCheck::SourceRate => {
                let rule = self.limits.rule.as_ref()?;
                self.arrival?.over_rate.then_some(rule.mode)
            }
            EntryCheck::ConnectionRate => self.takes(1),
            EntryCheck::Quota => self.limits.rule.as_ref()?.quota_objects(),
        }
    }

    /// Takes one connection out of a bucket.
    fn takes(&mut self, whose: usize) -> Option<Enforcement> {
        let scope = [&self.limits.owner, &self.limits.rule][whose].as_deref()?;
        let bucket = scope.connections.as_deref()?;
        if !bucket.take_one(self.now) {
            return Some(scope.mode);
        }
        self.taken[whose] = Some(bucket);
        None
    }

    /// One that does not come in takes nothing from others.
    fn give_back(&mut self) {
        self.taken.iter().flatten().for_each(|bucket| bucket.give_back(1));
    }
}
