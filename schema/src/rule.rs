//! The validated rule. To hold one is to know that it is valid: its parts can be read, not changed. Pure.
//!
//! [`Rule::new`] is the one place that knows what makes a rule whole; decoding a file and reading the wire
//! both end here, so that server and edge cannot disagree.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::time::Duration;

use crate::access::{Access, MAX_NETWORKS};
use crate::codes::TreeCode;
use crate::health::HealthCheck;
pub use crate::host::{Host, InvalidHost, MAX_HOST};
use crate::name::RuleName;
use crate::net::{ListenRange, PortRange, Protocol};
use crate::networks::NetworkList;
use crate::quota::Quota;
use crate::rate::RateLimit;
use crate::sni::{MAX_NAMES, ServerName};

/// Most targets of one rule.
pub const MAX_TARGETS: usize = 8;
/// `connect_timeout_ms` where it is not given.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// `half_closed_timeout_secs` where it is not given.
pub const DEFAULT_HALF_CLOSED_TIMEOUT: Duration = Duration::from_hours(1);
/// `drain_timeout_secs` where it is not given.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// `udp_max_flows` where it is not given.
pub const DEFAULT_UDP_MAX_FLOWS: u32 = 1024;
/// `udp_flow_idle_secs` where it is not given.
pub const DEFAULT_UDP_FLOW_IDLE: Duration = Duration::from_mins(1);
/// `sni_timeout_ms` where it is not given.
pub const DEFAULT_SNI_TIMEOUT: Duration = Duration::from_secs(3);
/// A target's weight where it is not given, and the largest.
pub const DEFAULT_WEIGHT: u8 = 100;
/// The largest priority, which is the least preferred.
pub const MAX_PRIORITY: u8 = 99;

/// How a pool shares new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// All to the first eligible target.
    #[default]
    Failover,
    /// By the client's address.
    SourceIp,
    /// In turn, by weight.
    RoundRobin,
    /// To the least loaded, by weight.
    LeastConnections,
}

/// What to try when no target is eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LastResort {
    /// The most preferred target.
    #[default]
    Top,
    /// Nothing: refuse.
    None,
    /// All of them, by priority.
    All,
}

/// What happens to live connections of a target that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnTargetDown {
    /// They go on until they end.
    #[default]
    Drain,
    /// They are reset.
    Reset,
}

/// The version of the PROXY protocol that a target is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

macro_rules! words {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl $name {
            /// Every word of the key, as `explain` lists them.
            pub const WORDS: &'static [&'static str] = &[$($text),*];

            /// As in a rule file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The value that is written so.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use words;
words!(Balance { Failover = "failover", SourceIp = "source-ip", RoundRobin = "round-robin", LeastConnections = "least-connections" });

impl Balance {
    /// True if a client keeps its target for as long as that is eligible.
    pub const fn is_sticky(self) -> bool {
        matches!(self, Self::SourceIp)
    }
}

words!(LastResort { Top = "top", None = "none", All = "all" });
words!(OnTargetDown { Drain = "drain", Reset = "reset" });
words!(ProxyProtocol { V1 = "v1", V2 = "v2" });

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it is.
    pub host: Host,
    /// As many ports as the rule listens on.
    pub ports: PortRange,
    /// 0..=99, lower is preferred.
    pub priority: u8,
    /// 0..=100, the share inside its pool.
    pub weight: u8,
    /// False: takes no connections.
    pub enabled: bool,
    /// The header it is sent, if any.
    pub proxy_protocol: Option<ProxyProtocol>,
}

impl Target {
    /// A target with defaults for all that is not its place.
    pub fn new(host: Host, ports: PortRange) -> Self {
        Self { host, ports, priority: 0, weight: DEFAULT_WEIGHT, enabled: true, proxy_protocol: None }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(_)) | Host::Scoped(_) => write!(f, "[{}]:{}", self.host, self.ports),
            host => write!(f, "{host}:{}", self.ports),
        }
    }
}

