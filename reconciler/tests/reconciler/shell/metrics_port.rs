//! The metrics port: every series that has a meaning by now, with its help and type.

use reconciler::decide::fleet::Outcome;
use schema::counters::{Break, ChoiceKind, ConnectCause, Figures};
use schema::proto::{self, edge_message};
use serde_json::json;
use tokio::time::timeout;

use super::http::Client;
use super::session::message;
use super::{LONG, RULES, Running};

const SERIES: [&str; 26] = [
    "portunus_log_lines_dropped_total counter",
    "portunus_rule_bytes_in_total counter",
    "portunus_rule_bytes_out_total counter",
    "portunus_rule_active_connections gauge",
    "portunus_rule_connections_total counter",
    "portunus_rule_connect_errors_total counter",
    "portunus_rule_connections_broken_total counter",
    "portunus_rule_dns_failures_total counter",
    "portunus_rule_state gauge",
    "portunus_edge_connected gauge",
    "portunus_edge_generation gauge",
    "portunus_edge_desired_generation gauge",
    "portunus_edge_sni_missed_total counter",
    "portunus_rule_sni_total counter",
    "portunus_drift gauge",
    "portunus_apply_total counter",
    "portunus_apply_duration_seconds histogram",
    "portunus_plan_duration_seconds histogram",
    "portunus_build_info gauge",
    "portunus_rule_connections_refused_total counter",
    "portunus_rule_target_failovers_total counter",
    "portunus_rule_lb_total counter",
    "portunus_probe_total counter",
    "portunus_store_bytes gauge",
    "portunus_certificate_expires_seconds gauge",
    "portunus_tls_refused_total counter",
];

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scrape, looked at from all sides")]
async fn every_series_is_there_with_its_help_and_type() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/plan", &tree).await.status, 200);
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    session.accept(&desired).await;
    let mut counters = Figures { bytes_in: 7, connections_total: 1, target_failovers: 4, ..Figures::default() };
    *counters.lb.of_mut(ChoiceKind::Next) = 5;
    *counters.connect_errors.of_mut(ConnectCause::Refused) = 2;
    *counters.broken.of_mut(Break::TargetReset) = 3;
    let total = Some(counters.to_wire());
    let stats = proto::RuleStats { rule: "web".to_owned(), total, ..proto::RuleStats::default() };
    let probed = |cause: &str, count| proto::CauseCount { cause: cause.to_owned(), count };
    let probes = vec![probed("L7STS", 6), probed("dns", 3)];
    let sni_missed = vec![probed("no_match", 8), probed("made up", 1)];
    let report = proto::StatsReport { request_id: 0, rules: vec![stats], probes, sni_missed };
    session.send(message(edge_message::Body::Stats(report))).await;
    let client = Client::new(server.metrics, None);
    let row = "portunus_rule_bytes_in_total{client=\"local\",owner=\"team\",rule=\"web\"} 7";
    let scraped = async {
        loop {
            let text = client.get("/metrics").await.body;
            if text.contains(row) {
                return text;
            }
        }
    };
    let text = timeout(LONG, scraped).await.expect("the counters arrive");
    for series in SERIES {
        let name = series.split(' ').next().expect("a name");
        assert!(text.contains(&format!("# TYPE {series}\n")), "{series}\n{text}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    for (cause, count) in [("no_match", 8), ("timeout", 0)] {
        let row = format!("portunus_edge_sni_missed_total{{cause=\"{cause}\",client=\"local\"}} {count}\n");
        assert!(text.contains(&row), "{row}{text}");
    }
    assert!(!text.contains("made up"), "{text}");
    assert!(text.contains("portunus_apply_total{outcome=\"applied\"} 1"), "{text}");
    for outcome in Outcome::ENDS.map(Outcome::as_str).into_iter().filter(|outcome| *outcome != "applied") {
        assert!(text.contains(&format!("portunus_apply_total{{outcome=\"{outcome}\"}} 0")), "{outcome}: {text}");
    }
    assert!(text.contains("portunus_plan_duration_seconds_count 1"), "{text}");
    assert!(text.contains("cause=\"refused\""), "{text}");
    assert!(
        text.contains("portunus_rule_target_failovers_total{client=\"local\",owner=\"team\",rule=\"web\"} 4"),
        "{text}"
    );
    for (side, cause, count) in [("target", "reset", 3), ("client", "reset", 0), ("edge", "idle", 0)] {
        let labels = format!("cause=\"{cause}\",client=\"local\",owner=\"team\",rule=\"web\",side=\"{side}\"");
        assert!(text.contains(&format!("portunus_rule_connections_broken_total{{{labels}}} {count}\n")), "{text}");
    }
    for (kind, count) in [("first", 0), ("next", 5), ("untracked", 0), ("no_server", 0)] {
        let row = format!("{{client=\"local\",kind=\"{kind}\",owner=\"team\",rule=\"web\"}} {count}\n");
        assert!(text.contains(&format!("portunus_rule_lb_total{row}")), "{kind}\n{text}");
    }
    for code in schema::health::ResultCode::ALL {
        let count = if code.as_str() == "L7STS" { 6 } else { 0 };
        assert!(text.contains(&format!("portunus_probe_total{{result=\"{code}\"}} {count}\n")), "{code}\n{text}");
    }
    assert!(text.contains("portunus_probe_total{result=\"dns\"} 3\n"), "{text}");
    let expires = |labels: &str| -> Option<i64> {
        let row = text
            .lines()
            .find(|line| line.starts_with("portunus_certificate_expires_seconds") && line.contains(labels))?;
        row.rsplit(' ').next()?.parse().ok()
    };
    let day = 24 * 3600;
    for (labels, about) in [
        ("client=\"local\",kind=\"edge\"", day),
        ("client=\"\",kind=\"server\"", 30 * day),
        ("client=\"\",kind=\"ca\"", 3650 * day),
    ] {
        let left = expires(labels).unwrap_or_else(|| panic!("{labels}: {text}"));
        assert!((about - 3 * day..=about + 3 * day).contains(&left) && left > 0, "{labels}: {left}");
    }
    server.stop().await;
}

#[tokio::test]
async fn health_and_readiness_answer_without_a_token() {
    let server = Running::start().await;
    let client = Client::new(server.metrics, None);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    server.stop().await;
}
