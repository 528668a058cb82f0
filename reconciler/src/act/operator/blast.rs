//! What a plan would hit: how old the live connections are that its changes end, and how fast new ones come. I/O.
//!
//! Keeps: a plan is made from what is known; asking edges only adds figures to it, never changes what it does, and
//! never holds it up for longer than [`PATIENCE`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::ending::Part;
use schema::name::{EdgeName, RuleName};
use schema::ruleset::RuleSet;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::State;
use super::heavy::heavy;
use super::refusals::count_refused;
use super::taken::{self, before};
use crate::decide::edges::Edges;
use crate::decide::plan::{self, Action, ImpactKind, Plan, RuleChange};

/// How long a plan waits for the figures of all edges: an edge answers in milliseconds, and a person waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes whose edges are asked, those with the most connections first: an edge looks at all of its connections for
/// each, and nobody reads more.
const ASKED: usize = 256;
/// Questions under way at once.
const AT_ONCE: usize = 32;

/// Adds how fast new connections come, as the server counted last, and how old those are that end, as their edges say.
pub(super) async fn measure(state: &State, (ruleset, edges): (Arc<RuleSet>, Edges), plan: &mut Plan) {
    let relisted = count_refused(state, (&ruleset, &edges), plan).await;
    let serving = serving(plan);
    let rules: Vec<(EdgeName, RuleName)> = serving.iter().map(|index| before(&plan.changes[*index])).collect();
    let now = Timestamp::now();
    let rates = state.context.fleet.read(move |view| {
        rules.iter().map(|(edge, rule)| view.counters.rates(edge, rule, now).connections_per_sec).collect::<Vec<f64>>()
    });
    // A server that is ending has no figures to add.
    let rates: HashMap<usize, f64> = serving.iter().copied().zip(rates.await.unwrap_or_default()).collect();
    let is_busy = |index: &usize| rates.get(index).is_some_and(|rate| *rate > 0.0);
    let asked = busiest(plan, &serving);
    let mut concerned: BTreeMap<EdgeName, BTreeSet<RuleName>> = BTreeMap::new();
    for index in serving.iter().filter(|index| is_busy(index) || asked.contains(index)) {
        let (edge, rule) = before(&plan.changes[*index]);
        concerned.entry(edge).or_default().insert(rule);
    }
    let Ok(ended) = heavy(move || plan::ended(&ruleset, &edges, &concerned)).await else { return };
    let of = |change: &RuleChange| ended.get(&before(change));
    for (index, rate) in &rates {
        let change = &mut plan.changes[*index];
        let is_known = match change.impact.kind {
            ImpactKind::None => false,
            ImpactKind::NewConnections | ImpactKind::Gap => true,
            ImpactKind::Drain => of(change).is_some_and(|ended| ended.is_whole),
        };
        change.impact.connections_per_sec = Some(*rate).filter(|rate| is_known && *rate > 0.0);
    }
    let parts = |index: usize| Some((index, of(&plan.changes[index])?.parts.clone()));
    let questions: Vec<(usize, Vec<Part>)> =
        asked.into_iter().filter_map(parts).filter(|(_, parts)| !parts.is_empty()).collect();
    ask(state, plan, questions).await;
    taken::add(state, &relisted, plan).await;
}

async fn ask(state: &State, plan: &mut Plan, questions: Vec<(usize, Vec<Part>)>) {
    let until = Instant::now() + PATIENCE;
    let mut questions = questions.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((index, parts)) = questions.next()
        {
            let (edge, rule) = before(&plan.changes[index]);
            let fleet = state.context.fleet.clone();
            under_way.spawn(async move { (index, fleet.ages(edge, &rule, &parts).await) });
        }
        match timeout_at(until, under_way.join_next()).await {
            Ok(Some(Ok((index, Ok(Ok(stats)))))) => {
                let impact = &mut plan.changes[index].impact;
                impact.oldest_secs = stats.ages.map(|ages| ages.oldest_secs);
                impact.median_secs = stats.ages.map(|ages| ages.median_secs);
            }
            // An edge that cannot answer leaves the change without its figures.
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// The changes of what serves already, on edges that are there.
fn serving(plan: &Plan) -> Vec<usize> {
    let is_connected = |change: &RuleChange| plan.base.edges.get(&change.edge).is_some_and(|edge| edge.connected);
    let serves = |change: &RuleChange| change.action != Action::Activate && is_connected(change);
    (0..plan.changes.len()).filter(|index| serves(&plan.changes[*index])).collect()
}

/// Those of them to ask about.
fn busiest(plan: &Plan, of: &[usize]) -> Vec<usize> {
    let mut of = of.to_vec();
    let connections = |index: &usize| plan.changes[*index].impact.connections;
    of.retain(|index| connections(index) > 0);
    of.sort_by_key(|index| Reverse(connections(index)));
    of.truncate(ASKED);
    of
}
