//! `targets`: the targets of all rules, how many are up, and what is down. I/O.

use jiff::Timestamp;
use reconciler::act::operator::documents::TargetsDocument;

use crate::cli::{Query, TargetsArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value};
use crate::render::target_list;

pub(crate) async fn run(args: &TargetsArgs) -> Result<Exit, Failure> {
    let query = Query::of(&args.select, &[&args.health, &args.sort]);
    let document: TargetsDocument = Client::new(&args.server)?.get(&query.on("/v1/targets")).await?;
    if !print_value(args.looks.format(), &document)? {
        print(&target_list::text(&document, Timestamp::now()))?;
    }
    Ok(Exit::Done)
}