/// The parts of a rule, before [`Rule::new`] has looked at them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleParts {
    /// Its identity on its edges.
    pub name: RuleName,
    /// For people.
    pub description: String,
    /// A metric label.
    pub owner: String,
    /// May not be removed while the last applied tree protects it.
    pub protected: bool,
    /// Where it listens, and by which protocol.
    pub listen: ListenRange,
    /// 1 to 8, in file order.
    pub targets: Vec<Target>,
    /// Order of resolved addresses.
    pub prefer_ipv6: bool,
    /// How a pool shares new connections.
    pub balance: Balance,
    /// The active check, if any.
    pub health: Option<HealthCheck>,
    /// What to try when no target is eligible.
    pub last_resort: LastResort,
    /// Per address.
    pub connect_timeout: Duration,
    /// None: no limit.
    pub idle_timeout: Option<Duration>,
    /// Of a connection of which one side has ended its direction. None: no limit.
    pub half_closed_timeout: Option<Duration>,
    /// Of a peer that is alive and takes nothing of what waits for it. None: no limit.
    pub stalled_timeout: Option<Duration>,
    /// None: no limit.
    pub max_connections: Option<NonZeroU32>,
    /// For connections of a removed rule or target.
    pub drain_timeout: Duration,
    /// What happens to live connections of a target that fails.
    pub on_target_down: OnTargetDown,
    /// UDP flows at once.
    pub udp_max_flows: u32,
    /// How long a UDP flow lives without a datagram.
    pub udp_flow_idle: Duration,
    /// The server names that lead to it, ascending; empty: it is not chosen by name.
    pub sni: Vec<ServerName>,
    /// How long a client may take for its hello.
    pub sni_timeout: Duration,
    /// From where connections begin with a PROXY header.
    pub accept_proxy: NetworkList,
    /// Who may connect; never empty.
    pub access: Option<Box<Access>>,
    /// Never empty.
    pub rate_limit: Option<Box<RateLimit>>,
    /// How much may pass in a period.
    pub quota: Option<Box<Quota>>,
    /// What it shares with the other rules of its owner.
    pub owner_limits: Option<Box<OwnerLimits>>,
}

/// What all rules of an owner share on one edge; each of them carries the same. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct OwnerLimits {
    /// Without limits for each source.
    pub rate_limit: Option<RateLimit>,
    /// How much may pass in a period.
    pub quota: Option<Quota>,
}

impl RuleParts {
    /// A rule with defaults for all that can be left out.
    pub fn new(name: RuleName, listen: ListenRange, targets: Vec<Target>) -> Self {
        Self {
            name,
            description: String::new(),
            owner: String::new(),
            protected: false,
            listen,
            targets,
            prefer_ipv6: false,
            balance: Balance::default(),
            health: None,
            last_resort: LastResort::default(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            idle_timeout: None,
            half_closed_timeout: Some(DEFAULT_HALF_CLOSED_TIMEOUT),
            stalled_timeout: None,
            max_connections: None,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            on_target_down: OnTargetDown::default(),
            udp_max_flows: DEFAULT_UDP_MAX_FLOWS,
            udp_flow_idle: DEFAULT_UDP_FLOW_IDLE,
            sni: Vec::new(),
            sni_timeout: DEFAULT_SNI_TIMEOUT,
            accept_proxy: NetworkList::default(),
            access: None,
            rate_limit: None,
            quota: None,
            owner_limits: None,
        }
    }
}

/// What is wrong between the parts of a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleProblem {
    /// The code of CONTRACT §2.
    pub code: TreeCode,
    /// The key that it is about, as a path inside the rule: `targets[1].ports`.
    pub key: String,
    /// One sentence.
    pub message: String,
}

/// One validated forwarding intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(RuleParts);

impl Deref for Rule {
    type Target = RuleParts;

    fn deref(&self) -> &RuleParts {
        &self.0
    }
}

impl Rule {
    /// Checks the parts together.
    pub fn new(parts: RuleParts) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        check_targets(&parts, &mut problems);
        check_protocol(&parts, &mut problems);
        if let Some(health) = &parts.health {
            health.problems(&mut problems);
        }
        check_entry(&parts, &mut problems);
        if problems.is_empty() { Ok(Self(parts)) } else { Err(problems) }
    }

    /// The parts, to build a variation from.
    pub fn into_parts(self) -> RuleParts {
        self.0
    }

    /// TCP or UDP.
    pub fn protocol(&self) -> Protocol {
        self.listen.protocol
    }
}

fn problem(code: TreeCode, key: impl Into<String>, message: impl Into<String>) -> RuleProblem {
    RuleProblem { code, key: key.into(), message: message.into() }
}

