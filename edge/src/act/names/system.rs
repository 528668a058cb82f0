//! How this host resolves names: /etc/hosts and /etc/resolv.conf, read again when they change. I/O.
//!
//! Keeps: a file that cannot be read takes nothing but its own contents away, and is told of once.

use std::fs::{self, Metadata};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// Where it is written how names are resolved.
#[derive(Debug, Clone)]
pub struct ResolverFiles {
    /// Name servers, search domains, timeouts: resolv.conf(5).
    pub resolv_conf: PathBuf,
    /// Names without a server: hosts(5).
    pub hosts: PathBuf,
    /// The port of the name servers, which resolv.conf has no word for.
    pub port: u16,
}

impl Default for ResolverFiles {
    /// This host's.
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into(), port: 53 }
    }
}

/// What the files say.
pub(super) struct System {
    pub(super) hosts: Arc<Hosts>,
    pub(super) servers: Arc<Servers>,
}

/// What resolv.conf says.
pub(super) struct Servers {
    pub(super) resolver: TokioResolver,
    pub(super) has_any: bool,
    search: Vec<Name>,
    ndots: usize,
}

/// The files as they were read last.
pub(super) struct Files {
    source: ResolverFiles,
    lookups: usize,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    hosts: Option<(Stamp, Arc<Hosts>)>,
    servers: Option<(Stamp, Arc<Servers>)>,
}

/// What tells one version of a file from the next; none where it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

impl Files {
    pub(super) fn new(source: ResolverFiles, lookups: usize) -> Self {
        Self { source, lookups, read: Mutex::default() }
    }

    /// What the files say now. Blocks for as long as it takes to read them, which is only where they have changed.
    pub(super) fn read(&self) -> System {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let ResolverFiles { resolv_conf, hosts, .. } = &self.source;
        System {
            hosts: current(hosts, &mut read.hosts, parse_hosts),
            servers: current(resolv_conf, &mut read.servers, |text| self.parse_servers(text)),
        }
    }

    fn parse_servers(&self, text: io::Result<Vec<u8>>) -> Servers {
        let path = &self.source.resolv_conf;
        let parsed = text.map_err(NetError::from).and_then(parse_resolv_conf);
        let (mut config, mut options) = parsed.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "no name server can be queried; only names in the hosts \
                file resolve");
            (ResolverConfig::default(), ResolverOpts::default())
        });
        // A cache of its own would keep what the rules of this edge let go of, and its TTLs would count down in ours.
        options.cache_size = 0;
        // The hosts file comes first, for the name as it is written: the resolver would ask for its search domains
        // first.
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        // Two queries for each name.
        options.max_active_requests = self.lookups * 2;
        // The host's ephemeral ports. The default picks among all of them, those that rules are about to bind included.
        options.os_port_selection = true;
        for server in &mut config.name_servers {
            server.connections.iter_mut().for_each(|connection| connection.port = self.source.port);
        }
        let search = match (config.search(), config.domain()) {
            ([], Some(domain)) => vec![domain.clone()],
            (search, _) => search.to_vec(),
        };
        let (has_any, ndots) = (!config.name_servers.is_empty(), options.ndots);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .expect("only encryption and trust anchors can fail, and there are none");
        Servers { resolver, has_any, search, ndots }
    }
}

/// The parsed file, parsed again if it has changed.
fn current<T>(path: &Path, read: &mut Option<(Stamp, Arc<T>)>, parse: impl FnOnce(io::Result<Vec<u8>>) -> T) -> Arc<T> {
    let stamp =
        fs::metadata(path).ok().map(|file: Metadata| (file.modified().unwrap_or(SystemTime::UNIX_EPOCH), file.len()));
    match read {
        Some((known, value)) if *known == stamp => value.clone(),
        _ => {
            let value = Arc::new(parse(fs::read(path)));
            *read = Some((stamp, value.clone()));
            value
        }
    }
}

fn parse_hosts(text: io::Result<Vec<u8>>) -> Hosts {
    let mut hosts = Hosts::default();
    // A host may have none.
    if let Ok(text) = text
        && let Err(error) = hosts.read_hosts_conf(&text[..])
    {
        tracing::warn!(%error, "the hosts file is read up to a line that is not text");
    }
    hosts
}

impl System {
    /// The addresses of a name in the hosts file, IPv6 first.
    pub(super) fn addresses_of(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found| found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
            .collect()
    }
}

impl Servers {
    /// The names to ask for, as the host's own resolver would: with the search domains, and as it is.
    pub(super) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() || name.is_localhost() {
            return vec![whole];
        }
        // A name that becomes too long with a domain is none.
        let searched = self.search.iter().filter_map(|domain| {
            let mut longer = name.clone().append_domain(domain).ok()?;
            longer.set_fqdn(true);
            Some(longer)
        });
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        if dots >= self.ndots {
            [whole].into_iter().chain(searched).collect()
        } else {
            searched.chain([whole.clone()]).collect()
        }
    }
}
