//! `events`: a snapshot, then what happens, until the reader or the server ends it. I/O.

use std::io::Write;

use jiff::Timestamp;
use reconciler::decide::status::StatusDocument;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::{EventsArgs, Format, Query};
use crate::client::{Client, Events};
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::render::events::line as line_of;
use crate::render::status;
use crate::render::words::time;
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
        line_of(&events.read(message)?)
    };
    let at = events.read::<Timed>(message)?.time.unwrap_or_else(Timestamp::now);
    Ok(format!("{} {words}\n", time(at)))
}

/// When the server noticed it; a snapshot is of now.
#[derive(Deserialize)]
struct Timed {
    time: Option<Timestamp>,
}
