//! The selectors of the lists: which rows are shown, in which order and how many. Pure.
//!
//! Keeps: they are named as the query parameters of the API, which decides what they mean.

use std::fmt::Display;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reconciler::decide::selection;

use crate::{address, duration};

/// A parameter of a query that may be absent.
type Pair = (&'static str, Option<String>);

/// Which edges and rules are meant, and how many rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    /// At most so many rows; of the history, the newest; of events, the first, after which the command ends
    #[arg(long, value_name = "N", env = "PORTUNUS_LIMIT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

/// Which edges and rules are meant.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct PlaceArgs {
    /// Edges whose names match
    #[arg(long, value_name = "GLOB", env = "PORTUNUS_SELECT_EDGE")]
    pub(crate) edge: Option<String>,
    /// Edges with this label in the inventory; repeat the flag for several labels
    #[arg(long, value_name = "KEY=VALUE", env = "PORTUNUS_SELECT_LABEL", value_delimiter = ',')]
    label: Vec<String>,
    /// Rules whose names match
    #[arg(long, value_name = "GLOB", env = "PORTUNUS_SELECT_RULE")]
    pub(crate) rule: Option<String>,
    /// Rules of this owner
    #[arg(long, value_name = "NAME", env = "PORTUNUS_SELECT_OWNER")]
    owner: Option<String>,
    /// Rules in this state, such as `failed`; of targets and events of targets, their state, such as `down`; of the
    /// history, entries with this outcome, such as `partial`
    #[arg(long, value_name = "STATE", env = "PORTUNUS_SELECT_STATE")]
    state: Option<String>,
    /// Rules that listen on this port
    #[arg(long, value_name = "N", env = "PORTUNUS_SELECT_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Which connections are meant.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct ConnectionArgs {
    /// Connections from this network, such as 10.0.0.0/8, or from this address
    #[arg(long, value_name = "NET", env = "PORTUNUS_SELECT_SOURCE")]
    source: Option<String>,
    /// Connections to this target
    #[arg(long, value_name = "HOST:PORT", env = "PORTUNUS_SELECT_TARGET")]
    target: Option<String>,
    /// Connections that are at least so old, such as `10m`
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_SELECT_OLDER", value_parser = duration::parse)]
    older: Option<Duration>,
    /// The connection with this id, as the list shows it
    #[arg(long, value_name = "ID", env = "PORTUNUS_SELECT_ID")]
    id: Option<String>,
}

/// The order of connections.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct ConnectionSortArg {
    /// The order over all edges: by rule, the oldest first, or most bytes first
    #[arg(long, value_name = "BY", env = "PORTUNUS_SORT", value_parser = ["name", "age", "bytes"])]
    sort: Option<String>,
}

/// Which rules are meant by their health.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct HealthArg {
    /// Rules of this health
    #[arg(long, value_name = "HEALTH", env = "PORTUNUS_SELECT_HEALTH", value_parser = ["up", "down", "unknown"])]
    health: Option<String>,
}

/// The order of a list of rules.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct SortArg {
    /// The order over all edges; of all but `name`, what needs attention comes first
    #[arg(long, value_name = "BY", env = "PORTUNUS_SORT", value_parser = ["name", "state", "health", "connections"])]
    sort: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct OffsetArg {
    /// So many rows are passed over; with --limit, a long list can be read page by page
    #[arg(long, value_name = "N", env = "PORTUNUS_OFFSET")]
    offset: Option<u32>,
}

/// The order of counters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct StatsSortArg {
    /// The order over all edges; of all but `name`, the most or the worst comes first
    #[arg(
        long,
        value_name = "BY",
        env = "PORTUNUS_SORT",
        value_parser = ["name", "state", "health", "connections", "bytes", "rate"]
    )]
    sort: Option<String>,
}

