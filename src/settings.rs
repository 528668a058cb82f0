//! The settings of a server: flags first, then `server.toml`, then the defaults. I/O: reads the file.
//!
//! Keeps: a key that this version does not know is an error with its place.

mod notify;

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reconciler::act::operator_port::OperatorPort;
use reconciler::act::remote::{Address, RefName, RemoteConfig, TreePath};
use reconciler::act::server::{ServerConfig, TrustConfig};
use reconciler::act::trust::registrar::EdgeTerms;
use reconciler::decide::fleet::Mode;
use reconciler::decide::notices::Notifier;
use schema::check::CheckLimits;
use schema::join;
use schema::ruleset::Global;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub(crate) use self::notify::LONGEST_INTERVAL;
use self::notify::NotifyTable;
use crate::cli::{LogFormat, ServeArgs};
use crate::failure::Failure;
use crate::input;
use crate::output::clean;
use crate::state_dir;

const CONTROL_PORT: u16 = 7443;
const OPERATOR_PORT: u16 = 7080;
const METRICS_PORT: u16 = 7081;
const INTERVAL: Duration = Duration::from_secs(30);
const GIT_TIMEOUT: Duration = Duration::from_mins(2);
/// Edges renew at half of it, and a renewal takes a moment.
const SHORTEST_CERTIFICATE: Duration = Duration::from_secs(5);
const SHUTDOWN_DRAIN: Duration = Duration::from_secs(30);

/// The keys of `server.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerFile {
    rules: Option<PathBuf>,
    git: Option<Text<Address>>,
    #[serde(rename = "ref")]
    reference: Option<Text<RefName>>,
    path: Option<Text<TreePath>>,
    interval_secs: Option<u64>,
    git_timeout_secs: Option<u64>,
    git_token_file: Option<PathBuf>,
    webhook_secret_file: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    control_listen: Option<SocketAddr>,
    operator_listen: Option<Listens>,
    operator_cert: Option<PathBuf>,
    operator_key: Option<PathBuf>,
    operator_names: Vec<String>,
    operator_hosts: Vec<String>,
    metrics_listen: Option<SocketAddr>,
    advertise: Option<Text<Place>>,
    ca_cert: Option<PathBuf>,
    ca_key: Option<PathBuf>,
    edge_cert_ttl_secs: Option<u64>,
    edge_cert_grace_secs: Option<u64>,
    mode: Option<Mode>,
    allow_dirty: Option<bool>,
    allow_non_descendant: Option<bool>,
    range_rule_max_ports: Option<u32>,
    shutdown_drain_timeout_secs: Option<u64>,
    log_level: Option<String>,
    log_format: Option<FileLogFormat>,
    notify: Vec<toml::Spanned<NotifyTable>>,
    #[serde(skip)]
    notifiers: Vec<Notifier>,
}

/// One address, or several.
#[derive(Debug)]
struct Listens(Vec<SocketAddr>);

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let address = |value: &toml::Value| {
            let text =
                value.as_str().ok_or_else(|| D::Error::custom("expected \"ADDRESS:PORT\", or a list of them"))?;
            text.parse::<SocketAddr>().map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
        };
        let value = toml::Value::deserialize(from)?;
        match value.as_array() {
            Some(all) if all.is_empty() => Err(D::Error::custom("expected at least one address")),
            Some(all) => all.iter().map(address).collect::<Result<_, _>>().map(Self),
            None => address(&value).map(|one| Self(vec![one])),
        }
    }
}

/// Certificate and key of the operator port, where they are given.
fn certificate(
    args: &ServeArgs,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    match (args.operator_cert.clone().or(certificate), args.operator_key.clone().or(key)) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        _ => Err(Failure::Usage(
            "a certificate of the operator port needs its key, and a key its certificate".to_owned(),
        )),
    }
}

/// `HOST:PORT`
#[derive(Debug)]
struct Place(String);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if join::is_place(text) { Ok(Self(text.to_owned())) } else { Err("expected HOST:PORT".to_owned()) }
    }
}

/// A value that is written as text.
#[derive(Debug)]
struct Text<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(D::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileLogFormat {
    Text,
    Json,
}

/// What a server is started with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) process: Wishes,
}

/// What flags and files say about the process; `None` where they say nothing, so that a tree may.
#[derive(Debug)]
pub(crate) struct Wishes {
    pub(crate) shutdown_drain: Option<Duration>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<LogFormat>,
    /// The level of a text log that nothing else chooses.
    pub(crate) default_level: &'static str,
}

/// The default level.
const INFO: &str = "info";

impl Wishes {
    /// How long connections may go on after the end was asked for.
    pub(crate) fn drain(&self, of_tree: &Global) -> Duration {
        let of_tree = of_tree.shutdown_drain_secs.map(Duration::from_secs);
        self.shutdown_drain.or(of_tree).unwrap_or(SHUTDOWN_DRAIN)
    }

