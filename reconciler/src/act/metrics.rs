//! The metrics port: every series of CONTRACT §8 that has a meaning by now, `/healthz` and `/readyz`. I/O.
//!
//! The series are made anew for each scrape from what the fleet knows, so one row exists for each live rule and none
//! outlives its rule. Long because each series is registered, and given its value, in one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use guard::tls::Refused;
use jiff::Timestamp;
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};
use schema::counters::{CounterKind, CounterRow, Figures, ROWS, SniMiss};
use schema::health::{ResultCode, RuleHealth};
use schema::name::EdgeName;
use schema::net::Protocol;
use schema::state::RuleState;
use tracing::warn;

use super::counters::{Missed, Rows};
use super::driver::FleetHandle;
use super::notify::NotifyHandle;
use super::timings::Timings;
use super::trust::refusals::{EdgeRefusals, Wish};
use super::trust::registrar::TrustHandle;
use super::trust::serving::ServerCertificate;
use crate::decide::drift::DriftKind;
use crate::decide::fleet::{Fleet, Outcome};
use crate::decide::notices::NotifierDocument;
use crate::decide::quota::{QuotaLevel, QuotaOf, Quotas};
use crate::decide::remote::RemoteView;
use crate::decide::target_totals::TargetTotals;
use crate::decide::view::{EdgeView, RuleView};
use crate::decide::words;

const RULE: [&str; 3] = ["client", "rule", "owner"];
const RULE_AND_STATE: [&str; 4] = ["client", "rule", "owner", "state"];

