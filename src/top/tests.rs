//! Frames as people see them, compared with the files of `tests/golden/top`; and what keys do to them. Long because the
//! documents that all frames are made of come first.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::Color;
use reconciler::decide::plan::PlanDocument;
use serde_json::{Value, json};

use super::frame::{Painter, height};
use super::input::Next;
use super::rates::tests::sample;
use super::rows::{EventLine, Rows};
use super::state::{Page, Question, State};
use super::table::Tone;
use super::text;
use super::view::View;

/// Ten minutes after what the documents below tell.
fn now() -> Timestamp {
    "2026-01-02T08:10:00Z".parse().expect("a time")
}

fn read<T: serde::de::DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).expect("a document")
}

fn source() -> Value {
    json!({"digest": format!("sha256:{}", "0123456789abcdef".repeat(4)), "vcs": "git", "ref": "refs/heads/main",
        "committed_at": null, "commit": "4f0c2d9a".repeat(5), "subject": "web: two more targets",
        "author": "Ann <ann@example.org>", "dirty": false})
}

/// The revision in force, with more.
fn revision(more: &Value) -> Value {
    let at = "2026-01-02T08:00:00Z";
    let mut revision = json!({"digest": source()["digest"], "applied": source(), "applied_at": at, "actor": "ci"});
    for (name, value) in more.as_object().into_iter().flatten() {
        revision[name.as_str()] = value.clone();
    }
    revision
}

/// The figures of a fleet of two edges, with more.
fn fleet(more: &Value) -> Value {
    let mut fleet = json!({"in_sync": true, "revision": revision(&json!({})), "edges": {"all": 2, "connected": 2},
        "rules": {"all": 3, "up": 2, "down": 1}, "targets": {"all": 3, "up": 2, "down": 1}});
    for (name, value) in more.as_object().into_iter().flatten() {
        fleet[name.as_str()] = value.clone();
    }
    fleet
}

/// A plan without changes.
fn plan(drift: &Value) -> PlanDocument {
    let summary = json!({"activate": 0, "rebind": 0, "update": 0, "move": 0, "remove": 0, "reject": 0, "retry": 0,
        "unchanged": 3, "ports_bound": 0, "ports_released": 0, "connections_affected": 0, "edges": 2});
    read(json!({"format_version": "1.0", "kind": "plan", "plan_id": source()["digest"],
        "created_at": "2026-01-02T08:10:00Z", "expires_at": "2026-01-03T08:10:00Z", "source": source(),
        "base": {"lineage": "", "edges": {}}, "complete": true, "applyable": true, "summary": summary, "changes": [],
        "drift": drift, "rails": [], "diagnostics": []}))
}

/// A fleet of two edges, seen from this view.
fn state(view: View) -> State {
    let mut state = State::new("127.0.0.1:7080".to_owned(), view, vec![("since", "1h".to_owned())], None);
    state.resize(16, 80);
    state.take_fleet(read(fleet(&json!({}))), now());
    state
}

