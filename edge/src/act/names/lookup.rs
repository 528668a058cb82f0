//! One lookup of one name: the hosts file, then the name servers, both families. I/O.
//!
//! Keeps: it ends within its time, whatever servers do; the order of an answer stays.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::system::{Files, ResolverFiles, Servers};
use crate::decide::faults::fault_of;
use crate::decide::names::{Found, NameError};

/// The whole of a lookup. A connection gives itself 10 s for its name and its dialling: the last good answer, where
/// there is one, comes in time to be dialled.
const LOOKUP: Duration = Duration::from_secs(8);
/// How much longer the answer for one family is waited for once the other has one. Both are asked for at once, so this
/// passes only where queries for one family are lost, as behind firewalls that know no AAAA.
const OTHER_FAMILY: Duration = Duration::from_secs(1);
/// Addresses that are kept of an answer: far more than are spread over, far less than 64 KiB over TCP can hold.
const ADDRESSES: usize = 256;

/// Looks names up; clones are the same.
#[derive(Clone)]
pub(super) struct Lookup(Arc<Files>);

impl Lookup {
    pub(super) fn new(source: ResolverFiles, lookups: usize) -> Self {
        Self(Arc::new(Files::new(source, lookups)))
    }

    /// The addresses of a name.
    pub(super) async fn addresses(&self, name: &str) -> Result<Found, NameError> {
        timeout(LOOKUP, self.find(name)).await.unwrap_or(Err(NameError::Timeout))
    }

    async fn find(&self, name: &str) -> Result<Found, NameError> {
        let name = Name::from_str_relaxed(name).map_err(|_| NameError::NotFound)?;
        let files = self.0.clone();
        let system = spawn_blocking(move || files.read()).await.map_err(|_| NameError::Stopped)?;
        let listed = system.addresses_of(&name);
        if !listed.is_empty() {
            // No TTL: the file is looked at again as soon as the cache allows.
            return Ok(found(listed, Duration::ZERO));
        }
        if !system.servers.has_any && !name.is_localhost() {
            return Err(NameError::NoServer);
        }
        let mut failure = NameError::NotFound;
        for candidate in system.servers.candidates(&name) {
            match both(&system.servers, &candidate).await {
                Ok(found) => return Ok(found),
                // That one domain does not know the name says less than that another one could not be asked.
                Err(NameError::NotFound) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn found(addresses: Vec<IpAddr>, ttl: Duration) -> Found {
    let mut kept: Vec<IpAddr> = Vec::with_capacity(addresses.len().min(ADDRESSES));
    for address in addresses {
        if kept.len() < ADDRESSES && !kept.contains(&address) {
            kept.push(address);
        }
    }
    Found { addresses: kept.into(), ttl }
}

/// Asks for both families at once; IPv6 first in the answer.
async fn both(servers: &Servers, name: &Name) -> Result<Found, NameError> {
    let (mut v6, mut v4) = (pin!(family(servers, name, RecordType::AAAA)), pin!(family(servers, name, RecordType::A)));
    let (mut six, mut four) = (None, None);
    let mut patience = Instant::now() + LOOKUP;
    while six.is_none() || four.is_none() {
        let answer = tokio::select! {
            answer = &mut v6, if six.is_none() => six.insert(answer),
            answer = &mut v4, if four.is_none() => four.insert(answer),
            () = sleep_until(patience) => break,
        };
        if answer.is_ok() {
            patience = Instant::now() + OTHER_FAMILY;
        }
    }
    let late = || Err(NameError::Timeout);
    match (six.unwrap_or_else(late), four.unwrap_or_else(late)) {
        (Ok(six), Ok(four)) => {
            Ok(found(six.addresses.iter().chain(&*four.addresses).copied().collect(), six.ttl.min(four.ttl)))
        }
        (Ok(one), Err(NameError::NotFound)) | (Err(NameError::NotFound), Ok(one)) => Ok(one),
        // Half an answer: good for as short a time as any.
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(Found { ttl: Duration::ZERO, ..one }),
        (Err(NameError::NotFound), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

async fn family(servers: &Servers, name: &Name, kind: RecordType) -> Result<Found, NameError> {
    let lookup = servers.resolver.lookup(name.clone(), kind).await.map_err(|error| match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => NameError::NotFound,
        NetError::Timeout => NameError::Timeout,
        NetError::Io(error) if !fault_of(&error).is_targets() => NameError::Host(fault_of(&error)),
        NetError::NoConnections => NameError::Failed("none can be reached".into()),
        error => NameError::Failed(error.to_string().into()),
    })?;
    let answers = lookup.answers();
    let addresses: Vec<IpAddr> = answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() {
        return Err(NameError::NotFound);
    }
    // Aliases on the way count: an answer lives no longer than the shortest of its records.
    let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    Ok(found(addresses, Duration::from_secs(ttl.into())))
}