/// What the figures are read from.
#[derive(Debug, Clone)]
pub struct MetricsSource {
    /// What the fleet knows.
    pub fleet: FleetHandle,
    /// The authority and the certificates of edges.
    pub trust: TrustHandle,
    /// The certificate of the control port.
    pub certificate: Arc<ServerCertificate>,
    /// Edges that were not let in.
    pub refusals: EdgeRefusals,
    /// The notifiers, with what waits for them.
    pub notify: NotifyHandle,
    /// Handshakes that failed, by port.
    pub tls: Vec<(&'static str, Arc<Refused>)>,
    /// Log lines that the process has dropped.
    pub log_lines_dropped: Arc<AtomicU64>,
    /// Lines of a connection log that were dropped, where there is such a log.
    pub connection_log_dropped: Option<Arc<AtomicU64>>,
}

impl MetricsSource {
    /// When each certificate ends: its kind, the edge that it is of, and the end in seconds since 1970.
    async fn certificates(&self) -> Vec<(&'static str, String, i64)> {
        let authorities = Arc::clone(&self.trust.authorities.borrow());
        let ca = Some(("ca", String::new(), authorities.current.not_after.cast_signed()));
        let server = self.certificate.not_after().map(|end| ("server", String::new(), end.cast_signed()));
        let edges = self.trust.read(|register| {
            let valid = register.iter().filter(|(_, entry)| entry.has_joined() && !entry.revoked);
            valid.filter_map(|(name, entry)| Some(("edge", name.to_string(), entry.expires_at?.as_second()))).collect()
        });
        // A server that is stopping has nothing to say of its edges.
        let edges: Vec<_> = edges.await.unwrap_or_default();
        ca.into_iter().chain(server).chain(edges).collect()
    }
}

/// The routes of the metrics port.
pub fn router(source: MetricsSource) -> Router {
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(source);
    guard::port::marked(routes, guard::Port::Metrics)
}

/// Ready once the driver answers: state is restored and edges are served.
async fn ready(State(source): State<MetricsSource>) -> Response {
    match source.fleet.read(|_| ()).await {
        Ok(()) => "ready\n".into_response(),
        Err(stopped) => (StatusCode::SERVICE_UNAVAILABLE, format!("{stopped}\n")).into_response(),
    }
}

async fn scrape(State(source): State<MetricsSource>) -> Response {
    // A copy: rendering a large fleet takes a while, and the driver must not wait for that.
    let copy = source.fleet.read(|view| MetricsSnapshot {
        fleet: view.fleet.clone(),
        counters: view.counters.rows().clone(),
        probes: view.counters.probes().clone(),
        quotas: view.counters.quotas().clone(),
        sni_missed: view.counters.sni_missed().clone(),
        applies: view.applies.clone(),
        timings: view.timings.clone(),
        log_lines_dropped: 0,
        connection_log_dropped: None,
        certificates: Vec::new(),
        refusals: Vec::new(),
        handshakes: Vec::new(),
        notifiers: Arc::from([]),
        store_bytes: view.store.bytes(),
    });
    let mut scene = match copy.await {
        Ok(scene) => scene,
        Err(stopped) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{stopped}\n")).into_response(),
    };
    scene.log_lines_dropped = source.log_lines_dropped.load(Ordering::Relaxed);
    let of_log = source.connection_log_dropped.as_ref();
    scene.connection_log_dropped = of_log.map(|dropped| dropped.load(Ordering::Relaxed));
    scene.certificates = source.certificates().await;
    scene.refusals = source.refusals.counts();
    scene.notifiers = source.notify.documents();
    scene.handshakes = source.tls.iter().map(|(port, refused)| (*port, refused.counts())).collect();
    let rendered = match tokio::task::spawn_blocking(move || render(&scene)).await {
        Ok(rendered) => rendered,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    match rendered {
        Ok(text) => ([("content-type", TextEncoder::new().format_type().to_owned())], text).into_response(),
        Err(error) => {
            warn!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What one scrape shows.
struct MetricsSnapshot {
    fleet: Fleet,
    counters: Rows,
    probes: BTreeMap<String, u64>,
    quotas: BTreeMap<EdgeName, Quotas>,
    sni_missed: Missed,
    applies: BTreeMap<Outcome, u64>,
    timings: Timings,
    log_lines_dropped: u64,
    connection_log_dropped: Option<u64>,
    certificates: Vec<(&'static str, String, i64)>,
    refusals: Vec<(Wish, &'static str, u64)>,
    handshakes: Vec<(&'static str, [(&'static str, u64); 4])>,
    notifiers: Arc<[NotifierDocument]>,
    store_bytes: u64,
}

/// The series of one counter of the table.
enum Series {
    Counter(CounterVec),
    Gauge(GaugeVec),
}

impl Series {
    fn register(registry: &Registry, row: &CounterRow) -> prometheus::Result<Self> {
        let labels = [&RULE, row.labels].concat();
        Ok(match row.kind {
            CounterKind::Counter => Self::Counter(counter(registry, row.series, row.help, &labels)?),
            CounterKind::Gauge => Self::Gauge(gauge(registry, row.series, row.help, &labels)?),
        })
    }

    fn set(&self, labels: &[&str], value: f64) {
        match self {
            Self::Counter(series) => series.with_label_values(labels).inc_by(value),
            Self::Gauge(series) => series.with_label_values(labels).set(value),
        }
    }
}

struct RuleSeries {
    counters: Vec<Series>,
    state: GaugeVec,
    health: GaugeVec,
    targets: GaugeVec,
}

fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<CounterVec> {
    let series = CounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(series.clone()))?;
    Ok(series)
}

fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    let series = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(series.clone()))?;
    Ok(series)
}

impl RuleSeries {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            counters: ROWS.iter().map(|row| Series::register(registry, row)).collect::<prometheus::Result<_>>()?,
            state: gauge(
                registry,
                "portunus_rule_state",
                "1 for the state that the rule has, 0 for the others.",
                &RULE_AND_STATE,
            )?,
            health: gauge(
                registry,
                "portunus_rule_health",
                "1 for the health that the rule has, 0 for the others.",
                &RULE_AND_STATE,
            )?,
            targets: gauge(registry, "portunus_rule_targets", "Targets of the rule, by state.", &RULE_AND_STATE)?,
        })
    }

    /// Of a rule of this protocol: a row of another one would say that it might count there.
    fn set_counters(&self, labels: &[&str; 3], figures: &Figures, protocol: Option<Protocol>) {
        for (series, (row, counts)) in self.counters.iter().zip(figures.rows()) {
            if row.protocol.is_some() && row.protocol != protocol {
                continue;
            }
            if row.words.is_empty() {
                series.set(labels, row.in_series(counts[0]));
            }
            for (place, (word, count)) in row.words.iter().zip(counts).enumerate() {
                // An alert on an increase misses the first count of a row that begins with it.
                if place < row.known || *count > 0 {
                    series.set(&[&labels[..], &row.split(word)].concat(), row.in_series(*count));
                }
            }
        }
    }

    fn set_state(&self, labels: &[&str; 3], state: RuleState) {
        let [client, rule, owner] = *labels;
        for each in RuleState::ALL {
            let value = if *each == state { 1.0 } else { 0.0 };
            self.state.with_label_values(&[client, rule, owner, each.as_str()]).set(value);
        }
    }

    /// Of rules that serve.
    fn set_health(&self, labels: &[&str; 3], view: &RuleView) {
        let [client, rule, owner] = *labels;
        let health = view.health.unwrap_or(RuleHealth::Unknown);
        for each in [RuleHealth::Up, RuleHealth::Down, RuleHealth::Unknown] {
            let value = if each == health { 1.0 } else { 0.0 };
            self.health.with_label_values(&[client, rule, owner, each.as_str()]).set(value);
        }
        for (state, _) in TargetTotals::default().by_state() {
            let count = view.targets.iter().filter(|target| target.state == state).count();
            self.targets.with_label_values(&[client, rule, owner, state.as_str()]).set(count as f64);
        }
    }
}

