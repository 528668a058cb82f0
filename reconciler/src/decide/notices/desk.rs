//! Where letters are written: beside the effects of each step of the fleet, in the same transaction. Pure.
//!
//! Keeps: what the step records and what is to be reported of it are durable together or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::EdgeName;

use super::letter::{Letter, LetterContent, Posted};
use super::reading::{NoticeReader, is_reported};
use super::{CommitState, CommitStatus, News, Notifier, NotifierKind, Told, Topic, entries};
use crate::decide::drift::{self, DriftKind};
use crate::decide::fleet::{Effect, Fleet, Notice, Verdict};
use crate::decide::held::held;
use crate::decide::ledger::Entry;
use crate::decide::record::{PLAN_PREFIX, Record, RecordedPlan, ledger_line, recorded_plan};
use crate::decide::render::plan_lines;
use crate::decide::render::words::count;
use crate::decide::view::EdgeView;

/// Lines of a plan that a message keeps; how many it shows depends on its receiver.
const PLAN_LINES: usize = 60;

/// How long edges may take to come back after a start of the server.
const RETURN: Duration = Duration::from_mins(1);

/// Writes letters. A copy of it undoes a step.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    notifiers: Arc<[Notifier]>,
    told: Told,
    last_id: u64,
    /// The plan of the apply that began last.
    plan: Option<(String, Arc<RecordedPlan>)>,
    /// When edges that have not come back since the start are reported; `None` once they were.
    look_at: Option<Timestamp>,
}

/// What is written beside a step.
#[derive(Debug, Default)]
pub struct WrittenLetters {
    /// To be durable together with the step.
    pub records: Vec<Record>,
    /// To be handed over once they are.
    pub letters: Vec<Posted>,
}

impl Desk {
    /// A desk for these notifiers; ids of letters are above `last_id`.
    pub fn new(notifiers: Arc<[Notifier]>, told: Told, last_id: u64, now: Timestamp) -> Self {
        let look_at = now.checked_add(RETURN).ok();
        Self { notifiers, told, last_id, plan: None, look_at }
    }

    /// True if there is nobody to write to.
    pub fn is_idle(&self) -> bool {
        self.notifiers.is_empty()
    }

    /// Writes what the effects of a step are worth reporting. `about` is the edge that was heard, if one was; the fleet is
    /// as the step left it.
    pub fn write(
        &mut self,
        effects: &[Effect],
        about: Option<&EdgeName>,
        fleet: &Fleet,
        now: Timestamp,
    ) -> WrittenLetters {
        if self.is_idle() {
            return WrittenLetters::default();
        }
        let mut news = Vec::new();
        let mut statuses = Vec::new();
        let mut edges: BTreeSet<&EdgeName> = about.into_iter().collect();
        for effect in effects {
            match effect {
                Effect::Persist(record) => self.entry(record, &mut news, &mut statuses),
                Effect::Emit(notice) | Effect::EmitUnlogged(notice) => {
                    edges.extend(overridden(notice));
                    statuses.extend(of_tree(notice, fleet));
                    let mut reading = NoticeReader { told: &mut self.told, fleet, now };
                    news.extend(reading.of(notice, || attempted_plan(fleet)));
                }
                _ => {}
            }
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            news.extend(self.not_back(fleet, now));
        }
        if self.wants(Topic::Drift) {
            for edge in edges {
                news.extend(self.drift(edge, fleet, now));
            }
        }
        self.posted(&news, &statuses, now)
    }

    fn wants(&self, topic: Topic) -> bool {
        self.notifiers.iter().any(|notifier| notifier.filter.wants(topic))
    }

    /// Edges that went while no server was there to see it.
    fn not_back(&mut self, fleet: &Fleet, now: Timestamp) -> Vec<News> {
        let is_missing = |edge: &EdgeName, view: &EdgeView| {
            !view.connected && drift::of_one(edge, view).iter().any(|drift| drift.kind == DriftKind::EdgeOffline)
        };
        let missing = fleet.edges().iter().filter(|(edge, view)| is_missing(edge, view));
        let mut reading = NoticeReader { told: &mut self.told, fleet, now };
        missing.filter_map(|(edge, _)| reading.edge(edge, false)).collect()
    }

