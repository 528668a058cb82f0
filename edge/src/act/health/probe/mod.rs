//! One probe: a question to a target, and a result code within the timeout. I/O.
//!
//! Keeps: whatever the target does, it ends within its timeout, with bounded memory and without a socket left over; the
//! detail says what a person would do next.

pub(super) mod connects;
mod http;
pub(crate) mod icmp;
mod reach;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use schema::health::{HealthCheck, HealthKind, Outcome, ResultCode};
use schema::rule::{Host, Rule, Target};
use tokio::time::Instant;

use crate::act::names::Names;
use crate::act::wording;

/// What is asked, and where. Equal ones are asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) check: HealthCheck,
    /// Where to connect to.
    host: Host,
    port: u16,
    /// How the target is called where the check does not say so; the same as `host` where that does not matter.
    name: Host,
    prefer_ipv6: bool,
}

impl Question {
    /// For a target of a rule. Of a range, the first port is asked unless the check names one.
    pub(super) fn new(check: &HealthCheck, target: &Target, rule: &Rule) -> Self {
        let host = check.address.map_or_else(|| target.host.clone(), Host::Ip);
        let is_named = check.kind.is_http() || check.kind.is_tls();
        let is_icmp = check.kind == HealthKind::Icmp;
        Self {
            name: if is_named { target.host.clone() } else { host.clone() },
            port: if is_icmp { 0 } else { check.port.unwrap_or(target.ports.first()) },
            prefer_ipv6: rule.prefer_ipv6 && matches!(host, Host::Name(_)),
            host,
            check: check.clone(),
        }
    }

    /// Where to connect to, if that is all there is to do.
    pub(super) fn bare_connect(&self) -> Option<SocketAddr> {
        let is_bare = self.check.kind == HealthKind::Tcp && self.check.send.is_empty() && self.check.expect.is_empty();
        match self.host {
            Host::Ip(ip) if is_bare => Some(SocketAddr::new(ip, self.port)),
            _ => None,
        }
    }

    /// How long a target may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.check.timeout_ms.into())
    }
}

/// What all probes share.
pub(super) struct Tools {
    tls: tls::Tls,
    names: Names,
}

impl Tools {
    /// With these names, and with the host's root certificates.
    pub(super) fn new(names: Names) -> Self {
        Self { tls: tls::Tls::default(), names }
    }
}

/// The end of a probe.
#[derive(Debug)]
pub(super) struct Probed {
    pub(super) outcome: Outcome,
    /// The name did not resolve: nothing was asked.
    pub(super) is_unresolved: bool,
}

/// Asks once.
pub(super) async fn ask(question: &Question, tools: &Tools) -> Probed {
    let deadline = Instant::now() + question.timeout();
    let addresses = match reach::resolve(question, &tools.names, deadline).await {
        Ok(addresses) => addresses,
        Err(detail) => {
            return Probed { outcome: Outcome::new(ResultCode::L4Con, &detail), is_unresolved: true };
        }
    };
    // Most probes only connect: what the others need besides has a place of its own.
    let asked = match question.check.kind {
        HealthKind::Tcp => tcp::ask(question, &addresses, deadline).await,
        HealthKind::Tls => Box::pin(tls::ask(question, &tools.tls, &addresses, deadline)).await,
        HealthKind::Http | HealthKind::Https => Box::pin(http::ask(question, &tools.tls, &addresses, deadline)).await,
        HealthKind::Icmp => icmp::ask(&addresses, deadline).await,
    };
    Probed { outcome: asked.unwrap_or_else(|failed| failed), is_unresolved: false }
}

/// A result that ends a probe early is its error.
type Asked<T> = Result<T, Outcome>;

fn failed<T>(code: ResultCode, detail: &str) -> Asked<T> {
    Err(Outcome::new(code, detail))
}

/// What the system said about a connection that broke, for people.
fn broken(doing: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => format!("{doing}: the target reset the connection"),
        _ => format!("{doing}: {}", wording::system(error)),
    }
}