fn render(view: &MetricsSnapshot) -> prometheus::Result<String> {
    let registry = Registry::new();
    of_certificates(&registry, view)?;
    of_refusals(&registry, view)?;
    of_names(&registry, view)?;
    of_edges(&registry, view)?;
    of_quotas(&registry, view)?;
    of_notifiers(&registry, &view.notifiers)?;
    of_results(&registry, view)?;
    of_fleet(&registry, view)?;
    of_process(&registry, view)?;
    let mut families = registry.gather();
    families.extend(view.timings.gather());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn of_certificates(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let help = "Seconds until the certificate ends; negative once it has ended.";
    let expires = gauge(registry, "portunus_certificate_expires_seconds", help, &["kind", "client"])?;
    let now = Timestamp::now().as_second();
    for (kind, client, end) in &view.certificates {
        expires.with_label_values(&[*kind, client]).set((end - now) as f64);
    }
    Ok(())
}

/// Edges and connections that were not let in.
fn of_refusals(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let help = "Edges that were not let in, by what they wanted and the reason.";
    let refused = counter(registry, "portunus_edge_refused_total", help, &["wish", "reason"])?;
    for (wish, reason, count) in &view.refusals {
        refused.with_label_values(&[wish.as_str(), *reason]).inc_by(*count as f64);
    }
    let help = "Connections to a TLS port that ended before their handshake was complete.";
    let handshakes = counter(registry, "portunus_tls_refused_total", help, &["port", "reason"])?;
    for (port, reasons) in &view.handshakes {
        for (reason, count) in reasons {
            handshakes.with_label_values(&[*port, *reason]).inc_by(*count as f64);
        }
    }
    Ok(())
}

/// Connections to ports with server names that no rule was for.
fn of_names(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let help = "Connections to ports with server names that no rule was for, by cause.";
    let missed = counter(registry, "portunus_edge_sni_missed_total", help, &["client", "cause"])?;
    for (name, edge) in view.fleet.edges() {
        let client = name.as_str();
        let counted = view.sni_missed.get(name);
        // Of an edge without such a port no row says that it might count there.
        if edge.connected && (counted.is_some_and(|counted| !counted.is_empty()) || has_names(edge)) {
            for cause in SniMiss::ALL.iter().map(|why| why.as_str()) {
                let count = counted.and_then(|counted| counted.get(cause)).copied().unwrap_or_default();
                missed.with_label_values(&[client, cause]).inc_by(count as f64);
            }
        }
    }
    Ok(())
}

/// Edges, and the rules of those that are connected.
fn of_edges(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let rules = RuleSeries::register(registry)?;
    let connected = gauge(registry, "portunus_edge_connected", "1 while the edge has a session.", &["client"])?;
    let generation = gauge(registry, "portunus_edge_generation", "Generation that the edge accepted.", &["client"])?;
    let desired = gauge(
        registry,
        "portunus_edge_desired_generation",
        "Generation that the server wants the edge to \
            have.",
        &["client"],
    )?;
    for (name, edge) in view.fleet.edges() {
        let client = name.as_str();
        connected.with_label_values(&[client]).set(if edge.connected { 1.0 } else { 0.0 });
        generation.with_label_values(&[client]).set(edge.observed_generation() as f64);
        desired.with_label_values(&[client]).set(edge.desired_generation() as f64);
        // What an edge without a session runs is not known, and a row would say that it is.
        for rule in edge.rule_names().into_iter().filter(|_| edge.connected) {
            let Some(status) = crate::decide::status::rule_state(edge, rule) else { continue };
            let owner = status.rule.map(|rule| rule.owner.as_str()).unwrap_or_default();
            let labels = [client, rule.as_str(), owner];
            rules.set_state(&labels, status.state);
            if status.is_live {
                let counted = view.counters.get(name).and_then(|rows| rows.get(rule)).copied().unwrap_or_default();
                let figures = Figures { active_connections: edge.connections(rule), ..counted };
                rules.set_counters(&labels, &figures, status.rule.map(|rule| rule.protocol()));
                if let Some(view) = edge.rule(rule) {
                    rules.set_health(&labels, view);
                }
            }
        }
    }
    Ok(())
}

/// What differs, and what ended how.
fn of_results(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let drifted = gauge(registry, "portunus_drift", "Deviations from the applied state, by kind.", &["kind"])?;
    for kind in DriftKind::ALL {
        drifted.with_label_values(&[kind.as_str()]).set(0.0);
    }
    for each in view.fleet.drift() {
        drifted.with_label_values(&[each.kind.as_str()]).inc();
    }
    let probes = counter(registry, "portunus_probe_total", "Probes of all edges, by result code.", &["result"])?;
    // Where a name did not resolve, or the edge's host was at fault, no target was asked.
    for result in ResultCode::ALL.iter().map(|code| code.as_str()).chain(words::UNASKED.iter().copied()) {
        let count = view.probes.get(result).copied().unwrap_or_default();
        probes.with_label_values(&[result]).inc_by(count as f64);
    }
    let applies = counter(registry, "portunus_apply_total", "Applies that ended, by outcome.", &["outcome"])?;
    for outcome in Outcome::ENDS {
        let count = view.applies.get(&outcome).copied().unwrap_or_default();
        applies.with_label_values(&[outcome.as_str()]).inc_by(count as f64);
    }
    Ok(())
}

/// What the fleet as a whole is in.
fn of_fleet(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let frozen = gauge(registry, "portunus_frozen", "1 while a freeze stops applying.", &[])?;
    frozen.with_label_values(&[] as &[&str]).set(if view.fleet.frozen().is_some() { 1.0 } else { 0.0 });
    let store = gauge(registry, "portunus_store_bytes", "Size of the server's state on disk.", &[])?;
    store.with_label_values(&[] as &[&str]).set(view.store_bytes as f64);
    let held = gauge(registry, "portunus_held", "1 while an old revision is held in force.", &[])?;
    let is_held = crate::decide::held::held(&view.fleet).0;
    held.with_label_values(&[] as &[&str]).set(if is_held { 1.0 } else { 0.0 });
    if let Some(remote) = view.fleet.remote() {
        of_remote(registry, remote)?;
    }
    Ok(())
}

/// The server's own process.
fn of_process(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let help = "Log lines that could not be written to standard error.";
    let dropped = counter(registry, "portunus_log_lines_dropped_total", help, &[])?;
    dropped.with_label_values(&[] as &[&str]).inc_by(view.log_lines_dropped as f64);
    if let Some(lines) = view.connection_log_dropped {
        let help = "Lines of the connection log that found no room or could not be written.";
        let dropped = counter(registry, "portunus_connection_log_dropped_total", help, &[])?;
        dropped.with_label_values(&[] as &[&str]).inc_by(lines as f64);
    }
    let build = gauge(registry, "portunus_build_info", "1, with the version of the program.", &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    Ok(())
}

/// The quotas of rules and owners of connected edges: a row of an owner has no rule.
fn of_quotas(registry: &Registry, view: &MetricsSnapshot) -> prometheus::Result<()> {
    let used = gauge(registry, "portunus_quota_bytes_used", "Bytes of the period of a quota.", &RULE)?;
    let limit = gauge(registry, "portunus_quota_bytes_limit", "Bytes that the period of a quota has.", &RULE)?;
    let exhausted = gauge(registry, "portunus_quota_exhausted", "1 while nothing is left of a quota.", &RULE)?;
    for (name, edge) in view.fleet.edges().iter().filter(|(_, edge)| edge.connected) {
        for (of, quota) in view.quotas.get(name).into_iter().flatten() {
            let (rule, owner) = match of {
                QuotaOf::Owner(owner) => ("", owner.as_str()),
                QuotaOf::Rule(rule) => {
                    let status = crate::decide::status::rule_state(edge, rule);
                    let owner = status.and_then(|status| status.rule).map_or("", |rule| rule.owner.as_str());
                    (rule.as_str(), owner)
                }
            };
            let labels = [name.as_str(), rule, owner];
            used.with_label_values(&labels).set(quota.used as f64);
            limit.with_label_values(&labels).set(quota.limit as f64);
            exhausted.with_label_values(&labels).set(if quota.level() == QuotaLevel::Exhausted { 1.0 } else { 0.0 });
        }
    }
    Ok(())
}

/// What waits for notifiers, was accepted, and was given up.
fn of_notifiers(registry: &Registry, notifiers: &[NotifierDocument]) -> prometheus::Result<()> {
    let pending = gauge(registry, "portunus_notify_pending", "Notices that wait for a notifier.", &["name"])?;
    let given_up = "Notices that a notifier did not accept for a day.";
    let given_up = counter(registry, "portunus_notify_given_up_total", given_up, &["name"])?;
    let sent = counter(registry, "portunus_notify_sent_total", "Messages that a notifier accepted.", &["name"])?;
    let failed =
        counter(registry, "portunus_notify_failed_total", "Messages that a notifier did not accept.", &["name"])?;
    let help = "Notices that were merged because too many waited.";
    let condensed = counter(registry, "portunus_notify_condensed_total", help, &["name"])?;
    for one in notifiers {
        let name = [one.name.as_str()];
        pending.with_label_values(&name).set(one.pending as f64);
        given_up.with_label_values(&name).inc_by(one.given_up as f64);
        sent.with_label_values(&name).inc_by(one.sent as f64);
        failed.with_label_values(&name).inc_by(one.failed as f64);
        condensed.with_label_values(&name).inc_by(one.condensed as f64);
    }
    Ok(())
}

/// True if the edge runs a rule that is chosen by a server name.
fn has_names(edge: &EdgeView) -> bool {
    edge.rule_names().into_iter().filter_map(|rule| edge.serving(rule)).any(|rule| !rule.sni.is_empty())
}

/// The followed remote repository, where there is one.
fn of_remote(registry: &Registry, remote: &RemoteView) -> prometheus::Result<()> {
    let looks = counter(
        registry,
        "portunus_git_fetch_total",
        "Fetches of the followed repository, by \
        result.",
        &["outcome"],
    )?;
    looks.with_label_values(&["fetched"]).inc_by(remote.fetched as f64);
    looks.with_label_values(&["failed"]).inc_by(remote.failed as f64);
    let failing = gauge(registry, "portunus_git_failing", "1 while the followed repository cannot be fetched.", &[])?;
    let none: &[&str] = &[];
    failing.with_label_values(none).set(if remote.error.is_some() { 1.0 } else { 0.0 });
    let attempted = "Time of the last fetch attempt, in seconds since 1970.";
    let fetched = "Time of the last successful fetch, in seconds since 1970.";
    for (name, help, at) in [
        ("portunus_git_last_attempted_timestamp_seconds", attempted, remote.attempted_at),
        ("portunus_git_last_fetched_timestamp_seconds", fetched, remote.fetched_at),
    ] {
        if let Some(at) = at {
            gauge(registry, name, help, &[])?.with_label_values(none).set(at.as_second() as f64);
        }
    }
    Ok(())
}
