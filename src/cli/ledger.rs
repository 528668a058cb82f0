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
    /// Check the chain of hashes from the first line on; exit 1 if the ledger was changed outside of the server
    #[arg(long, env = "PORTUNUS_VERIFY", value_parser = BoolishValueParser::new(), conflicts_with = "id")]
    pub(crate) verify: bool,
    /// With --verify: a line must have this hash, as an earlier `--verify` printed it for the last one then
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
    /// The port, as EDGE:PORT; with /tcp or /udp where both have it
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
    /// Edges that are offline are no reason for exit 5
    #[arg(long, help_heading = "Allowances, to be said each time")]
    pub(crate) allow_offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// A revision that was applied: the number of an entry of `portunus history`, the id of an apply, a digest or a commit,
    /// or the first characters of one; `previous`, what was in force before; `HEAD~1`, the commit before the last
    /// applied one, in the order in which commits were first applied
    #[arg(value_name = "REVISION")]
    pub(crate) revision: String,
    /// Why; status and history show it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// Roll back without asking; to be said each time
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
    after_help = "COMMAND is run for each revision that is tried, once it is in force: exit 0 means good, 125 that \
    it cannot be told, any other below 126 bad; 126, 127, more, or a signal ends the search. The good revision is checked \
    first. It finds the revision in \
    PORTUNUS_BISECT_DIGEST and PORTUNUS_BISECT_COMMIT, and what it prints goes to standard error.\n\nEach step is a \
    rollback, within the same rails and waves; one that they refuse is passed over. Live traffic runs on what is tried. In \
    the end, also after Ctrl-C and errors, the revision that was in force at the beginning is put back.\n\nExit codes: 0 \
    the first bad revision is known; 1 it is one of several; 3 the same, and a rail kept one of them from being tried."
)]
pub(crate) struct BisectArgs {
    /// A revision that is known to be good, named as for `rollback`
    #[arg(value_name = "GOOD")]
    pub(crate) good: String,
    /// A later one that is known to be bad; the one in force without it
    #[arg(value_name = "BAD")]
    pub(crate) bad: Option<String>,
    /// What tells good from bad
    #[arg(value_name = "COMMAND", last = true, required = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,
    /// Begin without asking; to be said each time
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
    /// Taken for the sake of scripts: what git has was reviewed, and is not asked about again
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
pub(crate) struct FreezeArgs {
    /// Why; everybody who wants to apply is told
    #[arg(long, value_name = "TEXT", env = "PORTUNUS_WHY")]
    pub(crate) why: String,
    /// End by itself after this time
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
