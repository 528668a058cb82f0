//! `up`: server and one edge named `local` in one process, until a signal. I/O.
//!
//! Keeps: what served before a restart serves again whatever the tree does, and is not kept waiting by it; a tree that
//! is invalid at the very first start is an error and nothing runs. Where the server or the edge fails, the process
//! ends, so that whoever supervises it starts both again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edge::act::connection_log::ConnectionLogFile;
use edge::act::runtime::RuntimeHandle;
use edge::{Edge, EdgeConfig, Endpoint, InheritedSockets};
use reconciler::act::checked_tree::CheckedTree;
use reconciler::act::driver::FleetHandle;
use reconciler::act::server::{Server, ServerConfig};
use reconciler::decide::fleet::Mode;
use reconciler::decide::operators::session_table::LINK_LIFETIME;
use schema::name::EdgeName;
use schema::policy::Policy;
use schema::ruleset::Global;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::serve;
use crate::cli::{LogFormat, UpArgs};
use crate::console;
use crate::failure::{Exit, Failure};
use crate::logging::Logging;
use crate::output::{clean, say};
use crate::policy_file::PolicyFile;
use crate::render::style;
use crate::service;
use crate::settings::{self, Settings, Wishes};
use crate::signals::Signals;
use crate::tree::Reading;

/// The folder of the edge's own state, inside the state directory.
const EDGE_STATE: &str = "edge";
/// How long a start waits for its tree, so that logging begins as the tree asks for. Ordinary trees are read in
/// milliseconds; one that takes longer is read while the last good state serves.
const TREE_PATIENCE: Duration = Duration::from_millis(250);
/// How often it is asked whether a tree that took longer has been read.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a person at the console needs is in the banner and in the lines of what is not as it should be. Each step of the
/// two halves towards each other is logged where somebody asks for `--log-level info`.
const LEVEL: &str = "info,edge::act::agent=warn,edge::act::session=warn,reconciler::act::driver=warn,\
                     reconciler::act::server=warn,reconciler::routine=warn";

pub(crate) async fn run(mut args: UpArgs, inherited: InheritedSockets) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let mut settings = settings_of(&mut args)?;
    settings.server.inherited = inherited;
    let policy = PolicyFile::new(args.policy.take(), args.allow_metadata_targets);
    let Some(up) = signals.unless_ended(Box::pin(start(&args, settings, policy.read()?))).await else {
        return Ok(Exit::Done);
    };
    let Up { server, edge, logging, format, wishes, is_tree_known } = up?;
    let (fleet, wake) = (server.fleet(), server.wake());
    let console = console::watch(fleet.clone(), fleet.notices(), format);
    let (end_server, end_edge) = (CancellationToken::new(), CancellationToken::new());
    // Joined below, or ended with the process after a second signal.
    let mut server = tokio::spawn(server.run(end_server.clone()));
    let connection_log = edge.connection_log();
    let (at_once, runtime, drain) = (edge.end_now(), edge.runtime().clone(), edge.shutdown_drain());
    let late_tree = async {
        if !is_tree_known && let Some(global) = first_global(&fleet).await {
            drain.set(wishes.drain(&global));
            let (level, format) = wishes.logging(&global);
            if let Err(error) = logging.change(level, format) {
                tracing::warn!(%error, "logging stays as it is");
            }
        }
        std::future::pending().await
    };
    let running = async {
        tokio::select! {
            result = edge.run(end_edge.clone()) => {
                // An edge that failed waits for nothing: whoever supervises the process starts it again.
                result.map_err(|error| super::edge::failed(&error))?;
                end_server.cancel();
                joined(server.await)
            }
            result = &mut server => {
                let by_itself = || Failure::Other("the server stopped by itself".to_owned());
                // The restart serves the last good state; an edge alone could follow nothing.
                Err(joined(result).err().unwrap_or_else(by_itself))
            }
            never = late_tree => never,
            // Its notices end with the server, which says itself how that came.
            () = async { console.await; std::future::pending().await } => Ok(()),
        }
    };
    let look_again = || {
        service::reloading();
        if let Some(log) = &connection_log {
            log.reopen();
        }
        wake.wake();
        runtime.look_again();
        policy.read_again(&runtime);
    };
    let (fleet, looked_at) = (fleet.clone(), runtime.clone());
    service::ready();
    let running = async {
        tokio::select! {
            result = running => result,
            () = service::report(|| status(&looked_at, &fleet)) => Ok(()),
        }
    };
    signals.during(Box::pin(running), look_again, end_edge.clone(), at_once).await?;
    Ok(Exit::Done)
}

