//! `edge`: an edge, until a signal. I/O.
//!
//! Keeps: after the first start neither URI nor name are needed; a name that is not the one of the state directory is
//! a usage error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge::act::connection_log::ConnectionLogFile;
use edge::act::runtime::RuntimeHandle;
use edge::{Edge, EdgeConfig, EdgeError, Endpoint, FleetAccess, InheritedSockets, Membership};
use schema::causes::with_causes;
use schema::join::JoinUri;
use schema::name::EdgeName;
use tokio_util::sync::CancellationToken;

use crate::cli::EdgeArgs;
use crate::failure::{Exit, Failure};
use crate::logging::Logging;
use crate::policy_file::PolicyFile;
use crate::render::words::count;
use crate::secret::note_if_open;
use crate::service;
use crate::signals::Signals;
use crate::state_dir;

/// Another name of the variable of `--join`.
const JOIN_VARIABLE: &str = "PORTUNUS_JOIN";

pub(crate) async fn run(args: EdgeArgs, inherited: InheritedSockets) -> Result<Exit, Failure> {
    let signals = Signals::new()?;
    let Identity { name, state_dir, join } = identity(&args)?;
    let log_lines_dropped = Logging::start(&args.log_level, args.log_format, args.color)?.dropped();
    let server = args.server.map(|server| server.place());
    let policy = PolicyFile::new(args.policy, args.allow_metadata_targets);
    let config = EdgeConfig {
        policy: policy.read()?,
        name,
        server: Endpoint::Fleet(FleetAccess { server, join }),
        state_dir: Some(state_dir),
        metrics_listen: args.metrics_listen,
        process_listens: Vec::new(),
        disabled_capabilities: args.disable_capability.into_iter().collect(),
        shutdown_drain: args.shutdown_drain_timeout,
        names: edge::act::names::ResolverFiles::default(),
        log_lines_dropped,
        connection_log: args.connection_log.map(|path| ConnectionLogFile { path, dropped: Arc::default() }),
        inherited,
    };
    let edge = Edge::start(config).await.map_err(|error| failed(&error))?;
    let (end, at_once, runtime) = (CancellationToken::new(), edge.end_now(), edge.runtime().clone());
    let connection_log = edge.connection_log();
    let look_again = || {
        service::reloading();
        if let Some(log) = &connection_log {
            log.reopen();
        }
        runtime.look_again();
        policy.read_again(&runtime);
    };
    service::ready();
    let work = async {
        tokio::select! {
            result = edge.run(end.clone()) => result.map_err(|error| failed(&error)),
            () = service::report(|| status(&runtime)) => Ok(()),
        }
    };
    signals.during(work, look_again, end.clone(), at_once).await?;
    Ok(Exit::Done)
}

/// What the edge does, once all of its parts have answered; `None` once it has ended.
pub(crate) async fn status(runtime: &RuntimeHandle) -> Option<String> {
    runtime.answers().await.ok()?;
    let rules = runtime.status().rules.iter().filter(|rule| rule.running.is_some()).count();
    Some(format!("serving {}", count(rules as u64, "rule")))
}

/// Which edge this is.
struct Identity {
    name: EdgeName,
    state_dir: PathBuf,
    join: Option<JoinUri>,
}

fn identity(args: &EdgeArgs) -> Result<Identity, Failure> {
    let given = args.join.clone().or_else(|| std::env::var(JOIN_VARIABLE).ok().filter(|text| !text.is_empty()));
    let join = given.map(|text| read_join(&text)).transpose()?;
    let invited = join.as_ref().map(|join| &join.name);
    if let (Some(name), Some(invited)) = (&args.name, invited)
        && name != invited
    {
        return Err(Failure::Usage(format!("the join URI is for edge {invited}, but --name is {name}")));
    }
    let named = args.name.as_ref().or(invited);
    let state_dir = match (&args.state_dir, named) {
        (Some(dir), _) => dir.clone(),
        (None, Some(name)) => state_dir::of_edge(name).ok_or_else(no_state_dir)?,
        (None, None) => only_member()?,
    };
    let kept = edge::membership(&state_dir).map_err(|error| Failure::Other(with_causes(&error)))?;
    let kept = kept.filter(|kept| kept.credentials.is_some());
    let of_state = kept.as_ref().and_then(|kept: &Membership| EdgeName::new(&kept.edge).ok());
    let name = match (named, of_state) {
        (Some(named), Some(of_state)) if *named != of_state => {
            let dir = state_dir.display();
            let what = format!("the state directory {dir} is that of edge {of_state}, and not of {named}");
            return Err(Failure::Usage(format!("{what}: start it as {of_state}, or with another --state-dir")));
        }
        (Some(named), _) => named.clone(),
        (None, Some(of_state)) => of_state,
        (None, None) => return Err(not_joined(&state_dir)),
    };
    // What served before membership existed serves on, and its log says what is missing.
    if join.is_none() && kept.is_none() && !edge::has_last_good(&state_dir) {
        return Err(not_joined(&state_dir));
    }
    Ok(Identity { name, state_dir, join })
}

fn no_state_dir() -> Failure {
    Failure::Usage("neither HOME nor XDG_STATE_HOME is set: give --state-dir".to_owned())
}

fn not_joined(state_dir: &Path) -> Failure {
    let dir = state_dir.display();
    Failure::Usage(format!(
        "no edge has joined with the state directory {dir}: create a URI with `portunus edge-token create NAME` at the \
         server, and start this edge with --join"
    ))
}

/// The one edge of this user that has joined.
fn only_member() -> Result<PathBuf, Failure> {
    let parent = state_dir::of_edges().ok_or_else(no_state_dir)?;
    let mut members = edge::members_below(&parent);
    match (members.pop(), members.is_empty()) {
        (Some((_, dir)), true) => Ok(dir),
        (Some((last, _)), false) => {
            let names: Vec<String> =
                members.iter().map(|(name, _)| name.to_string()).chain([last.to_string()]).collect();
            Err(Failure::Usage(format!("several edges have joined on this host ({}): give --name", names.join(", "))))
        }
        (None, _) => Err(not_joined(&parent)),
    }
}

/// The URI, or the one in a file. Nothing of it is in an error: it holds a secret.
fn read_join(text: &str) -> Result<JoinUri, Failure> {
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => {
            let path = Path::new(path);
            let file = File::open(path).map_err(Failure::reading(path))?;
            note_if_open(&file, path);
            io::read_to_string(file).map_err(Failure::reading(path))?
        }
    };
    text.parse().map_err(|error| Failure::Usage(format!("--join: {error}")))
}

/// The failure of an edge, with what caused it.
pub(crate) fn failed(error: &EdgeError) -> Failure {
    Failure::Other(with_causes(error))
}
