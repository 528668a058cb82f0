//! `stats`: the counters of a rule, and on demand of its ports and targets. I/O.

use reconciler::act::operator::documents::{CountersDocument, StatsDocument};

use crate::cli::StatsArgs;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{print, print_value, say};
use crate::render::table::Columns;
use crate::render::words::bytes;

const HEADINGS: [&str; 7] = ["", "#IN", "#OUT", "#ACTIVE", "#TOTAL", "#REFUSED", "ERRORS"];

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
    columns.row(&row(format!("{}/{}", stats.edge, stats.rule), &stats.counters));
    for port in stats.ports.iter().flatten() {
        columns.row(&row(format!("  port {}", port.port), &port.counters));
    }
    for target in stats.targets.iter().flatten() {
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        // Without health checks there is no verdict, and saying so beside every target helps nobody.
        let state = if matches!(target.state.as_str(), "" | "unknown") {
            String::new()
        } else {
            format!(" ({})", target.state)
        };
        columns.row(&row(format!("  to {host}:{}{state}", target.port), &target.counters));
    }
    let mut text = columns.text("");
    if stats.ports.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("No port has had a connection.\n");
    }
    text
}

fn row(name: String, counters: &CountersDocument) -> [String; 7] {
    let mut errors: Vec<String> =
        counters.connect_errors.iter().map(|(cause, number)| format!("{number} {cause}")).collect();
    if counters.dns_failures > 0 {
        errors.push(format!("{} dns", counters.dns_failures));
    }
    [
        name,
        bytes(counters.bytes_in),
        bytes(counters.bytes_out),
        counters.active_connections.to_string(),
        counters.connections_total.to_string(),
        counters.connections_refused.to_string(),
        errors.join(", "),
    ]
}
