//! The field table: every key of the language, stated once. Pure.
//!
//! Decoding, unknown-key hints, `explain`, the JSON Schema, `fmt` and the reference page all read these tables, so
//! they cannot disagree. Every field has an index constant, so that a draft is read by number and not by name.

mod checks;
mod files;
mod fleet;
mod limits;
mod rules;

pub use checks::{health, retry};
pub use files::{defaults, edge, global, root, stats};
pub use fleet::{portunus, rails, rollout, tree, wave};
pub use limits::{access, owner, owner_limits, owner_rate_limit, per_source, quota, rate_limit};
pub use rules::{rule, spec, target};

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// Text without control characters; line breaks only where `lines` is true.
    Text {
        /// Most bytes.
        max: usize,
        /// May hold line breaks.
        lines: bool,
    },
    /// Text that is sent or compared byte by byte, so it may hold any character.
    Payload {
        /// Most bytes.
        max: usize,
    },
    /// The name of a rule or an edge.
    Name,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of TLS server names.
    ServerNames,
    /// A list of networks in CIDR form, or addresses.
    Networks,
    /// The IANA name of a time zone.
    TimeZone,
    /// A list of texts.
    Texts {
        /// Most bytes of each.
        max: usize,
    },
    /// A table of texts.
    TextMap,
    /// An IP address.
    Ip,
    /// An IP address, with its interface where it has one.
    ListenAddress,
    /// `"LO-HI"` or one port as text.
    Ports,
    /// `"HOST:PORT"`, `"HOST:LO-HI"`, `"[v6]:PORT"`.
    Endpoint,
    /// An IP address or a DNS name.
    Host,
    /// HTTP statuses such as `"200-399"`.
    Statuses,
    /// A regular expression.
    Regex,
    /// A table.
    Table(&'static Table),
    /// A list of tables.
    Tables(&'static Table),
}

/// Which rules a key can concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Every rule.
    All,
    /// TCP rules only.
    Tcp,
    /// UDP rules only.
    Udp,
}

/// One key of one table.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// As it is written.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds where it is not given, as text; empty: nothing.
    pub default: &'static str,
    /// A value as in a TOML file.
    pub example: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Must it be given.
    pub required: bool,
    /// Which rules it can concern.
    pub concern: Concern,
}

impl Field {
    /// A field that may be left out and can concern every rule.
    pub const fn new(
        key: &'static str,
        kind: Kind,
        default: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { key, kind, default, example, doc, required: false, concern: Concern::All }
    }

    /// Must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Can concern TCP rules only.
    #[must_use]
    pub const fn tcp_only(mut self) -> Self {
        self.concern = Concern::Tcp;
        self
    }

    /// Can concern UDP rules only.
    #[must_use]
    pub const fn udp_only(mut self) -> Self {
        self.concern = Concern::Udp;
        self
    }
}

/// One table of the language.
#[derive(Debug)]
pub struct Table {
    /// As `explain` takes it: `rule`, `rule.health`.
    pub name: &'static str,
    /// As it is written in a file: `[[rule]]`.
    pub header: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in canonical order; the index of a field is its index constant.
    pub fields: &'static [Field],
    /// Indices of fields that this table does not take: `[defaults]` shares the fields of `[[rule]]`.
    pub without: &'static [usize],
}

/// More fields than any table has; a draft holds one byte for each.
pub const MAX_FIELDS: usize = 40;

impl Table {
    /// The fields that the table takes, with their indices.
    pub fn own_fields(&self) -> impl Iterator<Item = (usize, &'static Field)> {
        self.fields.iter().enumerate().filter(|(index, _)| !self.without.contains(index))
    }

    /// The index of a key. `after` is where to look first: files tend to follow the order of the table.
    pub fn find(&self, key: &str, after: usize) -> Option<usize> {
        let (head, tail) = self.fields.split_at(after.min(self.fields.len()));
        let found = match tail.iter().position(|field| field.key == key) {
            Some(index) => head.len() + index,
            None => head.iter().position(|field| field.key == key)?,
        };
        (!self.without.contains(&found)).then_some(found)
    }

