//! Effects and states as one short line each, for scripts. Pure.

use std::collections::BTreeMap;

use reconciler::decide::drift::drift;
use reconciler::decide::fleet::{ApplyResult, Effect, Fleet, Notice, Outcome, Refusal, RequestAnswer, Verdict};
use reconciler::decide::ledger::{Entry, LedgerAction};
use reconciler::decide::record::Record;
use reconciler::decide::status::rule_state;
use reconciler::decide::target_override::TargetOverride;
use reconciler::decide::view::{EdgeView, RuleView};
use schema::canonical::Digest;
use schema::health::RuleHealth;
use schema::rule::Rule;

/// The names of the trees of a script, by digest.
pub(crate) type TreeNames = BTreeMap<Digest, String>;

fn tree(names: &TreeNames, digest: Digest) -> &str {
    names.get(&digest).map_or("?", String::as_str)
}

/// The effects, each on its line. An edge without overrides is told so after every welcome, which is not worth one.
pub(crate) fn effects(all: &[Effect], names: &TreeNames) -> Vec<String> {
    let is_silent = |place: usize| {
        let is_empty = matches!(&all[place], Effect::SendOverrides { overrides, .. } if overrides.is_empty());
        is_empty && place > 0 && matches!(all[place - 1], Effect::Welcome { .. })
    };
    (0..all.len()).filter(|place| !is_silent(*place)).map(|place| effect(&all[place], names)).collect()
}

fn effect(effect: &Effect, names: &TreeNames) -> String {
    match effect {
        Effect::Persist(stored) => record(stored, names),
        Effect::Welcome { session } => format!("welcome session {session}"),
        Effect::Refuse { session, code, .. } => format!("refuse session {session}: {code}"),
        Effect::Send { edge, generation, rules, .. } => {
            let rules: Vec<String> = rules.iter().map(|each| rule(each)).collect();
            format!("send {edge} generation {generation}: {}", or_none(&rules))
        }
        Effect::Confirm { edge, generation, .. } => format!("confirm {edge} generation {generation}"),
        Effect::SendOverrides { edge, overrides, .. } => {
            let all: Vec<String> = overrides.iter().map(deviation).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            format!("send {edge} overrides: {all}")
        }
        Effect::Emit(told) | Effect::EmitUnlogged(told) => notice(told, names),
        Effect::Deliver(letters) => format!("deliver {} letters", letters.len()),
        Effect::Answer { answer, .. } => match &**answer {
            Ok(result) => format!("answer {}", apply(result)),
            Err(why) => format!("refused: {}", refusal(why, names)),
        },
        Effect::Answered { answer, .. } => match &**answer {
            Ok(RequestAnswer::Override(held)) => format!("answer override {} of {}", held.rule.name, held.actor),
            Ok(RequestAnswer::Target(answer)) => {
                let changed = if answer.changed { "changed" } else { "unchanged" };
                format!("answer {} {changed}: {}", answer.operation, answer.message)
            }
            Ok(RequestAnswer::Noted) => "answer noted".to_owned(),
            Ok(RequestAnswer::Forgotten) => "answer forgotten".to_owned(),
            Ok(RequestAnswer::QuotaReset) => "answer quota reset".to_owned(),
            Err(why) => format!("refused: {why}"),
        },
        Effect::Controlled { outcome, .. } => match &**outcome {
            Ok(()) => "answer done".to_owned(),
            Err(why) => format!("refused: {}", refusal(why, names)),
        },
    }
}

/// `web 127.0.0.1:80 pause until +60s`
fn deviation(each: &TargetOverride) -> String {
    let until =
        each.until.map_or_else(String::new, |until| format!(" for {}s", until.duration_since(each.since).as_secs()));
    format!("{} {} {}{until}", each.rule, each.target, each.deviation.in_words())
}

fn or_none(items: &[String]) -> String {
    if items.is_empty() { "no rules".to_owned() } else { items.join(", ") }
}

fn rule(rule: &Rule) -> String {
    let target = rule.targets[0].ports;
    let onward = if target == rule.listen.ports { String::new() } else { format!(">{target}") };
    format!("{} {}{onward}", rule.name, rule.listen.ports)
}

