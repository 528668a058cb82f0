//! Cells, columns, and how wide each column may be. Pure.
//!
//! Keeps: the first column is always there; a number is shown whole or not at all; a text that is cut ends in `…`.

use unicode_width::UnicodeWidthStr;

use crate::output::clean;

/// Between two columns.
const GAP: usize = 2;
/// A text that is cut keeps so much.
const KEPT: usize = 8;

/// How much a text asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
    Strong,
}

/// A text of the screen. Nothing in it moves the cursor, even if others wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// A text with its title, from a line on.
pub(crate) struct TextPage<'t> {
    pub(crate) title: &'t str,
    pub(crate) lines: &'t [Cell],
    pub(crate) first: usize,
}

impl Cell {
    /// A text with a tone.
    pub(crate) fn new(text: &str, tone: Tone) -> Self {
        Self { text: clean(text).into_owned(), tone }
    }

    /// A text like most.
    pub(crate) fn plain(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A column of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) heading: &'static str,
    /// It holds numbers, which end below each other.
    pub(crate) is_number: bool,
    /// Columns with a higher rank give up room earlier; 0 never does.
    pub(crate) rank: u8,
}

/// A column of texts.
pub(crate) const fn text(heading: &'static str, rank: u8) -> Column {
    Column { heading, is_number: false, rank }
}

/// A column of numbers.
pub(crate) const fn number(heading: &'static str, rank: u8) -> Column {
    Column { heading, is_number: true, rank }
}

/// How wide each column is in so much room; `None` where it is left out.
pub(crate) fn widths(columns: &[Column], rows: &[Vec<Cell>], room: usize) -> Vec<Option<usize>> {
    let natural = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.width());
        cells.chain([columns[index].heading.width()]).max().unwrap_or_default()
    };
    let mut widths: Vec<Option<usize>> = (0..columns.len()).map(|index| Some(natural(index))).collect();
    let mut yielding: Vec<usize> = (0..columns.len()).filter(|index| columns[*index].rank > 0).collect();
    yielding.sort_by_key(|index| std::cmp::Reverse(columns[*index].rank));
    // What matters least is left out before what matters more is cut.
    for index in yielding.iter().copied() {
        if !columns[index].is_number {
            shrink(&mut widths, index, KEPT.max(columns[index].heading.width()), room);
        }
        if needed(&widths) > room {
            widths[index] = None;
        }
    }
    // What the columns that are left out gave back goes to those that were cut, the last to yield first.
    for index in yielding.iter().rev().copied().filter(|index| !columns[*index].is_number) {
        if let Some(width) = widths[index] {
            let spare = room.saturating_sub(needed(&widths));
            widths[index] = Some((width + spare).min(natural(index)));
        }
    }
    for index in 0..columns.len() {
        shrink(&mut widths, index, 1, room);
    }
    widths
}

/// The columns that are there, with what is between them.
fn needed(widths: &[Option<usize>]) -> usize {
    let there = widths.iter().flatten();
    there.clone().sum::<usize>() + there.count().saturating_sub(1) * GAP
}

/// Takes from a column what is missing, and leaves it at least so much.
fn shrink(widths: &mut [Option<usize>], index: usize, least: usize, room: usize) {
    let missing = needed(widths).saturating_sub(room);
    if let Some(width) = &mut widths[index] {
        *width = width.saturating_sub(missing).max(least.min(*width));
    }
}

/// A text in exactly so many columns: cut, or filled with blanks before a number and behind anything else.
pub(crate) fn fitted(text: &str, width: usize, is_number: bool) -> String {
    let cut = cut(text, width);
    let blanks = " ".repeat(width.saturating_sub(cut.width()));
    if is_number { blanks + &cut } else { cut + &blanks }
}

/// The same cells on as many lines as they need; what continues is indented as its line is.
pub(crate) fn wrapped(line: &[Cell], width: usize) -> Vec<Vec<Cell>> {
    let text: usize = line.iter().map(|cell| cell.text.width()).sum();
    if text <= width || width < KEPT * 2 {
        return vec![line.to_vec()];
    }
    let indent = line.first().map_or(0, |cell| cell.text.len() - cell.text.trim_start().len()).min(width / 2) + 2;
    let (mut lines, mut current, mut used) = (Vec::new(), Vec::new(), 0);
    for cell in line {
        let mut part = String::new();
        for word in cell.text.split_inclusive(' ') {
            if used > indent && used + word.trim_end().width() > width {
                current.push(Cell { text: std::mem::take(&mut part), tone: cell.tone });
                lines.push(std::mem::replace(&mut current, vec![Cell::plain(&" ".repeat(indent))]));
                used = indent;
            }
            part.push_str(word);
            used += word.width();
        }
        current.push(Cell { text: part, tone: cell.tone });
    }
    lines.push(current);
    lines
}

/// At most so many columns of a text.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if kept.width() + letter.to_string().width() + 1 > width {
            break;
        }
        kept.push(letter);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [text("RULE", 0), text("WHY", 3), number("IN", 1), number("OUT", 2)];

    fn fit(room: usize) -> Vec<Option<usize>> {
        let row = ["fra-1/web", "a long reason", "12", "3456"].map(Cell::plain).to_vec();
        widths(&COLUMNS, &[row], room)
    }

    #[test]
    fn columns_give_up_room_by_their_rank() {
        assert_eq!(fit(80), [Some(9), Some(13), Some(2), Some(4)]);
        assert_eq!(fit(32), [Some(9), Some(11), Some(2), Some(4)], "a text is cut first");
        assert_eq!(fit(26), [Some(9), None, Some(2), Some(4)], "what would be too short to read is left out");
        assert_eq!(fit(18), [Some(9), None, Some(2), None]);
        assert_eq!(fit(5), [Some(5), None, None, None], "the first one is always there");
        assert_eq!(fit(0), [Some(1), None, None, None]);
    }

    #[test]
    fn a_text_is_cut_by_the_columns_that_it_takes() {
        assert_eq!(fitted("web", 5, false), "web  ");
        assert_eq!(fitted("12", 5, true), "   12");
        assert_eq!(cut("a long text", 6), "a lon…");
        assert_eq!(cut("日本語", 4), "日…", "a letter of two columns is not halved");
        assert_eq!(cut("web", 0), "");
    }

    #[test]
    fn a_line_that_is_too_long_continues_below_itself() {
        let line = [Cell::plain("  Held: "), Cell::new("the followed tree removes 12 rules", Tone::Warn)];
        let texts = |width: usize| -> Vec<String> {
            let lines = wrapped(&line, width);
            lines.iter().map(|line| line.iter().map(|cell| cell.text.as_str()).collect::<String>()).collect()
        };
        assert_eq!(texts(60), ["  Held: the followed tree removes 12 rules"]);
        assert_eq!(texts(24), ["  Held: the followed ", "    tree removes 12 ", "    rules"]);
        assert_eq!(texts(4).len(), 1, "there is no room to wrap in");
    }

    #[test]
    fn nothing_in_a_cell_moves_a_cursor() {
        assert_eq!(Cell::plain("a\u{1b}[2J\nb").text, "a\\u{1b}[2J\\nb");
    }
}
