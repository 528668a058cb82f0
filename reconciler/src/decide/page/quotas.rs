//! The view `/ui/quotas`: how much of each quota was used, and until when. Pure.

use jiff::Timestamp;

use super::filter::{FilterForm, Pager};
use super::query::ViewQuery;
use super::rule_line::rule_href;
use super::rules::hidden_in_words;
use super::words::{Badge, Moment, bytes, grouped};
use crate::decide::quota::{QuotaDocument, QuotaLevel};

/// The path of the view.
pub const PATH: &str = "/ui/quotas";

/// One quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLine {
    /// The edge.
    pub edge: String,
    /// The rule; empty where the quota is that of an owner.
    pub rule: String,
    /// The view of the rule.
    pub href: String,
    /// The owner.
    pub owner: String,
    /// How much is left.
    pub state: Badge,
    /// The width of the bar, 0 to 100.
    pub bar: String,
    /// `82.5 %`
    pub percent: String,
    /// Used so far.
    pub used: String,
    /// Of so much.
    pub limit: String,
    /// As in a rule file.
    pub period: String,
    /// When the next period begins.
    pub ends: Option<Moment>,
    /// What happens at the limit.
    pub on_exhausted: String,
    /// Where the form that begins its period anew is sent; empty where there is none.
    pub reset: String,
}

impl QuotaLine {
    fn new(quota: &QuotaDocument, may_reset: bool, now: Timestamp) -> Self {
        let rule = quota.rule.as_ref().map(ToString::to_string).unwrap_or_default();
        let href = quota.rule.as_ref().map(|rule| rule_href(quota.edge.as_str(), rule.as_str())).unwrap_or_default();
        let reset = if may_reset && !rule.is_empty() { format!("{href}/reset-quota") } else { String::new() };
        Self {
            edge: quota.edge.to_string(),
            state: match quota.state {
                QuotaLevel::Available => Badge::up(quota.state.as_str()),
                QuotaLevel::Warning => Badge::warn(quota.state.as_str()),
                QuotaLevel::Exhausted => Badge::down(quota.state.as_str()),
            },
            bar: format!("{:.1}", quota.percent.clamp(0.0, 100.0)),
            percent: percent(quota.percent),
            used: bytes(quota.used),
            limit: bytes(quota.limit),
            period: quota.period.clone(),
            ends: quota.ends.map(|at| Moment::new(at, now)),
            on_exhausted: quota.on_exhausted.clone(),
            owner: quota.owner.clone(),
            rule,
            href,
            reset,
        }
    }
}

/// `82.5 %`, `1,616 %`
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive, and a cast saturates")]
fn percent(of: f64) -> String {
    if of < 100.0 { format!("{of:.1} %") } else { format!("{} %", grouped(of as u64)) }
}

/// The view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotasView {
    /// What is asked for.
    pub filter: FilterForm,
    /// A page of quotas.
    pub rows: Vec<QuotaLine>,
    /// The other pages.
    pub pager: Pager,
    /// How much the operator does not see; empty where it sees all.
    pub hidden: String,
    /// What stands in the place of rows, where there are none.
    pub empty: String,
}

impl QuotasView {
    /// A page of quotas: `total` match; `may_reset` if the operator may begin a period anew.
    pub fn new(
        query: &ViewQuery,
        quotas: &[QuotaDocument],
        (total, hidden, may_reset): (u64, u64, bool),
        now: Timestamp,
    ) -> Self {
        let filter = FilterForm::new(PATH, query, &["limit", "offset"])
            .text(query, ("rule", "Rule", "web-*"))
            .text(query, ("edge", "Edge", "fra-*"))
            .text(query, ("owner", "Owner", "team-web"))
            .text(query, ("port", "Listens on port", "443"))
            .select(query, ("limit", "Rows"), &[("", "100"), ("250", "250"), ("500", "500")]);
        let empty = match (quotas.is_empty(), filter.is_used, total) {
            (false, ..) => "",
            (true, true, 0) => "No quota matches. Remove a filter to see more.",
            (true, false, 0) => "No rule and no owner has a quota. The table `[rule.quota]` of a rule file sets one.",
            (true, ..) => "The list ends before this page.",
        };
        Self {
            rows: quotas.iter().map(|quota| QuotaLine::new(quota, may_reset, now)).collect(),
            pager: Pager::new(PATH, query, (quotas.len() as u64, total), "quota"),
            hidden: hidden_in_words(hidden),
            empty: empty.to_owned(),
            filter,
        }
    }
}
