//! The bodies of the operator API that are not documents of `decide`: one definition for server and command line. Pure.
//!
//! Long because the bodies of all paths are read side by side, and each field says what it means.

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::diagnostic::DiagnosticJson;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

pub use super::overrides::{OverrideBody, OverrideKind, OverrideRow};
pub use super::reasons::ReasonBody;
use crate::decide::drift::Drift;
use crate::decide::fleet::{ApplyResult, Freeze, Hold, Refusal, TargetAnswer};
use crate::decide::ledger::HistoryEntry;
use crate::decide::plan::{Allowances, FileDocument, PlanDocument, RailVerdict, Source};
use crate::decide::record::RecordedPlan;
use crate::decide::status::RuleStatus;
use crate::decide::succession::Ancestry;
use crate::decide::target::TargetView;
use crate::decide::target_totals::{TargetRow, TargetTotals};

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
    /// Edges reserve what the plan needs, and hold it for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prove_secs: Option<u64>,
    /// What the repository of the tree says of its commit and the one in force; a server that has a repository of its
    /// own asks that first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestry: Option<Ancestry>,
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
    /// What the repository of the tree says of its commit and the one in force; a server that has a repository of its
    /// own asks that first. A plan that comes with the request has said it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestry: Option<Ancestry>,
    /// How long to wait for edges; default 60.
    #[serde(default)]
    pub timeout_secs: Option<u64>,
    /// Offline edges do not make the outcome partial.
    #[serde(default)]
    pub allow_offline: bool,
    /// Also wait until the rules with an active check that it touches are up.
    #[serde(default)]
    pub wait_healthy: bool,
    /// Edges return to what they ran before unless they hear within so many seconds that what they run is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_secs: Option<u64>,
    /// How long edges let changes that cost live connections wait for a moment without them, on top of the timeout;
    /// absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_window_secs: Option<u64>,
    /// Who or which CI run the client acts for, at most 200 characters; the ledger shows it as what the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// Which edges revert when one of them fails; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackScope>,
}

/// What a failure reverts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackScope {
    /// Every edge that the apply has changed.
    Fleet,
}

/// Body of `POST /v1/freeze`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeBody {
    /// Why; not empty.
    pub why: String,
    /// After how many seconds it ends by itself.
    #[serde(default)]
    pub ttl_secs: Option<u64>,
}

/// Body of `DELETE /v1/freeze`; may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnfreezeBody {
    /// Why.
    pub why: String,
}

/// Answer to both: the freeze that stands, and the one that stood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FreezeAnswer {
    /// Now.
    pub frozen: Option<Freeze>,
    /// Before.
    pub before: Option<Freeze>,
}

/// Body of `POST /v1/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackBody {
    /// A digest or a commit, or a prefix of either; the number of an entry of the history, the id of an apply,
    /// `previous` or `HEAD~N`.
    pub revision: String,
    /// Why.
    pub why: String,
    /// Who or which CI run the client acts for, at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// Only answer with the plan; nothing is applied.
    pub dry_run: bool,
    /// Do not hold the revision: for going back to one that was not held.
    pub no_hold: bool,
    /// The plan that the person saw; the rollback is refused as stale if it does not hold any more.
    pub plan: Option<PlanDocument>,
    /// What the person allows.
    pub allowances: Allowances,
    /// How long to wait for edges; default 60.
    pub timeout_secs: Option<u64>,
    /// Offline edges do not make the outcome partial.
    pub allow_offline: bool,
}

/// Body of `POST /v1/resume`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResumeBody {
    /// Why; the history shows it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Who or which CI run the client acts for, at most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<String>,
    /// The plan that the person saw, as `GET /v1/plan` gives it; the resumption is refused as stale if it does not hold any
    /// more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDocument>,
    /// What the person allows.
    pub allowances: Allowances,
    /// How long to wait for edges; default 60.
    pub timeout_secs: Option<u64>,
    /// Offline edges do not make the outcome partial.
    pub allow_offline: bool,
}

