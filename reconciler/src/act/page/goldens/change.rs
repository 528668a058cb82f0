//! `/ui/plan`, `/ui/applies`, `/ui/history`, `/ui/drift`, `/ui/audit` and proposals.

use schema::codes::RuleCode;
use serde_json::{Value, json};

use super::{NASTY, golden, layout, now, of};
use crate::act::page::applies::{AppliesPage, ApplyPage};
use crate::act::page::audit::AuditPage;
use crate::act::page::drift::DriftPage;
use crate::act::page::history::{ConfirmPage, EntryPage, HistoryPage, resumption};
use crate::act::page::plan::PlanPage;
use crate::act::page::proposal::ProposalPage;
use crate::decide::fleet::{ApplyResult, Mode};
use crate::decide::ledger::HistoryEntry;
use crate::decide::page::plan::{FailedView, PlanPageView, Standing, findings, next_steps, view};
use crate::decide::page::proposal::{LIFETIMES, ProposalView, TargetFields};
use crate::decide::page::query::ViewQuery;
use crate::decide::page::{applies, audit, drift, history};
use crate::decide::plan::{PlanDocument, PlannedWave};
use crate::decide::proposal::{Proposal, RuleSource};

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

fn source() -> Value {
    json!({ "vcs": "git", "commit": "0123456789abcdef0123456789abcdef01234567", "ref": "main", "folder": "live rules",
        "author": "Ann <ann@example.org>", "subject": NASTY, "committed_at": "2026-01-02T07:40:00Z", "dirty": false,
        "digest": digest("a") })
}

fn change(rule: &str, action: &str) -> Value {
    json!({ "edge": "fra-1", "rule": rule, "previous_rule": null, "action": action, "code": null, "message": null,
        "ports": { "bind": ["*:8443"], "keep": [], "release": [] },
        "fields": [{ "path": "description", "before": "old", "after": NASTY }],
        "impact": { "kind": "drain", "connections": 3 },
        "origin": { "file": "web.toml", "line": 12, "column": 1 } })
}

fn plan(changes: &[Value], rails: &Value) -> PlanDocument {
    let number = changes.len();
    of(json!({ "format_version": "1.0", "kind": "plan", "plan_id": digest("b"), "created_at": "2026-01-02T07:59:00Z",
        "expires_at": "2026-01-03T07:59:00Z", "source": source(),
        "base": { "lineage": "l", "edges": { "fra-1": { "generation": 4, "digest": digest("c"), "connected": true,
            "observed_at": "2026-01-02T07:58:00Z" } } },
        "complete": true, "applyable": true,
        "summary": { "activate": 0, "rebind": number, "update": 0, "move": 0, "remove": 0, "reject": 0, "retry": 0,
            "unchanged": 7, "ports_bound": number, "ports_released": 0, "connections_affected": 3, "edges": 1 },
        "changes": changes, "drift": [], "rails": rails, "diagnostics": [] }))
}

fn tripped() -> Value {
    json!([{ "name": "max_removed_rules", "limit": 25, "actual": 30, "tripped": true, "override": "--allow-removals 30",
        "message": "30 rules" }])
}

fn page(view: PlanPageView) -> PlanPage {
    PlanPage { layout: layout("Plan"), view }
}

#[test]
fn a_plan_reads_as_the_text_plan_and_says_what_is_next() {
    let standing = Standing { mode: Some(Mode::Plan), is_held: false, may_apply: true };
    let shown = |plan: &PlanDocument, standing: Standing, revision: &str| {
        let next = next_steps(plan, standing);
        page(PlanPageView { revision: revision.to_owned(), plan: Some(view(plan, now())), problem: None, next })
    };
    golden("plan_changes", &shown(&plan(&[change("web", "rebind")], &json!([])), standing, ""));
    golden("plan_nothing", &shown(&plan(&[], &json!([])), standing, NASTY));
    golden("plan_railed", &shown(&plan(&[change("web", "rebind")], &tripped()), standing, ""));
    let held = Standing { is_held: true, ..standing };
    golden("plan_held", &shown(&plan(&[change("web", "rebind")], &json!([])), held, ""));
}

fn findings_of_a_tree() -> Vec<schema::diagnostic::DiagnosticJson> {
    of(json!([{ "severity": "error", "code": "unknown_key", "message": "unknown key `listen_prt`", "file": "web.toml",
        "line": 13, "column": 2, "hint": "did you mean `listen_port`?",
        "related": [{ "message": "the other one", "file": "db.toml", "line": 3, "column": 1 }] }]))
}