/// The state of both halves, for a supervisor.
async fn status(runtime: &RuntimeHandle, fleet: &FleetHandle) -> Option<String> {
    let edge = super::edge::status(runtime).await?;
    serve::status(fleet).await.map(|server| format!("{edge}, {server}"))
}

/// What the server follows, for people.
fn followed(server: &ServerConfig) -> String {
    match (&server.remote, &server.rules) {
        (Some(remote), _) => remote.address.to_string(),
        (None, dir) => dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default(),
    }
}

fn settings_of(args: &mut UpArgs) -> Result<Settings, Failure> {
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
    if args.serve.mode.is_none() && settings.server.mode == Mode::Heal {
        settings.server.mode = Mode::Apply;
    }
    // One person, one host: what is in the folder is what is meant.
    settings.server.allow_dirty = true;
    settings.process.default_level = LEVEL;
    Ok(settings)
}

/// Both halves, of which the edge serves its last good state already.
struct Up {
    server: Server,
    edge: Edge,
    logging: Logging,
    format: LogFormat,
    wishes: Wishes,
    /// True if what the tree says about the process is in force.
    is_tree_known: bool,
}

async fn start(args: &UpArgs, mut settings: Settings, policy: Policy) -> Result<Up, Failure> {
    // What a remote holds shows once it was fetched.
    let dir = settings.server.rules.clone().filter(|_| settings.server.remote.is_none());
    let mut reading = dir.map(|dir| Reading::start(dir, settings.server.limits));
    let mut tree = match &mut reading {
        Some(reading) => reading.within(TREE_PATIENCE).await?,
        None => None,
    };
    let wishes = settings.process;
    let global = |tree: Option<&CheckedTree>| {
        let ruleset = tree.and_then(|tree| tree.ruleset.as_ref());
        ruleset.map(|ruleset| ruleset.global.clone()).unwrap_or_default()
    };
    let of_tree = global(tree.as_ref());
    let (level, mut format) = wishes.logging(&of_tree);
    let logging = Logging::start(level, format, args.serve.color.color)?;
    settings.server.log_lines_dropped = logging.dropped();
    let connection_log = args.connection_log.clone().map(|path| ConnectionLogFile { path, dropped: Arc::default() });
    settings.server.connection_log_dropped = connection_log.as_ref().map(|file| file.dropped.clone());
    let edge_state = settings.server.state_dir.join(EDGE_STATE);
    let inherited = settings.server.inherited.clone();
    let followed = followed(&settings.server);

    let server = Server::start(settings.server).await.map_err(|error| serve::failed(&error))?;
    let is_first = !server.has_revision() && !edge::has_last_good(&edge_state);
    if is_first
        && tree.is_none()
        && let Some(reading) = reading.take()
    {
        // Nothing waits for it: there is nothing to serve.
        let read = reading.end().await?;
        let of_tree = global(Some(&read));
        let (level, of_tree) = wishes.logging(&of_tree);
        logging.change(level, of_tree)?;
        format = of_tree;
        tree = Some(read);
    }
    if let Some(invalid) = tree.as_mut().filter(|tree| is_first && tree.ruleset.is_none()) {
        return Err(Failure::InvalidTree(std::mem::take(&mut invalid.diagnostics)));
    }
    let is_late = tree.is_none() && reading.is_some();
    // From here on the follower reads it, and nobody reads it twice at a time.
    drop(reading);
    let connector = server.in_process();
    let addresses = [server.control_address(), server.metrics_address()];
    let config = EdgeConfig {
        name: EdgeName::local(),
        server: Endpoint::InProcess(Arc::new(move || connector.connect())),
        state_dir: Some(edge_state),
        metrics_listen: None,
        process_listens: addresses.into_iter().flatten().chain(server.operator_addresses()).collect(),
        disabled_capabilities: schema::capability::Capabilities::new(),
        policy,
        inherited,
        shutdown_drain: wishes.drain(&global(tree.as_ref())),
        names: edge::act::names::ResolverFiles::default(),
        log_lines_dropped: logging.dropped(),
        connection_log,
    };
    let edge = Edge::start(config).await.map_err(|error| super::edge::failed(&error))?;
    say(banner(&server, &followed, tree.as_ref(), is_late));
    Ok(Up { server, edge, logging, format, wishes, is_tree_known: tree.is_some_and(|tree| tree.ruleset.is_some()) })
}