/// Answer to `POST /v1/resume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResumeAnswer {
    /// The hold that ended.
    pub released: Option<Hold>,
    /// The apply that began, if there was anything to apply.
    pub apply: Option<ApplyResult>,
}

/// Answer to `GET /v1/history/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryDetail {
    /// The entry.
    #[serde(flatten)]
    pub entry: HistoryEntry,
    /// What it was to change; `None` for an entry that is not an apply, and once the record has expired.
    pub plan: Option<RecordedPlan>,
}

/// Answer to `GET /v1/targets`, and what `targets -o json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetsDocument {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `targets`
    pub kind: String,
    /// Of all selected targets, those that a limit left out too.
    pub totals: TargetTotals,
    /// How many rules are left out because the operator may not see them.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// By edge, rule and file order.
    pub targets: Vec<TargetRow>,
}

/// Answer to `GET /v1/drift`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DriftDocument {
    /// See `decide::plan::FORMAT_VERSION`.
    pub format_version: String,
    /// `drift`
    pub kind: String,
    /// How many differences are selected, including those that a limit left out.
    pub total: u64,
    /// How many are left out because the operator may not see them.
    #[serde(default, skip_serializing_if = "crate::decide::is_zero")]
    pub hidden: u64,
    /// By edge and rule.
    pub drift: Vec<Drift>,
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

/// Body of `POST /v1/targets/{edge}/{rule}/{target}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetBody {
    /// `pause`, `resume`, `disable`, `enable`, `weight` or `check`.
    pub operation: String,
    /// Why, for those who see the override.
    #[serde(default)]
    pub why: String,
    /// How long the override is to last; left out: until somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
    /// 0 to 100, for `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
}

/// Answer to an operation on all targets of a rule: one answer for each target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetsAnswer {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// In the order of the rule.
    pub targets: Vec<TargetAnswer>,
}

/// Answer to the operation `check`: the targets as they are after the round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDocument {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
    /// The targets that were asked.
    pub targets: Vec<TargetView>,
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
    /// `unauthorized`, `too_many_failed_logins`, `too_many_streams`, `forbidden`, `outside_grant`, `foreign_host`, `not_json`, `file_too_large`, `bad_request`, `not_found`, `invalid_tree`,
    /// `stale`, `rails`, `dirty`, `not_followed`, `locked`, `frozen`, `unknown_revision`, `ambiguous_revision`,
    /// `revision_gone`, `ambiguous_port`, `override_rule`, `before_ledger`, a code of a rule, or `internal`.
    pub code: String,
    /// With `invalid_tree`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticJson>,
    /// With `rails`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rails: Vec<RailVerdict>,
    /// With `outside_grant`: what the operator's limits do not allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

impl Problem {
    /// A problem without details of its kind.
    pub fn new(status: u16, code: impl AsRef<str>, title: &str, detail: impl Into<String>) -> Self {
        let code = code.as_ref();
        Self {
            kind: format!("about:blank#{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            diagnostics: Vec::new(),
            rails: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// A change that was refused as a whole. `nothing` says what was not done: applied by the server, sent by a
    /// command.
    pub fn refused(refusal: Refusal, nothing: &str, now: Timestamp) -> Self {
        let status = match refusal {
            Refusal::OutsideGrant { .. } | Refusal::Forbidden { .. } => 403,
            Refusal::Locked { .. } | Refusal::Frozen { .. } => 423,
            Refusal::Rejected { .. } => 422,
            Refusal::StateNotWritable { .. } => 507,
            Refusal::Rails { .. }
            | Refusal::Uncommitted { .. }
            | Refusal::NotFollowed { .. }
            | Refusal::Stale { .. } => 409,
        };
        let detail = format!("{nothing}: {}", refusal.message(now));
        let problem = Self::new(status, refusal.code(), refusal.title(), detail);
        match refusal {
            Refusal::Rails { rails, .. } => Self { rails, ..problem },
            Refusal::OutsideGrant { changes, .. } => Self { changes, ..problem },
            _ => problem,
        }
    }
}
