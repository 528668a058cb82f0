//! A frame as text, for `--once`. Pure.

use std::fmt::Write;

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

/// The lines of a frame without the blanks at their ends, and without the empty lines at its end. Styles are those of
/// terminals; the output takes them out where there is none.
pub(crate) fn of(buffer: &Buffer) -> String {
    let area = buffer.area();
    let mut lines: Vec<String> = (area.top()..area.bottom()).map(|y| line(buffer, y)).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

fn line(buffer: &Buffer, y: u16) -> String {
    let area = buffer.area();
    let cells: Vec<_> = (area.left()..area.right()).map(|x| &buffer[(x, y)]).collect();
    // A row that is selected is marked by a letter; that its blanks are reversed is of no use in a text.
    let end = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
    let (mut text, mut current, mut skipped) = (String::new(), Style::new(), 0);
    for cell in &cells[..end] {
        // What a wide letter covers is a cell of its own in a buffer.
        if skipped > 0 {
            skipped -= 1;
            continue;
        }
        skipped = cell.symbol().width().saturating_sub(1);
        let style = Style { fg: Some(cell.fg), add_modifier: cell.modifier, ..Style::new() };
        if style != current {
            text.push_str(&codes(style));
            current = style;
        }
        text.push_str(cell.symbol());
    }
    if current != Style::new() && current != plain() {
        text.push_str("\u{1b}[0m");
    }
    text
}

fn plain() -> Style {
    Style { fg: Some(Color::Reset), ..Style::new() }
}

/// The sequence that begins a style.
fn codes(style: Style) -> String {
    let mut text = "\u{1b}[0".to_owned();
    let modifiers = [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)];
    let colors = [(Color::Red, 31), (Color::Green, 32), (Color::Yellow, 33)];
    let modified =
        modifiers.iter().filter(|(modifier, _)| style.add_modifier.contains(*modifier)).map(|(_, code)| code);
    let colored = colors.iter().filter(|(color, _)| style.fg == Some(*color)).map(|(_, code)| code);
    for code in modified.chain(colored) {
        write!(text, ";{code}").expect("a string grows as needed");
    }
    text + "m"
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn a_frame_is_text_without_what_only_a_screen_needs() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 4));
        buffer.set_string(0, 0, "日本 web", Style::new());
        buffer.set_string(2, 1, "down", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        let text = of(&buffer);
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "日本 web\n  down\n");
        assert!(text.contains("\u{1b}[0;1;31mdown\u{1b}[0m\n"), "{text:?}");
    }
}