#[test]
fn a_tree_with_errors_has_no_plan_and_every_finding() {
    let findings = findings(&findings_of_a_tree(), |_, _| Some("\tlisten_prt = 1".to_owned()));
    let problem = FailedView { title: "The followed tree has errors".to_owned(), detail: NASTY.to_owned(), findings };
    golden(
        "plan_invalid",
        &page(PlanPageView { revision: String::new(), plan: None, problem: Some(problem), next: Vec::new() }),
    );
}

fn entry(id: u64, action: &str, outcome: &str) -> HistoryEntry {
    of(json!({ "id": id, "line": id * 2, "at": "2026-01-02T07:00:00Z", "apply_id": format!("a{id}"), "action": action,
        "plan_id": digest("b"), "digest": digest("a"), "commit": "0123456789abcdef0123456789abcdef01234567",
        "author": "Ann <ann@example.org>", "subject": NASTY, "actor": "ann", "applied_by": "ci@build", "dirty": false,
        "why": if action == "rollback" { NASTY } else { "" }, "outcome": outcome, "generations": { "fra-1": 4 },
        "overridden": [], "previous_hash": digest("0"), "hash": digest("1"), "intact": true, "held": action == "rollback",
        "edges": { "fra-2": { "outcome": "timeout", "message": NASTY } },
        "finished_at": "2026-01-02T07:00:12Z",
        "summary": { "activate": 1, "rebind": 1, "update": 0, "move": 0, "remove": 0, "reject": 0, "retry": 0,
            "unchanged": 7, "ports_bound": 1, "ports_released": 0, "connections_affected": 3, "edges": 1 } }))
}

#[test]
fn the_history_is_a_list_and_an_entry_has_its_plan_and_the_way_back() {
    let entries = [entry(3, "rollback", "applied"), entry(2, "apply", "partial"), entry(1, "apply", "started")];
    let list = |entries: &[HistoryEntry]| history::list(&ViewQuery::parse("action=apply"), entries, 2, now());
    golden("history_full", &HistoryPage { layout: layout("History"), view: list(&entries) });
    golden("history_empty", &HistoryPage { layout: layout("History"), view: list(&[]) });
    let recorded = of(json!({ "summary": plan(&[], &json!([])).summary, "changes": [change("web", "rebind")] }));
    for (name, may_apply) in [("entry_applier", true), ("entry_viewer", false)] {
        let view = history::one(&entries[0], Some(&recorded), may_apply, now());
        golden(name, &EntryPage { layout: layout("Entry 3"), view });
    }
    let view = history::one(&entries[1], None, true, now());
    golden("entry_without_plan", &EntryPage { layout: layout("Entry 2"), view });
}

#[test]
fn what_is_confirmed_is_shown_first() {
    let railed = plan(&[change("web", "rebind")], &tripped());
    for (name, problem) in [("confirm_resume", ""), ("confirm_changed", NASTY)] {
        golden(
            name,
            &ConfirmPage {
                layout: layout("Resume"),
                view: resumption(&railed, "the disk is back", problem.to_owned()),
            },
        );
    }
}

fn result(outcome: &str) -> ApplyResult {
    let rule = json!({ "rule": "web", "action": "update", "state": "failed", "code": RuleCode::PortInUse.as_str(), "message": NASTY });
    let edge = |name: &str, outcome: &str, rules: Value| {
        json!({ "edge": name, "outcome": outcome, "generation": 5,
        "code": "", "message": "", "rules": rules })
    };
    of(json!({ "id": "a7", "plan_id": digest("b"), "digest": digest("a"), "commit": null, "actor": "ann",
        "outcome": outcome, "started_at": "2026-01-02T07:59:00Z", "finished_at": null, "stopped": if outcome == "partial" { json!(NASTY) } else { json!(null) },
        "edges": [edge("fra-1", "done", json!([])), edge("fra-2", "done", json!([rule])), edge("nyc-1", "waiting", json!([])),
            edge("nyc-2", "queued", json!([])), edge("zrh-1", "offline", json!([]))] }))
}

