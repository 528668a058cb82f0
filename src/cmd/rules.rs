//! `rules`: every rule of every edge. I/O.

use jiff::Timestamp;
use reconciler::act::operator::documents::RuleRow;

use crate::cli::{Query, RulesArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::rules;

pub(crate) async fn run(args: &RulesArgs) -> Result<Exit, Failure> {
    let query = Query::of(&args.select, &[&args.health, &args.sort, &args.page]);
    let rows: Vec<RuleRow> = Client::new(&args.server)?.get(&query.on("/v1/rules")).await?;
    if print_value(args.looks.format(), &rows)? {
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        say(if args.page.is_given() { "There are no further rules." } else { "No edge has any rules." });
    } else {
        print(&rules::table(rows.iter().map(|row| (row.edge.as_str(), &row.status)), Timestamp::now()))?;
    }
    Ok(Exit::Done)
}
