//! `serve`: the server, until a signal. I/O.

use edge::{InheritedSockets, close_unmatched};
use reconciler::act::driver::FleetHandle;
use reconciler::act::server::{Server, ServerError};
use schema::causes::with_causes;
use schema::ruleset::Global;
use tokio_util::sync::CancellationToken;

use crate::cli::ServeArgs;
use crate::failure::{Exit, Failure};
use crate::logging::Logging;
use crate::render::words::count;
use crate::signals::Signals;
use crate::{console, service, settings};

pub(crate) async fn run(args: ServeArgs, inherited: InheritedSockets) -> Result<Exit, Failure> {
    let signals = Signals::new()?;
    let mut settings = settings::read(&args)?;
    let global = Global::default();
    let (level, format) = settings.process.logging(&global);
    settings.server.log_lines_dropped = Logging::start(level, format, args.color.color)?.dropped();
    settings.server.inherited = inherited.clone();
    let server = Server::start(settings.server).await.map_err(|error| failed(&error))?;
    announce(&server);
    close_unmatched(&inherited);
    let fleet = server.fleet();
    let wake = server.wake();
    let console = console::watch(server.fleet(), server.fleet().notices(), format);
    let (end, at_once) = (CancellationToken::new(), CancellationToken::new());
    let work = async {
        tokio::select! {
            result = server.run(end.clone()) => result.map_err(|error| failed(&error)),
            // Its notices end with the server, which says itself how that came.
            () = async { console.await; std::future::pending().await } => Ok(()),
            () = at_once.cancelled() => Ok(()),
            () = service::report(|| status(&fleet)) => Ok(()),
        }
    };
    service::ready();
    let look_again = || {
        service::reloading();
        wake.wake();
        service::ready();
    };
    // The server with all its ports is a large future; it lives as long as the process.
    Box::pin(signals.during(work, look_again, end.clone(), at_once.clone())).await?;
    Ok(Exit::Done)
}

/// Where the fleet stands, once its owner has answered; `None` once it has ended.
pub(crate) async fn status(fleet: &FleetHandle) -> Option<String> {
    let counted = fleet.read(|view| {
        let edges = view.fleet.edges();
        (edges.iter().filter(|(_, edge)| edge.connected).count(), edges.len())
    });
    let (connected, all) = counted.await.ok()?;
    Some(format!("{connected} of {} connected", count(all as u64, "edge")))
}

fn announce(server: &Server) {
    let address = |found: std::io::Result<std::net::SocketAddr>| found.map(|at| at.to_string()).unwrap_or_default();
    tracing::info!(
        operator = address(server.operator_address()),
        control = address(server.control_address()),
        metrics = address(server.metrics_address()),
        page = server.page_address(),
        pin = server.page_pin().map(tracing::field::display),
        "server listens"
    );
}

/// The failure of a server, with what caused it.
pub(crate) fn failed(error: &ServerError) -> Failure {
    Failure::Other(with_causes(error))
}
