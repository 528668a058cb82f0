//! The operator API as `top` asks it: one question at a time for the list, a stream for the selected rule, and one for
//! events. I/O.
//!
//! Keeps: each task has its handle here and ends with it; what is not wanted any more is not waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reconciler::act::operator::connections::ConnectionsDocument;
use reconciler::act::operator::documents::{RuleRow, TargetsDocument};
use reconciler::decide::codes::ProblemCode;
use reconciler::decide::fleet::Notice;
use reconciler::decide::plan::PlanDocument;
use reconciler::decide::statistics::StatsDocument;
use reconciler::decide::status::EdgeStatus;
use reconciler::decide::summary::FleetSummary;
use schema::name::RuleAddress;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::rows::{EventLine, Rows};
use super::state::{Page, Question};
use super::view::View;
use crate::address;
use crate::client::Client;
use crate::failure::Failure;
use crate::render::events;
use crate::sse::Message;

/// Answers that wait to be drawn; more would only be older.
const WAITING: usize = 64;
/// A selection that stays so long is looked at.
const SETTLED: Duration = Duration::from_millis(300);
/// Between two attempts to follow a stream.
const AGAIN: Duration = Duration::from_secs(2);
/// The replay of past events is over when nothing has come for so long.
const REPLAYED: Duration = Duration::from_millis(300);

/// What was heard.
pub(crate) enum Heard {
    /// The figures of the fleet.
    Fleet(Result<Box<FleetSummary>, Failure>),
    /// The plan of the followed tree.
    Plan(Result<Box<PlanDocument>, Failure>),
    /// A part of a list.
    Page(Question, Result<Page, Failure>),
    /// The counters of the selected rule.
    Sample(RuleAddress, Result<Box<StatsDocument>, Failure>),
    /// Events, or why there are none.
    Events(Result<Vec<EventLine>, Failure>),
}

/// The conversation with a server.
pub(crate) struct Feed {
    client: Arc<Client>,
    heard: mpsc::Sender<Heard>,
    fleet: Option<AbortOnDropHandle<()>>,
    plan: Option<AbortOnDropHandle<()>>,
    page: Option<(Question, AbortOnDropHandle<()>)>,
    rates: Option<(RuleAddress, AbortOnDropHandle<()>)>,
    events: Option<(String, AbortOnDropHandle<()>)>,
}

impl Feed {
    /// Nothing is asked yet.
    pub(crate) fn new(client: Arc<Client>) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, receiver) = mpsc::channel(WAITING);
        (Self { client, heard, fleet: None, plan: None, page: None, rates: None, events: None }, receiver)
    }

    fn spawn<F: Future<Output = Heard> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Client>) -> F,
    ) -> AbortOnDropHandle<()> {
        let (work, heard) = (work(Arc::clone(&self.client)), self.heard.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            // Nobody hears it once the program ends.
            heard.send(work.await).await.ok();
        }))
    }

    /// Asks how the fleet is, unless that is being asked.
    pub(crate) fn ask_fleet(&mut self) {
        if self.fleet.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let work = async |client: Arc<Client>| Heard::Fleet(fleet(&client).await.map(Box::new));
            self.fleet = Some(self.spawn(work));
        }
    }

    /// Asks for the plan of the followed tree, unless that is being asked.
    pub(crate) fn ask_plan(&mut self) {
        if self.plan.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let work = async |client: Arc<Client>| Heard::Plan(plan(&client).await.map(Box::new));
            self.plan = Some(self.spawn(work));
        }
    }

    /// Asks for a list. Another question takes the place of one that is not answered.
    pub(crate) fn ask(&mut self, question: Question) {
        let is_asked = |(asked, task): &(Question, AbortOnDropHandle<()>)| *asked == question && !task.is_finished();
        if self.page.as_ref().is_some_and(is_asked) {
            return;
        }
        let asked = question.clone();
        let work = async move |client: Arc<Client>| {
            let answer = page(&client, &asked).await;
            Heard::Page(asked, answer)
        };
        self.page = Some((question, self.spawn(work)));
    }

    /// Follows the counters of a rule, or of none.
    pub(crate) fn watch(&mut self, rule: Option<RuleAddress>) {
        let Some(rule) = rule else { return self.rates = None };
        if self.rates.as_ref().is_some_and(|(watched, _)| *watched == rule) {
            return;
        }
        let (client, heard, watched) = (Arc::clone(&self.client), self.heard.clone(), rule.clone());
        let task = tokio::spawn(async move {
            sleep(SETTLED).await;
            loop {
                let Err(failure) = follow_rates(&client, &watched, &heard).await else { return };
                if heard.send(Heard::Sample(watched.clone(), Err(failure))).await.is_err() {
                    return;
                }
                sleep(AGAIN).await;
            }
        });
        self.rates = Some((rule, AbortOnDropHandle::new(task)));
    }

    /// Follows the events of a path; false where it does so already.
    pub(crate) fn follow(&mut self, path: &str) -> bool {
        if self.events.as_ref().is_some_and(|(followed, _)| followed == path) {
            return false;
        }
        let (client, heard, followed) = (Arc::clone(&self.client), self.heard.clone(), path.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let Err(failure) = follow_events(&client, &followed, &heard).await else { return };
                if heard.send(Heard::Events(Err(failure))).await.is_err() {
                    return;
                }
                sleep(AGAIN).await;
            }
        });
        self.events = Some((path.to_owned(), AbortOnDropHandle::new(task)));
        true
    }
}

