//! `events`: a snapshot, then what happens, until the reader or the server ends it. I/O.

use std::io::Write;

use jiff::Timestamp;
use reconciler::decide::fleet::{Notice, OverrideStep};
use reconciler::decide::status::StatusDocument;
use schema::health::RuleHealth;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{EventsArgs, Format, Query};
use crate::client::{Client, Events};
use crate::failure::{Exit, Failure};
use crate::output::{Out, clean};
use crate::render::words::{bytes, joined, time};
use crate::render::{rule_words, status, targets};
use crate::sse::Message;

pub(crate) async fn run(args: &EventsArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    tokio::select! {
        result = show(&client, args) => result,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn show(client: &Client, args: &EventsArgs) -> Result<Exit, Failure> {
    let query = Query::of(&args.select, &[&args.health, &args.since]);
    let query = query.with("edges", &args.edges).with("rules", &args.rules).with("targets", &args.targets);
    let mut events = client.events(&query.on("/v1/events")).await?;
    let mut left = args.select.limit;
    let mut out = Out::data();
    while let Some(message) = events.next().await? {
        let text = match args.looks.output {
            Format::Text => line(&events, &message)?,
            format => document(format, &events, &message)?,
        };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)?;
        if message.event != "snapshot" {
            left = left.map(|left| left.saturating_sub(1));
        }
        if out.is_closed() || left == Some(0) {
            return Ok(Exit::Done);
        }
    }
    Err(events.ended().await)
}

/// The event with its kind and number, on one line of JSON or as one document of YAML.
fn document(format: Format, events: &Events<'_>, message: &Message) -> Result<String, Failure> {
    let mut object: Map<String, Value> = events.read(message)?;
    object.insert("event".to_owned(), message.event.clone().into());
    if let Ok(id) = message.id.parse::<u64>() {
        object.insert("id".to_owned(), id.into());
    }
    let failed = |error: String| Failure::Other(format!("the event cannot be printed: {error}"));
    if format == Format::Yaml {
        let text = serde_yaml::to_string(&object).map_err(|error| failed(error.to_string()))?;
        return Ok(format!("---\n{text}"));
    }
    serde_json::to_string(&object).map(|text| text + "\n").map_err(|error| failed(error.to_string()))
}

fn line(events: &Events<'_>, message: &Message) -> Result<String, Failure> {
    let words = if message.event == "snapshot" {
        let snapshot: StatusDocument = events.read(message)?;
        let revision = snapshot.revision.digest.map_or_else(|| "no revision".to_owned(), |digest| digest.short());
        let drift = snapshot.drift.len();
        format!("snapshot  {}, {revision} in force, drift {drift}", status::extent(&snapshot))
    } else {
        notice(&events.read(message)?)
    };
    let at = events.read::<Timed>(message)?.time.unwrap_or_else(Timestamp::now);
    Ok(format!("{} {words}\n", time(at)))
}

/// When the server noticed it; a snapshot is of now.
#[derive(Deserialize)]
struct Timed {
    time: Option<Timestamp>,
}

fn notice(notice: &Notice) -> String {
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
