//! The arguments of `trace`. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use schema::name::EdgeName;
use schema::net::ListenAddress;
use schema::sni::ServerName;

use super::common::{Looks, RangeArg, ServerArgs};

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The edge
    #[arg(value_name = "EDGE", value_parser = |text: &str| EdgeName::new(text))]
    pub(crate) edge: EdgeName,
    /// A rule tree, or a file that `plan --out` wrote, to trace in; by default what runs
    #[arg(value_name = "DIR or PLANFILE")]
    pub(crate) path: Option<PathBuf>,
    /// The address that connects
    #[arg(long, value_name = "IP", env = "PORTUNUS_FROM")]
    pub(crate) from: IpAddr,
    /// The port that it connects to
    #[arg(long, value_name = "PORT", env = "PORTUNUS_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// A datagram of a new UDP flow instead of a TCP connection
    #[arg(long, env = "PORTUNUS_UDP", value_parser = BoolishValueParser::new(), conflicts_with = "sni")]
    pub(crate) udp: bool,
    /// The server name in the TLS hello
    #[arg(long, value_name = "NAME", env = "PORTUNUS_SNI", value_parser = server_name)]
    pub(crate) sni: Option<ServerName>,
    /// The address that it connects to; needed where several rules have the port on addresses of their own
    #[arg(long, value_name = "IP", env = "PORTUNUS_LISTEN_ADDRESS", value_parser = listen_address)]
    pub(crate) listen_address: Option<ListenAddress>,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    #[command(flatten)]
    pub(crate) looks: Looks,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

fn server_name(text: &str) -> Result<ServerName, String> {
    let name = ServerName::parse(text).map_err(|error| error.to_string())?;
    if name.wildcard().is_some() {
        return Err("a client asks for one name, not for a wildcard".to_owned());
    }
    Ok(name)
}

fn listen_address(text: &str) -> Result<ListenAddress, String> {
    ListenAddress::parse(text).ok_or_else(|| "expected an IP address".to_owned())
}
