//! `edge-token create`: an invitation for one edge. I/O.

use reconciler::act::operator::certificates::{EdgeToken, EdgeTokenRequest, TTL};

use crate::cli::EdgeTokenCommand;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::words::time;

pub(crate) async fn run(command: &EdgeTokenCommand) -> Result<Exit, Failure> {
    let EdgeTokenCommand::Create(args) = command;
    if !TTL.contains(&args.ttl.as_secs()) {
        return Err(Failure::Usage("--ttl must be between 1s and 24h".to_owned()));
    }
    let request = EdgeTokenRequest { name: args.name.to_string(), ttl_secs: args.ttl.as_secs() };
    let token: EdgeToken = Client::new(&args.server)?.post("/v1/edge-tokens", &request).await?;
    if !print_value(args.looks.output, &token)? {
        print(&format!("{}\n", clean(&token.uri)))?;
        say(format!(
            "It works once, until {}. On the edge, put it into a file with mode 0600 and start `portunus edge --join \
             @FILE`.",
            time(token.expires_at)
        ));
    }
    Ok(Exit::Done)
}