    /// The key that was probably meant: a word of another system, or a key that looks like it.
    pub fn suggest(&self, key: &str) -> Option<&'static str> {
        let lower = if key.len() <= LONGEST_WORD { key.to_ascii_lowercase() } else { return None };
        let own = || self.own_fields().map(|(_, field)| field.key);
        let word = OTHER_WORDS.iter().find(|(table, word, _)| *table == self.name && *word == lower);
        let word = word.map(|(_, _, meant)| *meant).filter(|meant| own().any(|own| own == *meant));
        word.or_else(|| closest(key, own())).or_else(|| closest(&lower, own()))
    }
}

/// Words of other systems for keys that do not look like them, by table.
const OTHER_WORDS: &[(&str, &str, &str)] = &[
    ("rule", "port", "listen_port"),
    ("rule", "ports", "listen_ports"),
    ("rule", "bind", "listen_address"),
    ("rule", "to", "target"),
    ("rule", "backend", "target"),
    ("rule", "upstream", "target"),
    ("rule", "forward_to", "target"),
    ("rule", "destination", "target"),
    ("rule", "remote", "target"),
    ("rule", "backends", "targets"),
    ("rule", "upstreams", "targets"),
    ("rule", "servers", "targets"),
    ("rule", "algorithm", "balance"),
    ("rule", "lb_method", "balance"),
    ("rule", "check", "health"),
    ("rule.targets", "address", "host"),
    ("rule.targets", "ip", "host"),
    ("rule.targets", "server", "host"),
    ("rule.health", "interval", "interval_secs"),
    ("rule.health", "timeout", "timeout_ms"),
    ("rule.health", "type", "kind"),
];

/// Longer than any name: comparing megabytes with every key would take minutes.
const LONGEST_WORD: usize = 256;

/// The candidate that looks most like the word, if any does.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Below 0.8 Jaro-Winkler pairs words that share little more than letters.
    const ALIKE: f64 = 0.8;
    if word.len() > LONGEST_WORD {
        return None;
    }
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// Every table, in the order of the reference page.
pub static TABLES: &[&Table] = &[
    &root::TABLE,
    &edge::TABLE,
    &defaults::TABLE,
    &rule::TABLE,
    &target::TABLE,
    &health::TABLE,
    &retry::TABLE,
    &access::TABLE,
    &rate_limit::TABLE,
    &per_source::TABLE,
    &quota::TABLE,
    &owner::TABLE,
    &owner_rate_limit::TABLE,
    &global::TABLE,
    &stats::TABLE,
    &portunus::TABLE,
    &tree::TABLE,
    &rails::TABLE,
    &rollout::TABLE,
    &wave::TABLE,
];

/// Declares a module with one table and an index constant for each of its fields.
macro_rules! table {
    (
        $(#[$meta:meta])* $module:ident, $name:literal, $header:literal, $doc:literal $(, without $($without:ident),+)?;
        $($index:ident = $field:expr;)*
    ) => {
        $(#[$meta])*
        pub mod $module {
            #[allow(unused_imports, reason = "not every table holds numbers, limits or sub-tables")]
            use super::super::{Field, Kind, Table};
            #[allow(unused_imports, reason = "as above")]
            use super::*;

            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts the fields")]
            enum Index { $($index,)* }

            $(#[doc = concat!("Index of \
                `", stringify!($index), "`.")] pub const $index: usize = Index::$index as usize;)*

            /// The table.
            pub static TABLE: Table =
                Table { name: $name, header: $header, doc: $doc, fields: FIELDS, without: &[$($($without),+)?] };

            /// Its fields.
            pub(in crate::fields) static FIELDS: &[Field] = &[$($field,)*];
        }
    };
}
use table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_wider_than_a_draft_and_no_key_stands_twice() {
        for table in TABLES {
            assert!(table.fields.len() < MAX_FIELDS, "{}", table.name);
            for (index, field) in table.own_fields() {
                assert_eq!(table.find(field.key, 0), Some(index), "{}.{}", table.name, field.key);
                assert_eq!(table.find(field.key, 7), Some(index), "{}.{}", table.name, field.key);
                assert!(field.doc.ends_with('.'), "{}.{}", table.name, field.key);
            }
        }
    }

    #[test]
    fn a_typing_error_finds_its_key() {
        assert_eq!(rule::TABLE.suggest("lisen_port"), Some("listen_port"));
        assert_eq!(rule::TABLE.suggest("max_conections"), Some("max_connections"));
        assert_eq!(rule::TABLE.suggest("xyz"), None);
        assert_eq!(defaults::TABLE.find("name", 0), None);
    }
}