    /// Level and format of the log.
    pub(crate) fn logging<'a>(&'a self, of_tree: &'a Global) -> (&'a str, LogFormat) {
        let format = self.log_format.unwrap_or(match of_tree.log_format.as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        });
        // Programs get every line.
        let default = if format == LogFormat::Text { self.default_level } else { INFO };
        let level = self.log_level.as_deref().or(of_tree.log_level.as_deref()).unwrap_or(default);
        (level, format)
    }
}

/// Puts the settings together.
pub(crate) fn read(args: &ServeArgs) -> Result<Settings, Failure> {
    let mut file = match &args.config {
        Some(path) => read_file(path)?,
        None => ServerFile::default(),
    };
    let remote = remote(args, &mut file)?;
    let trust = trust(args, &mut file)?;
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let rules = if args.git.is_some() { None } else { args.rules.clone().or(file.rules) };
    let is_following = rules.is_some() || remote.is_some();
    let state_dir = args.state_dir.clone().or(file.state_dir).or_else(state_dir::of_server);
    let no_state_dir = || Failure::Usage("neither HOME nor XDG_STATE_HOME is set: give --state-dir".to_owned());
    let range = args.range.range_rule_max_ports.or(file.range_rule_max_ports);
    let mode = args.mode.or(file.mode);
    if let (false, Some(mode @ (Mode::Plan | Mode::Apply))) = (is_following, mode) {
        let mode = mode.as_str();
        return Err(Failure::Usage(format!("mode {mode} needs a tree to follow: give it with --rules or --git")));
    }
    let of_file = file.operator_listen.map_or_else(|| vec![local(OPERATOR_PORT)], |listens| listens.0);
    let operator = OperatorPort {
        listen: if args.operator_listen.is_empty() { of_file } else { args.operator_listen.clone() },
        certificate: certificate(args, file.operator_cert, file.operator_key)?,
        names: if args.operator_name.is_empty() { file.operator_names } else { args.operator_name.clone() },
        hosts: if args.operator_host.is_empty() { file.operator_hosts } else { args.operator_host.clone() },
    };
    let server = ServerConfig {
        mode: mode.unwrap_or(if is_following { Mode::Apply } else { Mode::Heal }),
        rules,
        remote,
        state_dir: state_dir.ok_or_else(no_state_dir)?,
        control_listen: args.control_listen.or(file.control_listen).unwrap_or(local(CONTROL_PORT)),
        operator,
        metrics_listen: args.metrics_listen.or(file.metrics_listen).unwrap_or(local(METRICS_PORT)),
        allow_dirty: args.allow_dirty || file.allow_dirty.unwrap_or(false),
        allow_non_descendant: args.allow_non_descendant || file.allow_non_descendant.unwrap_or(false),
        limits: range.map_or_else(CheckLimits::default, |range_rule_max_ports| CheckLimits {
            range_rule_max_ports,
            ..CheckLimits::default()
        }),
        trust,
        notifiers: file.notifiers,
        log_lines_dropped: Arc::default(),
        connection_log_dropped: None,
        inherited: edge::InheritedSockets::default(),
    };
    let of_file = |format| match format {
        FileLogFormat::Text => LogFormat::Text,
        FileLogFormat::Json => LogFormat::Json,
    };
    Ok(Settings {
        server,
        process: Wishes {
            shutdown_drain: args.shutdown_drain_timeout.or(file.shutdown_drain_timeout_secs.map(Duration::from_secs)),
            log_level: args.log_level.clone().or(file.log_level),
            log_format: args.log_format.or(file.log_format.map(of_file)),
            default_level: INFO,
        },
    })
}

/// How edges join.
fn trust(args: &ServeArgs, file: &mut ServerFile) -> Result<TrustConfig, Failure> {
    let defaults = TrustConfig::default();
    let of_file = (file.ca_cert.take(), file.ca_key.take());
    let authority = match (args.ca_cert.clone().or(of_file.0), args.ca_key.clone().or(of_file.1)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(Failure::Usage("--ca-cert and --ca-key belong together: give both".to_owned())),
    };
    let secs = |secs: Option<u64>| secs.map(Duration::from_secs);
    let ttl = args.edge_cert_ttl.or(secs(file.edge_cert_ttl_secs)).unwrap_or(defaults.edges.ttl);
    if ttl < SHORTEST_CERTIFICATE {
        return Err(Failure::Usage("--edge-cert-ttl must be at least 5s".to_owned()));
    }
    let grace = args.edge_cert_grace.or(secs(file.edge_cert_grace_secs)).unwrap_or(defaults.edges.grace);
    let advertise = args.advertise.clone().or(file.advertise.take().map(|text| text.0.0));
    Ok(TrustConfig { advertise, authority, edges: EdgeTerms { ttl, grace } })
}

