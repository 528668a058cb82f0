//! The certificates that the server's own ports show, and how these ports speak TLS. No files.
//!
//! Keeps: a certificate is replaced at half of its life, and as soon as another authority signs; its key exists in
//! memory only; no session is resumed, so that every connection is verified in full.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use schema::canonical::Digest;
use tracing::error;

use super::keeping::{Authorities, Watched};
use super::verifying::EdgeVerifier;
use super::{TrustError, now_secs};

/// How long the certificate of a port is valid.
const TTL_SECS: u64 = 30 * 24 * 3600;

/// A certificate in use.
#[derive(Debug)]
struct Made {
    key: Arc<CertifiedKey>,
    pin: Digest,
    has_previous: bool,
    since: u64,
    not_after: u64,
}

/// The certificate of one port, made when it is needed.
#[derive(Debug)]
pub struct ServerCertificate {
    authorities: Watched,
    names: Vec<String>,
    made: Mutex<Option<Made>>,
}

impl ServerCertificate {
    /// For these DNS names and addresses.
    pub fn new(authorities: Watched, names: Vec<String>) -> Arc<Self> {
        Arc::new(Self { authorities, names, made: Mutex::default() })
    }

    /// When the certificate in use ends, in seconds since 1970.
    pub fn not_after(&self) -> Option<u64> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|made| made.not_after)
    }

    /// The certificate to show now, with its key and chain.
    pub fn at(&self, now: u64) -> Result<Arc<CertifiedKey>, TrustError> {
        let authorities = Arc::clone(&self.authorities.borrow());
        let mut slot = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*slot {
            let is_of_now = (made.since..made.since + (made.not_after - made.since) / 2).contains(&now);
            let is_current = made.pin == authorities.current.pin;
            if is_of_now && is_current && made.has_previous == authorities.previous.is_some() {
                return Ok(Arc::clone(&made.key));
            }
        }
        let made = make(&authorities, &self.names, now)?;
        let key = Arc::clone(&made.key);
        *slot = Some(made);
        Ok(key)
    }
}

fn make(authorities: &Authorities, names: &[String], now: u64) -> Result<Made, TrustError> {
    let pair = KeyPair::generate()?;
    let not_after = (now + TTL_SECS).min(authorities.current.not_after.max(now + 1));
    let certificate = authorities.current.issue_server(&pair, names, (now, not_after))?;
    let chain = std::iter::once(certificate).chain(authorities.chain()).collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    let (pin, has_previous) = (authorities.current.pin, authorities.previous.is_some());
    Ok(Made { key: key.into(), pin, has_previous, since: now, not_after })
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.at(now_secs()).map_err(|error| error!(%error, "no certificate for this port can be made")).ok()
    }
}

/// TLS of the control port: both sides show certificates, except for an edge that joins.
pub fn control(certificate: Arc<ServerCertificate>, verifier: Arc<EdgeVerifier>) -> Result<ServerConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13])?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(without_resumption(config))
}

/// TLS of a port whose peers prove who they are otherwise, with these protocols in the order of preference.
pub fn public(certificate: Arc<dyn ResolvesServerCert>, protocols: &[&[u8]]) -> Result<ServerConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(without_resumption(config))
}

/// A resumed session would skip the verification of a certificate that has expired since, and tickets cost memory.
fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::act::trust::keeping;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn a_certificate_is_made_again_at_half_of_its_life_and_when_another_authority_signs() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = keeping::open(dir.path(), true, NOW).expect("opens");
        let (sender, receiver) = watch::channel(Arc::new(first.clone()));
        let port = ServerCertificate::new(receiver, vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let shown = |now: u64| port.at(now).expect("made").cert.clone();
        let one = shown(NOW);
        assert_eq!(one.len(), 2);
        assert_eq!(port.not_after(), Some(NOW + TTL_SECS));
        assert_eq!(shown(NOW + TTL_SECS / 2 - 1), one);
        let two = shown(NOW + TTL_SECS / 2);
        assert_ne!(two, one);
        // A clock that was set back: what begins in the future is good for nothing.
        assert_ne!(shown(NOW), two);
        let both = keeping::rotate(dir.path(), &first, NOW).expect("rotates");
        sender.send_replace(Arc::new(both.clone()));
        let three = shown(NOW);
        assert_eq!(three[1..], both.chain());
        sender.send_replace(Arc::new(keeping::retire(dir.path(), &both).expect("retires")));
        assert_eq!(shown(NOW).len(), 2);
    }
}
