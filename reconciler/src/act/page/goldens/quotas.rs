//! `/ui/quotas`

use serde_json::json;

use super::{NASTY, golden, layout, now, of};
use crate::act::page::quotas::QuotasPage;
use crate::decide::page::query::ViewQuery;
use crate::decide::page::quotas::QuotasView;
use crate::decide::quota::QuotaDocument;

fn quotas() -> Vec<QuotaDocument> {
    of(json!([
        {"edge": "fra-1", "rule": "web", "owner": "team-web", "state": "exhausted", "used": 1_100_000, "limit": 1_000_000,
            "percent": 110.0, "period": "month", "starts": "2026-01-01T00:00:00Z", "ends": "2026-02-01T00:00:00Z",
            "on_exhausted": "stop"},
        {"edge": "fra-1", "owner": NASTY, "state": "warning", "used": 825_000, "limit": 1_000_000, "percent": 82.5,
            "period": "total", "on_exhausted": "throttle"},
        {"edge": "fra-1", "rule": "db", "owner": "", "state": "available", "used": 0, "limit": 1_000_000_000, "percent": 0.0,
            "period": "day", "ends": "2026-01-03T00:00:00Z", "on_exhausted": "observe"}
    ]))
}

fn page(query: &str, quotas: &[QuotaDocument], may_reset: bool) -> QuotasPage {
    let counts = (quotas.len() as u64, 0, may_reset);
    QuotasPage {
        layout: layout("Quotas"),
        view: QuotasView::new(&ViewQuery::parse(query), quotas, counts, now()),
        may_reset,
    }
}

#[test]
fn quotas_are_bars_with_numbers_beside() {
    golden("quotas_full", &page("", &quotas(), true));
    golden("quotas_viewer", &page("", &quotas(), false));
}

#[test]
fn without_quotas_the_page_says_why() {
    golden("quotas_empty", &page("", &[], true));
    golden("quotas_nothing_matches", &page("owner=nobody", &[], true));
}