    fn entry(&mut self, record: &Record, news: &mut Vec<News>, statuses: &mut Vec<CommitStatus>) {
        if let Some(apply) = record.key.strip_prefix(PLAN_PREFIX) {
            self.plan = recorded_plan(&record.key, &record.value).ok().map(|plan| (apply.to_owned(), Arc::new(plan)));
            return;
        }
        let Some(entry) = ledger_line(record) else { return };
        let plan = if entry.outcome == "started" { Vec::new() } else { self.plan_of(&entry) };
        news.extend(entries::news(&entry, &plan));
        statuses.extend(entries::status(&entry));
    }

    fn plan_of(&self, entry: &Entry) -> Vec<String> {
        let plan = self.plan.as_ref().filter(|(apply, _)| *apply == entry.apply_id);
        plan.map_or_else(Vec::new, |(_, plan)| plain(plan_lines::grouped(plan.changes.iter())))
    }

    /// An edge that is on its way to a state is not compared with it; what is deliberate is known at once.
    fn drift(&mut self, edge: &EdgeName, fleet: &Fleet, now: Timestamp) -> Vec<News> {
        let Some(view) = fleet.edges().get(edge) else { return Vec::new() };
        let is_comparable = view.connected && view.is_settled();
        let mut reading = NoticeReader { told: &mut self.told, fleet, now };
        if !is_comparable {
            return Vec::new();
        }
        let found = drift::of_one(edge, view);
        let found: Vec<_> = found.into_iter().filter(|drift| is_reported(drift.kind)).collect();
        reading.drift(edge, &found)
    }

    fn posted(&mut self, news: &[News], statuses: &[CommitStatus], now: Timestamp) -> WrittenLetters {
        let mut letters = Vec::new();
        for notifier in Arc::clone(&self.notifiers).iter() {
            let contents: Vec<LetterContent> = if notifier.kind == NotifierKind::CommitStatus {
                statuses.iter().cloned().map(LetterContent::Commit).collect()
            } else {
                by_topic(news.iter().filter(|news| notifier.filter.passes(news)))
            };
            for content in contents {
                self.last_id += 1;
                let letter = Letter { id: self.last_id, at: now, content };
                letters.push(Posted { to: notifier.name.clone(), letter });
            }
        }
        let told = self.told.take_changes();
        let told = told.into_iter().map(|(key, mark)| Record::told(&key, mark.as_ref()));
        let records = letters.iter().map(Record::letter).chain(told).collect();
        WrittenLetters { records, letters }
    }
}

/// A letter for each thing that happened, and a single one for what happened alike at once.
fn by_topic<'a>(news: impl Iterator<Item = &'a News>) -> Vec<LetterContent> {
    let mut groups: Vec<(Topic, Vec<News>)> = Vec::new();
    for news in news {
        match groups.iter_mut().find(|(topic, _)| *topic == news.event && topic.gathers()) {
            Some((_, group)) => group.push(news.clone()),
            None => groups.push((news.event, vec![news.clone()])),
        }
    }
    groups.into_iter().map(|(_, items)| LetterContent::news(items, 0)).collect()
}

/// The edge on which an operator deviated from the tree.
fn overridden(notice: &Notice) -> Option<&EdgeName> {
    match notice {
        Notice::Override { edge, .. } | Notice::TargetOverride { edge, .. } => Some(edge),
        _ => None,
    }
}