/// The repository to follow, if one is named.
fn remote(args: &ServeArgs, file: &mut ServerFile) -> Result<Option<RemoteConfig>, Failure> {
    let of_file = file.git.take().map(|text| text.0).filter(|_| args.rules.is_none());
    let interval = args.interval.or(file.interval_secs.map(Duration::from_secs));
    let reference = args.reference.clone().or(file.reference.take().map(|text| text.0));
    let path = args.path.clone().or(file.path.take().map(|text| text.0));
    let timeout = args.git_timeout.or(file.git_timeout_secs.map(Duration::from_secs));
    let token_file = args.git_token_file.clone().or(file.git_token_file.take());
    let webhook_secret_file = args.webhook_secret_file.clone().or(file.webhook_secret_file.take());
    let Some(address) = args.git.clone().or(of_file) else {
        let idle = [
            (args.reference.is_some(), "--ref"),
            (args.path.is_some(), "--path"),
            (args.interval.is_some(), "--interval"),
            (args.git_timeout.is_some(), "--git-timeout"),
            (args.git_token_file.is_some(), "--git-token-file"),
            (args.webhook_secret_file.is_some(), "--webhook-secret-file"),
        ];
        let idle = idle.iter().find_map(|(is_given, flag)| is_given.then_some(flag));
        return match idle {
            Some(flag) => Err(Failure::Usage(format!("{flag} needs a git repository: give it with --git"))),
            None => Ok(None),
        };
    };
    if interval.is_some_and(|interval| interval.is_zero()) || timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Failure::Usage("the interval and the timeout of --git must be longer than zero".to_owned()));
    }
    let main = || "main".parse().expect("a branch");
    Ok(Some(RemoteConfig {
        address,
        reference: reference.unwrap_or_else(main),
        path: path.unwrap_or_default(),
        interval: interval.unwrap_or(INTERVAL),
        timeout: timeout.unwrap_or(GIT_TIMEOUT),
        token_file,
        ssh_command: env::var_os("GIT_SSH_COMMAND"),
        webhook_secret_file,
    }))
}

fn read_file(path: &Path) -> Result<ServerFile, Failure> {
    let text = input::read_text(path, input::SETTINGS)?;
    let mut file =
        parse_file(&text).map_err(|reason| Failure::Other(format!("{}: {}", path.display(), clean(&reason))))?;
    // Relative paths belong to the file that says them.
    let folder = path.parent().unwrap_or(Path::new(""));
    let named = [
        &mut file.rules,
        &mut file.state_dir,
        &mut file.git_token_file,
        &mut file.webhook_secret_file,
        &mut file.ca_cert,
        &mut file.ca_key,
    ];
    for named in named.into_iter().flatten() {
        *named = folder.join(&*named);
    }
    notify::resolve(&mut file.notifiers, folder);
    Ok(file)
}

/// Most ports of one rule that a server can be told to take.
pub(crate) const MAX_PORTS: u32 = 65535;
/// The words of `mode`.
pub(crate) const MODES: [&str; 4] =
    [Mode::Off.as_str(), Mode::Plan.as_str(), Mode::Heal.as_str(), Mode::Apply.as_str()];

/// Reads the text of a `server.toml`; the error says what is wrong and in which line.
pub(crate) fn parse_file(text: &str) -> Result<ServerFile, String> {
    let mut file: ServerFile = toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let line = at.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}", error.message())
    })?;
    if file.range_rule_max_ports.is_some_and(|ports| !(1..=MAX_PORTS).contains(&ports)) {
        return Err(format!("`range_rule_max_ports` is outside 1..={MAX_PORTS}"));
    }
    file.notifiers = notify::notifiers(std::mem::take(&mut file.notify), text)?;
    if file.rules.is_some() && file.git.is_some() {
        return Err("`rules` and `git` exclude each other: a server follows a single tree".to_owned());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn settings(file: &str, flags: &[&str]) -> Result<Settings, Failure> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("server.toml");
        fs::write(&path, file).expect("written");
        let config = path.display().to_string();
        let line = ["serve", "--state-dir", "/s", "--config", &config].into_iter().chain(flags.iter().copied());
        read(&Line::parse_from(line).serve)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file =
            "rules = \"/r\"\nmode = \"plan\"\noperator_listen = \"127.0.0.1:1\"\nshutdown_drain_timeout_secs = 5\n";
        let read = settings(file, &["--operator-listen", "127.0.0.1:2"]).expect("valid");
        assert_eq!(read.server.mode, Mode::Plan);
        assert_eq!(read.server.operator.listen, ["127.0.0.1:2".parse().expect("an address")]);
        assert_eq!(read.server.metrics_listen.port(), METRICS_PORT);
        let of_tree = Global { shutdown_drain_secs: Some(9), ..Global::default() };
        assert_eq!(read.process.drain(&of_tree), Duration::from_secs(5));
    }

    #[test]
    fn the_mode_follows_from_whether_there_is_a_tree() {
        let mode = |file: &str| settings(file, &[]).map(|read| read.server.mode);
        assert_eq!(mode("").ok(), Some(Mode::Heal));
        assert_eq!(mode("rules = \"/r\"").ok(), Some(Mode::Apply));
        assert!(matches!(mode("mode = \"apply\""), Err(Failure::Usage(_))));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let error = settings("mode = \"heal\"\nmodus = 1\n", &[]).expect_err("unknown").to_string();
        assert!(error.contains("line 2: unknown field `modus`"), "{error}");
    }
}
