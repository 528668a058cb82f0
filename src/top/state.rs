//! What `top` knows and shows, and what answers do to it; keys are in `input`. Pure.
//!
//! Keeps: an answer to an outdated question changes nothing; what was known stays on the screen, marked as stale, while
//! the server does not answer.

use std::collections::VecDeque;

use jiff::Timestamp;
use reconciler::decide::plan::PlanDocument;
use reconciler::decide::render::Length;
use reconciler::decide::statistics::StatsDocument;
use reconciler::decide::status::StatusDocument;
use reconciler::decide::summary::FleetSummary;
use schema::name::RuleAddress;

use super::details;
use super::filter::{self, Pairs};
use super::list::List;
use super::rates::RuleRates;
use super::rows::{EventLine, Rows};
use super::styled;
use super::table::{self, Cell};
use super::view::View;
use crate::address;
use crate::render;

/// Events that are kept; older ones are in the log of the server.
const EVENTS: usize = 1000;
/// Rows that the list of connections asks for at most: an edge lists no more.
const CONNECTIONS: usize = schema::bounds::MAX_LISTED;

/// What has the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The list.
    List,
    /// A filter that is being typed, and the one before it.
    Typing { before: String },
    /// The keys, scrolled by so many lines.
    Help(usize),
    /// One row in full, scrolled by so many lines.
    Details(usize),
}

/// Since when the server has not answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stale {
    pub(crate) since: Timestamp,
    pub(crate) why: String,
}

/// What to ask the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The view that it is for.
    pub(crate) view: View,
    /// The path of the list.
    pub(crate) path: String,
    /// The counters of the same rows, where the view shows rates. In an order by counters they say which rows those are,
    /// and the path of the list counts them.
    pub(crate) rates: Option<String>,
    /// True in an order by counters.
    pub(crate) is_by_counters: bool,
    /// The first row that is asked for.
    pub(crate) offset: usize,
    /// How many rows are asked for, of a list that is always read from its first row.
    pub(crate) count: usize,
    /// True if selectors leave a part of the list; without them, that there is nothing is not an error.
    pub(crate) is_selected: bool,
}

/// An answer to a question.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) rows: Rows,
    /// How many rows there are in all.
    pub(crate) total: usize,
    /// How many more the operator may not see.
    pub(crate) hidden: u64,
    /// What a person should know beside the rows.
    pub(crate) note: Option<String>,
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// The server, as `HOST:PORT`.
    pub(crate) server: String,
    pub(crate) view: View,
    pub(crate) mode: Mode,
    pub(crate) fleet: Option<FleetSummary>,
    pub(crate) stale: Option<Stale>,
    pub(crate) rates: Option<RuleRates>,
    /// One list for each view.
    pub(crate) lists: [List; View::ALL.len()],
    /// How many rows of the list are visible.
    pub(crate) height: usize,
    /// How many columns the screen has.
    width: usize,
    /// The selectors of the command line.
    pub(super) given: Pairs,
    /// The most rows of a list, where the command line limits them.
    limit: Option<usize>,
    /// The plan of the followed tree as text, once it was asked for.
    planned: Option<String>,
    /// The lines of the view of the plan.
    plan: Vec<Vec<Cell>>,
    events: VecDeque<EventLine>,
    /// Where `←` goes: the view, and its filter.
    pub(super) trail: Vec<(View, String)>,
}

impl State {
    /// Nothing is known yet.
    pub(crate) fn new(server: String, view: View, given: Pairs, limit: Option<usize>) -> Self {
        Self {
            server,
            view,
            mode: Mode::List,
            fleet: None,
            stale: None,
            rates: None,
            lists: std::array::from_fn(|_| List::default()),
            height: 0,
            width: 0,
            planned: None,
            plan: Vec::new(),
            given,
            limit,
            events: VecDeque::new(),
            trail: Vec::new(),
        }
    }

    /// Begins with this order, where the view has it.
    pub(crate) fn sort_by(&mut self, order: &str) -> bool {
        let mut has = false;
        for view in View::ALL {
            if let Some(index) = view.orders().iter().position(|known| *known == order) {
                self.lists[view.index()].order = index;
                has |= view == self.view;
            }
        }
        has
    }

