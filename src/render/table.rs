//! Rows in aligned columns, without lines. Pure.

use comfy_table::{CellAlignment, Table, presets};

use super::words::lines;
use crate::output::clean;

/// A table with these headings; columns whose heading begins with `#` hold numbers.
pub(crate) struct Columns(Table);

impl Columns {
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(headings.iter().map(|heading| heading.trim_start_matches('#')));
        for (index, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if heading.starts_with('#') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self(table)
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        self.0.add_row(cells.iter().map(|cell| clean(cell).into_owned()));
    }

    /// The lines, each with a line end and without blanks before it.
    pub(crate) fn text(&self, indent: &str) -> String {
        lines(self.0.lines().map(|line| format!("{indent}{}", line.trim_end())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_are_not_printed() {
        let mut columns = Columns::new(&["EDGE", "#RULES"]);
        columns.row(&["edge-01".to_owned(), "7".to_owned()]);
        columns.row(&["e\u{1b}".to_owned(), "12".to_owned()]);
        assert_eq!(columns.text("  "), "  EDGE     RULES\n  edge-01      7\n  e\\u{1b}     12\n");
    }
}
