//! What is in one list and not in another. Pure.

use super::NetworkList;
use crate::policy::Network;

/// Networks of each kind that a difference names; the others are counted.
const SHOWN: usize = 20;

/// What a list has that another had not, and the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListDifference {
    /// The first of the added networks.
    pub added: Vec<Network>,
    /// How many there are.
    pub added_total: usize,
    /// The first of the removed networks.
    pub removed: Vec<Network>,
    /// How many there are.
    pub removed_total: usize,
}

/// The difference between the version before and the one after. Walks through both at once.
pub fn difference(before: &NetworkList, after: &NetworkList) -> ListDifference {
    let mut found = ListDifference::default();
    if before == after {
        return found;
    }
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return found,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(other),
        };
        match order {
            std::cmp::Ordering::Equal => drop((before.next(), after.next())),
            std::cmp::Ordering::Less => note(before.next(), &mut found.removed, &mut found.removed_total),
            std::cmp::Ordering::Greater => note(after.next(), &mut found.added, &mut found.added_total),
        }
    }
}

fn note(network: Option<Network>, shown: &mut Vec<Network>, total: &mut usize) {
    *total += 1;
    if shown.len() < SHOWN {
        shown.extend(network);
    }
}
