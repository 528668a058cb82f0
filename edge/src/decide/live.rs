//! Live connections as people list them: their names, and which of them come first. Pure.
//!
//! Keeps: the name of a connection that has ended names no other one, nor does a name from before a restart.

use std::fmt;

use schema::proto::ConnectionOrder;

/// The name of a live connection or flow of one edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Another one for every start of an edge.
    pub run: u32,
    /// The worker that serves it.
    pub worker: u16,
    /// True for a UDP flow.
    pub is_flow: bool,
    /// Its place at the worker.
    pub slot: u32,
    /// How many had this place before.
    pub generation: u32,
}

impl ConnectionId {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (run, place, generation) = (parts.next()?, parts.next()?, parts.next()?);
        let is_flow = place.contains('u');
        let (worker, slot) = place.split_once(if is_flow { 'u' } else { 't' })?;
        let id = Self {
            run: u32::from_str_radix(run, 16).ok()?,
            worker: u16::from_str_radix(worker, 16).ok()?,
            is_flow,
            slot: u32::from_str_radix(slot, 16).ok()?,
            generation: u32::from_str_radix(generation, 16).ok()?,
        };
        // Each name is written in one way only.
        (parts.next().is_none() && id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, worker, is_flow, slot, generation } = self;
        let kind = if *is_flow { 'u' } else { 't' };
        write!(f, "{run:08x}-{worker:x}{kind}{slot:x}-{generation:x}")
    }
}

/// What the order of a list looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked {
    /// The place of its rule among the names of all rules.
    pub rule: u32,
    /// How old it is, in ticks.
    pub age: u32,
    /// Bytes in both directions.
    pub bytes: u64,
}

/// The rank in a list; the lowest comes first.
pub fn rank(order: ConnectionOrder, Ranked { rule, age, bytes }: Ranked) -> u64 {
    let youngest_last = u64::from(u32::MAX - age);
    match order {
        ConnectionOrder::Name => (u64::from(rule) << 32) | youngest_last,
        ConnectionOrder::Age => youngest_last,
        ConnectionOrder::Bytes => u64::MAX - bytes,
    }
}

/// Leaves the first ones, so many at most, in no particular order among themselves.
pub fn leave_first<T>(rows: &mut Vec<T>, most: usize, rank: impl Fn(&T) -> u64) {
    if rows.len() > most {
        if most > 0 {
            rows.select_nth_unstable_by_key(most - 1, rank);
        }
        rows.truncate(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        for is_flow in [false, true] {
            let id = ConnectionId { run: 0xab, worker: 3, is_flow, slot: 0x1f2, generation: u32::MAX >> 2 };
            assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        }
        for wrong in ["", "000000ab-3t1f2", "ab-3t1f2-0", "000000ab-3t01f2-0", "000000ab-3t1f2-0-1", "000000AB-3t1f2-0"]
        {
            assert_eq!(ConnectionId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_order_puts_first_what_it_says() {
        let of = |rule, age, bytes| Ranked { rule, age, bytes };
        let (old, busy, other) = (of(0, 90, 5), of(0, 10, 900), of(1, 100, 0));
        let first = |order| {
            let mut rows = [busy, other, old];
            rows.sort_by_key(|row| rank(order, *row));
            rows
        };
        assert_eq!(first(ConnectionOrder::Name), [old, busy, other]);
        assert_eq!(first(ConnectionOrder::Age), [other, old, busy]);
        assert_eq!(first(ConnectionOrder::Bytes), [busy, old, other]);
    }

    #[test]
    fn the_first_rows_are_left_whatever_the_limit() {
        for most in 0..7 {
            let mut rows = vec![5_u64, 1, 4, 2, 3];
            leave_first(&mut rows, most, |row| *row);
            rows.sort_unstable();
            assert_eq!(rows, (1..=5).take(most).collect::<Vec<_>>());
        }
    }
}
