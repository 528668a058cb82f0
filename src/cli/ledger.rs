//! The arguments of the commands around the ledger: what was applied, going back to it, and stopping. Pure.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use schema::canonical::Digest;
use schema::name::EdgeName;

use super::common::{ActorArg, AllowArgs, ListLooks, Looks, ServerArgs};
use super::select::{SelectArgs, SinceArg, TimeSortArg};
use crate::duration;

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only this entry, by its number or the id of its apply
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Check the hash chain from the first line on; exit with 1 if the ledger was changed outside of the server
    #[arg(long, env = "PORTUNUS_VERIFY", value_parser = BoolishValueParser::new(), conflicts_with = "id")]
    pub(crate) verify: bool,
    /// With --verify, require a line with this hash, which an earlier `--verify` printed for the last line
    #[arg(long, value_name = "HASH", env = "PORTUNUS_CONTAINS", requires = "verify", value_parser = digest)]
    pub(crate) contains: Option<Digest>,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) sort: TimeSortArg,
    #[command(flatten)]
    pub(crate) since: SinceArg,
    #[command(flatten)]
    pub(crate) looks: ListLooks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| "expected a hash such as `history --verify` prints: sha256:…".to_owned())
}

/// A port on an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortAddress {
    pub(crate) edge: EdgeName,
    pub(crate) port: u16,
    /// `tcp` or `udp`, where it is said.
    pub(crate) protocol: Option<&'static str>,
}

fn port_address(text: &str) -> Result<PortAddress, String> {
    let expected = || "expected EDGE:PORT, for example edge-01:8443 or edge-01:53/udp".to_owned();
    let (edge, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let (port, protocol) = match port.split_once('/') {
        None => (port, None),
        Some((port, "tcp")) => (port, Some("tcp")),
        Some((port, "udp")) => (port, Some("udp")),
        Some(_) => return Err(expected()),
    };
    let edge = EdgeName::new(edge).map_err(|error| format!("{}: {error}", expected()))?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(expected)?;
    Ok(PortAddress { edge, port, protocol })
}

#[derive(Debug, Args)]
pub(crate) struct BlameArgs {
    /// The port, as EDGE:PORT; add /tcp or /udp if both protocols use it
    #[arg(value_name = "EDGE:PORT", value_parser = port_address)]
    pub(crate) port: PortAddress,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How long to wait, and for whom.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for the edges
    #[arg(long, value_name = "DURATION", default_value = "60s", env = "PORTUNUS_TIMEOUT", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Do not exit with 5 because of edges that are offline
    #[arg(long, help_heading = "Allowances, which must be given each time")]
    pub(crate) allow_offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// A revision that was applied: the number of an entry of `portunus history`, the id of an apply, a digest or a
    /// commit, or the first characters of one; `previous`, what was in force before; `HEAD~1`, the commit before the
    /// last applied one, in the order in which commits were first applied
    #[arg(value_name = "REVISION")]
    pub(crate) revision: String,
    /// The reason, which status and history show
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// Roll back without asking; must be given each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) actor: ActorArg,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "COMMAND runs for each revision that is tried, once the revision is in force. Exit code 0 means good, \
        125 means that the revision cannot be judged, and any other code below 126 means bad; 126, 127, a higher code \
        or a signal ends the search. The good revision is checked first. COMMAND finds the revision in \
        PORTUNUS_BISECT_DIGEST and PORTUNUS_BISECT_COMMIT, and its output goes to standard error.\n\nEach step is a \
        rollback within the same rails and waves; a revision that they refuse is skipped. Live traffic runs on each \
        revision that is tried. At the end, even after Ctrl-C and errors, the revision that was in force at the \
        beginning is restored.\n\nExit codes: 0: the first bad revision is known; 1: it is one of several; 3: it is \
        one of several, and a rail refused one of them."
)]
pub(crate) struct BisectArgs {
    /// A revision that is known to be good, named as for `rollback`
    #[arg(value_name = "GOOD")]
    pub(crate) good: String,
    /// A later revision that is known to be bad [default: the revision in force]
    #[arg(value_name = "BAD")]
    pub(crate) bad: Option<String>,
    /// The command that distinguishes good from bad
    #[arg(value_name = "COMMAND", last = true, required = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,
    /// Start without asking; must be given each time
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) actor: ActorArg,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Accepted for scripts; `resume` never asks, because the tree in git has been reviewed
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Why; history shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) actor: ActorArg,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    /// The reason, which is shown to everyone who tries to apply
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// End the freeze after this time
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_TTL", value_parser = duration::parse)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnfreezeArgs {
    /// Why; history shows it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_with_its_edge_and_perhaps_its_protocol() {
        let read = |text: &str| port_address(text).ok().map(|at| (at.edge.to_string(), at.port, at.protocol));
        assert_eq!(read("edge-01:8443"), Some(("edge-01".to_owned(), 8443, None)));
        assert_eq!(read("e:53/udp"), Some(("e".to_owned(), 53, Some("udp"))));
        for wrong in ["edge-01", "edge-01:", ":80", "e:0", "e:65536", "e:80/sctp", "E:80", "e:80/"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
