//! A TLS handshake, with or without a look at the certificate. I/O.
//!
//! Keeps: a check that verifies takes nothing that the host's roots do not hold; one that does not still proves that
//! the target has the key of the certificate it shows.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schema::health::{Outcome, ResultCode};
use schema::rule::Host;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ProbeSpec, ProbeStep, broken, failed, failed_by, reach};

/// What handshakes are made with; made when the first check needs it.
#[derive(Default)]
pub(super) struct Tls {
    verified: OnceCell<Arc<ClientConfig>>,
    unverified: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// With these roots instead of the host's.
    #[cfg(test)]
    pub(super) fn with_roots(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { verified: OnceCell::new_with(Some(verified(roots))), ..Self::default() }
    }

    async fn config(&self, verifies: bool) -> Arc<ClientConfig> {
        if verifies {
            self.verified.get_or_init(|| async { verified(host_roots().await) }).await.clone()
        } else {
            self.unverified.get_or_init(|| async { unverified() }).await.clone()
        }
    }
}

/// The roots that this host trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
async fn host_roots() -> Vec<CertificateDer<'static>> {
    let found = spawn_blocking(rustls_native_certs::load_native_certs).await.unwrap_or_default();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate of this host cannot be read");
    }
    found.certs
}

/// Judges by these roots, and takes each of them for a server's own as well.
fn verified(trusted: Vec<CertificateDer<'static>>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (taken, ignored) = roots.add_parsable_certificates(trusted.iter().cloned());
    tracing::debug!(taken, ignored, "the root certificates were read");
    let by_chain = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::new(aws_lc_rs::default_provider()));
    judged(match by_chain.build() {
        Ok(by_chain) => Judge::Roots { by_chain, trusted: trusted.into_iter().collect() },
        Err(_) => Judge::Nobody,
    })
}

fn unverified() -> Arc<ClientConfig> {
    judged(Judge::Anybody)
}

fn judged(judge: Judge) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has its own versions");
    let verifier = Arc::new(Verifier { provider, judge });
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // A handshake proves something each time: nothing of the last one is used again.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Judge {
    /// For `verify = false`.
    Anybody,
    /// There is no root.
    Nobody,
    /// Those that a root vouches for, and the roots themselves: a self-signed certificate, as `openssl req -x509` makes
    /// it, may sign others, and is refused as a server's own by the rules of chains, although the host trusts that very
    /// certificate.
    Roots { by_chain: Arc<WebPkiServerVerifier>, trusted: HashSet<CertificateDer<'static>> },
}

/// Looks at what a target shows.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    judge: Judge,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (by_chain, trusted) = match &self.judge {
            Judge::Anybody => return Ok(ServerCertVerified::assertion()),
            Judge::Nobody => return Err(CertificateError::UnknownIssuer.into()),
            Judge::Roots { by_chain, trusted } => (by_chain, trusted),
        };
        match by_chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // What has a name of its own, such as an expired certificate, is told as it is.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) if trusted.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Asks once.
pub(super) async fn ask(
    question: &ProbeSpec,
    tls: &Tls,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> ProbeStep<Outcome> {
    connect(question, tls, addresses, deadline).await?;
    Ok(Outcome::new(ResultCode::L6Ok, "the handshake succeeded"))
}

/// A connection with its handshake done.
pub(super) async fn connect(
    question: &ProbeSpec,
    tls: &Tls,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> ProbeStep<TlsStream<TcpStream>> {
    let check = &question.check;
    let name = match (&question.name, check.server_name.as_str()) {
        (Host::Ip(ip), "") => ServerName::from(*ip),
        (Host::Scoped(scoped), "") => ServerName::from(std::net::IpAddr::V6(scoped.ip())),
        (Host::Name(name), "") => server_name(name)?,
        (_, name) => server_name(name)?,
    };
    let stream = reach::connect(question, addresses, deadline).await?;
    // The end of the handshake and the request follow each other. Where it fails, they take a little longer.
    _ = stream.set_nodelay(true);
    let connector = TlsConnector::from(tls.config(check.verify).await);
    match timeout_at(deadline, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => failed_by(ResultCode::L6Rsp, &error, &why(&error)),
        Err(_) => failed(ResultCode::L6Tout, "the handshake did not complete in time"),
    }
}

fn server_name(name: &str) -> ProbeStep<ServerName<'static>> {
    ServerName::try_from(name.to_owned())
        .or_else(|_| failed(ResultCode::L6Rsp, &format!("`{name}` is not a name that a certificate can have")))
}

fn why(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        // Its own words are names of the library: as a rule, a self-signed certificate that may sign others.
        (Some(rustls::Error::InvalidCertificate(CertificateError::Other(_))), _) => {
            "the handshake failed: the target's certificate is a CA certificate or malformed, and it is not one of the \
             host's root certificates"
                .to_owned()
        }
        (Some(error), _) => format!("the handshake failed: {error}"),
        (None, ErrorKind::UnexpectedEof) => "the target closed the connection during the handshake".to_owned(),
        (None, _) => broken("the handshake", error),
    }
}
