//! `override add/list/remove/export`: break-glass rules, beside the tree and for a time. I/O.

use reconciler::act::operator::documents::{OverrideBody, OverrideKind, OverrideRow, ReasonBody};
use schema::name::EdgeName;
use schema::net::ListenAddress;
use schema::state::RuleState;
use serde_json::{Map, Value};

use crate::cli::{OverrideAddArgs, OverrideCommand, Selector};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::rule_words;
use crate::render::table::Columns;
use crate::render::words::{joined, time};

pub(crate) async fn run(command: &OverrideCommand) -> Result<Exit, Failure> {
    match command {
        OverrideCommand::Add(args) => add(args).await,
        OverrideCommand::List(args) => {
            let rows: Vec<OverrideRow> = Client::new(&args.server)?.get("/v1/overrides").await?;
            if print_value(args.looks.format(), &rows)? {
                return Ok(Exit::Done);
            }
            if rows.is_empty() {
                say("There are no overrides.");
            } else {
                print(&table(&rows))?;
            }
            Ok(Exit::Done)
        }
        OverrideCommand::Remove(args) => {
            let path = format!("/v1/overrides/{}/{}", args.rule.edge, args.rule.rule);
            let row: OverrideRow =
                Client::new(&args.server)?.delete_with(&path, &ReasonBody { why: args.why.clone() }).await?;
            if !print_value(args.looks.output, &row)? {
                print(&format!("{}/{} is removed from its edge.\n", row.edge, row.rule))?;
            }
            Ok(Exit::Done)
        }
        OverrideCommand::Export(args) => {
            let rows: Vec<OverrideRow> = Client::new(&args.server)?.get("/v1/overrides").await?;
            // An override of a target is nothing that a tree could have.
            let is_rule = |row: &&OverrideRow| row.kind == OverrideKind::Rule;
            let is_meant = |row: &&OverrideRow| {
                args.rule.as_ref().is_none_or(|rule| (&rule.edge, &rule.rule) == (&row.edge, &row.rule))
            };
            let meant: Vec<&OverrideRow> = rows.iter().filter(is_rule).filter(is_meant).collect();
            if let Some(rule) = args.rule.as_ref().filter(|_| meant.is_empty()) {
                return Err(Failure::Other(format!("there is no override {rule}")));
            }
            if print_value(args.looks.output, &meant)? {
                return Ok(Exit::Done);
            }
            if meant.is_empty() {
                say("There are no overrides.");
            }
            let texts: Vec<String> = meant.iter().map(|row| exported(row)).collect();
            print(&texts.join("\n"))?;
            Ok(Exit::Done)
        }
    }
}

/// The edge and the name of the rule, which may stand in either place.
fn address(args: &OverrideAddArgs) -> Result<(EdgeName, String), Failure> {
    match (&args.place, &args.name) {
        (Selector::Rule(address), Some(name)) if name != address.rule.as_str() => Err(Failure::Usage(format!(
            "the rule has two names: `{}` in {address}, and `{name}` in --name; give one of them",
            address.rule
        ))),
        (Selector::Rule(address), _) => Ok((address.edge.clone(), address.rule.to_string())),
        (Selector::Edge(edge), Some(name)) => Ok((edge.clone(), name.clone())),
        (Selector::Edge(edge), None) => Err(Failure::Usage(format!(
            "the rule has no name: write `portunus override add {edge}/NAME`, or add --name NAME"
        ))),
    }
}

async fn add(args: &OverrideAddArgs) -> Result<Exit, Failure> {
    let (edge, name) = address(args)?;
    let mut rule = Map::new();
    let mut give = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            rule.insert(key.to_owned(), value);
        }
    };
    give("name", Some(name.into()));
    give("protocol", args.protocol.clone().map(Value::from));
    give("listen_address", args.listen_address.and_then(ListenAddress::to_text).map(Value::from));
    give("listen_port", args.listen_port.map(Value::from));
    give("listen_ports", args.listen_ports.clone().map(Value::from));
    give("sni", (!args.sni.is_empty()).then(|| args.sni.clone().into()));
    give("target", Some(args.target.clone().into()));
    let request = OverrideBody { edge, rule, why: args.why.clone(), ttl_secs: args.ttl.as_secs() };
    let row: OverrideRow = Client::new(&args.server)?.post("/v1/overrides", &request).await?;
    let is_in_place = row.state == RuleState::Active;
    if !print_value(args.looks.output, &row)? && is_in_place {
        print(&format!(
            "{}/{} is in place until {}.\nTo keep it, commit the output of `portunus override export {}/{}`.\n",
            row.edge,
            row.rule,
            until(&row),
            row.edge,
            row.rule
        ))?;
    }
    if is_in_place {
        return Ok(Exit::Done);
    }
    let (edge, rule, why) = (&row.edge, &row.rule, joined(&[&row.code, &row.message]));
    say(format!("{edge}/{rule} is recorded until {}, but not in place: it is {}: {why}", until(&row), row.state));
    Ok(Exit::Partial)
}

/// When it ends.
fn until(row: &OverrideRow) -> String {
    row.until.map_or_else(|| "ended by hand".to_owned(), time)
}

fn table(rows: &[OverrideRow]) -> String {
    let mut columns = Columns::new(&["RULE", "OVERRIDE", "STATE", "UNTIL", "ACTOR", "WHY", "REASON"]);
    for row in rows {
        columns.row(&[
            format!("{}/{}", row.edge, row.rule),
            what(row),
            row.state.to_string(),
            until(row),
            row.actor.clone(),
            row.why.clone(),
            joined(&[&row.code, &row.message]),
        ]);
    }
    columns.text("")
}

/// `rule *:8443`, `10.0.0.5:80 paused`, `10.0.0.5:80 weight 20`
fn what(row: &OverrideRow) -> String {
    let Some(target) = &row.target else { return format!("rule {}", rule_words::listens(&row.spec)) };
    match (row.operation.as_deref(), row.weight) {
        (Some("pause"), _) => format!("{target} paused"),
        (Some("disable"), _) => format!("{target} disabled"),
        (_, Some(weight)) => format!("{target} weight {weight}"),
        (operation, None) => format!("{target} {}", operation.unwrap_or_default()),
    }
}

/// The rule as it is to be committed, with why it came about.
fn exported(row: &OverrideRow) -> String {
    let why: Vec<String> = row.why.lines().map(|line| format!("# {}\n", clean(line))).collect();
    format!("{}{}", why.concat(), row.toml)
}
