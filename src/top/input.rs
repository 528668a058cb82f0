//! What keys do to the state. Pure.
//!
//! Keeps: while a filter is typed, every letter belongs to it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::keys::{self, Action};
use super::rows::Key;
use super::state::{Mode, State};
use super::view::View;

/// What the loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Go,
    Quit,
    Interrupt,
    Suspend,
    Redraw,
    /// Ask again, however new the rows are.
    Ask,
}

impl State {
    /// What a key does.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Next {
        if let Mode::Typing { before } = &self.mode {
            let before = before.clone();
            return self.typed(key, before);
        }
        let Some(action) = keys::action(key) else { return Next::Go };
        match action {
            Action::Quit if self.mode != Mode::List => self.mode = Mode::List,
            Action::Quit => return Next::Quit,
            Action::Interrupt => return Next::Interrupt,
            Action::Suspend => return Next::Suspend,
            Action::Redraw => return Next::Redraw,
            Action::Refresh => return Next::Ask,
            Action::Show(view) => self.show(view),
            Action::Turn(by) => {
                let all = View::ALL.len();
                self.show(View::ALL[(self.view.index() + all).saturating_add_signed(by) % all]);
            }
            Action::Help if matches!(self.mode, Mode::Help(_)) => self.mode = Mode::List,
            Action::Help => self.mode = Mode::Help(0),
            Action::Escape => self.escape(),
            Action::Move(_) | Action::Page(_) | Action::First | Action::Last => self.go(action),
            Action::Details if self.mode == Mode::List && self.list().selected().is_some() => {
                self.mode = Mode::Details(0);
            }
            Action::Details => self.mode = Mode::List,
            Action::Deeper => self.deeper(),
            Action::Back => self.back(),
            Action::Filter if self.view != View::Plan => {
                self.mode = Mode::Typing { before: self.list().filter.clone() };
            }
            Action::Filter => {}
            Action::Sort => self.sort(),
        }
        Next::Go
    }

    /// A view from the beginning of what is known of it.
    fn show(&mut self, view: View) {
        self.mode = Mode::List;
        if view != self.view {
            self.view = view;
            self.trail.clear();
        }
        let height = self.height;
        self.list_mut().show(height);
    }

    fn escape(&mut self) {
        if self.mode != Mode::List {
            self.mode = Mode::List;
        } else if !self.list().filter.is_empty() {
            self.filter(String::new());
        }
    }

    fn go(&mut self, action: Action) {
        let page = self.height.max(1).cast_signed();
        let rows = match action {
            Action::Move(by) => by,
            Action::Page(by) => by * page,
            Action::First => isize::MIN,
            _ => isize::MAX,
        };
        let height = self.height;
        match &mut self.mode {
            Mode::Help(first) | Mode::Details(first) => *first = first.saturating_add_signed(rows).min(1000),
            _ => self.list_mut().select_by(rows, height),
        }
    }

    fn sort(&mut self) {
        let orders = self.view.orders().len();
        if orders > 0 {
            let list = self.list_mut();
            list.order = (list.order + 1) % orders;
            list.restart();
        }
    }

    /// What belongs to the selected row: the rules of an edge, the targets of a rule, the connections of either.
    fn deeper(&mut self) {
        let Some(key) = self.list().selected().filter(|_| self.mode == Mode::List) else { return };
        let (view, filter) = match &key {
            Key::Edge(edge) => (View::Rules, format!("edge={edge}")),
            Key::Rule(rule) => (View::Targets, format!("edge={} rule={}", rule.edge, rule.rule)),
            Key::Target(rule, _) => (View::Connections, format!("edge={} rule={}", rule.edge, rule.rule)),
            Key::Connection(..) | Key::Event(_) => return self.mode = Mode::Details(0),
        };
        self.trail.push((self.view, self.lists[view.index()].filter.clone()));
        self.view = view;
        self.filter(filter);
    }

    fn back(&mut self) {
        if self.mode != Mode::List {
            self.mode = Mode::List;
        } else if let Some((view, filter)) = self.trail.pop() {
            // The list that is left has the filter again that it had before.
            self.filter(filter);
            self.view = view;
            let height = self.height;
            self.list_mut().show(height);
        }
    }

    fn filter(&mut self, text: String) {
        let is_other = self.list().filter != text;
        self.list_mut().filter = text;
        if is_other && self.view == View::Events {
            self.restart_events();
        } else if is_other {
            self.list_mut().restart();
        }
    }

    /// A key while a filter is being typed: the list follows it.
    fn typed(&mut self, key: KeyEvent, before: String) -> Next {
        let mut text = self.list().filter.clone();
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if key.kind == KeyEventKind::Release => return Next::Go,
            KeyCode::Char('c') if is_control => return Next::Interrupt,
            KeyCode::Char('u') if is_control => text.clear(),
            KeyCode::Char('w') if is_control => {
                let kept = text.trim_end().rfind(' ').map_or(0, |at| at + 1);
                text.truncate(kept);
            }
            KeyCode::Char(letter) if !is_control => text.push(letter),
            KeyCode::Backspace if text.is_empty() => self.mode = Mode::List,
            KeyCode::Backspace => _ = text.pop(),
            KeyCode::Enter => self.mode = Mode::List,
            KeyCode::Esc => {
                self.mode = Mode::List;
                text = before;
            }
            KeyCode::Down | KeyCode::Up => {
                self.mode = Mode::List;
                return self.key(key);
            }
            _ => return Next::Go,
        }
        self.filter(text);
        Next::Go
    }
}