/// What the first valid tree says that the server reads.
async fn first_global(fleet: &FleetHandle) -> Option<Global> {
    loop {
        let global = fleet.read(|view| {
            let ruleset = view.fleet.followed().and_then(|tree| tree.ruleset.as_ref());
            ruleset.map(|ruleset| ruleset.global.clone())
        });
        match global.await {
            Ok(None) => sleep(ASK_AGAIN).await,
            known => return known.ok().flatten(),
        }
    }
}

type ServerEnd = Result<Result<(), reconciler::act::server::ServerError>, tokio::task::JoinError>;

fn joined(end: ServerEnd) -> Result<(), Failure> {
    match end {
        Ok(result) => result.map_err(|error| serve::failed(&error)),
        Err(error) => Err(Failure::Other(format!("the server ended unexpectedly: {error}"))),
    }
}

/// The page, signed in once as the operator of this host; without random numbers as a stranger.
fn page(server: &Server) -> String {
    let address = server.page_address();
    let pin = server.page_pin().filter(|_| address.starts_with("https:"));
    let pin = pin.map(|pin| format!(", certificate authority {pin}")).unwrap_or_default();
    match server.sessions().new_link() {
        Ok(code) => format!(
            "{address}sign-in?once={code} (signs in once, within {} minutes{pin})",
            LINK_LIFETIME.as_secs() / 60
        ),
        Err(_) => address,
    }
}

fn banner(server: &Server, followed: &str, tree: Option<&CheckedTree>, is_late: bool) -> String {
    let address = |found: std::io::Result<std::net::SocketAddr>| found.map(|at| at.to_string()).unwrap_or_default();
    let rules = match tree.map(|tree| &tree.ruleset) {
        None if is_late => " (still being read, the last good revision serves)".to_owned(),
        None => String::new(),
        Some(None) => " (invalid, the last good revision serves)".to_owned(),
        Some(Some(ruleset)) => {
            let local = ruleset.edges.get(&EdgeName::local()).map_or(0, std::collections::BTreeMap::len);
            format!(" ({} for this host)", crate::render::words::count(local as u64, "rule"))
        }
    };
    let change = if tree.is_some() || is_late { "Change a file there" } else { "Push a commit there" };
    format!(
        "{}\n  rules     {}{rules}\n  page      {}\n  operators {}\n  metrics   http://{}/metrics\n  edges     {} (mutual TLS)\n\
         {change} and look with `portunus status`; Ctrl-C ends.",
        style::strong("portunus is up"),
        clean(followed),
        page(server),
        server.page_address().trim_end_matches("/ui/"),
        address(server.metrics_address()),
        address(server.control_address()),
    )
}
