//! `targets`: the targets of all rules, how many are up, and what is down. I/O.

use jiff::Timestamp;
use reconciler::act::operator::documents::TargetsDocument;

use crate::cli::TargetsArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value};
use crate::render::target_list;

pub(crate) async fn run(args: &TargetsArgs) -> Result<Exit, Failure> {
    let document: TargetsDocument = Client::new(&args.server)?.get(&args.select.query("/v1/targets")).await?;
    if !print_value(args.looks.output, &document)? {
        print(&target_list::text(&document, Timestamp::now()))?;
    }
    Ok(Exit::Done)
}
