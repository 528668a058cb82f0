//! `up`: server and one edge named `local` in one process, until a signal. I/O.
//!
//! Keeps: a tree that is invalid at the very first start is an error and nothing runs; later the last good revision
//! serves until the tree is valid again. Where the server or the edge fails, the process ends, so that whoever supervises
//! it starts both again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use edge::{Edge, EdgeConfig, Endpoint};
use reconciler::act::follow::{CheckedTree, read_and_check};
use reconciler::act::server::Server;
use schema::name::EdgeName;
use schema::ruleset::Global;
use tokio_util::sync::CancellationToken;

use super::serve;
use crate::cli::{LogFormat, UpArgs};
use crate::console;
use crate::failure::{Exit, Failure};
use crate::logging;
use crate::output::{clean, say};
use crate::render::style;
use crate::settings::{self, Settings};
use crate::signals::Signals;

/// The folder of the edge's own state, inside the state directory.
const EDGE_STATE: &str = "edge";

pub(crate) async fn run(mut args: UpArgs) -> Result<Exit, Failure> {
    let signals = Signals::new()?;
    if args.dir.is_some() {
        args.serve.rules = args.dir.take();
    }
    if args.serve.rules.is_none() && args.serve.git.is_none() && args.serve.config.is_none() {
        args.serve.rules = Some(PathBuf::from("."));
    }
    let mut settings = settings::read(&args.serve)?;
    if settings.server.remote.is_none() && settings.server.rules.is_none() {
        settings.server.rules = Some(PathBuf::from("."));
    }
    if args.serve.mode.is_none() && settings.server.mode == reconciler::decide::fleet::Mode::Heal {
        settings.server.mode = reconciler::decide::fleet::Mode::Apply;
    }
    // One person, one host: what is in the folder is what is meant.
    settings.server.allow_dirty = true;
    let tree = match settings.server.rules.clone() {
        Some(dir) => {
            let limits = settings.server.limits;
            let read = tokio::task::spawn_blocking(move || read_and_check(&dir, &limits)).await;
            Some(read.map_err(|error| Failure::Other(error.to_string()))?)
        }
        // What a remote holds shows once it was fetched.
        None => None,
    };
    let ruleset = tree.as_ref().and_then(|tree| tree.ruleset.as_ref());
    let global = ruleset.map(|ruleset| ruleset.global.clone()).unwrap_or_default();
    let log_format = log_format(&settings, &global);
    settings.server.log_lines_dropped = start_logging(&args, &settings, &global)?;
    let log_lines_dropped = settings.server.log_lines_dropped.clone();
    let drain = settings.drain(global.shutdown_drain_secs);
    let edge_state = settings.server.state_dir.join(EDGE_STATE);
    let followed = match (&settings.server.remote, &settings.server.rules) {
        (Some(remote), _) => remote.address.to_string(),
        (None, dir) => dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default(),
    };

    let server = Server::start(settings.server).await.map_err(|error| serve::failed(&error))?;
    let banner = banner(&server, &followed, tree.as_ref());
    let addresses = [server.control_address(), server.operator_address(), server.metrics_address()];
    let process_listens = addresses.into_iter().flatten().collect();
    let (fleet, connector, wake) = (server.fleet(), server.in_process(), server.wake());
    let console = console::watch(fleet.clone(), fleet.notices(), log_format);
    let (end_server, end_edge) = (CancellationToken::new(), CancellationToken::new());
    // Joined below, or ended with the process after a second signal.
    let mut server = tokio::spawn(server.run(end_server.clone()));
    if let Some(tree) = tree.as_ref().filter(|tree| tree.ruleset.is_none()) {
        let has_revision = fleet.read(|view| view.fleet.applied().is_some()).await.unwrap_or(false);
        if !has_revision {
            end_server.cancel();
            joined(server.await)?;
            return Err(Failure::InvalidTree(tree.diagnostics.clone()));
        }
    }
    let config = EdgeConfig {
        name: EdgeName::local(),
        server: Endpoint::InProcess(Arc::new(move || connector.connect())),
        state_dir: Some(edge_state),
        metrics_listen: None,
        process_listens,
        disabled_capabilities: schema::capability::Capabilities::new(),
        shutdown_drain: drain,
        names: edge::act::names::Source::default(),
        log_lines_dropped,
    };
    let edge = Edge::start(config).await.map_err(|error| super::edge::failed(&error))?;
    say(banner);
    let (at_once, runtime) = (edge.end_now(), edge.runtime().clone());
    let running = async {
        tokio::select! {
            result = edge.run(end_edge.clone()) => {
                // An edge that failed waits for nothing: whoever supervises the process starts it again.
                result.map_err(|error| super::edge::failed(&error))?;
                end_server.cancel();
                joined(server.await)
            }
            result = &mut server => {
                let by_itself = || Failure::Other("the server ended by itself".to_owned());
                // The restart serves the last good state; an edge alone could follow nothing.
                Err(joined(result).err().unwrap_or_else(by_itself))
            }
        }
    };
    let running = async {
        tokio::select! {
            result = running => result,
            // Its notices end with the server, which says itself how that came.
            () = async { console.await; std::future::pending().await } => Ok(()),
        }
    };
    let look_again = || {
        wake.wake();
        runtime.look_again();
    };
    signals.during(running, look_again, end_edge.clone(), at_once).await?;
    Ok(Exit::Done)
}

type ServerEnd = Result<Result<(), reconciler::act::server::ServerError>, tokio::task::JoinError>;

fn joined(end: ServerEnd) -> Result<(), Failure> {
    match end {
        Ok(result) => result.map_err(|error| serve::failed(&error)),
        Err(error) => Err(Failure::Other(format!("the server ended unexpectedly: {error}"))),
    }
}

fn log_format(settings: &Settings, global: &Global) -> LogFormat {
    settings.log_format.unwrap_or(match global.log_format.as_deref() {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    })
}

fn start_logging(args: &UpArgs, settings: &Settings, global: &Global) -> Result<Arc<AtomicU64>, Failure> {
    let level = settings.log_level.as_deref().or(global.log_level.as_deref()).unwrap_or("info");
    logging::start(level, log_format(settings, global), args.serve.color.color)
}

fn banner(server: &Server, followed: &str, tree: Option<&CheckedTree>) -> String {
    let address = |found: std::io::Result<std::net::SocketAddr>| found.map(|at| at.to_string()).unwrap_or_default();
    let rules = match tree.map(|tree| &tree.ruleset) {
        None => String::new(),
        Some(None) => " (invalid, the last good revision serves)".to_owned(),
        Some(Some(ruleset)) => {
            let local = ruleset.edges.get(&EdgeName::local()).map_or(0, std::collections::BTreeMap::len);
            format!(" ({} for this host)", crate::render::words::count(local as u64, "rule"))
        }
    };
    let change = if tree.is_some() { "Change a file there" } else { "Push a commit there" };
    format!(
        "{}\n  rules     {}{rules}\n  operators http://{}\n  metrics   http://{}/metrics\n  edges     http://{}\n\
         {change} and look with `portunus status`; Ctrl-C ends.",
        style::strong("portunus is up"),
        clean(followed),
        address(server.operator_address()),
        address(server.metrics_address()),
        address(server.control_address()),
    )
}
