//! Events as one line each: their kind, and what happened. Pure.

use reconciler::decide::fleet::{Notice, OverrideStep};
use schema::health::RuleHealth;

use super::words::{bytes, joined, time};
use super::{rule_words, targets};
use crate::output::clean;

/// `health    fra-1/web down, was up`
#[expect(clippy::too_many_lines, reason = "a line for each notice, in one match that is exhaustive")]
pub(crate) fn line(notice: &Notice) -> String {
    match notice {
        Notice::Edge { edge, connected, generation, desired_generation } => {
            let state = if *connected { "connected" } else { "offline" };
            format!("edge      {edge} {state}, generation {generation} of {desired_generation}")
        }
        Notice::Unsettled { edge, code, message } => {
            format!("edge      {edge} does not settle: {}", joined(&[code, message]))
        }
        Notice::Certificate { edge, stage, expires_at } => {
            let of = edge.as_ref().map_or("the certificate authority", |edge| edge.as_str());
            format!("cert      {of} {}, ends {}", stage.as_str(), time(*expires_at))
        }
        Notice::Rule { edge, rule, state, code, message } => {
            let (state, why) = match state {
                Some(state) => (state.as_str(), rule_words::cause(*state, code, message)),
                None => ("gone", joined(&[code, message])),
            };
            let colon = if why.is_empty() { "" } else { ": " };
            format!("rule      {edge}/{rule} {state}{colon}{why}")
        }
        Notice::Tree { digest, commit, verdict } => {
            let commit = commit.as_deref().map(|commit| format!(", commit {}", clean(commit))).unwrap_or_default();
            format!("tree      {}{commit}: {}", digest.short(), verdict.as_str())
        }
        Notice::Remote { url, reference, commit, error } => {
            let state = match (error, commit) {
                (Some(error), _) => format!("failing: {}", clean(error)),
                (None, Some(commit)) => format!("at {}", clean(commit)),
                (None, None) => "answers".to_owned(),
            };
            format!("remote    {} {} {state}", clean(url), clean(reference))
        }
        Notice::Health { edge, rule, from, to } => {
            let name = |health: &Option<RuleHealth>| health.map_or("not serving", RuleHealth::as_str);
            format!("health    {edge}/{rule} {}, was {}", name(to), name(from))
        }
        Notice::Balance { edge, rule, from, to, sticky } => {
            format!("balance   {edge}/{rule} {}, was {}", targets::balance(to, *sticky), clean(from))
        }
        Notice::Target { edge, rule, target, from, to, code, detail, .. } => {
            let was = from.map(|from| format!(", was {from}")).unwrap_or_default();
            let why = joined(&[code, detail]);
            let colon = if why.is_empty() { "" } else { ": " };
            format!("target    {edge}/{rule} {} {to}{was}{colon}{why}", clean(target))
        }
        Notice::Weights { edge, rule, targets, .. } => {
            let carried = targets.iter().map(|one| format!("{} {}", clean(&one.target), one.effective_weight));
            let carried: Vec<String> = carried.collect();
            format!(
                "weights   {edge}/{rule} {}",
                if carried.is_empty() { "none".to_owned() } else { carried.join(", ") }
            )
        }
        Notice::TargetOverride { edge, turn, by, deviation } => {
            let words = targets::deviation(deviation);
            format!("override  {edge}/{} {} by {}: {words}", deviation.rule, turn.as_str(), clean(by))
        }
        Notice::Quota { edge, rule, owner, state, used, limit, ends } => {
            let name = rule.as_ref().map_or_else(|| format!("owner {}", clean(owner)), ToString::to_string);
            let ends = ends.map(|ends| format!(", ends {}", time(ends))).unwrap_or_default();
            format!("quota     {edge}/{name} {}: {} of {}{ends}", state.as_str(), bytes(*used), bytes(*limit))
        }
        Notice::Override { edge, rule, step, actor, why, until } => {
            let step = match step {
                OverrideStep::Added => format!("added until {}", time(*until)),
                OverrideStep::Removed => "removed".to_owned(),
                OverrideStep::Expired => "expired".to_owned(),
                OverrideStep::TakenOver => "taken over by the tree".to_owned(),
            };
            format!("override  {edge}/{rule} {step} ({}: {})", clean(actor), clean(why))
        }
        Notice::Freeze { frozen, by, why } => match frozen {
            Some(freeze) => format!("freeze    by {}: {}", clean(&freeze.by), clean(&freeze.why)),
            None => format!("freeze    lifted by {}: {}", clean(by), clean(why)),
        },
        Notice::Hold { hold, by } => {
            format!("hold      {} by {}", if hold.is_some() { "held" } else { "ended" }, clean(by))
        }
        Notice::Apply { result } => {
            let on = result.continues.as_ref().map(|on| format!(", goes on with {}", clean(on))).unwrap_or_default();
            format!("apply     {} by {}{on}: {}", clean(&result.id), clean(&result.actor), result.outcome.as_str())
        }
    }
}
