//! `rollback`: shows what going back to a recorded revision changes, asks, has the server do it and follows. I/O.
//!
//! Keeps: nothing is sent that was not shown; without `--yes` and without a terminal nothing is sent at all.

use reconciler::act::operator::documents::RollbackBody;
use reconciler::decide::fleet::ApplyResult;
use reconciler::decide::plan::PlanDocument;

use super::apply::{follow, is_confirmed, no_terminal, not_shown, patience, refuse_early, report};
use super::plan::allowances;
use crate::cli::{Format, RollbackArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{can_ask, length, print, say};
use crate::render;
use crate::signals::unless_interrupted;

const PATH: &str = "/v1/rollback";

pub(crate) async fn run(args: &RollbackArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let body = RollbackBody {
        revision: args.revision.clone(),
        why: args.why.clone(),
        applied_by: args.actor.label(),
        allowances: allowances(&args.allow),
        timeout_secs: Some(args.wait.timeout.as_secs()),
        allow_offline: args.wait.allow_offline,
        ..RollbackBody::default()
    };
    let plan = client.post::<PlanDocument>(PATH, &RollbackBody { dry_run: true, ..body.clone() }).await;
    let plan = match plan {
        Err(failure) if !args.yes && !can_ask() => return Err(not_shown(failure)),
        plan => plan?,
    };
    let shown = render::plan::text(&plan, length());
    let is_text = args.looks.output == Format::Text;
    if is_text {
        print(&shown)?;
    }
    if !args.yes && !is_text {
        say(&shown);
    }
    if !args.yes && !can_ask() {
        return Err(no_terminal());
    }
    refuse_early(&plan)?;
    if !args.yes && !is_confirmed("Roll back to this revision?").await? {
        say("Nothing was rolled back.");
        return Ok(Exit::Error);
    }
    // The server refuses a name that means another revision by now than the planned one.
    let body = RollbackBody { plan: Some(plan.clone()), ..body };
    let begun: ApplyResult = client.post(PATH, &body).await?;
    let id = begun.id.clone();
    let wait = patience(&begun, args.wait.timeout);
    let goes_on = || format!("the rollback {id} continues on the server; `portunus status` shows its result");
    let result = unless_interrupted(follow(&client, begun, wait), goes_on).await?;
    report(args.looks.output, "rollback", &result, &plan)
}