#[test]
fn applies_are_a_list_and_one_has_its_waves() {
    let entries = [entry(2, "apply", "started"), entry(1, "apply", "applied")];
    let list = |entries: &[HistoryEntry]| applies::list(&ViewQuery::default(), entries, 0, now());
    golden("applies_full", &AppliesPage { layout: layout("Applies"), view: list(&entries) });
    golden("applies_empty", &AppliesPage { layout: layout("Applies"), view: list(&[]) });
    let waves: Vec<PlannedWave> = of(json!([
        { "wave": 1, "edge_labels": {}, "max_parallel": 1, "max_failed": 0, "soak_secs": 60, "edges": ["fra-2", "fra-1"] },
        { "wave": 2, "edge_labels": {}, "max_parallel": null, "max_failed": 1, "soak_secs": 0, "edges": ["nyc-1", "nyc-2"] }
    ]));
    for (name, outcome, waves) in [("apply_running", "running", &waves[..]), ("apply_partial", "partial", &[])] {
        let view = applies::one(&result(outcome), Some(&entries[0]), waves, now());
        golden(name, &ApplyPage { layout: layout("Apply a7"), view, script: "apply.js".to_owned() });
    }
}

#[test]
fn drift_names_what_happens_next() {
    let all = of::<Vec<crate::decide::drift::Drift>>(json!([
        { "edge": "fra-1", "rule": "web", "kind": "changed", "code": "", "message": NASTY,
            "fields": [{ "path": "targets[0].host", "before": "a", "after": null }] },
        { "edge": "nyc-1", "kind": "edge_offline", "code": RuleCode::ClientNotConnected.as_str(), "message": "last seen" }
    ]));
    golden(
        "drift_full",
        &DriftPage { layout: layout("Drift"), view: drift::list(&ViewQuery::parse("edge=*-1"), &all, 300, 1) },
    );
    golden("drift_empty", &DriftPage { layout: layout("Drift"), view: drift::list(&ViewQuery::default(), &[], 0, 0) });
}

#[test]
fn the_audit_says_who_asked_for_what() {
    let entries = of::<Vec<crate::decide::operators::AuditEntry>>(json!([
        { "at": "2026-01-02T07:00:00Z", "who": "", "from": "192.0.2.1", "what": "GET /v1/status", "outcome": "unauthorized" },
        { "at": "2026-01-02T07:30:00Z", "who": "ann", "from": "127.0.0.1", "what": NASTY, "outcome": "accepted" }
    ]));
    let list = |entries| audit::list(&ViewQuery::parse("since=2d"), entries, 5, now());
    golden("audit_full", &AuditPage { layout: layout("Audit"), view: list(&entries) });
    golden("audit_empty", &AuditPage { layout: layout("Audit"), view: list(&[]) });
}

#[test]
fn a_proposal_has_its_form_its_findings_and_its_patch() {
    let known: RuleSource = of(json!({ "source": source(), "file": "live rules/web.toml", "line": 12,
        "text": format!("[[rule]]\r\nname = \"web\"\r\ndescription = '{NASTY}'") }));
    let proposed = |patch: Value| -> Proposal {
        of(json!({ "format_version": "1.0", "kind": "proposal", "source": source(), "file": known.file, "line": 12,
            "text": known.text, "diff": format!("@@ -12,2 +12,2 @@\n [[rule]]\n-name = \"{NASTY}\"\n+name = \"web\"\n"), "patch": patch,
            "spec": { "name": "web", "listen_port": 8443, "target": "a:1", "description": NASTY },
            "plan": serde_json::to_value(plan(&[change("web", "rebind")], &json!([]))).expect("a plan") }))
    };
    let show = |name: &str, view: ProposalView| {
        golden(name, &ProposalPage { layout: layout("Edit fra-1/web"), view, lifetimes: LIFETIMES });
    };
    let form = |is_target| ProposalView::form("fra-1", "web", is_target, &known);
    show("proposal_edit", form(false));
    let typed = form(false).with_typed("[[rule]]\r\n listen_prt = 1\r\n", TargetFields::default());
    show("proposal_invalid", typed.failed("The tree has errors", NASTY, &findings_of_a_tree(), &known.source));
    let fields = TargetFields { host: NASTY.to_owned(), ports: "443".to_owned(), ..TargetFields::default() };
    let target = form(true).with_typed("", fields);
    show("proposal_target", target.clone().proposed(&proposed(json!(format!("+{NASTY}\n"))), true, now()));
    show("proposal_limited", target.proposed(&proposed(json!(null)), false, now()));
}
