//! `top`: the fleet at a terminal, until the person ends it; `--once` prints one frame. I/O.
//!
//! Exit codes: 64 without a terminal, 7 without a server at the start; one that goes later is waited for.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use jiff::Timestamp;
use nix::sys::signal::Signal;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::cli::{Color, Query, TopArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::print;
use crate::top::feed::{self, Feed, Heard};
use crate::top::frame::{Painter, height};
use crate::top::input::Next;
use crate::top::state::State;
use crate::top::terminal::{self, Screen};
use crate::top::text;
use crate::top::view::View;

/// The clock on the screen.
const CLOCK: Duration = Duration::from_secs(1);
/// How often the plan is made again.
const PLAN: Duration = Duration::from_secs(5);
/// The shortest interval: a list is read again only once it was drawn.
const LEAST: Duration = Duration::from_secs(1);
/// A list is as old as this, at most, when an event has come.
const AFTER_EVENT: Duration = Duration::from_millis(500);
/// How far back the events begin where nobody says it.
const SINCE: &str = "1h";

pub(crate) async fn run(args: &TopArgs) -> Result<Exit, Failure> {
    let mut state = begin(args)?;
    if !args.once {
        terminal::check()?;
    } else if let Some(unused) = state.unused().first() {
        let view = args.view.title().to_lowercase();
        return Err(Failure::Usage(format!("{unused} selects nothing in the view {view}")));
    }
    let client = Arc::new(Client::new(&args.server)?);
    state.server = client.place();
    let area = if args.once { terminal::printed_area() } else { terminal::area() };
    let rows = height(&state, area);
    state.resize(rows, area.width);
    first(&client, &mut state).await?;
    let is_colored = is_colored(args.color.color);
    if args.once {
        once(&client, &mut state, is_colored, area).await?;
        return Ok(Exit::Done);
    }
    Top::open(client, state, is_colored, args.interval.max(LEAST))?.run().await
}

/// The state before anything is known; selectors that no view understands are refused.
fn begin(args: &TopArgs) -> Result<State, Failure> {
    let mut pairs = Query::of(&args.select, &[&args.health, &args.since]).into_pairs();
    pairs.retain(|(key, _)| *key != "limit");
    if !pairs.iter().any(|(key, _)| *key == "since") {
        pairs.push(("since", SINCE.to_owned()));
    }
    if let Some((key, value)) =
        pairs.iter().find(|(key, value)| !View::ALL.iter().any(|view| view.understands(key, value)))
    {
        return Err(Failure::Usage(format!("--{key} `{value}` is not a {key} of anything that is listed")));
    }
    let limit = args.select.limit.map(|limit| limit as usize);
    let mut state = State::new(String::new(), args.view, pairs, limit);
    match &args.sort.sort {
        Some(order) if !state.sort_by(order) => {
            let (title, orders) = (args.view.title().to_lowercase(), args.view.orders().join(", "));
            let known =
                if orders.is_empty() { "it has one order".to_owned() } else { format!("expected one of {orders}") };
            Err(Failure::Usage(format!("--sort `{order}` is not an order of the view {title}: {known}")))
        }
        _ => Ok(state),
    }
}

/// Colours on a terminal, unless NO_COLOR or `--color` says otherwise.
fn is_colored(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// What the first frame shows. A server that is not there ends the command, and so does a selector that is wrong.
async fn first(client: &Client, state: &mut State) -> Result<(), Failure> {
    let question = state.question();
    state.take_fleet(feed::fleet(client).await?, Timestamp::now());
    if state.view == View::Plan {
        let plan = match feed::plan(client).await {
            Err(failure) if is_silence(&failure) => return Err(failure),
            other => other.map_err(|failure| words(&failure)),
        };
        state.take_plan(plan, Timestamp::now());
    }
    if let Some(question) = question {
        let page = feed::page(client, &question).await?;
        state.answer(&question, Ok(page), Timestamp::now());
    }
    Ok(())
}

/// Prints one frame.
async fn once(client: &Client, state: &mut State, is_colored: bool, area: Rect) -> Result<(), Failure> {
    if state.view == View::Events {
        let lines = feed::past_events(client, &events_path(state)).await?;
        state.take_events(lines, Timestamp::now());
    }
    if let Some(rule) = state.watched() {
        let sample = feed::sample(client, &rule).await.map_err(|failure| words(&failure));
        state.take_sample(&rule, sample);
    }
    let now = Timestamp::now();
    let mut buffer = Buffer::empty(area);
    Painter { is_colored, now }.draw(state, area, &mut buffer);
    print(&text::of(&buffer))
}

/// The events of the selected edges and rules.
fn events_path(state: &State) -> String {
    let pairs = state.selectors(View::Events).unwrap_or_default();
    format!("/v1/events?{}", crate::address::query(pairs.into_iter()))
}

/// What a failure means to a person who looks at a list.
fn words(failure: &Failure) -> String {
    match failure {
        Failure::Problem(problem) => problem.detail.clone(),
        other => other.to_string(),
    }
}

/// True if the server is not there, or not able to answer.
fn is_silence(failure: &Failure) -> bool {
    !matches!(failure, Failure::Problem(problem) if problem.status < 500)
}

/// The signals that mean something.
struct Asked {
    ends: [Signals; 4],
    stop: Signals,
    goes_on: Signals,
}

impl Asked {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Other(format!("signals cannot be handled: {error}")));
        let raw = |signal: Signal| SignalKind::from_raw(signal as i32);
        Ok(Self {
            ends: [
                listen(SignalKind::terminate())?,
                listen(SignalKind::interrupt())?,
                listen(SignalKind::hangup())?,
                listen(SignalKind::quit())?,
            ],
            stop: listen(raw(Signal::SIGTSTP))?,
            goes_on: listen(raw(Signal::SIGCONT))?,
        })
    }

    async fn end(ends: &mut [Signals; 4]) {
        let [terminate, interrupt, hangup, quit] = ends;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// The running program.
struct Top {
    state: State,
    screen: Screen,
    feed: Feed,
    heard: Receiver<Heard>,
    input: EventStream,
    asked: Asked,
    is_colored: bool,
    interval: Duration,
    /// When the list was read last, the fleet, and the plan.
    read: [Option<Instant>; 3],
}

impl Top {
    fn open(client: Arc<Client>, state: State, is_colored: bool, interval: Duration) -> Result<Self, Failure> {
        let (feed, heard) = Feed::new(client);
        // Before the terminal changes: what ends the program finds somebody who gives the terminal back.
        let asked = Asked::new()?;
        let (screen, now) = (Screen::open()?, Some(Instant::now()));
        Ok(Self { state, screen, feed, heard, input: EventStream::new(), asked, is_colored, interval, read: [now; 3] })
    }

    async fn run(mut self) -> Result<Exit, Failure> {
        let mut clock = ticks();
        loop {
            reconciler::act::obey_test("top");
            if terminal::has_panicked() {
                return Err(Failure::Other("a part of `top` panicked; this is a bug, start it again".to_owned()));
            }
            self.draw()?;
            self.ask();
            let step = tokio::select! {
                biased;
                () = Asked::end(&mut self.asked.ends) => Next::Interrupt,
                _ = self.asked.stop.recv() => Next::Suspend,
                _ = self.asked.goes_on.recv() => { self.screen.enter()?; Next::Go }
                event = self.input.next() => match event {
                    Some(Ok(Event::Key(key))) => self.state.key(key),
                    Some(Ok(_)) => Next::Go,
                    // The terminal is gone.
                    Some(Err(_)) | None => Next::Interrupt,
                },
                Some(heard) = self.heard.recv() => { self.hear(heard); Next::Go }
                _ = clock.tick() => Next::Go,
            };
            match step {
                Next::Go => {}
                Next::Quit => return Ok(Exit::Done),
                Next::Interrupt => return Ok(Exit::Interrupted),
                Next::Suspend => self.screen.suspend()?,
                Next::Redraw => self.screen.redraw()?,
                Next::Ask => self.read = [None; 3],
            }
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let area = self.screen.area();
        let rows = height(&self.state, area);
        self.state.resize(rows, area.width);
        let (painter, state) = (Painter { is_colored: self.is_colored, now: Timestamp::now() }, &self.state);
        self.screen.draw(|area, buffer| painter.draw(state, area, buffer))
    }

    /// Asks what is missing on the screen, and what is due.
    fn ask(&mut self) {
        let is_due = |at: Option<Instant>, after: Duration| at.is_none_or(|at| at.elapsed() >= after);
        if is_due(self.read[1], self.interval) {
            self.read[1] = Some(Instant::now());
            self.feed.ask_fleet();
        }
        let is_plan = self.state.view == View::Plan;
        if is_plan && (self.state.list().at.is_none() || is_due(self.read[2], PLAN.max(self.interval))) {
            self.read[2] = Some(Instant::now());
            self.feed.ask_plan();
        }
        // A server that is silent is asked by the clock, and not by every frame.
        let is_missing = !self.state.list().is_complete(self.state.height) && self.state.stale.is_none();
        if is_missing || is_due(self.read[0], self.interval) {
            if let Some(question) = self.state.question() {
                self.feed.ask(question);
            }
            self.read[0] = Some(Instant::now());
        }
        let has_selectors = self.state.selectors(View::Events).is_ok();
        if has_selectors && self.feed.follow(&events_path(&self.state)) {
            self.state.restart_events();
        }
        let watched = self.state.watched();
        self.feed.watch(watched);
    }

    fn hear(&mut self, heard: Heard) {
        let now = Timestamp::now();
        match heard {
            Heard::Fleet(Ok(summary)) => {
                self.state.heard();
                self.state.take_fleet(*summary, now);
            }
            Heard::Plan(Ok(plan)) => {
                self.state.heard();
                self.state.take_plan(Ok(*plan), now);
            }
            Heard::Plan(Err(failure)) if !is_silence(&failure) => {
                self.state.heard();
                self.state.take_plan(Err(words(&failure)), now);
            }
            Heard::Page(question, Ok(page)) => {
                self.state.heard();
                self.state.answer(&question, Ok(page), now);
            }
            Heard::Page(question, Err(failure)) if !is_silence(&failure) => {
                self.state.heard();
                self.state.answer(&question, Err(words(&failure)), now);
            }
            Heard::Sample(rule, sample) => {
                self.state.take_sample(&rule, sample.map(|stats| *stats).map_err(|failure| words(&failure)));
            }
            Heard::Events(Ok(lines)) => {
                // What happened changes what the lists show.
                if !lines.is_empty() {
                    let sooner = self.interval.saturating_sub(AFTER_EVENT);
                    self.read[0] = self.read[0].and_then(|at| at.checked_sub(sooner));
                }
                self.state.take_events(lines, now);
            }
            Heard::Events(Err(failure)) if !is_silence(&failure) => self.state.fail_events(words(&failure), now),
            Heard::Fleet(Err(failure))
            | Heard::Plan(Err(failure))
            | Heard::Page(_, Err(failure))
            | Heard::Events(Err(failure)) => {
                self.state.unheard(words(&failure), now);
            }
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(CLOCK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
