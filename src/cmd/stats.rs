//! `stats`: the counters of a rule, and on demand of its ports and targets. I/O.

use reconciler::act::operator::documents::{CountersDocument, RatesDocument, StatsDocument, TargetStatsDocument};

use crate::cli::StatsArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{clean, print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::{ago, bytes, count};

const HEADINGS: [&str; 10] =
    ["", "#IN", "#OUT", "#IN/S", "#OUT/S", "#ACTIVE", "#TOTAL", "#CONN/S", "#REFUSED", "ERRORS"];

pub(crate) async fn run(args: &StatsArgs) -> Result<Exit, Failure> {
    let path = format!(
        "/v1/rules/{}/{}/stats?per_port={}&per_target={}",
        args.rule.edge, args.rule.rule, args.per_port, args.per_target
    );
    let stats: StatsDocument = Client::new(&args.server)?.get(&path).await?;
    if args.per_target && stats.targets.as_ref().is_none_or(|targets| targets.len() <= 1) {
        say(format!("note: {} has one target; its counters are those of the rule", args.rule));
    }
    if !print_value(args.looks.output, &stats)? {
        print(&text(&stats))?;
    }
    Ok(Exit::Done)
}

fn text(stats: &StatsDocument) -> String {
    let mut columns = Columns::new(&HEADINGS);
    columns.row(&row(format!("{}/{}", stats.edge, stats.rule), &stats.counters, Some(&stats.rates)));
    for port in stats.ports.iter().flatten() {
        columns.row(&row(format!("  port {}", port.port), &port.counters, port.rates.as_ref()));
    }
    for target in stats.targets.iter().flatten() {
        let state = if target.state.is_empty() { String::new() } else { format!(" ({})", target.state) };
        columns.row(&row(format!("  to {}{state}", place(target)), &target.counters, target.rates.as_ref()));
    }
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
        text.extend([&count(failovers, "failover"), ", there and back counted alike.\n"]);
    }
    text
}

fn place(target: &TargetStatsDocument) -> String {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    format!("{host}:{}", target.port)
}

fn row(name: String, counters: &CountersDocument, rates: Option<&RatesDocument>) -> [String; 10] {
    let mut errors: Vec<String> =
        counters.connect_errors.iter().map(|(cause, number)| format!("{number} {cause}")).collect();
    errors.extend(counters.broken.iter().map(|(cause, number)| format!("{number} {}", cause.replace('_', " "))));
    if counters.dns_failures > 0 {
        errors.push(format!("{} dns", counters.dns_failures));
    }
    if counters.flows_dropped_overflow > 0 {
        errors.push(format!("{} flows too many", counters.flows_dropped_overflow));
    }
    for (cause, number) in &counters.datagrams_dropped {
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
