//! The view `/ui/rules`: all rules, searched and filtered by what stands in the address. Pure.

use jiff::Timestamp;
use schema::name::EdgeName;

use super::filter::{FilterForm, Pager};
use super::query::ViewQuery;
use super::rule_line::RuleLine;
use super::words::count;
use crate::decide::status::RuleStatus;

/// The path of the view.
pub const PATH: &str = "/ui/rules";
/// Parameters that leave every rule in the list.
const ORDER: &[&str] = &["sort", "limit", "offset"];

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesView {
    /// What is asked for.
    pub filter: FilterForm,
    /// A page of rules.
    pub rows: Vec<RuleLine>,
    /// The other pages.
    pub pager: Pager,
    /// How many rules the operator does not see; empty where it sees all.
    pub hidden: String,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
}

impl RulesView {
    /// A page of rules: `total` match, `hidden` are not for this operator.
    pub fn new<'a>(
        query: &ViewQuery,
        rows: impl Iterator<Item = (&'a EdgeName, &'a RuleStatus)>,
        (total, hidden): (u64, u64),
        now: Timestamp,
    ) -> Self {
        let rows: Vec<RuleLine> = rows.map(|(edge, rule)| RuleLine::new(edge, rule, now)).collect();
        let pager = Pager::new(PATH, query, (rows.len() as u64, total), "rule");
        let filter = filter(query);
        let empty = match (rows.is_empty(), filter.is_used, total) {
            (false, ..) => "",
            (true, false, 0) => "There are no rules yet. The first apply of a tree puts them here.",
            (true, true, 0) => "No rule matches. Remove a filter to see more.",
            (true, ..) => "The list ends before this page.",
        };
        Self { filter, rows, pager, hidden: hidden_in_words(hidden), empty: empty.to_owned() }
    }
}

/// `3 rules are hidden by your limits.`
pub fn hidden_in_words(hidden: u64) -> String {
    match hidden {
        0 => String::new(),
        1 => "1 rule is hidden by the limits of this operator.".to_owned(),
        more => format!("{} are hidden by the limits of this operator.", count(more, "rule")),
    }
}

/// The states of rules, as the API names them.
pub const STATES: &[(&str, &str)] = &[
    ("", "any state"),
    ("active", "active"),
    ("failed", "failed"),
    ("rejected", "rejected"),
    ("pending", "pending"),
    ("draining", "draining"),
    ("disabled", "disabled"),
    ("unknown", "unknown"),
];
/// The healths of rules.
pub const HEALTHS: &[(&str, &str)] = &[("", "any health"), ("up", "up"), ("down", "down"), ("unknown", "unknown")];

fn filter(query: &ViewQuery) -> FilterForm {
    FilterForm::new(PATH, query, ORDER)
        .text(query, ("rule", "Rule", "web-*"))
        .text(query, ("edge", "Edge", "fra-*"))
        .text(query, ("label", "Label of the edge", "region=fra"))
        .text(query, ("owner", "Owner", "team-web"))
        .text(query, ("port", "Listens on port", "443"))
        .select(query, ("state", "State"), STATES)
        .select(query, ("health", "Health"), HEALTHS)
        .select(
            query,
            ("sort", "Order"),
            &[
                ("", "by name"),
                ("state", "failed first"),
                ("health", "down first"),
                ("connections", "most connections first"),
            ],
        )
        .select(query, ("limit", "Rows"), &[("", "100"), ("250", "250"), ("500", "500")])
}
