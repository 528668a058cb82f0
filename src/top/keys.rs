//! What keys mean, in one table that the help shows. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::View;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends the program.
    Quit,
    /// Ends it as an interrupted one.
    Interrupt,
    /// Gives the terminal back to the shell for a while.
    Suspend,
    /// Shows a view.
    Show(View),
    /// Shows the next view, or the one before.
    Turn(isize),
    /// Moves the selection by rows.
    Move(isize),
    /// Moves it by screens.
    Page(isize),
    /// The first row.
    First,
    /// The last row.
    Last,
    /// Everything that is known of the selected row.
    Details,
    /// What belongs to the selected row.
    Deeper,
    /// Where the view was come from.
    Back,
    /// Begins to type a filter.
    Filter,
    /// Closes what is open, and then ends the filter.
    Escape,
    /// The next order.
    Sort,
    /// Asks again now.
    Refresh,
    /// The keys.
    Help,
    /// Draws everything again, after something else wrote to the terminal.
    Redraw,
}

/// The keys as the help shows them.
pub(crate) const HELP: [(&str, &str); 15] = [
    ("1 … 6, Tab", "show a view; Shift-Tab goes backwards"),
    ("↑ ↓, j k", "select a row"),
    ("PgUp PgDn", "one page up or down; also Ctrl-B and Ctrl-F"),
    ("Home End, g G", "the first or the last row"),
    ("Enter", "all details of the selected row"),
    ("→, l", "go deeper: rules of an edge, targets of a rule, connections"),
    ("←, h", "go back"),
    ("/", "filter; Enter keeps the filter, Esc drops it"),
    ("s", "next sort order"),
    ("r", "refresh now"),
    ("Esc", "close details or help; drop the filter"),
    ("?", "this help"),
    ("Ctrl-L", "redraw the screen"),
    ("Ctrl-Z", "suspend; `fg` continues"),
    ("q, Ctrl-C", "quit"),
];

/// What is shown at the bottom, the most useful first.
pub(crate) const SHORT: [(&str, &str); 9] = [
    ("q", "quit"),
    ("?", "keys"),
    ("1-6", "view"),
    ("↑↓", "select"),
    ("/", "filter"),
    ("s", "sort"),
    ("Enter", "details"),
    ("→", "deeper"),
    ("←", "back"),
];

/// The action of a key outside of a text.
pub(crate) fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Interrupt),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('f') => Some(Action::Page(1)),
            KeyCode::Char('b') => Some(Action::Page(-1)),
            KeyCode::Char('n') => Some(Action::Move(1)),
            KeyCode::Char('p') => Some(Action::Move(-1)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char(digit @ '1'..='6') => Action::Show(View::ALL[usize::from(digit as u8 - b'1')]),
        KeyCode::Tab => Action::Turn(1),
        KeyCode::BackTab => Action::Turn(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Action::Page(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        KeyCode::Enter => Action::Details,
        KeyCode::Right | KeyCode::Char('l') => Action::Deeper,
        KeyCode::Left | KeyCode::Char('h') | KeyCode::Backspace => Action::Back,
        KeyCode::Char('/') => Action::Filter,
        KeyCode::Esc => Action::Escape,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('r') => Action::Refresh,
        KeyCode::Char('?') | KeyCode::F(1) => Action::Help,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_has_a_key() {
        for (index, view) in View::ALL.iter().enumerate() {
            let digit = char::from_digit(index as u32 + 1, 10).expect("a digit");
            let key = KeyEvent::new(KeyCode::Char(digit), KeyModifiers::NONE);
            assert_eq!(action(key), Some(Action::Show(*view)));
        }
    }

    #[test]
    fn a_key_that_is_let_go_does_nothing() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        key.kind = KeyEventKind::Release;
        assert_eq!(action(key), None);
    }
}