fn check_targets(parts: &RuleParts, problems: &mut Vec<RuleProblem>) {
    if parts.targets.is_empty() {
        problems.push(problem(TreeCode::MissingKey, "targets", "a rule needs at least one target"));
    }
    if parts.targets.len() > MAX_TARGETS {
        problems.push(problem(
            TreeCode::TooManyTargets,
            "targets",
            format!("{} targets; at most {MAX_TARGETS} are allowed", parts.targets.len()),
        ));
        // Comparing each with each stops at the bound.
        return;
    }
    for (index, target) in parts.targets.iter().enumerate() {
        if target.ports.width() != parts.listen.ports.width() {
            problems.push(problem(
                TreeCode::RangeWidthMismatch,
                format!("targets[{index}].ports"),
                format!(
                    "the target has {} port(s) ({}), but the rule listens on {} ({})",
                    target.ports.width(),
                    target.ports,
                    parts.listen.ports.width(),
                    parts.listen.ports
                ),
            ));
        }
        let bounded = [("priority", target.priority, MAX_PRIORITY), ("weight", target.weight, DEFAULT_WEIGHT)];
        for (key, value, most) in bounded.into_iter().filter(|(_, value, most)| value > most) {
            let message = format!("{key} {value} is above {most}");
            problems.push(problem(TreeCode::OutOfRange, format!("targets[{index}].{key}"), message));
        }
        let same = |other: &Target| other.host == target.host && other.ports.overlaps(target.ports);
        if parts.targets[..index].iter().any(same) {
            problems.push(problem(
                TreeCode::DuplicateTarget,
                format!("targets[{index}]"),
                format!("target {target} is already listed"),
            ));
        }
    }
}

fn check_protocol(parts: &RuleParts, problems: &mut Vec<RuleProblem>) {
    if parts.listen.protocol == Protocol::Udp {
        for (index, target) in parts.targets.iter().enumerate() {
            if target.proxy_protocol.is_some() {
                problems.push(problem(
                    TreeCode::ProxyProtocolOnUdp,
                    format!("targets[{index}].proxy_protocol"),
                    "the PROXY protocol exists for TCP only",
                ));
            }
        }
    }
}

/// Who may connect, how much, and where to.
fn check_entry(parts: &RuleParts, problems: &mut Vec<RuleProblem>) {
    let is_udp = parts.listen.protocol == Protocol::Udp;
    let tcp_only = [("sni", !parts.sni.is_empty()), ("accept_proxy", !parts.accept_proxy.is_empty())];
    for (key, _) in tcp_only.into_iter().filter(|(_, is_set)| is_udp && *is_set) {
        problems.push(problem(TreeCode::NotApplicable, key, format!("`{key}` does not apply to a udp rule")));
    }
    if !parts.sni.is_empty() && !parts.listen.ports.is_single() {
        let message = format!("a rule with `sni` listens on one port, not on {}", parts.listen.ports);
        problems.push(problem(TreeCode::NotApplicable, "sni", message));
    }
    let counts = [
        ("sni", parts.sni.len(), MAX_NAMES, "names"),
        ("accept_proxy", parts.accept_proxy.len(), MAX_NETWORKS, "networks"),
    ];
    for (key, count, most, what) in counts.into_iter().filter(|(_, count, most, _)| count > most) {
        problems.push(problem(TreeCode::OutOfRange, key, format!("{count} {what}; at most {most} are allowed")));
    }
    if let Some(access) = &parts.access {
        access.problems(problems);
    }
    let owner = parts.owner_limits.as_deref();
    let rates = [
        ("rate_limit", parts.rate_limit.as_deref()),
        ("owner_limits.rate_limit", owner.and_then(|owner| owner.rate_limit.as_ref())),
    ];
    for (key, rate) in rates.into_iter().filter_map(|(key, rate)| Some((key, rate?))) {
        rate.problems(key, problems);
    }
    let quotas =
        [("quota", parts.quota.as_deref()), ("owner_limits.quota", owner.and_then(|owner| owner.quota.as_ref()))];
    for (key, quota) in quotas.into_iter().filter_map(|(key, quota)| Some((key, quota?))) {
        quota.problems(key, problems);
    }
}