fn record(record: &Record, names: &TreeNames) -> String {
    let value: serde_json::Value = serde_json::from_slice(&record.value).expect("records are JSON");
    let key = names.iter().fold(record.key.clone(), |key, (digest, name)| key.replace(&digest.to_string(), name));
    if key.starts_with("edge/") {
        return format!("record {key} generation {}", value["generation"]);
    }
    if key.starts_with("ledger/") {
        let entry: Entry = serde_json::from_value(value).expect("a ledger line");
        let subject = match entry.action {
            LedgerAction::Freeze | LedgerAction::Unfreeze => entry.action.as_str().to_owned(),
            _ if entry.apply_id.is_empty() => entry.actor,
            _ => entry.apply_id,
        };
        return format!("record ledger/{} {subject} {}", entry.id, entry.outcome);
    }
    if key.starts_with("target-overrides/") {
        return format!("record {key} {}", value.as_array().map_or(0, Vec::len));
    }
    if key == "meta/applied" {
        let digest = value["source"]["digest"].as_str().and_then(Digest::parse).expect("a digest");
        return format!("record {key} {}", tree(names, digest));
    }
    if key == "meta/freeze" || key == "meta/hold" {
        let by = value["by"].as_str().unwrap_or("nobody");
        let held = value["digest"].as_str().and_then(Digest::parse).map(|digest| format!(" {}", tree(names, digest)));
        return format!("record {key}{} by {by}", held.unwrap_or_default());
    }
    format!("record {key}")
}

fn notice(notice: &Notice, names: &TreeNames) -> String {
    match notice {
        Notice::Edge { edge, connected, generation, desired_generation } => {
            let state = if *connected { "here" } else { "gone" };
            format!("notice {edge} {state}, generation {generation} of {desired_generation}")
        }
        Notice::Unsettled { edge, code, .. } => format!("notice {edge} {code}"),
        Notice::Certificate { edge, stage, .. } => {
            format!("notice certificate {} {}", edge.as_ref().map_or("ca", |edge| edge.as_str()), stage.as_str())
        }
        Notice::Rule { edge, rule, state, code, .. } => {
            let state = state.map_or("gone", |state| state.as_str());
            format!("notice {edge}/{rule} {state} {code}").trim_end().to_owned()
        }
        Notice::Health { edge, rule, from, to } => {
            let name = |health: &Option<RuleHealth>| health.map_or("none", RuleHealth::as_str);
            format!("notice {edge}/{rule} health {} to {}", name(from), name(to))
        }
        Notice::Balance { edge, rule, from, to, .. } => format!("notice {edge}/{rule} balance {from} to {to}"),
        Notice::Target { edge, rule, target, from, to, code, .. } => {
            let from = from.map_or("new", |from| from.as_str());
            format!("notice {edge}/{rule} {target} {from} to {to} {code}").trim_end().to_owned()
        }
        Notice::Weights { edge, rule, eligible, targets } => {
            let all: Vec<String> =
                targets.iter().map(|one| format!("{} {}/{}", one.target, one.effective_weight, one.weight)).collect();
            format!("notice {edge}/{rule} weights {}, {} eligible", all.join(", "), eligible.len())
        }
        Notice::Quota { edge, rule, owner, state, .. } => {
            let rule = rule.as_ref().map_or(owner.as_str(), |rule| rule.as_str());
            format!("notice {edge}/{rule} quota {}", state.as_str())
        }
        Notice::TargetOverride { edge, turn, by, deviation: each } => {
            format!("notice {edge} override {} by {by}: {}", turn.as_str(), deviation(each))
        }
        Notice::Tree { digest, verdict: came, .. } => {
            format!("notice tree {}: {}", tree(names, *digest), verdict(came))
        }
        Notice::Remote { reference, error, .. } => {
            format!("notice remote {reference} {}", if error.is_some() { "fails" } else { "answers" })
        }
        Notice::Override { edge, rule, step, .. } => format!("notice override {edge}/{rule} {step:?}").to_lowercase(),
        Notice::Freeze { frozen, by, .. } => match frozen {
            Some(freeze) => format!("notice frozen by {}: {}", freeze.by, freeze.why),
            None => format!("notice not frozen by {by}"),
        },
        Notice::Hold { hold, .. } => format!("notice held: {}", hold.is_some()),
        Notice::Apply { result } => format!("notice {}", apply(result)),
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Invalid => "invalid".to_owned(),
        Verdict::Applied => "applied".to_owned(),
        Verdict::Dirty => "dirty".to_owned(),
        Verdict::NoCommit { .. } => "no commit".to_owned(),
        Verdict::Waiting => "waiting".to_owned(),
        Verdict::Stopped { .. } => "stopped".to_owned(),
        Verdict::Held => "held back".to_owned(),
        Verdict::Frozen => "frozen".to_owned(),
        Verdict::Railed { rails } => {
            let names: Vec<&str> = rails.iter().map(|rail| rail.name.as_str()).collect();
            format!("railed by {}", names.join(", "))
        }
    }
}

