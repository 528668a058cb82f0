//! `edge`: an edge, until a signal. I/O.

use edge::act::runtime::RuntimeHandle;
use edge::{Edge, EdgeConfig, EdgeError, Endpoint, InheritedSockets};
use schema::causes::with_causes;
use tokio_util::sync::CancellationToken;

use crate::cli::EdgeArgs;
use crate::failure::{Exit, Failure};
use crate::logging::Logging;
use crate::policy_file::PolicyFile;
use crate::render::words::count;
use crate::service;
use crate::signals::Signals;
use crate::state_dir;

pub(crate) async fn run(args: EdgeArgs, inherited: InheritedSockets) -> Result<Exit, Failure> {
    let signals = Signals::new()?;
    let log_lines_dropped = Logging::start(&args.log_level, args.log_format, args.color)?.dropped();
    let no_state_dir = || Failure::Usage("neither HOME nor XDG_STATE_HOME is set: give --state-dir".to_owned());
    let state_dir = args.state_dir.or_else(|| state_dir::of_edge(&args.name)).ok_or_else(no_state_dir)?;
    let policy = PolicyFile::new(args.policy, args.allow_metadata_targets);
    let config = EdgeConfig {
        policy: policy.read()?,
        name: args.name,
        server: Endpoint::Url(args.server.to_string()),
        state_dir: Some(state_dir),
        metrics_listen: args.metrics_listen,
        process_listens: Vec::new(),
        disabled_capabilities: args.disable_capability.into_iter().collect(),
        shutdown_drain: args.shutdown_drain_timeout,
        names: edge::act::names::ResolverFiles::default(),
        log_lines_dropped,
        inherited,
    };
    let edge = Edge::start(config).await.map_err(|error| failed(&error))?;
    let (end, at_once, runtime) = (CancellationToken::new(), edge.end_now(), edge.runtime().clone());
    let look_again = || {
        service::reloading();
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

/// The failure of an edge, with what caused it.
pub(crate) fn failed(error: &EdgeError) -> Failure {
    match error {
        EdgeError::Server(_) | EdgeError::Remote(_) => Failure::Usage(with_causes(error)),
        other => Failure::Other(with_causes(other)),
    }
}
