//! `quota list/reset`: what was used of quotas, and a new beginning of one. I/O.

use reconciler::act::operator::quotas::ResetBody;
use reconciler::decide::page::query::segment;
use reconciler::decide::quota::{QuotaDocument, QuotaReset};
use schema::name::RuleAddress;

use crate::cli::{Query, QuotaCommand, QuotaListArgs, QuotaResetArgs, Selector};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::{bytes, time};

pub(crate) async fn run(command: &QuotaCommand) -> Result<Exit, Failure> {
    match command {
        QuotaCommand::List(args) => list(args).await,
        QuotaCommand::Reset(args) => {
            let body = ResetBody { why: args.why.clone() };
            let reset: QuotaReset = Client::new(&args.server)?.post(&path_of(args)?, &body).await?;
            if !print_value(args.looks.output, &reset)? {
                print(&format!("{}\n", reset.message))?;
            }
            Ok(Exit::Done)
        }
    }
}

/// Where the quota that is meant is reset.
fn path_of(args: &QuotaResetArgs) -> Result<String, Failure> {
    match (&args.place, &args.owner) {
        (Selector::Rule(address), None) => Ok(format!("/v1/quotas/{}/{}/reset", address.edge, address.rule)),
        (Selector::Edge(edge), Some(owner)) => Ok(format!("/v1/quotas/{edge}/owners/{}/reset", segment(owner))),
        (Selector::Edge(edge), None) => Err(Failure::Usage(format!(
            "{edge} is an edge: name a rule as {edge}/RULE, or add --owner NAME for the quota of an owner"
        ))),
        (Selector::Rule(RuleAddress { edge, .. }), Some(_)) => Err(Failure::Usage(format!(
            "all rules of an owner share its quota: write {edge} instead of a rule, or leave --owner out"
        ))),
    }
}

async fn list(args: &QuotaListArgs) -> Result<Exit, Failure> {
    let query = Query::of(&args.select, &[]);
    let query = match &args.selector {
        Some(_) if args.select.places.edge.is_some() => {
            return Err(Failure::Usage("either EDGE or --edge says which edge is meant, not both".to_owned()));
        }
        Some(Selector::Rule(_)) if args.select.places.rule.is_some() => {
            return Err(Failure::Usage("either EDGE/RULE or --rule says which rule is meant, not both".to_owned()));
        }
        Some(Selector::Rule(address)) => query.with("edge", &address.edge).with("rule", &address.rule),
        Some(Selector::Edge(edge)) => query.with("edge", edge),
        None => query,
    };
    let rows: Vec<QuotaDocument> = Client::new(&args.server)?.get(&query.on("/v1/quotas")).await?;
    if print_value(args.looks.format(), &rows)? {
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        say("No rule or owner has a quota.");
    } else {
        print(&table(&rows))?;
    }
    Ok(Exit::Done)
}

fn table(rows: &[QuotaDocument]) -> String {
    let mut columns = Columns::new(&["QUOTA", "#USED", "#LIMIT", "#PERCENT", "PERIOD", "ENDS", "STATE", "OWNER"]);
    for row in rows {
        let name = row.rule.as_ref().map_or_else(|| format!("owner {}", row.owner), ToString::to_string);
        columns.row(&[
            format!("{}/{name}", row.edge),
            bytes(row.used),
            bytes(row.limit),
            format!("{:.1}", row.percent),
            row.period.clone(),
            row.ends.map_or_else(|| "never".to_owned(), time),
            row.state.as_str().to_owned(),
            if row.owner.is_empty() { "–".to_owned() } else { row.owner.clone() },
        ]);
    }
    columns.text("")
}