/// How the fleet is.
pub(crate) async fn fleet(client: &Client) -> Result<FleetSummary, Failure> {
    client.page("/v1/summary").await.map(|answer| answer.rows)
}

/// The plan of the followed tree.
pub(crate) async fn plan(client: &Client) -> Result<PlanDocument, Failure> {
    client.page("/v1/plan").await.map(|answer| answer.rows)
}

/// The counters of a rule, once.
pub(crate) async fn sample(client: &Client, rule: &RuleAddress) -> Result<StatsDocument, Failure> {
    let path = format!("/v1/rules/{}/{}/stats", rule.edge, rule.rule);
    client.page(&path).await.map(|answer| answer.rows)
}

/// A part of a list.
pub(crate) async fn page(client: &Client, question: &Question) -> Result<Page, Failure> {
    match read(client, question).await {
        Err(Failure::Problem(problem)) if problem.code == ProblemCode::NotFound && !question.is_selected => {
            Ok(Page { rows: Rows::default(), total: 0, hidden: 0, note: None })
        }
        other => other,
    }
}

async fn read(client: &Client, question: &Question) -> Result<Page, Failure> {
    let path = &question.path;
    Ok(match question.view {
        View::Edges => {
            let answer = client.page::<Vec<EdgeStatus>>(path).await?;
            let total = answer.total(question.offset, answer.rows.len());
            Page { rows: Rows::Edges(answer.rows), total, hidden: answer.hidden, note: None }
        }
        View::Rules if question.is_by_counters => ranked(client, question).await?,
        View::Rules => {
            let answer = client.page::<Vec<RuleRow>>(path).await?;
            let total = answer.total(question.offset, answer.rows.len());
            Page {
                rows: Rows::Rules(answer.rows, rates(client, question).await),
                total,
                hidden: answer.hidden,
                note: None,
            }
        }
        View::Targets => {
            let TargetsDocument { targets, totals, hidden, .. } = client.page(path).await?.rows;
            Page { rows: Rows::Targets(targets), total: totals.all as usize, hidden, note: None }
        }
        View::Connections => {
            let answer = client.page::<ConnectionsDocument>(path).await?;
            let ConnectionsDocument { connections, total, unanswered, .. } = answer.rows;
            let silent: Vec<String> = unanswered.iter().map(|edge| edge.edge.to_string()).collect();
            let note = (!silent.is_empty()).then(|| format!("no answer from {}", silent.join(", ")));
            // What was asked for and did not come has ended since it was counted.
            let total = if connections.len() < question.count { connections.len() } else { total as usize };
            Page { rows: Rows::Connections(connections), total, hidden: answer.hidden, note }
        }
        View::Plan | View::Events => Page { rows: Rows::default(), total: 0, hidden: 0, note: None },
    })
}

