//! The table of counters: what is counted of a rule, one row each. Pure.
//!
//! A row gives a counter its key in JSON, its number on the wire, its Prometheus series with help and labels, the protocol
//! that it concerns and its kind. [`Counts`] has one field per row, so that edges count into `Counts<C>` with a running
//! counter of theirs, and everybody else reads `Counts<u64>`, the [`Figures`]. The form on the wire, JSON, the series and
//! the reference page follow from [`ROWS`].

pub mod labels;

mod json;
mod wire;

use std::fmt;

pub use labels::{
    Break, ByteDirection, ChoiceKind, ConnectCause, CounterLabel, Lost, RefusalReason, RefusedBy, SniMiss, SniResult,
};
pub use wire::Unreadable;

use crate::net::Protocol;

/// How a number moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKind {
    /// It only grows; it begins at 0 with its rule or with the process of its edge.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// What there is to know about one counter.
#[derive(Debug)]
pub struct CounterRow {
    /// The key in JSON.
    pub key: &'static str,
    /// The number on the wire. A number is never used again for another counter.
    pub number: u32,
    /// The Prometheus series.
    pub series: &'static str,
    /// What is counted, in a sentence.
    pub help: &'static str,
    /// The labels of the series beside `client`, `rule` and `owner`.
    pub labels: &'static [&'static str],
    /// The words of these labels in the order of the counts; several labels of one word are joined by `_`. Empty where
    /// there is no label. Words after the first `known` are those of edges of a later version.
    pub words: &'static [&'static str],
    /// How many of the words have a row in the metrics from the start.
    pub known: usize,
    /// Whose rules have this counter: of all protocols where it is none.
    pub protocol: Option<Protocol>,
    /// How it moves.
    pub kind: CounterKind,
}

impl CounterRow {
    /// A count in the unit of the series: metrics have seconds where messages have microseconds.
    pub fn in_series(&self, count: u64) -> f64 {
        if self.key.ends_with("_micros") { count as f64 / 1e6 } else { count as f64 }
    }

    /// The values of the row's labels that a word stands for.
    pub fn split(&self, word: &'static str) -> Vec<&'static str> {
        match (self.labels.len(), word.split_once('_')) {
            (2, Some((first, second))) => vec![first, second],
            // A word of a later version, which does not tell its parts.
            (2, None) => vec![word, word],
            _ => vec![word],
        }
    }
}

/// Counts by the words of a label.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct By<L, C, const N: usize> {
    counts: [C; N],
    label: std::marker::PhantomData<L>,
}

impl<L: CounterLabel, C, const N: usize> By<L, C, N> {
    /// The count of one word.
    pub fn of(&self, label: L) -> &C {
        &self.counts[label.index()]
    }

    /// The count of one word, to change it.
    pub fn of_mut(&mut self, label: L) -> &mut C {
        &mut self.counts[label.index()]
    }
}

impl<L: CounterLabel, C: Copy + Into<u64>, const N: usize> By<L, C, N> {
    /// The words that were counted at least once, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = |(word, count): (&&'static str, &C)| (*word, (*count).into());
        L::WORDS.iter().zip(&self.counts).map(counted).filter(|(_, count)| *count > 0)
    }

    /// The sum over all words.
    pub fn sum(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add((*count).into()))
    }
}

impl<L, C: Default, const N: usize> Default for By<L, C, N> {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| C::default()), label: std::marker::PhantomData }
    }
}

impl<L: CounterLabel, C: fmt::Debug, const N: usize> fmt::Debug for By<L, C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(L::WORDS.iter().zip(&self.counts)).finish()
    }
}

/// How a row is divided: not at all, or by the words of a label.
pub trait Division {
    /// A count, or one for each word.
    type Of<C>;
    /// As in [`CounterRow`].
    const LABELS: &'static [&'static str];
    /// As in [`CounterRow`].
    const WORDS: &'static [&'static str];
    /// As in [`CounterRow`].
    const KNOWN: usize;

    /// The counts in the order of the words.
    fn counts<C>(of: &Self::Of<C>) -> &[C];

    /// The same, to change them.
    fn counts_mut<C>(of: &mut Self::Of<C>) -> &mut [C];
}

/// Not divided.
#[derive(Debug)]
pub struct Whole;