/// The order of what `top` lists.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct TopSortArg {
    /// The order to begin with, where the view has it; of all but `name`, what needs attention comes first
    #[arg(
        long,
        value_name = "BY",
        env = "PORTUNUS_SORT",
        value_parser = ["name", "state", "health", "connections", "rate", "bytes", "age"]
    )]
    pub(crate) sort: Option<String>,
}

/// The order of entries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct TimeSortArg {
    /// The order; without it, the oldest entry comes first
    #[arg(long, value_name = "BY", env = "PORTUNUS_SORT", value_parser = ["oldest", "newest"])]
    sort: Option<String>,
}

/// Since when.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selectors, all of which must match")]
pub(crate) struct SinceArg {
    /// What happened since then: `10m`, or a time such as 2026-01-02T08:00:00Z
    #[arg(long, value_name = "TIME", env = "PORTUNUS_SINCE", value_parser = since)]
    since: Option<String>,
}

fn since(text: &str) -> Result<String, String> {
    selection::since(text, Timestamp::now()).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl SelectArgs {
    fn pairs(&self) -> Vec<Pair> {
        let mut pairs = self.places.pairs();
        pairs.push(("limit", self.limit.map(|limit| limit.to_string())));
        pairs
    }
}

impl ConnectionArgs {
    fn pairs(&self) -> Vec<Pair> {
        let older = self.older.map(|age| format!("{}s", age.as_secs()));
        vec![
            ("source", self.source.clone()),
            ("target", self.target.clone()),
            ("older", older),
            ("id", self.id.clone()),
        ]
    }
}

impl PlaceArgs {
    fn pairs(&self) -> Vec<Pair> {
        let labels = Some(self.label.join(",")).filter(|labels| !labels.is_empty());
        vec![
            ("edge", self.edge.clone()),
            ("label", labels),
            ("rule", self.rule.clone()),
            ("owner", self.owner.clone()),
            ("state", self.state.clone()),
            ("port", self.port.map(|port| port.to_string())),
        ]
    }
}

/// What selectors a command has besides, as parameters.
pub(crate) trait Selectors {
    /// The parameter.
    fn pair(&self) -> Pair;
}

impl OffsetArg {
    /// True if rows are passed over.
    pub(crate) fn is_given(&self) -> bool {
        self.offset.is_some()
    }
}

impl Selectors for OffsetArg {
    fn pair(&self) -> Pair {
        ("offset", self.offset.map(|offset| offset.to_string()))
    }
}

macro_rules! selectors {
    ($($name:ident $field:ident;)*) => {
        $(impl Selectors for $name {
            fn pair(&self) -> Pair {
                (stringify!($field), self.$field.clone())
            }
        })*
    };
}

selectors! {
    HealthArg health;
    SortArg sort;
    StatsSortArg sort;
    ConnectionSortArg sort;
    TimeSortArg sort;
    SinceArg since;
}

/// A selection as the query of a path.
#[derive(Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// What the arguments select.
    pub(crate) fn of(select: &SelectArgs, more: &[&dyn Selectors]) -> Self {
        Self::from_pairs(select.pairs().into_iter().chain(more.iter().map(|one| one.pair())))
    }

    /// What the arguments select of connections.
    pub(crate) fn of_connections(places: &PlaceArgs, of: &ConnectionArgs, more: &[&dyn Selectors]) -> Self {
        let pairs = places.pairs().into_iter().chain(of.pairs());
        Self::from_pairs(pairs.chain(more.iter().map(|one| one.pair())))
    }

    fn from_pairs(pairs: impl Iterator<Item = Pair>) -> Self {
        Self(pairs.filter_map(|(name, value)| Some((name, value?))).collect())
    }

    /// The parameters.
    pub(crate) fn into_pairs(self) -> Vec<(&'static str, String)> {
        self.0
    }

    /// True if everything is meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one more parameter.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: &dyn Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    /// The path with the query.
    pub(crate) fn on(self, path: &str) -> String {
        let query = address::query(self.0.into_iter());
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}
