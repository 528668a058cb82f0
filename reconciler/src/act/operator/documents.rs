//! The bodies of the operator API that are not documents of `decide`: one definition for server and command line. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

pub use super::overrides::{OverrideBody, OverrideRow};
use crate::decide::plan::{Allowances, FileDocument, PlanDocument, RailVerdict, Source};
use crate::decide::status::RuleStatus;

/// Body of `POST /v1/validate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    /// The tree.
    pub files: Vec<FileDocument>,
}

/// Answer to `POST /v1/validate`, and what `validate -o json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ValidateAnswer {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `diagnostics`
    pub kind: String,
    /// True if there is no error.
    pub valid: bool,
    /// Digest of the files.
    pub digest: Option<Digest>,
    /// How many rules, each counted once per edge.
    pub rules: usize,
    /// How many edges have rules.
    pub edges: usize,
    /// All findings, in file order.
    pub diagnostics: Vec<DiagnosticJson>,
}

/// Body of `POST /v1/plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The tree.
    pub files: Vec<FileDocument>,
    /// Provenance as the client found it; its digest is computed again.
    #[serde(default)]
    pub source: Option<Source>,
    /// What the person allows.
    #[serde(default)]
    pub allowances: Allowances,
}

/// Body of `POST /v1/apply`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyBody {
    /// The tree.
    pub files: Vec<FileDocument>,
    /// Provenance as the client found it; its digest is computed again.
    #[serde(default)]
    pub source: Option<Source>,
    /// The plan that the person saw; the apply is refused as stale if it does not hold any more.
    #[serde(default)]
    pub plan: Option<PlanDocument>,
    /// The seal of the plan file, which can be used once.
    #[serde(default)]
    pub seal: Option<Digest>,
    /// What the person allows.
    #[serde(default)]
    pub allowances: Allowances,
    /// How long to wait for edges; default 60.
    #[serde(default)]
    pub timeout_secs: Option<u64>,
    /// Offline edges are no reason for a partial outcome.
    #[serde(default)]
    pub allow_offline: bool,
    /// What a failed edge brings back to what it ran before; none where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackScope>,
}

/// What a failure brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackScope {
    /// Every edge that the apply has changed.
    Fleet,
}

/// One rule with its edge, as `/v1/rules` lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleRow {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    #[serde(flatten)]
    pub status: RuleStatus,
}

/// Counters of one rule, or of one port or target of it. Bytes in are from clients, bytes out to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersDocument {
    /// From clients to targets.
    pub bytes_in: u64,
    /// From targets to clients.
    pub bytes_out: u64,
    /// Open now.
    pub active_connections: u64,
    /// Accepted since the edge started or the rule came.
    pub connections_total: u64,
    /// Refused by a limit.
    pub connections_refused: u64,
    /// Names that did not resolve.
    pub dns_failures: u64,
    /// Dials that failed, by cause.
    pub connect_errors: BTreeMap<String, u64>,
}

/// Answer to `GET /v1/rules/{edge}/{rule}/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsDocument {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// When the edge was asked.
    pub at: Timestamp,
    /// Sums over the rule.
    #[serde(flatten)]
    pub counters: CountersDocument,
    /// Ports with traffic, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortStatsDocument>>,
    /// Targets, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetStatsDocument>>,
}

/// Counters of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatsDocument {
    /// The port.
    pub port: u16,
    /// Its counters.
    #[serde(flatten)]
    pub counters: CountersDocument,
}

/// Counters of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatsDocument {
    /// Its host.
    pub host: String,
    /// Its first port.
    pub port: u16,
    /// Its state; empty while there are no health checks.
    pub state: String,
    /// Its counters.
    #[serde(flatten)]
    pub counters: CountersDocument,
}

/// An error of the API, as RFC 9457 has it. `code` tells programs what `title` tells people.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// A URI reference that names the kind: `about:blank` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence about this case.
    pub detail: String,
    /// `unauthorized`, `foreign_host`, `not_json`, `file_too_large`, `bad_request`, `not_found`, `invalid_tree`,
    /// `stale`, `rails`, `dirty`, `not_followed`, `locked`, a code of a rule, or `internal`.
    pub code: String,
    /// With `invalid_tree`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticJson>,
    /// With `rails`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rails: Vec<RailVerdict>,
}

impl Problem {
    /// A problem without details of its kind.
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("about:blank#{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            diagnostics: Vec::new(),
            rails: Vec::new(),
        }
    }
}