impl Division for Whole {
    type Of<C> = C;
    const LABELS: &'static [&'static str] = &[];
    const WORDS: &'static [&'static str] = &[];
    const KNOWN: usize = 0;

    fn counts<C>(of: &C) -> &[C] {
        std::slice::from_ref(of)
    }

    fn counts_mut<C>(of: &mut C) -> &mut [C] {
        std::slice::from_mut(of)
    }
}

macro_rules! shapes {
    ($($label:ident)+) => {$(
        impl Division for $label {
            type Of<C> = By<$label, C, { <$label as CounterLabel>::WORDS.len() }>;
            const LABELS: &'static [&'static str] = <$label as CounterLabel>::NAMES;
            const WORDS: &'static [&'static str] = <$label as CounterLabel>::WORDS;
            const KNOWN: usize = <$label as CounterLabel>::ALL.len();

            fn counts<C>(of: &Self::Of<C>) -> &[C] {
                &of.counts
            }

            fn counts_mut<C>(of: &mut Self::Of<C>) -> &mut [C] {
                &mut of.counts
            }
        }
    )+};
}

shapes! { ConnectCause Break ChoiceKind Lost RefusedBy ByteDirection SniResult }

macro_rules! counters {
    ($(
        $(#[doc = $help:literal])+
        $key:ident: $shape:ident = $number:literal, $series:literal, $kind:ident, $protocol:expr;
    )+) => {
        /// Whole count for each row of the table, in its order.
        ///
        /// In memory, too: what moves with every read comes first, in one cache line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[repr(C)]
        pub struct Counts<C> {
            $($(#[doc = $help])+ pub $key: <$shape as Division>::Of<C>,)+
        }

        /// All counters, in the order of JSON and of the reference page.
        pub static ROWS: &[CounterRow] = &[$(CounterRow {
            key: stringify!($key),
            number: $number,
            series: $series,
            help: concat!($($help),+).trim_ascii_start(),
            labels: <$shape as Division>::LABELS,
            words: <$shape as Division>::WORDS,
            known: <$shape as Division>::KNOWN,
            protocol: $protocol,
            kind: CounterKind::$kind,
        }),+];

        impl<C> Counts<C> {
            /// Each row with its counts: one, or one for each word of its labels.
            pub fn rows(&self) -> impl Iterator<Item = (&'static CounterRow, &[C])> {
                ROWS.iter().zip([$(<$shape as Division>::counts(&self.$key)),+])
            }

            fn rows_mut(&mut self) -> impl Iterator<Item = (&'static CounterRow, &mut [C])> {
                ROWS.iter().zip([$(<$shape as Division>::counts_mut(&mut self.$key)),+])
            }
        }
    };
}

counters! {
    /// Bytes from clients to targets.
    bytes_in: Whole = 1, "portunus_rule_bytes_in_total", Counter, None;
    /// Bytes from targets to clients.
    bytes_out: Whole = 2, "portunus_rule_bytes_out_total", Counter, None;
    /// Datagrams from clients that went to targets.
    udp_datagrams_in: Whole = 8, "portunus_rule_udp_datagrams_in_total", Counter, Some(Protocol::Udp);
    /// Datagrams from targets that went to clients.
    udp_datagrams_out: Whole = 9, "portunus_rule_udp_datagrams_out_total", Counter, Some(Protocol::Udp);
    /// UDP flows that are open now; they count as connections, too.
    active_flows: Whole = 10, "portunus_rule_active_flows", Gauge, Some(Protocol::Udp);
    /// Connections and flows that are open now.
    active_connections: Whole = 3, "portunus_rule_active_connections", Gauge, None;
    /// Connections and flows that were accepted.
    connections_total: Whole = 4, "portunus_rule_connections_total", Counter, None;
    /// Connections that were refused: a limit was reached, their source may not connect, or no target takes any.
    connections_refused: Whole = 5, "portunus_rule_connections_refused_total", Counter, None;
    /// Connections and flows that access lists, limits, quotas or missing PROXY headers refused, or would have refused.
    refused: RefusedBy = 16, "portunus_rule_refused_total", Counter, None;
    /// Target names that did not resolve.
    dns_failures: Whole = 6, "portunus_rule_dns_failures_total", Counter, None;
    /// Attempts to connect to targets that failed, by cause.
    connect_errors: ConnectCause = 7, "portunus_rule_connect_errors_total", Counter, None;
    /// TCP connections that neither side ended whole, by who broke them and how.
    broken: Break = 15, "portunus_rule_connections_broken_total", Counter, Some(Protocol::Tcp);
    /// Times that verdicts, orders or weights moved new connections of a rule to other targets, there and back alike.
    target_failovers: Whole = 13, "portunus_rule_target_failovers_total", Counter, None;
    /// Choices of a target, by kind.
    lb: ChoiceKind = 14, "portunus_rule_lb_total", Counter, None;
    /// Connections that came by the TLS server name, or as the fallback of rules that do, by how.
    sni: SniResult = 18, "portunus_rule_sni_total", Counter, Some(Protocol::Tcp);
    /// New flows that found no room because `udp_max_flows` was reached.
    flows_dropped_overflow: Whole = 11, "portunus_rule_flows_dropped_overflow_total", Counter, Some(Protocol::Udp);
    /// How long connections waited for their bandwidth, by direction: in microseconds, and in seconds in the metrics.
    throttled_micros: ByteDirection = 17, "portunus_rule_throttled_seconds_total", Counter, None;
    /// Datagrams that were not passed on, by cause.
    datagrams_dropped: Lost = 12, "portunus_rule_udp_datagrams_dropped_total", Counter, Some(Protocol::Udp);
}

/// Counts as read at one moment.
pub type Figures = Counts<u64>;

impl<C> Counts<C> {
    /// Adds what other counts have come to.
    pub fn add_to(&self, sums: &mut Figures, read: impl Fn(&C) -> u64) {
        for ((_, counts), (_, sums)) in self.rows().zip(sums.rows_mut()) {
            for (count, sum) in counts.iter().zip(sums) {
                *sum = sum.saturating_add(read(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Figures in which each count is another one.
    fn every_row() -> Figures {
        let mut figures = Figures::default();
        let mut next = 1;
        for (_, counts) in figures.rows_mut() {
            for count in counts {
                (*count, next) = (next, next + 1);
            }
        }
        figures
    }

    #[test]
    fn every_row_goes_through_all_forms() {
        let figures = every_row();
        let json = serde_json::to_value(figures).expect("a value");
        assert_eq!(serde_json::from_value::<Figures>(json.clone()).expect("figures"), figures);
        assert_eq!(Figures::from_wire(&figures.to_wire()), Ok(figures));
        for (row, counts) in figures.rows() {
            let words: Vec<serde_json::Value> = counts.iter().map(|count| (*count).into()).collect();
            match row.words {
                [] => assert_eq!(vec![json[row.key].clone()], words, "{}", row.key),
                known => assert_eq!(known.iter().map(|word| json[row.key][word].clone()).collect::<Vec<_>>(), words),
            }
            assert!(crate::reference::markdown().contains(row.series), "{}", row.series);
        }
        let mut twice = Figures::default();
        figures.add_to(&mut twice, |count| *count);
        figures.add_to(&mut twice, |count| *count);
        assert_eq!(twice.bytes_out, 2 * figures.bytes_out);
        assert_eq!(twice.lb.sum(), 2 * figures.lb.sum());
    }

    #[test]
    fn rows_keep_their_numbers_and_follow_the_rules_of_prometheus() {
        let unique = |of: fn(&CounterRow) -> String| ROWS.iter().map(of).collect::<BTreeSet<_>>().len();
        for of in [
            |row: &CounterRow| row.number.to_string(),
            |row: &CounterRow| row.series.to_owned(),
            |row: &CounterRow| row.key.to_owned(),
        ] {
            assert_eq!(unique(of), ROWS.len());
        }
        for row in ROWS {
            assert_eq!(row.series.ends_with("_total"), row.kind == CounterKind::Counter, "{}", row.series);
            assert!(row.help.ends_with('.') && row.help.starts_with(char::is_uppercase), "{}", row.help);
            assert!(row.words.len() <= 64 && row.known <= row.words.len(), "{}", row.key);
            let shapes: BTreeSet<_> = row.words[..row.known].iter().map(|word| row.split(word).len()).collect();
            assert_eq!(
                shapes.into_iter().collect::<Vec<_>>(),
                if row.words.is_empty() { vec![] } else { vec![row.labels.len()] }
            );
        }
        let numbers: Vec<_> = ROWS.iter().map(|row| (row.number, row.key)).collect();
        assert!(
            numbers.contains(&(1, "bytes_in")) && numbers.contains(&(15, "broken")),
            "numbers are part of the protocol"
        );
    }
}
