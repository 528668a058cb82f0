//! `serve`: the server, until a signal. I/O.

use reconciler::act::server::{Server, ServerError};
use schema::causes::with_causes;
use schema::ruleset::Global;
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::failure::{Exit, Failure};
use crate::logging::Logging;
use crate::signals::Signals;
use crate::{console, settings};

pub(crate) async fn run(args: ServeArgs) -> Result<Exit, Failure> {
    let signals = Signals::new()?;
    let mut settings = settings::read(&args)?;
    let global = Global::default();
    let (level, format) = settings.process.logging(&global);
    settings.server.log_lines_dropped = Logging::start(level, format, args.color.color)?.dropped();
    let server = Server::start(settings.server).await.map_err(|error| failed(&error))?;
    announce(&server);
    let wake = server.wake();
    let console = console::watch(server.fleet(), server.fleet().notices(), format);
    let (end, at_once) = (CancellationToken::new(), CancellationToken::new());
    let work = async {
        tokio::select! {
            result = server.run(end.clone()) => result.map_err(|error| failed(&error)),
            // Its notices end with the server, which says itself how that came.
            () = async { console.await; std::future::pending().await } => Ok(()),
            () = at_once.cancelled() => Ok(()),
        }
    };
    // The server with all its ports is a large future; it lives as long as the process.
    Box::pin(signals.during(work, || wake.wake(), end.clone(), at_once.clone())).await?;
    Ok(Exit::Done)
}

fn announce(server: &Server) {
    let address = |found: std::io::Result<std::net::SocketAddr>| found.map(|at| at.to_string()).unwrap_or_default();
    tracing::info!(
        operator = address(server.operator_address()),
        control = address(server.control_address()),
        metrics = address(server.metrics_address()),
        "server listens"
    );
}

/// The failure of a server, with what caused it.
pub(crate) fn failed(error: &ServerError) -> Failure {
    Failure::Other(with_causes(error))
}