/// `apply a1 partial: a done (web failed port_in_use), b offline`
fn apply(result: &ApplyResult) -> String {
    let edges: Vec<String> = result
        .edges
        .iter()
        .map(|edge| {
            let outcome = format!("{:?}", edge.outcome).to_lowercase();
            let unwell: Vec<String> = edge
                .rules
                .iter()
                .filter(|rule| !rule.code.is_empty())
                .map(|rule| {
                    format!("{} {} {}", rule.rule, rule.state.map_or("gone", |state| state.as_str()), rule.code)
                })
                .collect();
            let unwell = if unwell.is_empty() { String::new() } else { format!(" ({})", unwell.join(", ")) };
            format!("{} {outcome}{unwell}", edge.edge)
        })
        .collect();
    let edges = if edges.is_empty() { "no edges".to_owned() } else { edges.join(", ") };
    format!("apply {} {}: {edges}", result.id, result.outcome.as_str())
}

fn refusal(refusal: &Refusal, names: &TreeNames) -> String {
    match refusal {
        Refusal::Rails { rails, .. } => {
            let each = |rail: &reconciler::decide::plan::RailVerdict| match &rail.allow {
                Some(flag) => format!("{} {} over {} ({flag})", rail.name, rail.actual, rail.limit),
                None => format!("{} {}", rail.name, rail.actual),
            };
            rails.iter().map(each).collect::<Vec<_>>().join(", ")
        }
        Refusal::Uncommitted { why } => why.message(),
        Refusal::NotFollowed { followed } => match followed {
            Some(digest) => format!("the followed tree is {}", tree(names, *digest)),
            None => "no tree was read yet".to_owned(),
        },
        Refusal::Stale { reason } => format!("stale: {reason}"),
        Refusal::OutsideGrant { reason, .. } | Refusal::Forbidden { reason } => reason.clone(),
        Refusal::Locked { holder, .. } => format!("{holder} is applying"),
        Refusal::Frozen { freeze } => format!("frozen by {}: {}", freeze.by, freeze.why),
        Refusal::Rejected { reason, message } => format!("{reason}: {message}"),
        Refusal::StateNotWritable { reason } => format!("state not writable: {reason}"),
    }
}

/// The state of the fleet, one line for the revision and one per edge.
pub(crate) fn status(fleet: &Fleet, names: &TreeNames) -> String {
    let applied = fleet.applied().map_or("nothing", |applied| tree(names, applied.source.digest));
    let attempt = fleet.attempt().map_or_else(String::new, |attempt| {
        format!(", {} on disk {}", tree(names, attempt.source.digest), verdict(&attempt.verdict))
    });
    let mut lines = vec![format!("{applied} in force{attempt}")];
    if let Some(hold) = fleet.hold() {
        lines.push(format!("held: {} by {} in {}", tree(names, hold.digest), hold.by, hold.apply_id));
    }
    if let Some(freeze) = fleet.frozen() {
        lines.push(format!("frozen by {}: {}", freeze.by, freeze.why));
    }
    if let Some(last) = fleet.latest_apply().filter(|last| last.outcome == Outcome::Interrupted) {
        lines.push(format!("{} was cut off", last.id));
    }
    lines.extend(fleet.edges().iter().map(|(name, view)| format!("{name} {}", edge(view))));
    let drifted: Vec<String> = drift(fleet.edges())
        .iter()
        .map(|each| {
            let rule = each.rule.as_ref().map_or_else(String::new, |rule| format!("/{rule}"));
            format!("{}{rule} {}", each.edge, each.kind.as_str())
        })
        .collect();
    if !drifted.is_empty() {
        lines.push(format!("drift: {}", drifted.join(", ")));
    }
    lines.join("\n")
}

fn edge(view: &EdgeView) -> String {
    let state = if view.connected { "here" } else { "gone" };
    let generations = format!("generation {} of {}", view.observed_generation(), view.desired_generation());
    let rules: Vec<String> = view
        .rule_names()
        .into_iter()
        .filter_map(|name| {
            let known = rule_state(view, name)?;
            let serving = view.rule(name).and_then(|view: &RuleView| view.running.as_ref());
            let version = serving.map_or_else(|| format!("{name} not serving"), |serving| rule(serving));
            Some(format!("{version} {} {}", known.state, known.code).trim_end().to_owned())
        })
        .collect();
    format!("{state}, {generations}: {}", or_none(&rules))
}
