//! `trace`: what would happen to a connection, from what runs or from a tree. I/O.

use std::fmt::Write;
use std::path::Path;

use reconciler::decide::plan::PlanFile;
use reconciler::decide::trace::{Trace, TracePlace, TraceQuestion, TracedRule, Untraceable, of_tree, trace};
use schema::check::check_tree;
use schema::diagnostic::SourceFile;
use schema::net::{ListenAddress, Protocol};
use schema::ruleset::{RuleSet, TreeFiles};

use crate::cli::{Query, TraceArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::{clean, print, print_value};
use crate::render::style;
use crate::tree::{self, NO_RANGE_LIMIT};

pub(crate) async fn run(args: &TraceArgs) -> Result<Exit, Failure> {
    let found = match &args.path {
        Some(path) => in_tree(args, path)?,
        None => among_what_runs(args).await?,
    };
    if !print_value(args.looks.output, &found)? {
        print(&text(&found))?;
    }
    Ok(if found.forwarded { Exit::Done } else { Exit::Changes })
}

async fn among_what_runs(args: &TraceArgs) -> Result<Trace, Failure> {
    let query = Query::default().with("edge", &args.edge).with("from", &args.from).with("port", &args.port);
    let query = if args.udp { query.with("protocol", &"udp") } else { query };
    let query = match &args.sni {
        Some(name) => query.with("sni", name),
        None => query,
    };
    let query = match args.listen_address.and_then(ListenAddress::to_text) {
        Some(address) => query.with("listen_address", &address),
        None => query,
    };
    Client::new(&args.server)?.get(&query.on("/v1/trace")).await
}

fn in_tree(args: &TraceArgs, path: &Path) -> Result<Trace, Failure> {
    let question = TraceQuestion {
        edge: args.edge.clone(),
        from: args.from,
        protocol: if args.udp { Protocol::Udp } else { Protocol::Tcp },
        port: args.port,
        listen_address: args.listen_address,
        server_name: args.sni.clone(),
    };
    let (rules, files) = from_tree(args, path)?;
    let found = trace(&rules, &question).map_err(|error| match error {
        Untraceable::Ambiguous { .. } => Failure::Usage(error.to_string()),
        Untraceable::Unread { .. } => Failure::Other(error.to_string()),
    })?;
    Ok(found.placed_in_lists(&rules, &files))
}

fn from_tree(args: &TraceArgs, path: &Path) -> Result<(Vec<TracedRule>, Vec<SourceFile>), Failure> {
    let limits = tree::limits(args.range.range_rule_max_ports.or(Some(NO_RANGE_LIMIT)), false);
    let (files, ruleset) = if path.is_file() {
        let text = input::read_text(path, input::PLAN)?;
        let plan = PlanFile::read(&text)
            .map_err(|error| Failure::Other(format!("{} cannot be read: {error}", path.display())))?;
        let files: Vec<SourceFile> =
            plan.files.iter().map(|file| SourceFile::new(file.path.clone(), file.text.clone())).collect();
        let checked = check_tree(&TreeFiles { files: files.clone(), problems: Vec::new() }, &limits);
        let ruleset = checked.ruleset.ok_or(Failure::InvalidTree(checked.diagnostics))?;
        (files, std::sync::Arc::new(ruleset))
    } else {
        let tree = tree::read_valid(path, limits)?;
        (tree.files, tree.ruleset.expect("only valid trees get here"))
    };
    Ok((rules_of(args, &files, &ruleset)?, files))
}

fn rules_of(args: &TraceArgs, files: &[SourceFile], ruleset: &RuleSet) -> Result<Vec<TracedRule>, Failure> {
    if !ruleset.names(&args.edge) {
        return Err(Failure::Other(format!("the tree does not name an edge {}", args.edge)));
    }
    let Some(rules) = ruleset.edges.get(&args.edge) else { return Ok(Vec::new()) };
    // Only the rules of the port are looked at; reading a file again for each of a thousand others would take long.
    let of_port = rules.iter().filter(|(_, placed)| placed.rule.listen.ports.contains(args.port));
    Ok(of_tree(&of_port.map(|(name, placed)| (name.clone(), placed.clone())).collect(), files))
}

/// Why a connection would not be forwarded.
fn why(found: &Trace) -> String {
    match found.refused.as_str() {
        "no_listener" => format!("no rule listens on {} port {}", found.protocol, found.port),
        "no_name" => "the port is shared by server name, and none of its rules takes clients without one".to_owned(),
        "no_match" => "no rule of the port has this server name".to_owned(),
        "access" => "the access lists of the rule do not admit the source".to_owned(),
        "no_target" => "no target of the rule takes connections".to_owned(),
        other => other.to_owned(),
    }
}

fn text(found: &Trace) -> String {
    let name = found.server_name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    let head = format!("{} to {}:{}/{}{name}", found.from, found.edge, found.port, found.protocol);
    let verdict = if found.forwarded { "is forwarded".to_owned() } else { format!("is not forwarded: {}", why(found)) };
    let mut text = format!("{} {verdict}\n", style::strong(&head));
    let mut line = |key: &str, value: &str, place: Option<&TracePlace>| {
        let place = place.map(|place| format!("  {}:{}", clean(&place.file), place.line)).unwrap_or_default();
        writeln!(text, "  {key:<10} {}{place}", clean(value)).expect("a string grows as needed");
    };
    if let Some(listener) = &found.listener {
        line("listener", listener, found.place.as_ref());
    }
    if found.accept_proxy {
        line("proxy", "must begin with a PROXY header, which then says who connects", found.place.as_ref());
    }
    if let Some(rule) = &found.rule {
        line("rule", rule.as_str(), found.place.as_ref());
    }
    if let Some(sni) = &found.sni {
        let listed = sni.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        line("sni", &format!("{}{listed}", sni.matched), sni.place.as_ref());
    }
    match &found.access {
        Some(access) => {
            let verdict = if access.admitted { "admitted" } else { "refused" };
            let by =
                access.network.as_ref().map(|network| format!(" by {} {network}", access.list)).unwrap_or_default();
            let mode = if access.mode == "observe" { ", which only observes" } else { "" };
            line("access", &format!("{verdict}{by}{mode}"), access.place.as_ref());
        }
        None if found.rule.is_some() => line("access", "everyone", None),
        None => {}
    }
    for limit in &found.limits {
        let value = limit.value.as_str().map_or_else(|| limit.value.to_string(), ToOwned::to_owned);
        line("limit", &format!("{} = {value}", limit.key), limit.place.as_ref());
    }
    if let Some(pool) = &found.pool {
        let priority =
            pool.priority.map_or_else(|| "no target is eligible".to_owned(), |priority| format!("priority {priority}"));
        line("pool", &format!("{priority}, {}", pool.balance), pool.place.as_ref());
    }
    for (number, target) in found.dial_order.iter().enumerate() {
        let header = target.proxy_protocol.as_ref().map(|version| format!(", PROXY {version}")).unwrap_or_default();
        let value =
            format!("{}. {} ({}, priority {}{header})", number + 1, target.target, target.state, target.priority);
        line("dial", &value, target.place.as_ref());
    }
    text
}
