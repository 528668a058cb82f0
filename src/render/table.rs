//! Rows in aligned columns, without lines, as wide as the terminal. Pure but for the width that it asks for.
//!
//! Keeps: numbers and the first column are never cut, and a cell that is cut ends in an ellipsis.

use comfy_table::{CellAlignment, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::words::lines;
use crate::output::{clean, room};

/// Between two columns.
const GAP: usize = 2;
/// A cell that is cut keeps so much at first, and in a table that is still too wide, so much.
const KEPT: [usize; 2] = [12, 4];

/// A table with these headings; columns whose heading begins with `#` hold numbers.
pub(crate) struct Columns {
    headings: Vec<String>,
    is_number: Vec<bool>,
    /// Columns in the order in which they are cut.
    yielding: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// Where there is not enough room, the last column is cut first.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let is_number: Vec<bool> = headings.iter().map(|heading| heading.starts_with('#')).collect();
        let yielding = (1..headings.len()).rev().filter(|index| !is_number[*index]).collect();
        let headings = headings.iter().map(|heading| heading.trim_start_matches('#').to_owned()).collect();
        Self { headings, is_number, yielding, rows: Vec::new() }
    }

    /// The same, but these columns are cut first, in this order.
    #[must_use]
    pub(crate) fn yielding(mut self, first: &[&str]) -> Self {
        let place = |heading: &&str| self.headings.iter().position(|known| known == heading);
        let named: Vec<usize> = first.iter().filter_map(place).collect();
        self.yielding.retain(|index| !named.contains(index));
        self.yielding = named.into_iter().chain(self.yielding).collect();
        self
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| clean(cell).into_owned()).collect());
    }

    /// The lines, each with a line end and without blanks before it, at most as wide as the terminal.
    pub(crate) fn text(&self, indent: &str) -> String {
        self.fitted(indent, room())
    }

    /// The same in so much room.
    fn fitted(&self, indent: &str, room: Option<usize>) -> String {
        let widths = self.widths(room.map(|room| room.saturating_sub(indent.width())));
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(self.headings.iter().zip(&widths).map(|(cell, most)| cut(cell, *most)));
        for (index, is_number) in self.is_number.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, GAP as u16));
                if *is_number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        for row in &self.rows {
            table.add_row(row.iter().zip(&widths).map(|(cell, most)| cut(cell, *most)));
        }
        lines(table.lines().map(|line| format!("{indent}{}", line.trim_end())))
    }

    /// How wide each column is.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let widest = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.chain([&self.headings[index]]).map(|cell| cell.width()).max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..self.headings.len()).map(widest).collect();
        let Some(room) = room else { return widths };
        for kept in KEPT {
            for index in &self.yielding {
                let all = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
                let excess = all.saturating_sub(room);
                let least = widths[*index].min(kept);
                widths[*index] = widths[*index].saturating_sub(excess).max(least);
            }
        }
        widths
    }
}

/// At most so wide.
fn cut(cell: &str, most: usize) -> String {
    if cell.width() <= most {
        return cell.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |letter: &char| {
        let width = letter.width().unwrap_or_default();
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut text: String = cell.chars().take_while(fits).collect();
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_and_control_characters_are_not_printed() {
        let mut columns = Columns::new(&["EDGE", "#RULES"]);
        columns.row(&row(&["edge-01", "7"]));
        columns.row(&row(&["e\u{1b}", "12"]));
        assert_eq!(columns.fitted("  ", None), "  EDGE     RULES\n  edge-01      7\n  e\\u{1b}     12\n");
    }

    #[test]
    fn a_table_fits_the_room_and_the_least_important_column_is_cut_first() {
        let mut columns = Columns::new(&["RULE", "#PORT", "TARGET", "WHY"]).yielding(&["TARGET"]);
        columns.row(&row(&["edge-01/web", "8443", "upstream.example.org:8443", "a reason of some words"]));
        let whole = columns.fitted("", None);
        assert!(whole.contains("upstream.example.org:8443") && whole.contains("some words"), "{whole}");
        let text = columns.fitted("", Some(60));
        assert!(text.contains("upstream.example…  a reason of some words"), "{text}");
        for room in [60, 50, 40, 33] {
            let text = columns.fitted("", Some(room));
            assert!(text.lines().all(|line| line.width() <= room), "{room}: {text}");
            assert!(text.contains("edge-01/web") && text.contains("8443"), "{text}");
        }
        assert_eq!(cut("日本語", 4), "日…");
    }
}