/// The rules that come first by their counters: those counters say which, and then their rows are read.
async fn ranked(client: &Client, question: &Question) -> Result<Page, Failure> {
    let first = client.page::<Vec<RuleRow>>(&question.path).await?;
    let stats: Vec<StatsDocument> = client.page(question.rates.as_deref().unwrap_or_default()).await?.rows;
    let ranking: Vec<RuleAddress> =
        stats.iter().map(|stats| RuleAddress { edge: stats.edge.clone(), rule: stats.rule.clone() }).collect();
    let any = |names: BTreeSet<&str>| format!("{{{}}}", names.into_iter().collect::<Vec<_>>().join(","));
    let edges = any(ranking.iter().map(|rule| rule.edge.as_str()).collect());
    let rules = any(ranking.iter().map(|rule| rule.rule.as_str()).collect());
    let query = address::query([("edge", edges), ("rule", rules)].into_iter());
    let mut rows: Vec<RuleRow> = client.page(&format!("/v1/rules?{query}")).await?.rows;
    let place = |row: &RuleRow| {
        ranking.iter().position(|rule| rule.edge == row.edge && rule.rule == row.status.rule).unwrap_or(usize::MAX)
    };
    rows.retain(|row| place(row) < usize::MAX);
    rows.sort_by_key(place);
    let total = first.total(question.offset, rows.len());
    let rates = ranking.into_iter().zip(stats.into_iter().map(|stats| stats.rates)).collect();
    Ok(Page { rows: Rows::Rules(rows, rates), total, hidden: first.hidden, note: None })
}

/// The rates of the rules of a page. Rules have their rows without them.
async fn rates(client: &Client, question: &Question) -> BTreeMap<RuleAddress, super::rates::Sample> {
    let Some(path) = &question.rates else { return BTreeMap::new() };
    let all: Vec<StatsDocument> = client.page(path).await.map(|answer| answer.rows).unwrap_or_default();
    all.into_iter().map(|stats| (RuleAddress { edge: stats.edge, rule: stats.rule }, stats.rates)).collect()
}

async fn follow_rates(client: &Client, rule: &RuleAddress, heard: &mpsc::Sender<Heard>) -> Result<(), Failure> {
    let mut events = client.events(&format!("/v1/rules/{}/{}/stats/stream", rule.edge, rule.rule)).await?;
    while let Some(message) = events.next().await? {
        let sample = match message.event.as_str() {
            "problem" => Err(Failure::Problem(Box::new(events.read(&message)?))),
            _ => Ok(Box::new(events.read::<StatsDocument>(&message)?)),
        };
        if heard.send(Heard::Sample(rule.clone(), sample)).await.is_err() {
            return Ok(());
        }
    }
    Err(events.ended().await)
}

async fn follow_events(client: &Client, path: &str, heard: &mpsc::Sender<Heard>) -> Result<(), Failure> {
    let mut events = client.events(path).await?;
    // That there are none is an answer.
    if heard.send(Heard::Events(Ok(Vec::new()))).await.is_err() {
        return Ok(());
    }
    while let Some(message) = events.next().await? {
        let line = line(&message, |message| events.read::<Notice>(message), |message| events.read::<Stamped>(message))?;
        if let Some(line) = line
            && heard.send(Heard::Events(Ok(vec![line]))).await.is_err()
        {
            return Ok(());
        }
    }
    Err(events.ended().await)
}

/// The past events of a path.
pub(crate) async fn past_events(client: &Client, path: &str) -> Result<Vec<EventLine>, Failure> {
    let mut events = client.events(path).await?;
    let mut lines = Vec::new();
    while let Ok(next) = tokio::time::timeout(REPLAYED, events.next()).await {
        let Some(message) = next? else { break };
        lines.extend(line(
            &message,
            |message| events.read::<Notice>(message),
            |message| events.read::<Stamped>(message),
        )?);
    }
    Ok(lines)
}

/// When the server noticed an event.
#[derive(Deserialize)]
struct Stamped {
    time: Timestamp,
}

/// An event as a line. A snapshot is not one: the lists have what it has.
fn line(
    message: &Message,
    notice: impl Fn(&Message) -> Result<Notice, Failure>,
    timed: impl Fn(&Message) -> Result<Stamped, Failure>,
) -> Result<Option<EventLine>, Failure> {
    if message.event == "snapshot" {
        return Ok(None);
    }
    let (notice, Stamped { time }) = (notice(message)?, timed(message)?);
    let id = message.id.parse().unwrap_or_default();
    Ok(Some(EventLine { id, at: time, words: events::line(&notice), tone: super::marks::of_event(&notice) }))
}
