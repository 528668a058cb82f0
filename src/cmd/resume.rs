//! `resume`: ends the hold of a rollback, or completes an apply that was cut off. I/O.

use reconciler::act::operator::documents::{ResumeAnswer, ResumeBody};
use reconciler::decide::fleet::{ApplyResult, Hold};
use reconciler::decide::plan::FORMAT_VERSION;
use serde::Serialize;

use super::apply::{exit_of, follow, patience};
use super::plan::allowances;
use crate::cli::{Format, ResumeArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render;
use crate::render::words::time;
use crate::signals::unless_interrupted;

/// What `resume -o json` prints.
#[derive(Serialize)]
struct ResumeDocument<'a> {
    format_version: &'static str,
    kind: &'static str,
    released: &'a Option<Hold>,
    apply: &'a Option<ApplyResult>,
}

pub(crate) async fn run(args: &ResumeArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let body = ResumeBody {
        plan: None,
        why: args.why.clone(),
        allowances: allowances(&args.allow),
        applied_by: args.actor.label(),
        timeout_secs: Some(args.wait.timeout.as_secs()),
        allow_offline: args.wait.allow_offline,
    };
    let ResumeAnswer { released, apply } = client.post("/v1/resume", &body).await?;
    let apply = match apply {
        Some(begun) => {
            let id = begun.id.clone();
            let wait = patience(&begun, args.wait.timeout);
            let goes_on = || format!("the apply {id} continues on the server; `portunus status` shows its result");
            Some(unless_interrupted(follow(&client, begun, wait), goes_on).await?)
        }
        None => None,
    };
    if args.looks.output == Format::Text {
        print(&text(released.as_ref(), apply.as_ref()))?;
    } else {
        let answer =
            ResumeDocument { format_version: FORMAT_VERSION, kind: "resume", released: &released, apply: &apply };
        print_value(args.looks.output, &answer)?;
    }
    Ok(apply.as_ref().map_or(Exit::Done, exit_of))
}

fn text(released: Option<&Hold>, apply: Option<&ApplyResult>) -> String {
    let mut text = match released {
        Some(hold) => format!("The rollback of {} by {} is no longer held.\n", time(hold.since), clean(&hold.by)),
        None => String::new(),
    };
    match apply {
        // The tree in force was applied again, and nothing came of it.
        Some(result) if result.repeated && released.is_none() => text.push_str("There is nothing to resume.\n"),
        Some(result) => text.push_str(&render::apply::ended(result)),
        None if released.is_none() => text.push_str("There is nothing to resume.\n"),
        None => {}
    }
    text
}
