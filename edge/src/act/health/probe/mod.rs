//! One probe: a question to a target, and a result code within the timeout. I/O.
//!
//! Keeps: whatever the target does, it ends within its timeout, with bounded memory and without a socket left over; the
//! detail says what a person would do next.

pub(super) mod connects;
mod http;
pub(crate) mod icmp;
mod reach;
pub(super) mod served_listeners;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use arc_swap::ArcSwap;
use schema::health::{HealthCheck, HealthKind, Outcome, ResultCode};
use schema::net::Protocol;
use schema::rule::{Host, ProxyProtocol, Rule, Target};
use tokio::time::Instant;

use self::served_listeners::ServedListeners;
use crate::act::names::Names;
use crate::act::policy::PolicyInForce;
use crate::act::wording;
use crate::decide::faults::{ConnectCause, fault_of};
use crate::decide::proxy;

/// What is asked, and where. Equal ones are asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProbeSpec {
    pub(super) check: HealthCheck,
    /// Where to connect to.
    host: Host,
    port: u16,
    /// How the target is called where the check does not name it; the same as `host` where that does not matter.
    name: Host,
    prefer_ipv6: bool,
    /// The target awaits a PROXY header. Another port or address of the check is not the target's, and awaits none.
    proxy: Option<ProxyProtocol>,
    /// Connections of the rule go to the same place, by TCP: none of them is made to a listener of this edge.
    is_dialled: bool,
}

impl ProbeSpec {
    /// For a target of a rule. Of a range, the first port is asked unless the check names one.
    pub(super) fn new(check: &HealthCheck, target: &Target, rule: &Rule) -> Self {
        let host = check.address.map_or_else(|| target.host.clone(), Host::Ip);
        let is_named = check.kind.is_http() || check.kind.is_tls();
        let is_icmp = check.kind == HealthKind::Icmp;
        let is_elsewhere = check.port.is_some() || check.address.is_some();
        Self {
            proxy: target.proxy_protocol.filter(|_| !is_icmp && !is_elsewhere),
            name: if is_named { target.host.clone() } else { host.clone() },
            port: if is_icmp { 0 } else { check.port.unwrap_or(target.ports.first()) },
            prefer_ipv6: rule.prefer_ipv6 && matches!(host, Host::Name(_)),
            host,
            check: check.judging(),
            is_dialled: !is_icmp && !is_elsewhere && rule.listen.protocol == Protocol::Tcp,
        }
    }

    /// Where to connect to, if that is all there is to do.
    pub(super) fn bare_connect(&self) -> Option<SocketAddr> {
        let is_silent = self.check.send.is_empty() && self.check.expect.is_empty() && self.proxy.is_none();
        let is_bare = self.check.kind == HealthKind::Tcp && is_silent;
        match self.host {
            Host::Ip(ip) if is_bare => Some(SocketAddr::new(ip, self.port)),
            _ => None,
        }
    }

    /// True if this address is not connected to, because it is a listener of this edge.
    pub(super) fn comes_back(&self, to: SocketAddr, own: &ServedListeners) -> bool {
        self.is_dialled && own.contain(to)
    }

    /// What is sent before anything else.
    fn header(&self) -> &'static [u8] {
        self.proxy.map_or(&[], proxy::of_own)
    }

    /// How long a target may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.check.timeout_ms.into())
    }
}

/// What all probes share.
pub(super) struct ProbeContext {
    tls: tls::Tls,
    names: Names,
    /// The listeners of this edge.
    pub(super) own: ArcSwap<ServedListeners>,
    /// What may be connected to.
    pub(super) policy: PolicyInForce,
}

impl ProbeContext {
    /// With these names, and with the host's root certificates.
    pub(super) fn new(names: Names, policy: PolicyInForce) -> Self {
        Self { tls: tls::Tls::default(), names, own: ArcSwap::default(), policy }
    }
}

/// The end of a probe.
#[derive(Debug)]
pub(super) enum Probed {
    /// It found this out about its target.
    Found(Outcome),
    /// The target's name does not exist: nothing was asked, and that is a failure.
    Nameless(Outcome),
    /// It found out nothing, by no fault of the target: that is not a verdict.
    Missed(Missed),
}

/// Why a probe found out nothing about its target.
#[derive(Debug)]
pub(super) enum Missed {
    /// This host is at fault.
    Host {
        /// What it lacks or forbids.
        cause: ConnectCause,
        /// For people.
        detail: String,
    },
    /// The name servers are.
    Names(String),
}

/// Asks once.
pub(super) async fn ask(question: &ProbeSpec, tools: &ProbeContext) -> Probed {
    let deadline = Instant::now() + question.timeout();
    let mut addresses = match reach::resolve(question, tools, deadline).await {
        Ok(addresses) => addresses,
        Err(probed) => return probed,
    };
    addresses.retain(|address| !tools.policy.refuses(*address));
    if addresses.is_empty() {
        let detail = format!("{}: {}", question.host, ConnectCause::Policy.of_host());
        return Probed::Missed(Missed::Host { cause: ConnectCause::Policy, detail });
    }
    addresses.retain(|address| !question.comes_back(*address, &tools.own.load()));
    if addresses.is_empty() {
        return Probed::Found(Outcome::new(ResultCode::L4Con, "the target is a listener of this edge"));
    }
    // Most probes only connect: what the others need besides has a place of its own.
    let asked = match question.check.kind {
        HealthKind::Tcp => tcp::ask(question, &addresses, deadline).await,
        HealthKind::Tls => Box::pin(tls::ask(question, &tools.tls, &addresses, deadline)).await,
        HealthKind::Http | HealthKind::Https => Box::pin(http::ask(question, &tools.tls, &addresses, deadline)).await,
        HealthKind::Icmp => icmp::ask(&addresses, deadline).await,
    };
    match asked {
        Ok(outcome) | Err(EarlyEnd::Target(outcome)) => Probed::Found(outcome),
        Err(EarlyEnd::Missed(missed)) => Probed::Missed(missed),
    }
}

/// What ends a probe early.
#[derive(Debug)]
enum EarlyEnd {
    /// A result.
    Target(Outcome),
    /// Nothing was found out.
    Missed(Missed),
}

/// A result that ends a probe early is its error.
type ProbeStep<T> = Result<T, EarlyEnd>;

fn failed<T>(code: ResultCode, detail: &str) -> ProbeStep<T> {
    Err(EarlyEnd::Target(Outcome::new(code, detail)))
}

/// The same for an error of the system, which may be this host's own fault.
fn failed_by<T>(code: ResultCode, error: &io::Error, detail: &str) -> ProbeStep<T> {
    failed_as(code, error, fault_of(error), detail)
}

/// The same where whose fault it is was judged before.
fn failed_as<T>(code: ResultCode, error: &io::Error, cause: ConnectCause, detail: &str) -> ProbeStep<T> {
    // What a library says by an error of its own is about the other side.
    if error.raw_os_error().is_some() && !cause.is_targets() {
        return Err(EarlyEnd::Missed(Missed::Host { cause, detail: detail.to_owned() }));
    }
    failed(code, detail)
}

/// What the system said about a connection that broke, for people.
fn broken(doing: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => format!("{doing}: the target reset the connection"),
        _ => format!("{doing}: {}", wording::system(error)),
    }
}
