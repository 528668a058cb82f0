//! `stats`: the counters of all rules or of one, and on demand of their ports and targets. I/O.

use reconciler::decide::statistics::{RatesDocument, StatsDocument, TargetStatsDocument};
use schema::counters::Figures;
use schema::name::RuleAddress;

use crate::cli::{Query, Selector, StatsArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::{ago, bytes, count};

const HEADINGS: [&str; 10] =
    ["", "#IN", "#OUT", "#IN/S", "#OUT/S", "#ACTIVE", "#TOTAL", "#CONN/S", "#REFUSED", "ERRORS"];

pub(crate) async fn run(args: &StatsArgs) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let query = Query::of(&args.select, &[&args.health, &args.sort]);
    let query = match &args.selector {
        Some(Selector::Rule(rule)) if query.is_empty() => return of_rule(args, &client, rule).await,
        Some(_) if args.select.places.edge.is_some() => {
            return Err(Failure::Usage("either EDGE or --edge says which edge is meant, not both".to_owned()));
        }
        Some(Selector::Rule(_)) => {
            return Err(Failure::Usage("selectors choose among rules; EDGE/RULE is one already".to_owned()));
        }
        Some(Selector::Edge(edge)) => query.with("edge", edge),
        None => query,
    };
    let query = query.with("per_port", &args.per_port).with("per_target", &args.per_target);
    let all: Vec<StatsDocument> = client.get(&query.on("/v1/stats")).await?;
    if print_value(args.looks.format(), &all)? {
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        say("No edge has any rules.");
    } else {
        print(&list(&all))?;
    }
    Ok(Exit::Done)
}

async fn of_rule(args: &StatsArgs, client: &Client, rule: &RuleAddress) -> Result<Exit, Failure> {
    let (per_port, per_target) = (args.per_port, args.per_target);
    let path = format!("/v1/rules/{}/{}/stats?per_port={per_port}&per_target={per_target}", rule.edge, rule.rule);
    let stats: StatsDocument = client.get(&path).await?;
    if per_target && stats.targets.as_ref().is_none_or(|targets| targets.len() <= 1) {
        say(format!("note: {rule} has one target; its counters are those of the rule"));
    }
    if !print_value(args.looks.format(), &stats)? {
        print(&text(&stats))?;
    }
    Ok(Exit::Done)
}

/// A row for each rule, with its ports and targets where they were asked for.
fn list(all: &[StatsDocument]) -> String {
    let mut columns = Columns::new(&HEADINGS);
    for stats in all {
        add_rows(&mut columns, stats);
    }
    columns.text("")
}

fn text(stats: &StatsDocument) -> String {
    let mut columns = Columns::new(&HEADINGS);
    add_rows(&mut columns, stats);
    let mut text = columns.text("");
    if stats.ports.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("No port has had a connection.\n");
    }
    for target in stats.targets.iter().flatten() {
        let seen = [("success", target.last_success), ("failure", target.last_failure)];
        let seen: Vec<String> =
            seen.into_iter().filter_map(|(what, at)| Some(format!("last {what} {}", ago(at?, stats.at)))).collect();
        if !seen.is_empty() {
            text.extend([&*clean(&place(target)), ": ", &seen.join(", "), "\n"]);
        }
    }
    let failovers = stats.counters.target_failovers;
    if failovers > 0 {
        text.extend([&count(failovers, "failover"), ", in both directions.\n"]);
    }
    text
}

/// A rule, its ports and its targets.
fn add_rows(columns: &mut Columns, stats: &StatsDocument) {
    columns.row(&row(format!("{}/{}", stats.edge, stats.rule), &stats.counters, Some(&stats.rates)));
    for port in stats.ports.iter().flatten() {
        columns.row(&row(format!("  port {}", port.port), &port.counters, port.rates.as_ref()));
    }
    for target in stats.targets.iter().flatten() {
        let state = if target.state.is_empty() { String::new() } else { format!(" ({})", target.state) };
        columns.row(&row(format!("  to {}{state}", place(target)), &target.counters, target.rates.as_ref()));
    }
}

fn place(target: &TargetStatsDocument) -> String {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    format!("{host}:{}", target.port)
}

fn row(name: String, counters: &Figures, rates: Option<&RatesDocument>) -> [String; 10] {
    let mut errors: Vec<String> =
        counters.connect_errors.iter().map(|(cause, number)| format!("{number} {cause}")).collect();
    errors.extend(counters.broken.iter().map(|(cause, number)| format!("{number} {}", cause.replace('_', " "))));
    if counters.dns_failures > 0 {
        errors.push(format!("{} dns", counters.dns_failures));
    }
    if counters.flows_dropped_overflow > 0 {
        errors.push(format!("{} flows above the limit", counters.flows_dropped_overflow));
    }
    for (refused, number) in counters.refused.iter() {
        let (mode, reason) = refused.split_once('_').unwrap_or(("enforce", refused));
        let reason = reason.replace('_', " ");
        errors.push(match mode {
            "observe" => format!("{number} would be refused by {reason}"),
            _ => format!("{number} refused by {reason}"),
        });
    }
    for (cause, number) in counters.datagrams_dropped.iter() {
        errors.push(format!("{number} dropped {cause}"));
    }
    let per_second = |rate: fn(&RatesDocument) -> f64| rates.map(rate);
    [
        name,
        bytes(counters.bytes_in),
        bytes(counters.bytes_out),
        per_second(|rates| rates.bytes_in_per_sec).map(|rate| bytes(rate as u64)).unwrap_or_default(),
        per_second(|rates| rates.bytes_out_per_sec).map(|rate| bytes(rate as u64)).unwrap_or_default(),
        counters.active_connections.to_string(),
        counters.connections_total.to_string(),
        per_second(|rates| rates.connections_per_sec).map(|rate| format!("{rate:.1}")).unwrap_or_default(),
        counters.connections_refused.to_string(),
        errors.join(", "),
    ]
}
