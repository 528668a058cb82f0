//! A list of which the screen shows a part: the selected row, the visible rows, and the rows that were fetched. Pure.
//!
//! Keeps: only rows near the visible ones are asked for; a row stays selected while its list changes around it.

use jiff::Timestamp;

use super::rows::{Key, Rows};
use super::state::Question;

/// One list.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// What was typed to filter it.
    pub(crate) filter: String,
    /// The order, as an index into those of its view.
    pub(crate) order: usize,
    /// The selected row, counted from the beginning of the list.
    pub(crate) cursor: usize,
    /// The first visible row.
    pub(crate) first: usize,
    /// How many rows there are in all, as far as they can be shown.
    pub(crate) total: usize,
    /// How many rows match, including those that cannot be shown.
    pub(crate) matching: usize,
    /// The first fetched row.
    pub(crate) offset: usize,
    /// The fetched rows.
    pub(crate) rows: Rows,
    /// When they came; `None` while nothing has come yet.
    pub(crate) at: Option<Timestamp>,
    /// Why there are none.
    pub(crate) problem: Option<String>,
    /// What a person should know beside the rows.
    pub(crate) note: Option<String>,
    /// How many rows the operator may not see.
    pub(crate) hidden: u64,
    /// What was asked last; any other answer is out of date.
    pub(crate) asked: Option<Question>,
}

impl List {
    /// Selects a row, or the nearest one that there is, and makes it visible.
    pub(crate) fn select(&mut self, row: usize, height: usize) {
        self.cursor = row.min(self.total.saturating_sub(1));
        self.show(height);
    }

    /// Selects the row that is so many rows below, or above.
    pub(crate) fn select_by(&mut self, rows: isize, height: usize) {
        self.select(self.cursor.saturating_add_signed(rows), height);
    }

    /// Makes the selected row visible, and leaves no room empty that rows could fill.
    pub(crate) fn show(&mut self, height: usize) {
        let height = height.max(1);
        self.first = self.first.min(self.cursor).max((self.cursor + 1).saturating_sub(height));
        self.first = self.first.min(self.total.saturating_sub(height));
    }

    /// The first row to ask for, and how many: one screen more on both sides.
    pub(crate) fn wanted(&self, height: usize) -> (usize, usize) {
        let first = self.first.saturating_sub(height);
        (first, self.first + 2 * height.max(1) - first)
    }

    /// True if no visible row is missing.
    pub(crate) fn is_complete(&self, height: usize) -> bool {
        let last = (self.first + height).min(self.total);
        self.at.is_some() && self.first >= self.offset && last <= self.offset + self.rows.len()
    }

    /// Takes in an answer: rows from `offset` on, of so many.
    pub(crate) fn take(&mut self, rows: Rows, offset: usize, total: usize, at: Timestamp) {
        let selected = self.selected();
        (self.rows, self.offset, self.total) = (rows, offset, total.max(offset));
        (self.at, self.problem) = (Some(at), None);
        let found = selected.and_then(|key| self.rows.position(&key));
        self.cursor = found.map_or(self.cursor, |index| offset + index).min(self.total.saturating_sub(1));
    }

    /// Takes in why there is nothing to show.
    pub(crate) fn fail(&mut self, problem: String, at: Timestamp) {
        (self.rows, self.offset, self.total) = (Rows::default(), 0, 0);
        (self.cursor, self.first, self.hidden) = (0, 0, 0);
        (self.at, self.problem, self.note) = (Some(at), Some(problem), None);
    }

    /// Begins again: another filter, or another order.
    pub(crate) fn restart(&mut self) {
        *self = Self { filter: std::mem::take(&mut self.filter), order: self.order, ..Self::default() };
    }

    /// What the selected row is.
    pub(crate) fn selected(&self) -> Option<Key> {
        self.rows.key(self.cursor.checked_sub(self.offset)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::table::Cell;

    fn at() -> Timestamp {
        "2026-01-02T08:00:00Z".parse().expect("a time")
    }

    fn lines(count: usize) -> Rows {
        Rows::Lines((0..count).map(|number| vec![Cell::plain(&number.to_string())]).collect())
    }

    #[test]
    fn the_selected_row_is_always_visible() {
        let mut list = List::default();
        list.take(lines(30), 0, 100, at());
        list.select_by(12, 10);
        assert_eq!((list.cursor, list.first), (12, 3));
        list.select(usize::MAX, 10);
        assert_eq!((list.cursor, list.first), (99, 90));
        list.select_by(isize::MIN, 10);
        assert_eq!((list.cursor, list.first), (0, 0));
        list.select(99, 10);
        list.show(200);
        assert_eq!(list.first, 0, "a larger screen shows more of the list");
        list.show(0);
        assert_eq!(list.first, 99, "and one without room does not divide by it");
    }

    #[test]
    fn only_rows_near_the_visible_ones_are_asked_for() {
        let mut list = List::default();
        assert_eq!(list.wanted(20), (0, 40));
        assert!(!list.is_complete(20));
        list.take(lines(40), 0, 10_000, at());
        assert!(list.is_complete(20));
        list.select(5_000, 20);
        assert_eq!(list.wanted(20), (4_961, 60));
        assert!(!list.is_complete(20));
        list.take(lines(60), 4_961, 10_000, at());
        assert!(list.is_complete(20));
    }

    #[test]
    fn a_list_that_became_shorter_keeps_a_row_selected() {
        let mut list = List::default();
        list.take(lines(30), 0, 30, at());
        list.select(29, 10);
        list.take(lines(3), 0, 3, at());
        list.show(10);
        assert_eq!((list.cursor, list.first), (2, 0));
        list.take(lines(0), 0, 0, at());
        list.show(10);
        assert_eq!((list.cursor, list.first, list.selected()), (0, 0, None));
    }
}
