//! The arguments of the commands that serve until a signal. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reconciler::act::remote::{Address, RefName, TreePath};
use reconciler::decide::fleet::Mode;
use schema::capability::Capability;
use schema::name::EdgeName;

use super::common::{Color, ColorArg, LogFormat, RangeArg};
use crate::address::ControlUrl;
use crate::duration;

fn edge_name(text: &str) -> Result<EdgeName, String> {
    EdgeName::new(text).map_err(|error| error.to_string())
}

fn place(text: &str) -> Result<String, String> {
    let is_place = schema::join::is_place(text);
    if is_place {
        Ok(text.to_owned())
    } else {
        Err("expected HOST:PORT, for example control.example.org:7443".to_owned())
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    let all = [Mode::Off, Mode::Plan, Mode::Heal, Mode::Apply];
    all.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| "expected off, plan, heal or apply".to_owned())
}

fn capability(text: &str) -> Result<Capability, String> {
    Capability::parse(text).ok_or_else(|| {
        let all: Vec<&str> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

/// The settings of a server; those that are not given come from `--config`, then from the defaults.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The rule tree to follow
    #[arg(long, value_name = "DIR", env = "PORTUNUS_RULES")]
    pub(crate) rules: Option<PathBuf>,
    /// The git repository to follow, by its https, ssh or file URL
    #[arg(long, value_name = "URL", env = "PORTUNUS_GIT", hide_env_values = true, conflicts_with = "rules")]
    pub(crate) git: Option<Address>,
    /// The branch or tag to follow [default: main]
    #[arg(long = "ref", value_name = "NAME", env = "PORTUNUS_REF")]
    pub(crate) reference: Option<RefName>,
    /// The folder of the rule tree in the repository [default: the root]
    #[arg(long, value_name = "DIR", env = "PORTUNUS_PATH")]
    pub(crate) path: Option<TreePath>,
    /// The time between two fetches of the repository [default: 30s]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_INTERVAL", value_parser = duration::parse)]
    pub(crate) interval: Option<Duration>,
    /// The time limit of a fetch [default: 2m]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_GIT_TIMEOUT", value_parser = duration::parse)]
    pub(crate) git_timeout: Option<Duration>,
    /// The token for an https URL, in a file with mode 0600
    #[arg(long, value_name = "FILE", env = "PORTUNUS_GIT_TOKEN_FILE")]
    pub(crate) git_token_file: Option<PathBuf>,
    /// The secret of the webhook that makes the server fetch at once, in a file with mode 0600
    #[arg(long, value_name = "FILE", env = "PORTUNUS_WEBHOOK_SECRET_FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// The directory of revisions, ledger and token [default: $XDG_STATE_HOME/portunus]
    #[arg(long, value_name = "DIR", env = "PORTUNUS_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The control port, where edges connect over mutual TLS [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_CONTROL_LISTEN")]
    pub(crate) control_listen: Option<SocketAddr>,
    /// The address by which edges reach the control port, for join URIs [default: the control port's own address]
    #[arg(long, value_name = "HOST:PORT", env = "PORTUNUS_ADVERTISE", value_parser = place)]
    pub(crate) advertise: Option<String>,
    /// The certificate of a certificate authority of your own, PEM [default: the server makes one]
    #[arg(long, value_name = "FILE", env = "PORTUNUS_CA_CERT", requires = "ca_key")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Its private key, PEM, in a file with mode 0600
    #[arg(long, value_name = "FILE", env = "PORTUNUS_CA_KEY", requires = "ca_cert")]
    pub(crate) ca_key: Option<PathBuf>,
    /// How long the certificates of edges are valid, at least 5s; edges renew them at half of that [default: 24h]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_EDGE_CERT_TTL", value_parser = duration::parse)]
    pub(crate) edge_cert_ttl: Option<Duration>,
    /// How long an expired certificate of an edge may still be renewed [default: 30d]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_EDGE_CERT_GRACE", value_parser = duration::parse)]
    pub(crate) edge_cert_grace: Option<Duration>,
    /// The operator API: plain HTTP on loopback, TLS on every other address; may be given several times [default:
    /// 127.0.0.1:7080]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_OPERATOR_LISTEN", value_delimiter = ',')]
    pub(crate) operator_listen: Vec<SocketAddr>,
    /// The certificate chain of the operator port, a PEM file, instead of one from the server's own authority
    #[arg(long, value_name = "FILE", env = "PORTUNUS_OPERATOR_CERT", requires = "operator_key")]
    pub(crate) operator_cert: Option<PathBuf>,
    /// The key of that certificate, a PEM file with mode 0600
    #[arg(long, value_name = "FILE", env = "PORTUNUS_OPERATOR_KEY", requires = "operator_cert")]
    pub(crate) operator_key: Option<PathBuf>,
    /// A further name or address by which operators reach this host; may be given several times
    #[arg(long, value_name = "HOST", env = "PORTUNUS_OPERATOR_NAME", value_delimiter = ',')]
    pub(crate) operator_name: Vec<String>,
    /// A further name by which the page and the API may be called, such as that of a reverse proxy; may be given several
    /// times
    #[arg(long, value_name = "HOST", env = "PORTUNUS_OPERATOR_HOST", value_delimiter = ',')]
    pub(crate) operator_host: Vec<String>,
    /// The port of /metrics, /healthz and /readyz [default: 127.0.0.1:7081]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The changes that the server makes by itself: off, plan, heal or apply [default: apply with a tree, otherwise
    /// heal]
    #[arg(long, value_name = "MODE", env = "PORTUNUS_MODE", value_parser = mode)]
    pub(crate) mode: Option<Mode>,
    /// A file with the same settings as keys; flags take precedence
    #[arg(long, value_name = "FILE", env = "PORTUNUS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArg,
    /// How long connections may continue after shutdown was requested [default: 30s]
    #[arg(long, value_name = "DURATION", env = "PORTUNUS_SHUTDOWN_DRAIN_TIMEOUT", value_parser = duration::parse)]
    pub(crate) shutdown_drain_timeout: Option<Duration>,
    /// Follow a tree that differs from its commit
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Follow a commit that does not descend from the last applied one
    #[arg(long)]
    pub(crate) allow_non_descendant: bool,
    /// The log level: error, warn, info, debug, trace, or a filter such as `info,reconciler=debug` [default: info]
    #[arg(long, value_name = "LEVEL", env = "PORTUNUS_LOG")]
    pub(crate) log_level: Option<String>,
    /// The log format [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "PORTUNUS_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    #[command(flatten)]
    pub(crate) color: ColorArg,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The rule tree [default: .]
    #[arg(value_name = "DIR", conflicts_with_all = ["rules", "git"])]
    pub(crate) dir: Option<PathBuf>,
    /// Write a line of JSON for each connection or flow of the edge in this process that ends; `-` is standard output.
    /// SIGHUP opens the file again
    #[arg(long, value_name = "FILE", env = "PORTUNUS_CONNECTION_LOG")]
    pub(crate) connection_log: Option<PathBuf>,
    /// The policy of the edge in this process: what it may listen on and connect to; SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "PORTUNUS_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// Let rules connect to metadata addresses of clouds, such as 169.254.169.254, although the policy does not name them
    #[arg(long)]
    pub(crate) allow_metadata_targets: bool,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EdgeArgs {
    /// The URI of `portunus edge-token create`, or @FILE with it; needed the first time only
    #[arg(long, value_name = "URI", env = "PORTUNUS_EDGE_JOIN", hide_env_values = true)]
    pub(crate) join: Option<String>,
    /// The server's control port [default: the one that this edge joined]
    #[arg(long, value_name = "URL", env = "PORTUNUS_EDGE_SERVER", hide_env_values = true)]
    pub(crate) server: Option<ControlUrl>,
    /// The name of this edge [default: the one that it joined with]
    #[arg(long, value_name = "NAME", env = "PORTUNUS_EDGE_NAME", value_parser = edge_name)]
    pub(crate) name: Option<EdgeName>,
    /// The directory of the last good state and the certificate [default: $XDG_STATE_HOME/portunus-edge/NAME]
    #[arg(long, value_name = "DIR", env = "PORTUNUS_EDGE_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The port of the metrics of this process and its session [default: none]
    #[arg(long, value_name = "ADDR:PORT", env = "PORTUNUS_EDGE_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// A capability that this edge must not offer; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        env = "PORTUNUS_EDGE_DISABLE_CAPABILITY",
        value_delimiter = ',',
        value_parser = capability
    )]
    pub(crate) disable_capability: Vec<Capability>,
    /// Write a line of JSON for each connection or flow that ends; `-` is standard output. SIGHUP opens the file again
    #[arg(long, value_name = "FILE", env = "PORTUNUS_EDGE_CONNECTION_LOG")]
    pub(crate) connection_log: Option<PathBuf>,
    /// The policy of this edge: what it may listen on and connect to, whatever its server sends; SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "PORTUNUS_EDGE_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// Let rules connect to metadata addresses of clouds, such as 169.254.169.254, although the policy does not name them
    #[arg(long)]
    pub(crate) allow_metadata_targets: bool,
    /// How long connections may continue after shutdown was requested
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        env = "PORTUNUS_EDGE_SHUTDOWN_DRAIN_TIMEOUT",
        value_parser = duration::parse
    )]
    pub(crate) shutdown_drain_timeout: Duration,
    /// The log level: error, warn, info, debug, trace, or a filter such as `info,edge=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "PORTUNUS_EDGE_LOG")]
    pub(crate) log_level: String,
    /// The log format
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text", env = "PORTUNUS_EDGE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "PORTUNUS_EDGE_COLOR",
        help_heading = "Common options",
        help = "When to use colours; `auto` uses them on a terminal, unless NO_COLOR is set"
    )]
    pub(crate) color: Color,
}
