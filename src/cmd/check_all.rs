//! `target check` without a rule: probes the targets of every rule that has a check, on all edges or one. I/O.
//!
//! Keeps: each rule has the time of its own check; so many are asked at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use reconciler::act::operator::documents::{CheckDocument, TargetBody};
use reconciler::decide::status::StatusDocument;
use schema::health::TargetState;
use schema::name::{EdgeName, RuleName};
use schema::state::RuleState;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cli::TargetCheckArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render::{style, targets};

/// Rounds at once: each of them is one request.
const AT_ONCE: usize = 16;

/// What `target check -o json` prints without a name.
#[derive(Serialize)]
struct Checked {
    checks: Vec<CheckDocument>,
    unanswered: Vec<Unanswered>,
}

/// A rule that could not be checked.
#[derive(Serialize)]
struct Unanswered {
    edge: EdgeName,
    rule: RuleName,
    message: String,
}

type RuleAddress = (EdgeName, RuleName);

/// Checks everything that the status shows with a check, and prints it in the order of the names.
pub(crate) async fn run(args: &TargetCheckArgs, only: Option<&EdgeName>) -> Result<Exit, Failure> {
    let client = Arc::new(Client::new(&args.server)?);
    let path = only.map_or_else(|| "/v1/status".to_owned(), |edge| format!("/v1/status?edge={edge}"));
    let status: StatusDocument = client.get(&path).await?;
    let mut checked = Checked { checks: Vec::new(), unanswered: Vec::new() };
    for (place, answer) in ask(&client, &args.why, places(&status, &mut checked.unanswered)).await {
        match answer {
            Ok(document) => checked.checks.push(document),
            Err(failure @ (Failure::Problem(_) | Failure::Interrupted(_))) => {
                let (edge, rule) = place;
                checked.unanswered.push(Unanswered { edge, rule, message: failure.to_string() });
            }
            Err(failure) => return Err(failure),
        }
    }
    if !print_value(args.looks.output, &checked)? {
        print(&text(&checked))?;
    }
    let is_down = |one: &CheckDocument| one.targets.iter().any(|target| target.state == TargetState::Down);
    let is_well = checked.unanswered.is_empty() && !checked.checks.iter().any(is_down);
    Ok(if is_well { Exit::Done } else { Exit::Partial })
}

/// The rules to ask; those of edges that are away cannot be.
fn places(status: &StatusDocument, unanswered: &mut Vec<Unanswered>) -> Vec<RuleAddress> {
    let mut places = Vec::new();
    for edge in &status.edges {
        for rule in
            edge.rules.iter().filter(|rule| rule.last_known() == RuleState::Active && rule.spec.contains_key("health"))
        {
            let (edge_name, rule) = (edge.name.clone(), rule.rule.clone());
            if edge.connected {
                places.push((edge_name, rule));
            } else {
                unanswered.push(Unanswered { edge: edge_name, rule, message: "the edge is offline".to_owned() });
            }
        }
    }
    places
}

async fn ask(
    client: &Arc<Client>,
    why: &str,
    places: Vec<RuleAddress>,
) -> BTreeMap<RuleAddress, Result<CheckDocument, Failure>> {
    let (mut places, mut asked, mut answers) = (places.into_iter(), JoinSet::new(), BTreeMap::new());
    loop {
        while asked.len() < AT_ONCE
            && let Some((edge, rule)) = places.next()
        {
            let (client, why) = (Arc::clone(client), why.to_owned());
            asked.spawn(async move {
                let body = TargetBody { operation: "check".to_owned(), why, ..TargetBody::default() };
                let answer = client.post(&format!("/v1/targets/{edge}/{rule}"), &body).await;
                ((edge, rule), answer)
            });
        }
        match asked.join_next().await {
            Some(Ok((place, answer))) => _ = answers.insert(place, answer),
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => return answers,
        }
    }
}

fn text(checked: &Checked) -> String {
    let now = Timestamp::now();
    let mut parts: Vec<String> = checked
        .checks
        .iter()
        .map(|one| {
            format!("{}\n{}", style::strong(format!("{}/{}", one.edge, one.rule)), targets::table(&one.targets, now))
        })
        .collect();
    parts.extend(
        checked
            .unanswered
            .iter()
            .map(|one| format!("{}/{}: {}\n", one.edge, one.rule, style::error(clean(&one.message)))),
    );
    if parts.is_empty() { "No rule has a health check.\n".to_owned() } else { parts.join("\n") }
}
