//! `operator create/list/revoke` and `audit`: who may do what, and what was asked. I/O.

use reconciler::act::operator::audit::AuditDocument;
use reconciler::act::operator::operators::{CreatedOperator, OperatorBody, OperatorRow};
use reconciler::decide::operators::{Grant, Terms};

use crate::address::query;
use crate::cli::{AuditArgs, OperatorCommand, OperatorCreateArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::time;

const PATH: &str = "/v1/operators";

pub(crate) async fn run(command: &OperatorCommand) -> Result<Exit, Failure> {
    match command {
        OperatorCommand::Create(args) => create(args).await,
        OperatorCommand::List(args) => {
            let rows: Vec<OperatorRow> = Client::new(&args.server)?.get(PATH).await?;
            if !print_value(args.looks.format(), &rows)? {
                print(&table(&rows))?;
            }
            Ok(Exit::Done)
        }
        OperatorCommand::Revoke(args) => {
            let row: OperatorRow = Client::new(&args.server)?.delete(&format!("{PATH}/{}", args.name)).await?;
            if !print_value(args.looks.output, &row)? {
                print(&format!("{} is revoked.\n", row.name))?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn create(args: &OperatorCreateArgs) -> Result<Exit, Failure> {
    if args.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Failure::Usage("a token lives at least one second".to_owned()));
    }
    let grant = Grant { edges: args.edges.clone(), ports: args.ports.clone(), owners: args.owner.clone() };
    grant.check().map_err(|error| Failure::Usage(error.to_string()))?;
    let oidc = args.oidc_issuer.clone().zip(args.oidc_audience.clone());
    let oidc = oidc.map(|(issuer, audience)| Terms { issuer, audience, claims: args.oidc_claim.clone() });
    if let Some(terms) = &oidc {
        terms.check().map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let ttl_secs = args.ttl.map(|ttl| ttl.as_secs());
    let body = OperatorBody { name: args.name.clone(), role: args.role, grant, oidc, ttl_secs };
    let created: CreatedOperator = Client::new(&args.server)?.post(PATH, &body).await?;
    if print_value(args.looks.output, &created)? {
        return Ok(Exit::Done);
    }
    let Some(token) = &created.token else {
        say(format!("{} is created with the role {}; it has no token of its own.", created.name, created.role));
        return Ok(Exit::Done);
    };
    print(&format!("{token}\n"))?;
    let until = created.expires_at.map_or_else(String::new, |until| format!(" until {}", time(until)));
    say(format!(
        "{} is created with the role {}. The line above is its token{until}; it is not shown again.",
        created.name, created.role
    ));
    Ok(Exit::Done)
}

fn table(rows: &[OperatorRow]) -> String {
    let mut columns = Columns::new(&["OPERATOR", "ROLE", "LIMITS", "EXPIRES", "CREATED BY", "IDENTITY TOKENS"]);
    let or_none = |text: String| if text.is_empty() { "–".to_owned() } else { text };
    for row in rows {
        columns.row(&[
            row.name.to_string(),
            row.role.to_string(),
            or_none(row.grant.in_words()),
            row.expires_at.map_or_else(|| "never".to_owned(), time),
            if row.built_in { "the state directory".to_owned() } else { row.created_by.clone() },
            or_none(row.oidc.as_ref().map_or_else(String::new, |terms| terms.issuer.clone())),
        ]);
    }
    columns.text("")
}

/// `audit`
pub(crate) async fn audit(args: &AuditArgs) -> Result<Exit, Failure> {
    let since = args.since.clone().map(|since| ("since", since));
    let limit = args.limit.map(|limit| ("limit", limit.to_string()));
    let query = query(since.into_iter().chain(limit));
    let audit: AuditDocument = Client::new(&args.server)?.get(&format!("/v1/audit?{query}")).await?;
    if print_value(args.looks.format(), &audit)? {
        return Ok(Exit::Done);
    }
    let mut columns = Columns::new(&["TIME", "WHO", "FROM", "WHAT", "OUTCOME"]).yielding(&["WHAT"]);
    let or_none = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    for entry in &audit.entries {
        columns.row(&[
            time(entry.at),
            or_none(&entry.who),
            or_none(&entry.from),
            entry.what.clone(),
            entry.outcome.clone(),
        ]);
    }
    if audit.entries.is_empty() {
        say("The audit has no such entries.");
    } else {
        print(&columns.text(""))?;
    }
    if audit.refusals_beyond > 0 {
        say(format!("{} more refusals were counted and not written down.", audit.refusals_beyond));
    }
    Ok(Exit::Done)
}
