//! `apply --wait-healthy`: waits until the rules of the tree that have a check are up, those that did not change too.
//! I/O.
//!
//! The server waits for what it changes. What the apply left alone may not be up either, and then nothing was sent.

use std::time::Duration;

use reconciler::decide::status::{RuleStatus, StatusDocument};
use reconciler::decide::target;
use schema::health::RuleHealth;
use schema::name::{EdgeName, RuleName};
use schema::ruleset::RuleSet;
use schema::state::RuleState;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{clean, say};
use crate::render::style;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A rule that was not up in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unhealthy {
    edge: EdgeName,
    rule: RuleName,
    code: &'static str,
    message: String,
}

impl Unhealthy {
    /// The line of it, as `apply` prints what did not go well.
    pub(crate) fn line(&self) -> String {
        format!("{}/{}: {}", self.edge, self.rule, style::error(clean(&self.message)))
    }
}

/// Waits until then at the longest. Returns the rules that are not up; those of an edge that is offline are left out where
/// `allow_offline` is set.
pub(crate) async fn wait(
    client: &Client,
    ruleset: &RuleSet,
    until: Instant,
    allow_offline: bool,
) -> Result<Vec<Unhealthy>, Failure> {
    let mut is_said = false;
    loop {
        let status: StatusDocument = client.get("/v1/status").await?;
        let unhealthy = unhealthy(ruleset, &status, allow_offline);
        if unhealthy.is_empty() || Instant::now() >= until {
            return Ok(unhealthy);
        }
        if !std::mem::replace(&mut is_said, true) {
            let names: Vec<String> = unhealthy.iter().map(|one| format!("{}/{}", one.edge, one.rule)).collect();
            say(format!("Waiting until {} {} up.", shortened(&names), if names.len() == 1 { "is" } else { "are" }));
        }
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// The first few of many.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn unhealthy(ruleset: &RuleSet, status: &StatusDocument, allow_offline: bool) -> Vec<Unhealthy> {
    let mut found = Vec::new();
    for (name, rules) in &ruleset.edges {
        let edge = status.edges.iter().find(|edge| edge.name == *name);
        let is_away = edge.is_none_or(|edge| !edge.connected);
        if is_away && allow_offline {
            continue;
        }
        for (rule, _) in rules.iter().filter(|(_, placed)| placed.rule.health.is_some()) {
            let seen = edge.and_then(|edge| edge.rules.iter().find(|seen| seen.rule == *rule));
            let message = if is_away { Some("its edge is offline".to_owned()) } else { why(seen) };
            let one = |message| Unhealthy { edge: name.clone(), rule: rule.clone(), code: "not_healthy", message };
            found.extend(message.map(one));
        }
    }
    found
}

/// Why a rule is not up.
fn why(seen: Option<&RuleStatus>) -> Option<String> {
    let Some(seen) = seen else { return Some("the rule does not serve".to_owned()) };
    if seen.state != RuleState::Active {
        return Some(format!("it is {}", seen.state));
    }
    if seen.health == Some(RuleHealth::Up) {
        return None;
    }
    let health = seen.health.map_or("unknown", RuleHealth::as_str);
    let targets: Vec<String> = seen.targets.iter().map(target::in_words).collect();
    Some(format!("the rule serves, but was {health} when the time was over: {}", targets.join("; ")))
}
