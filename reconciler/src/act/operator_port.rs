//! Where operators connect: plain HTTP on loopback, TLS on every other address. I/O.
//!
//! Keeps: no address that another machine can reach is ever spoken to without TLS, a wildcard least of all; the certificate is
//! from the server's authority unless the operator gave one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guard::tls::Refused;
use guard::{GuardedListener, Port, Tls};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;

use super::guarded::Guards;
use super::private_file::read_private;
use super::trust::TrustError;
use super::trust::keeping::Watched;
use super::trust::serving::{self, ServerCertificate};

/// Where operators connect, and what the port shows them.
#[derive(Debug, Clone, Default)]
pub struct OperatorPort {
    /// The addresses.
    pub listen: Vec<SocketAddr>,
    /// Certificate chain and key that replace those of the server's authority.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Further names of this host, for the certificate and for the Host header.
    pub names: Vec<String>,
    /// Further names for the Host header alone, such as that of a reverse proxy.
    pub hosts: Vec<String>,
}

/// The names by which browsers and commands may call the port, beside `localhost` and the address itself.
#[derive(Debug, Clone, Default)]
pub struct OwnHosts {
    /// Those that the operator gave.
    pub given: Vec<String>,
    /// That of the machine; it counts over TLS only, where a certificate says it as well.
    pub machine: Option<String>,
}

impl OwnHosts {
    /// True if the operator gave that name.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// True if the machine has that name.
    pub fn is_machine(&self, name: &str) -> bool {
        self.machine.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name))
    }
}

/// A certificate that the operator gave.
#[derive(Debug)]
struct GivenCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for GivenCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl OperatorPort {
    /// All names for the Host header.
    pub(super) fn hosts(&self) -> OwnHosts {
        OwnHosts { given: [&self.names[..], &self.hosts].concat(), machine: machine() }
    }

    /// Where a browser finds the page: over loopback, if the port listens there.
    pub(super) fn page_address(&self, addresses: &[SocketAddr]) -> String {
        let loopback = addresses.iter().find(|address| address.ip().is_loopback());
        match (loopback, addresses.first()) {
            (Some(address), _) => format!("http://{address}/ui/"),
            (None, Some(address)) if address.ip().is_unspecified() => {
                let name = self.names.first().cloned().or_else(machine).unwrap_or_else(|| "localhost".to_owned());
                format!("https://{name}:{}/ui/", address.port())
            }
            (None, Some(address)) => format!("https://{address}/ui/"),
            (None, None) => String::new(),
        }
    }

    /// What the certificate of the server's authority is for.
    fn names(&self, addresses: &[SocketAddr]) -> Vec<String> {
        let addresses = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let is_name = |name: &String| name.is_ascii() && !name.contains(char::is_whitespace);
        let mut names: Vec<String> = self.names.iter().cloned().chain(machine()).filter(is_name).collect();
        names.extend(addresses.map(|ip| ip.to_string()).chain(loopback));
        names.sort();
        names.dedup();
        names
    }

    /// How the port speaks TLS; `None` where it listens on loopback only. Blocks for a moment.
    pub(super) fn tls(&self, authorities: Watched, addresses: &[SocketAddr]) -> Result<Option<Tls>, TrustError> {
        if addresses.iter().all(|address| address.ip().is_loopback()) {
            return Ok(None);
        }
        let certificate: Arc<dyn ResolvesServerCert> = match &self.certificate {
            Some((certificate, key)) => Arc::new(GivenCertificate(given(certificate, key)?)),
            None => ServerCertificate::new(authorities, self.names(addresses)),
        };
        let config = Arc::new(serving::public(certificate, &[b"h2", b"http/1.1"])?);
        Ok(Some(Tls { config, port: Port::Operator, refused: Arc::new(Refused::default()) }))
    }
}

fn machine() -> Option<String> {
    Some(rustix::system::uname().nodename().to_string_lossy().into_owned()).filter(|name| !name.is_empty())
}

/// A listener of the port with its limits.
pub(super) fn guarded(guards: &Guards, listener: TcpListener, tls: Option<&Tls>) -> GuardedListener {
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let guarded = guards.http(listener, guards.operator_cap);
    match tls.filter(|_| !is_loopback) {
        Some(tls) => guarded.over_tls(tls.clone()),
        None => guarded,
    }
}

fn given(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TrustError> {
    let unusable = |path: &Path, reason: String| TrustError::Unusable { path: path.to_owned(), reason };
    let pem = std::fs::read(certificate).map_err(|error| unusable(certificate, error.to_string()))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable(certificate, "it is not a PEM file of certificates".to_owned()))?;
    if chain.is_empty() {
        return Err(unusable(certificate, "no PEM certificate was found in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read_private(key)?)
        .map_err(|_| unusable(key, "no PEM private key was found in it".to_owned()))?;
    let both = CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider());
    both.map(Arc::new).map_err(|error| unusable(certificate, format!("it does not fit the key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_led_to_loopback_where_it_can_be_and_to_a_name_where_the_address_is_none() {
        let named = OperatorPort { names: vec!["portunus.example.org".to_owned()], ..OperatorPort::default() };
        let at = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
            named.page_address(&addresses)
        };
        assert_eq!(at(&["127.0.0.1:7080"]), "http://127.0.0.1:7080/ui/");
        assert_eq!(at(&["192.0.2.1:7080", "[::1]:7080"]), "http://[::1]:7080/ui/");
        assert_eq!(at(&["192.0.2.1:7080"]), "https://192.0.2.1:7080/ui/");
        assert_eq!(at(&["0.0.0.0:7080"]), "https://portunus.example.org:7080/ui/");
    }
}