fn rule(edge: &str, name: &str, more: &Value) -> Value {
    let mut rule = json!({"edge": edge, "rule": name, "state": "active", "health": "up", "connections": 12,
        "balance": "least-conn", "origin": {"file": "rules.d/web.toml", "line": 3, "column": 1},
        "spec": {"listen_port": 443, "owner": "team-web", "target": "10.0.0.5:8443"},
        "targets": [{"target": "10.0.0.5:8443", "state": "up", "weight": 1, "effective_weight": 1,
            "since": "2026-01-02T08:00:00Z", "last": {"code": "L4OK", "detail": "connected in 2 ms", "at": "2026-01-02T08:09:50Z"},
            "history": [{"from": "down", "to": "up", "at": "2026-01-02T08:00:00Z", "layer": "L4", "code": "L4OK", "detail": ""}]}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        rule[key.as_str()] = value.clone();
    }
    rule
}

fn some_rules() -> Vec<Value> {
    let down = json!({"health": "down", "connections": 0, "targets": [{"target": "10.0.0.9:25", "state": "down",
        "last": {"code": "L4CON", "detail": "refused"}}], "spec": {"listen_port": 25, "target": "10.0.0.9:25"}});
    let failed = json!({"state": "failed", "health": null, "code": "port_in_use", "message": "port 53 already bound",
        "connections": 0, "targets": [], "spec": {"listen_port": 53, "protocol": "udp", "target": "10.0.0.7:53"}});
    let draining = json!({"state": "draining", "health": null, "targets": [], "connections": 3, "draining": [
        {"state": "draining", "ports": ["*:8080"], "connections": 3, "secs_left": 25, "ends_at": "2026-01-02T08:10:25Z"}]});
    let away = json!({"state": "unknown", "last_state": "active", "last_state_at": "2026-01-02T08:07:00Z", "health": "unknown"});
    vec![
        rule("ams-1", "dns", &failed),
        rule("ams-1", "mail", &down),
        rule("ams-1", "old", &draining),
        rule("ams-1", "web", &json!({})),
        rule("fra-1", "web", &away),
    ]
}

fn answer(state: &mut State, rows: Rows, total: usize) {
    let question = state.question().expect("a list");
    let page = Page { rows, total, hidden: 0, note: None };
    state.answer(&question, Ok(page), now());
}

fn rules(view_of: &[Value]) -> State {
    let mut state = state(View::Rules);
    let rows: Vec<_> = view_of.iter().cloned().map(read).collect();
    let rates = [sample(0, 1_500_000.0, 88_000_000.0)];
    let rates = rates.into_iter().map(|_| {
        let stats = sample(0, 1_500_000.0, 88_000_000.0);
        (schema::name::RuleAddress::parse("ams-1/web").expect("an address"), stats.rates)
    });
    answer(&mut state, Rows::Rules(rows, rates.collect()), view_of.len());
    state
}

/// The frame as text.
fn frame(state: &mut State, width: u16, rows: u16) -> String {
    let area = Rect::new(0, 0, width, rows);
    let visible = height(state, area);
    state.resize(visible, area.width);
    let mut terminal = Terminal::new(TestBackend::new(width, rows)).expect("a terminal in memory");
    let painter = Painter { is_colored: false, now: now() };
    terminal.draw(|frame| painter.draw(state, frame.area(), frame.buffer_mut())).expect("a frame");
    anstream::adapter::strip_str(&text::of(terminal.backend().buffer())).to_string()
}

#[track_caller]
fn assert_golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/top").join(format!("{name}.txt"));
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is there");
        fs::write(&path, shown).expect("the frame is written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "{}: run with PORTUNUS_UPDATE_GOLDEN=1 if this is right", path.display());
}

fn press(state: &mut State, keys: &str) -> Next {
    let code = |letter| match letter {
        '↓' => KeyCode::Down,
        '↑' => KeyCode::Up,
        '→' => KeyCode::Right,
        '←' => KeyCode::Left,
        '⏎' => KeyCode::Enter,
        '⎋' => KeyCode::Esc,
        '⌫' => KeyCode::Backspace,
        '⇟' => KeyCode::PageDown,
        letter => KeyCode::Char(letter),
    };
    keys.chars().map(|letter| state.key(KeyEvent::new(code(letter), KeyModifiers::NONE))).last().unwrap_or(Next::Go)
}

#[test]
fn rules_with_their_rates() {
    let mut state = rules(&some_rules());
    press(&mut state, "↓↓↓");
    let address = state.watched().expect("a rule");
    for number in 0..40_u32 {
        let wave = f64::from(number % 10) * 150_000.0;
        state.take_sample(&address, Ok(sample(number * 5, wave, wave * 60.0)));
    }
    assert_golden("rules-80x24", &frame(&mut state, 80, 24));
    assert_golden("rules-140x30", &frame(&mut state, 140, 30));
    assert_golden("rules-40x12", &frame(&mut state, 40, 12));
    press(&mut state, "⏎");
    assert_golden("rule-details", &frame(&mut state, 80, 24));
}

#[test]
fn every_size_of_a_screen_is_drawn() {
    let mut state = rules(&some_rules());
    for width in [0, 1, 5, 29, 30, 33, 61, 80, 200] {
        for rows in [0, 1, 3, 7, 8, 9, 19, 20, 24, 70] {
            for keys in ["", "⏎", "⎋?", "⎋/a", "⎋⎋"] {
                press(&mut state, keys);
                let shown = frame(&mut state, width, rows);
                assert!(shown.lines().count() <= usize::from(rows), "{width}×{rows}: {shown}");
            }
        }
    }
}

#[test]
fn edges_with_what_their_rules_come_to() {
    let mut state = state(View::Edges);
    let summary =
        |rules: u64, failed: u64, down: u64| json!({"rules": rules, "failed": failed, "down": down, "connections": 20});
    let edges = json!([
        {"name": "ams-1", "connected": true, "generation": 7, "desired_generation": 7, "version": "0.1.0",
            "address": "192.0.2.1:51000", "last_seen": "2026-01-02T08:10:00Z", "summary": summary(4, 1, 1)},
        {"name": "fra-1", "connected": false, "generation": 6, "desired_generation": 7, "version": "0.1.0",
            "last_seen": "2026-01-02T08:07:00Z", "summary": summary(1, 0, 0)},
        {"name": "fra-2", "connected": true, "generation": 6, "desired_generation": 7, "version": "0.1.0",
            "last_seen": "2026-01-02T08:10:00Z", "summary": summary(0, 0, 0)},
    ]);
    answer(&mut state, Rows::Edges(read(edges)), 3);
    assert_golden("edges-80x24", &frame(&mut state, 80, 24));
    press(&mut state, "→");
    assert_eq!((state.view, state.list().filter.as_str()), (View::Rules, "edge=ams-1"));
    press(&mut state, "←");
    assert_eq!((state.view, state.lists[View::Rules.index()].filter.as_str()), (View::Edges, ""));
}

#[test]
fn targets_with_their_last_results() {
    let mut state = state(View::Targets);
    let targets = json!([
        {"edge": "ams-1", "rule": "mail", "target": "10.0.0.9:25", "state": "down", "weight": 1, "checked": true,
            "since": "2026-01-02T08:05:00Z", "last": {"code": "L4CON", "detail": "refused"}},
        {"edge": "ams-1", "rule": "web", "target": "10.0.0.5:8443", "state": "up", "weight": 10, "checked": true,
            "since": "2026-01-02T08:00:00Z", "last": {"code": "L7OK", "detail": "HTTP 200"}},
        {"edge": "ams-1", "rule": "web", "target": "10.0.0.6:8443", "state": "paused", "weight": 10, "checked": true},
        {"edge": "ams-1", "rule": "web", "target": "10.0.0.7:8443", "state": "unknown", "weight": 10},
    ]);
    answer(&mut state, Rows::Targets(read(targets)), 4);
    assert_golden("targets-80x24", &frame(&mut state, 80, 24));
}

#[test]
fn connections_and_an_edge_that_does_not_answer() {
    let mut state = state(View::Connections);
    let connection = |id: &str, draining: bool| {
        json!({"id": id, "edge": "ams-1", "rule": "web", "protocol": "tcp", "source": "192.0.2.1:5000",
            "listener": "*:443", "target": "10.0.0.5:8443", "since": "2026-01-02T08:00:00Z", "bytes_in": 10,
            "bytes_out": 2_097_152, "idle_secs": 7, "draining": draining})
    };
    let rows =
        Rows::Connections(read(json!([connection("0000000a-0t1-0", false), connection("0000000a-0t2-0", true)])));
    let question = state.question().expect("a list");
    let note = Some("no answer from fra-1".to_owned());
    state.answer(&question, Ok(Page { rows, total: 2, hidden: 3, note }), now());
    assert_golden("connections-80x24", &frame(&mut state, 80, 24));
}

#[test]
fn of_more_connections_than_an_edge_lists_the_first_are_shown_to_the_last() {
    let mut state = state(View::Connections);
    let listed = |state: &mut State| {
        let question = state.question().expect("a list");
        let connection = |id: usize| {
            json!({"id": id.to_string(), "edge": "ams-1", "rule": "web", "protocol": "tcp", "source": "192.0.2.1:5000",
                "listener": "*:443", "target": "10.0.0.5:8443", "since": "2026-01-02T08:00:00Z", "bytes_in": 10,
                "bytes_out": 10, "idle_secs": 7, "draining": false})
        };
        let rows = Rows::Connections((0..question.count).map(|id| read(connection(id))).collect());
        let page = Page { rows, total: 12_345, hidden: 0, note: None };
        state.answer(&question, Ok(page), now());
    };
    listed(&mut state);
    let first = frame(&mut state, 80, 24);
    assert!(first.contains("of the first 10,000 of 12,345"), "{first}");
    press(&mut state, "G");
    listed(&mut state);
    let last = frame(&mut state, 80, 24);
    assert!(last.contains("connections 9,986–10,000 of the first 10,000 of 12,345"), "{last}");
}

#[test]
fn the_plan_is_what_is_in_force_followed_and_different() {
    let mut state = state(View::Plan);
    let reason = "the followed tree removes 12 rules, which rail max_removals = 5 forbids";
    let held = revision(&json!({"held": true, "reason": reason}));
    state.take_fleet(read(fleet(&json!({"in_sync": false, "revision": held, "drift": {"failed": 1}}))), now());
    let drift = json!([{"edge": "ams-1", "rule": "dns", "kind": "failed", "code": "port_in_use",
        "message": "port 53 already bound"}]);
    state.take_plan(Ok(plan(&drift)), now());
    assert_golden("plan-80x24", &frame(&mut state, 80, 24));
}

fn event(id: u64, words: &str, tone: Tone) -> EventLine {
    let at = format!("2026-01-02T08:09:{id:02}Z").parse().expect("a time");
    EventLine { id, at, words: words.to_owned(), tone }
}

#[test]
fn events_come_at_the_top_and_a_reader_keeps_the_place() {
    let mut state = state(View::Events);
    state.take_events(vec![event(1, "edge      fra-1 offline, generation 6 of 7", Tone::Bad)], now());
    state.take_events(vec![event(2, "health    ams-1/mail down, was up", Tone::Bad)], now());
    assert_golden("events-80x24", &frame(&mut state, 80, 24));
    press(&mut state, "↓");
    state.take_events(
        vec![event(2, "again", Tone::Plain), event(3, "health    ams-1/mail up, was down", Tone::Good)],
        now(),
    );
    assert_eq!(
        (state.list().cursor, state.list().total),
        (2, 3),
        "the same event stays selected, and none is there twice"
    );
}

#[test]
fn a_server_that_goes_leaves_what_was_known_marked_as_stale() {
    let mut state = rules(&some_rules());
    let why = "the server at 127.0.0.1:7080 cannot be reached: connection refused";
    state.unheard(why.to_owned(), "2026-01-02T08:09:00Z".parse().expect("a time"));
    state.unheard(why.to_owned(), now());
    assert_golden("stale-80x24", &frame(&mut state, 80, 24));
    state.heard();
    assert!(!frame(&mut state, 80, 24).contains("stale"));
}

#[test]
fn a_list_without_rows_says_why() {
    let mut state = state(View::Rules);
    assert!(frame(&mut state, 80, 24).contains("Asking the server …"), "loading");
    answer(&mut state, Rows::Rules(Vec::new(), std::collections::BTreeMap::default()), 0);
    assert_golden("empty-80x24", &frame(&mut state, 80, 24));
    press(&mut state, "/nothing⏎");
    let question = state.question().expect("a list");
    state.answer(&question, Err("nothing matches --rule *nothing*".to_owned()), now());
    assert_golden("nothing-matches-80x24", &frame(&mut state, 80, 24));
    press(&mut state, "⎋/egde=a");
    assert_golden("wrong-filter-80x24", &frame(&mut state, 80, 24));
    assert_eq!(state.question(), None, "a filter that is wrong is not sent");
}

#[test]
fn the_keys_are_shown() {
    let mut state = rules(&some_rules());
    press(&mut state, "?");
    assert_golden("keys-80x24", &frame(&mut state, 80, 24));
    assert_eq!(press(&mut state, "q"), Next::Go, "it closes the help first");
    assert_eq!(press(&mut state, "q"), Next::Quit);
}

#[test]
fn while_a_filter_is_typed_every_letter_belongs_to_it() {
    let mut state = rules(&some_rules());
    assert_eq!(press(&mut state, "/q1s?"), Next::Go);
    assert_eq!(state.list().filter, "q1s?");
    press(&mut state, "⌫⌫⌫⌫⌫");
    assert_eq!(state.list().filter, "");
    press(&mut state, "/web⏎");
    let path = state.question().expect("a list").path;
    assert!(path.starts_with("/v1/rules?rule=*web*&sort=name&limit="), "{path}");
    press(&mut state, "/x⎋");
    assert_eq!(state.list().filter, "web", "Esc leaves the filter as it was");
    press(&mut state, "⎋");
    assert_eq!(state.list().filter, "", "and then ends it");
}

#[test]
fn an_answer_to_an_outdated_question_changes_nothing() {
    let mut state = rules(&some_rules());
    let old: Question = state.question().expect("a list");
    press(&mut state, "s");
    let new = state.question().expect("a list");
    assert!(new.path.contains("sort=state"), "{}", new.path);
    state.answer(&old, Err("too late".to_owned()), now());
    assert_eq!(state.list().problem, None);
    state.answer(&new, Err("in time".to_owned()), now());
    assert_eq!(state.list().problem.as_deref(), Some("in time"));
}

#[test]
fn a_ranking_by_rates_is_asked_of_the_counters_and_keeps_its_first_row_selected() {
    let mut state = rules(&some_rules());
    press(&mut state, "ssss");
    let question = state.question().expect("a list");
    assert!(question.is_by_counters);
    assert_eq!(question.path, "/v1/rules?limit=1");
    let rates = question.rates.clone().unwrap_or_default();
    assert!(rates.starts_with("/v1/stats?sort=rate&limit="), "{rates}");
    let page = |names: [&str; 2]| {
        let rows = names.iter().map(|name| read(rule("ams-1", name, &json!({})))).collect();
        Page { rows: Rows::Rules(rows, std::collections::BTreeMap::default()), total: 2, hidden: 0, note: None }
    };
    state.answer(&question, Ok(page(["web", "mail"])), now());
    state.answer(&question, Ok(page(["mail", "web"])), now());
    assert_eq!(state.list().cursor, 0);
    press(&mut state, "↓");
    state.answer(&question, Ok(page(["web", "mail"])), now());
    assert_eq!(state.list().cursor, 0, "another row is followed where it goes");
}

#[test]
fn of_ten_thousand_rules_only_those_near_the_screen_are_asked_for() {
    let mut state = state(View::Rules);
    let area = Rect::new(0, 0, 80, 24);
    let visible = height(&state, area);
    state.resize(visible, area.width);
    let name = |number: usize| format!("rule-{number:05}");
    let page = |state: &mut State| {
        let question = state.question().expect("a list");
        let number = |name: &str| {
            let query = question.path.split(['?', '&']).find_map(|part| part.strip_prefix(name)).expect("a parameter");
            query.parse::<usize>().expect("a number")
        };
        let (limit, offset) = (number("limit="), number("offset="));
        assert!(limit <= 3 * visible, "{limit}");
        let rows = (offset..(offset + limit).min(10_000)).map(|row| read(rule("ams-1", &name(row), &json!({}))));
        let rows = Rows::Rules(rows.collect(), std::collections::BTreeMap::default());
        state.answer(&question, Ok(Page { rows, total: 10_000, hidden: 0, note: None }), now());
    };
    page(&mut state);
    assert!(frame(&mut state, 80, 24).contains("▸ ams-1/rule-00000"));
    press(&mut state, "G");
    page(&mut state);
    let last = frame(&mut state, 80, 24);
    assert!(last.contains("▸ ams-1/rule-09999") && last.contains("of 10,000"), "{last}");
    press(&mut state, "g⇟");
    page(&mut state);
    assert!(frame(&mut state, 80, 24).contains(&format!("▸ ams-1/{}", name(visible))));
}

#[test]
fn a_frame_reads_without_colours_and_has_them_where_they_are_wanted() {
    let mut state = rules(&some_rules());
    let area = Rect::new(0, 0, 80, 24);
    let visible = height(&state, area);
    state.resize(visible, area.width);
    let colors = |is_colored: bool| {
        let mut buffer = ratatui::buffer::Buffer::empty(area);
        Painter { is_colored, now: now() }.draw(&state, area, &mut buffer);
        buffer.content().iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 0);
}

#[test]
fn nothing_that_others_wrote_moves_the_cursor() {
    let evil = "\u{1b}[2J\u{202e}\u{7}";
    let mut rule = rule("ams-1", "web", &json!({"code": evil, "message": evil, "state": "failed"}));
    rule["spec"]["owner"] = evil.into();
    rule["spec"]["target"] = evil.into();
    rule["targets"][0]["last"]["detail"] = evil.into();
    let mut state = rules(&[rule]);
    let mut held = revision(&json!({"held": true, "reason": evil}));
    held["applied"]["subject"] = evil.into();
    let frozen = json!({"by": evil, "why": evil, "since": "2026-01-02T08:00:00Z", "until": null});
    state.take_fleet(read(fleet(&json!({"frozen": frozen, "revision": held}))), now());
    let drift = json!([{"edge": "ams-1", "rule": "dns", "kind": "failed", "code": evil, "message": evil}]);
    state.take_plan(Ok(plan(&drift)), now());
    state.unheard(evil.to_owned(), now());
    state.take_events(vec![event(1, evil, Tone::Plain)], now());
    for keys in ["", "⏎", "⎋5", "6⏎", "⎋2/\u{1b}"] {
        press(&mut state, keys);
        let area = Rect::new(0, 0, 160, 40);
        let mut buffer = ratatui::buffer::Buffer::empty(area);
        Painter { is_colored: true, now: now() }.draw(&state, area, &mut buffer);
        let harmful = buffer.content().iter().find(|cell| cell.symbol().chars().any(crate::output::is_harmful));
        assert_eq!(harmful, None, "{keys}");
    }
}
