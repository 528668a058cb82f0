//! `ca show/rotate/retire`: the certificate authority of the server. I/O.

use std::fmt::Write as _;

use reconciler::act::operator::certificates::{AuthoritiesDocument, AuthorityDocument, RetireRequest};

use crate::cli::CaCommand;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::words::{count, time};

pub(crate) async fn run(command: &CaCommand) -> Result<Exit, Failure> {
    let nothing = serde_json::json!({});
    let (looks, authorities): (_, AuthoritiesDocument) = match command {
        CaCommand::Show(args) => (&args.looks, Client::new(&args.server)?.get("/v1/ca").await?),
        CaCommand::Rotate(args) => (&args.looks, Client::new(&args.server)?.post("/v1/ca/rotate", &nothing).await?),
        CaCommand::Retire(args) => {
            let request = RetireRequest { force: args.force };
            (&args.common.looks, Client::new(&args.common.server)?.post("/v1/ca/retire", &request).await?)
        }
    };
    if print_value(looks.output, &authorities)? {
        return Ok(Exit::Done);
    }
    print(&text(&authorities))?;
    if matches!(command, CaCommand::Rotate(_)) {
        say("Connected edges renew now. End the previous one with `portunus ca retire` once all have renewed.");
    }
    Ok(Exit::Done)
}

fn text(authorities: &AuthoritiesDocument) -> String {
    let line = |what: &str, authority: &AuthorityDocument| {
        let end = authority.expires_at.map(|end| format!(", expires {}", time(end))).unwrap_or_default();
        format!("{what}  {}{end}\n", authority.pin)
    };
    let mut text = line("current ", &authorities.current);
    if let Some(previous) = &authorities.previous {
        text.push_str(&line("previous", previous));
    }
    if authorities.given {
        text.push_str("It was given with --ca-cert.\n");
    }
    if !authorities.not_renewed.is_empty() {
        let names: Vec<&str> = authorities.not_renewed.iter().map(schema::name::EdgeName::as_str).collect();
        let edges = count(names.len() as u64, "edge");
        _ = writeln!(text, "Certificates from the previous one: {edges} ({})", names.join(", "));
    }
    text
}