    /// The list that is shown.
    pub(crate) fn list(&self) -> &List {
        &self.lists[self.view.index()]
    }

    pub(super) fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.view.index()]
    }

    /// The selectors of the command line that mean nothing in this view.
    pub(crate) fn unused(&self) -> Vec<String> {
        let unused = self.given.iter().filter(|(key, value)| *key != "since" && !self.view.understands(key, value));
        unused.map(|(key, value)| format!("--{key} {value}")).collect()
    }

    /// The list has so many visible rows, and the screen so many columns.
    pub(crate) fn resize(&mut self, height: usize, width: u16) {
        self.height = height;
        if std::mem::replace(&mut self.width, usize::from(width)) != usize::from(width)
            && let Some(at) = self.lists[View::Plan.index()].at
        {
            self.wrap_plan(at);
        }
        self.list_mut().show(height);
    }

    /// The lines of the plan, as wide as the screen.
    fn wrap_plan(&mut self, at: Timestamp) {
        // The two columns before each line are for the mark of a row.
        let width = self.width.saturating_sub(2);
        let lines: Vec<_> = self.plan.iter().flat_map(|line| table::wrapped(line, width)).collect();
        let (height, count) = (self.height, lines.len());
        let list = &mut self.lists[View::Plan.index()];
        list.take(Rows::Lines(lines), 0, count, at);
        list.show(height);
    }

    /// The selectors of a view as parameters; what was typed may be wrong.
    pub(crate) fn selectors(&self, view: View) -> Result<Pairs, String> {
        let typed = filter::parse(&self.lists[view.index()].filter, view)?;
        Ok(filter::merged(&self.given, &typed, view))
    }

    /// What to ask for the view that is shown; nothing where it is made of what comes by itself, or where the filter is
    /// wrong.
    pub(crate) fn question(&mut self) -> Option<Question> {
        let view = self.view;
        let mut pairs = self.selectors(view).ok()?;
        let is_selected = !pairs.is_empty();
        let selectors = pairs.clone();
        let list = self.list();
        let (offset, count) = list.wanted(self.height.max(1));
        let order = view.orders().get(list.order).copied().unwrap_or_default();
        let is_by_counters = ["rate", "bytes"].contains(&order) && view == View::Rules;
        if !order.is_empty() {
            pairs.push(("sort", order.to_owned()));
        }
        let most = self.limit.unwrap_or(usize::MAX);
        let page = |pairs: &Pairs| {
            let count = count.min(most.saturating_sub(offset)).max(1);
            let mut pairs = pairs.clone();
            pairs.extend([("limit", count.to_string()), ("offset", offset.to_string())]);
            pairs
        };
        let path = |path: &str, pairs: Pairs| format!("{path}?{}", address::query(pairs.into_iter()));
        let mut asked = 0;
        let (path, rates, offset) = match view {
            View::Edges => {
                let mut pairs = page(&pairs);
                pairs.push(("summary", "true".to_owned()));
                (path("/v1/edges", pairs), None, offset)
            }
            View::Rules => {
                let pairs = page(&pairs);
                let rates = path("/v1/stats", pairs.clone());
                // What rules come first, only their counters say.
                let one = || selectors.iter().cloned().chain([("limit", "1".to_owned())]).collect();
                let rules = if is_by_counters { path("/v1/rules", one()) } else { path("/v1/rules", pairs) };
                (rules, Some(rates), offset)
            }
            View::Targets => (path("/v1/targets", page(&pairs)), None, offset),
            View::Connections => {
                asked = (offset + count).min(CONNECTIONS).min(most);
                pairs.push(("limit", asked.to_string()));
                (path("/v1/connections", pairs), None, 0)
            }
            View::Plan | View::Events => return None,
        };
        let question = Question { view, path, rates, is_by_counters, offset, count: asked, is_selected };
        self.list_mut().asked = Some(question.clone());
        Some(question)
    }

    /// Takes in the answer to a question.
    pub(crate) fn answer(&mut self, question: &Question, answer: Result<Page, String>, now: Timestamp) {
        let (height, most) = (self.height, self.limit.unwrap_or(usize::MAX));
        let list = &mut self.lists[question.view.index()];
        if list.asked.as_ref() != Some(question) {
            return;
        }
        // Who looks at the first row of a ranking wants the first row, whichever rule that is.
        let is_first = question.is_by_counters && list.cursor == 0;
        match answer {
            Ok(page) => {
                let most = if question.view == View::Connections { most.min(CONNECTIONS) } else { most };
                list.take(page.rows, question.offset, page.total.min(most), now);
                (list.hidden, list.note, list.matching) = (page.hidden, page.note, page.total);
                list.cursor = if is_first { 0 } else { list.cursor };
            }
            Err(problem) => list.fail(problem, now),
        }
        list.show(height);
    }

    /// Takes in the figures of the fleet.
    pub(crate) fn take_fleet(&mut self, summary: FleetSummary, now: Timestamp) {
        self.fleet = Some(summary);
        if self.planned.is_some() {
            self.write_plan(now);
        }
    }

    /// Takes in the plan of the followed tree, or why there is none.
    pub(crate) fn take_plan(&mut self, plan: Result<PlanDocument, String>, now: Timestamp) {
        self.planned = Some(match plan {
            Ok(plan) => render::plan::text(&plan, Length::Brief),
            Err(problem) => problem,
        });
        self.write_plan(now);
    }

    /// What is in force and followed, and then the plan.
    fn write_plan(&mut self, now: Timestamp) {
        let mut text = String::new();
        if let Some(fleet) = &self.fleet {
            let (revision, mode, apply) = (fleet.revision.clone(), fleet.mode, fleet.apply.clone());
            let (lock, frozen) = (fleet.lock.clone(), fleet.frozen.clone());
            let status = StatusDocument { revision, mode, apply, lock, frozen, ..StatusDocument::default() };
            text.extend([&render::status::revision(&status, now), "\n"]);
        }
        text.push_str(self.planned.as_deref().unwrap_or_default());
        self.plan = styled::lines(&text);
        self.wrap_plan(now);
    }

    /// The server answered.
    pub(crate) fn heard(&mut self) {
        self.stale = None;
    }

    /// The server did not answer: what is shown is as old as the last answer.
    pub(crate) fn unheard(&mut self, why: String, now: Timestamp) {
        let since = self.stale.as_ref().map_or(now, |stale| stale.since);
        self.stale = Some(Stale { since, why });
    }

    /// Takes in events, the oldest first. Those that came before are known.
    pub(crate) fn take_events(&mut self, lines: Vec<EventLine>, now: Timestamp) {
        for line in lines {
            if self.events.front().is_none_or(|newest| (newest.at, newest.id) < (line.at, line.id)) {
                self.events.push_front(line);
            }
        }
        self.events.truncate(EVENTS);
        let (rows, height) = (Rows::Events(self.events.iter().cloned().collect()), self.height);
        let list = &mut self.lists[View::Events.index()];
        // Who reads the newest event wants the next one; who looks at an older one keeps it.
        let is_at_top = list.cursor == 0;
        list.take(rows, 0, self.events.len(), now);
        if is_at_top {
            list.cursor = 0;
        }
        list.show(height);
    }

    /// Events begin again, with other selectors or after a restart of the server.
    pub(crate) fn restart_events(&mut self) {
        self.events.clear();
        self.lists[View::Events.index()].restart();
    }

    /// Why no events come.
    pub(crate) fn fail_events(&mut self, problem: String, now: Timestamp) {
        self.lists[View::Events.index()].fail(problem, now);
    }

    /// The rule whose rates are shown: that of the selected row.
    pub(crate) fn watched(&self) -> Option<RuleAddress> {
        self.list().selected()?.rule().cloned()
    }

    /// Takes in a sample, or why there is none.
    pub(crate) fn take_sample(&mut self, rule: &RuleAddress, sample: Result<StatsDocument, String>) {
        if self.rates.as_ref().is_none_or(|rates| rates.rule != *rule) {
            self.rates = Some(RuleRates::of(rule.clone()));
        }
        if let Some(rates) = &mut self.rates {
            match sample {
                Ok(stats) => rates.take(&stats),
                Err(problem) => rates.problem = Some(problem),
            }
        }
    }

    /// The selected row in full.
    pub(crate) fn details(&self, now: Timestamp) -> Option<(String, Vec<Cell>)> {
        let list = self.list();
        details::of(&list.rows, list.cursor.checked_sub(list.offset)?, now)
    }
}
