//! `unused`: rules and ports that nobody connected to for so long. I/O.

use jiff::Timestamp;
use reconciler::decide::unused::UnusedDocument;

use super::connections::say_unanswered;
use crate::cli::{Query, UnusedArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value};
use crate::render::unused;

pub(crate) async fn run(args: &UnusedArgs) -> Result<Exit, Failure> {
    let lasting = format!("{}s", args.lasting.as_secs());
    let query = Query::of(&args.select, &[&args.health]).with("for", &lasting);
    let document: UnusedDocument = Client::new(&args.server)?.get(&query.on("/v1/unused")).await?;
    if !print_value(args.looks.format(), &document)? {
        print(&unused::text(&document, Timestamp::now()))?;
    }
    say_unanswered(&document.unanswered);
    Ok(Exit::Done)
}
