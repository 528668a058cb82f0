//! `--metrics-listen`: what the edge process says about itself over HTTP. I/O.
//!
//! Keeps: no figure of a rule is served here; the server serves those of all edges, so that nothing counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use guard::{GuardedListener, Limits};
use prometheus::{Encoder, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::act::agent::SessionView;
use crate::act::descriptors;
use crate::act::joining::FleetMember;
use crate::act::runtime::RuntimeHandle;

/// What the peers of this port may take: scrapers are few, and whatever else connects must not take what connections
/// that are forwarded need.
const LIMITS: Limits =
    Limits { cap: 32, opening: Duration::from_secs(10), idle: Duration::from_mins(1), head: Duration::from_secs(30) };

/// What the figures are read from.
#[derive(Clone)]
pub(crate) struct MetricsSource {
    pub(crate) runtime: RuntimeHandle,
    pub(crate) session: SessionView,
    pub(crate) log_lines_dropped: Arc<AtomicU64>,
    pub(crate) connection_log_dropped: Option<Arc<AtomicU64>>,
}

impl MetricsSource {
    /// True once the edge has a session or a state to run without one.
    fn is_ready(&self) -> bool {
        *self.session.connected.borrow() || self.runtime.status().accepted.generation > 0
    }

    fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let registry = Registry::new();
        let build = Opts::new("portunus_build_info", "Version of this process.");
        let build = IntGaugeVec::new(build, &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        let status = self.runtime.status();
        let generation = status.accepted.generation;
        let connections = self.runtime.connections();
        let (is_full, shortages) = connections.shortage();
        let gauges = [
            ("portunus_session_connected", "1 while there is a session.", u64::from(*self.session.connected.borrow())),
            ("portunus_session_generation", "The generation of the last accepted desired state.", generation),
            (
                "portunus_edge_revoked",
                "1 if the server said that this edge was revoked.",
                self.session.member.as_ref().is_some_and(FleetMember::is_revoked).into(),
            ),
            ("portunus_open_listeners", "Listening sockets.", status.listeners as u64),
            ("portunus_open_connections", "Live connections.", connections.count() as u64),
            ("portunus_open_descriptors", "Descriptors in use.", descriptors::in_use()),
            ("portunus_max_descriptors", "The limit of descriptors.", guard::descriptors::limit()),
            ("portunus_accepting_rests", "1 while accepting is paused because descriptors are short.", is_full.into()),
        ];
        for (name, help, value) in gauges {
            let gauge = IntGauge::new(name, help)?;
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(Box::new(gauge))?;
        }
        let retries = IntCounter::new("portunus_bind_retries_total", "Attempts to heal failed rules.")?;
        retries.inc_by(self.runtime.retries());
        registry.register(Box::new(retries))?;
        let name = "portunus_log_lines_dropped_total";
        let dropped = IntCounter::new(name, "Log lines that could not be written to standard error.")?;
        dropped.inc_by(self.log_lines_dropped.load(Ordering::Relaxed));
        registry.register(Box::new(dropped))?;
        let name = "portunus_connection_log_dropped_total";
        let lost = IntCounter::new(name, "Lines of the connection log that found no room or could not be written.")?;
        lost.inc_by(self.connection_log_dropped.as_ref().map_or(0, |count| count.load(Ordering::Relaxed)));
        registry.register(Box::new(lost))?;
        let rests = IntCounter::new(
            "portunus_accept_shortages_total",
            "Times that accepting paused because descriptors were short.",
        )?;
        rests.inc_by(shortages);
        registry.register(Box::new(rests))?;
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(listener: TcpListener, source: MetricsSource, stop: CancellationToken) {
    let router = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(source);
    let router = guard::port::marked(router, guard::Port::Metrics);
    GuardedListener::http(listener, LIMITS).serve(router, stop).await;
}

async fn metrics(State(source): State<MetricsSource>) -> impl IntoResponse {
    match source.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(source): State<MetricsSource>) -> impl IntoResponse {
    if source.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "no state yet\n") }
}