/// The status of a commit that was read, and is not applied.
fn of_tree(notice: &Notice, fleet: &Fleet) -> Option<CommitStatus> {
    let Notice::Tree { commit: Some(sha), verdict, .. } = notice else { return None };
    if !entries::is_full(sha) || *verdict == Verdict::Applied {
        return None;
    }
    let (is_held, reason) = held(fleet);
    let state = if *verdict == Verdict::Waiting || !is_held { CommitState::Pending } else { CommitState::Failure };
    let finding = fleet.attempt().and_then(|attempt| attempt.diagnostics.first());
    let finding = finding.filter(|_| *verdict == Verdict::Invalid).map(|one| format!(": {}", one.message));
    let description = format!("{reason}{}", finding.unwrap_or_default());
    Some(CommitStatus { sha: sha.clone(), state, description })
}

/// The plan of the tree that was read and is not applied.
fn attempted_plan(fleet: &Fleet) -> Vec<String> {
    let plan = fleet.attempt().and_then(|attempt| attempt.plan.as_ref());
    plan.map_or_else(Vec::new, |plan| plain(plan_lines::grouped(plan.changes.iter())))
}

/// Lines without their colours, up to a bound.
fn plain(lines: Vec<String>) -> Vec<String> {
    let beyond = lines.len().saturating_sub(PLAN_LINES);
    let mut plain: Vec<String> = lines.into_iter().take(PLAN_LINES).map(|line| unstyled(&line)).collect();
    if beyond > 0 {
        plain.push(format!("… and {} more", count(beyond as u64, "change")));
    }
    plain
}

/// A text without the sequences that colour it.
fn unstyled(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, styled)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = styled.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::super::{NewsFilter, ToldMark, UrlSource};
    use super::*;
    use crate::decide::fleet::Mode;
    use crate::decide::restored::Restored;
    use crate::decide::view::Hello;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    fn notifier(kind: NotifierKind) -> Notifier {
        Notifier {
            name: kind.as_str().to_owned(),
            kind,
            url: UrlSource::Inline(String::new()),
            token_file: None,
            secret_file: None,
            forge: None,
            filter: NewsFilter::new(Topic::ALL, &[], []).expect("no globs"),
            min_interval: Duration::ZERO,
        }
    }

    /// A fleet whose one edge was there before the server started.
    fn fleet() -> Fleet {
        let mut restored = Restored::default();
        restored.edges.get_or_new(&EdgeName::new("fra-1").expect("a name")).hello = Some(Hello::default());
        Fleet::new("L".to_owned(), Mode::Heal, false, restored)
    }

    #[test]
    fn an_edge_that_does_not_come_back_after_a_start_is_reported_once() {
        let (fleet, notifiers) = (fleet(), Arc::from([notifier(NotifierKind::Slack)]));
        let mut desk = Desk::new(Arc::clone(&notifiers), Told::default(), 7, at(0));
        assert!(desk.write(&[], None, &fleet, at(59)).letters.is_empty());
        let written = desk.write(&[], None, &fleet, at(60));
        assert_eq!(written.letters.len(), 1);
        assert_eq!(written.letters[0].letter.id, 8);
        assert_eq!(written.records.len(), 2, "the letter, and that it was reported");
        assert!(desk.write(&[], None, &fleet, at(61)).letters.is_empty());
        // It was reported before the restart.
        let mark = ToldMark { since: at(-100), level: String::new() };
        let told = Told::restored([("edge/fra-1".to_owned(), mark)]);
        let mut desk = Desk::new(notifiers, told, 0, at(0));
        assert!(desk.write(&[], None, &fleet, at(60)).letters.is_empty());
    }

    #[test]
    fn without_a_notifier_nothing_is_written_and_a_commit_hears_of_no_edge() {
        let fleet = fleet();
        let mut desk = Desk::new(Arc::from([]), Told::default(), 0, at(0));
        assert!(desk.write(&[], None, &fleet, at(60)).records.is_empty());
        let mut desk = Desk::new(Arc::from([notifier(NotifierKind::CommitStatus)]), Told::default(), 0, at(0));
        assert!(desk.write(&[], None, &fleet, at(60)).letters.is_empty());
    }
}
