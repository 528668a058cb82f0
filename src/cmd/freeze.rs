//! `freeze` and `unfreeze`: stop applying, and allow it again. I/O.

use reconciler::act::operator::documents::{FreezeAnswer, FreezeBody, UnfreezeBody};

use crate::cli::{FreezeArgs, UnfreezeArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value};
use crate::render::words::time;

const PATH: &str = "/v1/freeze";

pub(crate) async fn run(args: &FreezeArgs) -> Result<Exit, Failure> {
    if args.why.trim().is_empty() {
        return Err(Failure::Usage("a freeze needs a reason: --why TEXT".to_owned()));
    }
    if args.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Failure::Usage("a freeze lasts at least one second".to_owned()));
    }
    let client = Client::new(&args.server)?;
    let body = FreezeBody { why: args.why.clone(), ttl_secs: args.ttl.map(|ttl| ttl.as_secs()) };
    let answer: FreezeAnswer = client.post(PATH, &body).await?;
    if !print_value(args.looks.output, &answer)? {
        let until = answer.frozen.and_then(|freeze| freeze.until);
        let until = until.map_or_else(|| "`portunus unfreeze`".to_owned(), time);
        print(&format!("Frozen: nothing is applied until {until}. The applied state is still healed.\n"))?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn end(args: &UnfreezeArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let answer: FreezeAnswer = client.delete_with(PATH, &UnfreezeBody { why: args.why.clone() }).await?;
    if !print_value(args.looks.output, &answer)? {
        let text = match answer.before {
            Some(freeze) => format!(
                "No longer frozen; it had been frozen since {}: \
                {}\n",
                time(freeze.since),
                clean(&freeze.why)
            ),
            None => "The fleet was not frozen.\n".to_owned(),
        };
        print(&text)?;
    }
    Ok(Exit::Done)
}
