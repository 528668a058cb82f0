//! What people do with a small fleet, in the order in which they do it. Pure.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reconciler::decide::fleet::{ApplyRequest, Control, Event, Mode, OverrideRequest, Purpose, Request, TreeRead};
use reconciler::decide::plan::{Allowances, Source};
use schema::canonical::Digest;
use schema::name::Labels;
use schema::rollout::{Rollout, Wave};
use schema::testing::wide_rails;

use crate::script::{edge_name, read, ruleset};

pub(super) const EDGES: [&str; 2] = ["a", "b"];
/// What `a` and `b` run when a story begins.
pub(super) const FIRST: &str = "a: web 8080 | b: web 8080";
const SECOND: &str = "a: web 8081, api 8080 | b: web 8080, api 8081";
const THIRD: &str = "a: web 8082, api 8080 | b: web 8080";
/// Without the rule that runs: an edge that returns from this runs what is wanted no more.
const OTHER: &str = "a: api 8081 | b: api 8081";
/// An edge that takes no ranges rejects it and keeps the web that it has.
const RANGE: &str = "a: web 8081 | b: web 8080-8084";

/// What people do, in this order, at any time.
pub(super) struct Story {
    pub(super) name: &'static str,
    pub(super) mode: Mode,
    pub(super) acts: Vec<Event>,
    /// An edge without port ranges.
    pub(super) is_b_limited: bool,
}

pub(super) fn tree(text: &str) -> TreeRead {
    let digest = Digest::of(text.as_bytes());
    let mut ruleset = ruleset(digest, text);
    let labels = |edge: &str| (edge_name(edge), Labels::from([("stage".to_owned(), edge.to_owned())]));
    ruleset.inventory = EDGES.map(labels).into();
    // What rails hold back is not what is told here.
    ruleset.rails = wide_rails();
    read(ruleset)
}

/// The second tree, `a` before `b`.
pub(super) fn in_waves() -> TreeRead {
    let mut read = tree(SECOND);
    let wave = |stage: &str| Wave {
        edge_labels: Labels::from([("stage".to_owned(), stage.to_owned())]),
        max_parallel: NonZeroU32::MIN,
        max_failed: 0,
        soak: Duration::from_secs(5),
    };
    let ruleset = Arc::make_mut(read.ruleset.as_mut().expect("valid"));
    ruleset.rollout = Rollout { waves: EDGES.map(wave).into() };
    read
}

/// A tree with errors.
fn broken() -> Event {
    Event::Tree(TreeRead { ruleset: None, source: Source::unversioned(Digest::of(b"broken")), ..tree("") })
}

/// A tree without rules, as a mount that went away leaves it.
fn empty() -> Event {
    Event::Tree({
        let read = tree("");
        TreeRead { source: Source { digest: Digest::of(b"empty"), ..read.source.clone() }, ..read }
    })
}

fn request(purpose: Purpose, tree: TreeRead, rollback: bool) -> Event {
    let request = ApplyRequest {
        purpose,
        tree,
        plan: None,
        seal: None,
        allowances: Allowances::default(),
        actor: "operator".to_owned(),
        authority: None,
        applied_by: None,
        timeout: Duration::from_secs(10),
        allow_offline: false,
        rollback,
        wait_healthy: false,
        confirm_within: None,
        quiet_window: Duration::ZERO,
    };
    Event::Apply { ticket: 1, request: Box::new(request) }
}

pub(super) fn apply(tree: TreeRead) -> Event {
    request(Purpose::Apply, tree, false)
}

/// The edges keep it only if they hear in time that it is good.
fn on_trial(tree: TreeRead) -> Event {
    let mut event = apply(tree);
    if let Event::Apply { request, .. } = &mut event {
        request.confirm_within = Some(Duration::from_secs(5));
    }
    event
}

pub(super) fn control(control: Control) -> Event {
    Event::Control { ticket: 1, actor: "operator".to_owned(), control }
}

/// A break-glass rule on `a` for a minute.
fn override_on_a() -> Event {
    let rule = ruleset(Digest::default(), "a: glass 9000").edges[&edge_name("a")].values().next().unwrap().rule.clone();
    let (why, actor) = ("the pager rang".to_owned(), "ada".to_owned());
    let request = OverrideRequest::Add { edge: edge_name("a"), rule, why, ttl: Duration::from_mins(1), actor };
    Event::Request { ticket: 1, authority: None, request: Box::new(Request::Override(request)) }
}

pub(super) fn stories() -> Vec<Story> {
    let story = |name, mode, acts| Story { name, mode, acts, is_b_limited: false };
    let read = |text: &str| Event::Tree(tree(text));
    let hold = Purpose::Rollback { why: String::new(), hold: true };
    let soon = Timestamp::from_second(1_000_100).unwrap();
    vec![
        story("applies", Mode::Heal, vec![apply(tree(SECOND)), apply(tree(THIRD))]),
        story("follows", Mode::Apply, vec![read(SECOND), broken(), read(THIRD), empty()]),
        story("waves", Mode::Heal, vec![apply(in_waves())]),
        story("followed_waves", Mode::Apply, vec![Event::Tree(in_waves())]),
        story("brought_back", Mode::Heal, vec![request(Purpose::Apply, in_waves(), true)]),
        story(
            "freeze",
            Mode::Apply,
            vec![
                control(Control::Freeze { why: "a fair".to_owned(), until: Some(soon) }),
                read(SECOND),
                control(Control::Unfreeze { why: String::new() }),
            ],
        ),
        story("hold", Mode::Apply, vec![read(SECOND), request(hold, tree(FIRST), false), read(SECOND), read(THIRD)]),
        story("override", Mode::Heal, vec![override_on_a(), apply(tree(SECOND))]),
        story("confirms", Mode::Heal, vec![on_trial(tree(OTHER)), apply(tree(THIRD))]),
        Story { is_b_limited: true, ..story("reject", Mode::Apply, vec![read(RANGE), read(SECOND)]) },
    ]
}
