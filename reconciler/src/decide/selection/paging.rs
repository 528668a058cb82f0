//! One page of a list, and how many rows the list has. Pure.

use super::{Selection, Unselected};

/// Some rows of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paged<T> {
    /// The page.
    pub rows: Vec<T>,
    /// How many rows match, with those of other pages.
    pub total: u64,
}

impl<T> Paged<T> {
    /// At most `limit` rows after the first `offset`. A page behind the last row is empty.
    pub fn of(rows: Vec<T>, offset: Option<usize>, limit: Option<usize>) -> Self {
        let total = rows.len() as u64;
        let rows = rows.into_iter().skip(offset.unwrap_or_default()).take(limit.unwrap_or(usize::MAX));
        Self { rows: rows.collect(), total }
    }
}

impl Selection {
    /// The page that is asked for. A list without any row is an error where something was asked for.
    pub fn page<T>(&self, rows: Vec<T>) -> Result<Paged<T>, Unselected> {
        if !self.is_empty() {
            self.any(&rows)?;
        }
        Ok(Paged::of(rows, self.offset, self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_parts_of_one_list_and_know_its_length() {
        let page = |offset, limit| {
            let selection = Selection { limit, offset, ..Selection::default() };
            let page = selection.page((0..5).collect::<Vec<u32>>()).expect("rows");
            assert_eq!(page.total, 5);
            page.rows
        };
        assert_eq!(page(None, None), [0, 1, 2, 3, 4]);
        assert_eq!(page(None, Some(2)), [0, 1]);
        assert_eq!(page(Some(2), Some(2)), [2, 3]);
        assert_eq!(page(Some(4), Some(2)), [4]);
        assert_eq!(page(Some(9), Some(2)), Vec::<u32>::new());
        let selection = Selection { offset: Some(1), ..Selection::default() };
        assert!(matches!(selection.page(Vec::<u32>::new()), Err(Unselected::Nothing(_))));
    }
}
