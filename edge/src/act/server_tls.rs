//! TLS to the server: its certificate is verified before anything is sent. I/O.
//!
//! Keeps: what counts is that the peer is a control port and who signed that; neither its address nor the roots of this
//! host matter. Without a certificate of its own an edge can do nothing but join.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version,
};
use schema::canonical::Digest;
use schema::join::SERVER_NAME;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::membership::Credentials;
use super::wording;

/// For the connection and its handshake together.
pub(super) const OPENING: Duration = Duration::from_secs(5);

/// What the server's certificate is verified with.
#[derive(Debug, Clone)]
pub(super) enum Anchor {
    /// An authority with this SHA-256, which the server shows.
    Pin(Digest),
    /// The authorities that came with the edge's own certificate.
    Known(Vec<CertificateDer<'static>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the server cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("the server cannot be reached: it does not answer in time")]
    Timeout,
    #[error(
        "the server's certificate is not from the certificate authority that {0}: another server answers at this \
         address, or its authority was replaced; compare `portunus ca show` there, and join again with a new URI"
    )]
    NotTrusted(&'static str),
    #[error("the certificate that the server shows is not that of a control port")]
    NotAControlPort,
    #[error(
        "the server's certificate is not valid at the time of this host, {now}: set the clocks of this host and of \
         the server, for example with chrony or systemd-timesyncd"
    )]
    Clock { now: String },
    #[error(
        "the server does not accept the certificate of this edge: it has expired, or its authority was retired; join \
         again with --join and a new URI from `portunus edge-token create`"
    )]
    NotAccepted,
    #[error("the handshake with the server failed: {0}")]
    Handshake(String),
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    #[error("the key or the certificate of this edge cannot be used: join again")]
    Credentials(#[source] Error),
}

impl DialError {
    /// True if the same attempt cannot succeed before somebody does something.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::NotTrusted(_) | Self::NotAControlPort)
    }

    /// True where another kind of port may have answered.
    pub(super) const fn may_be_another_port(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Transport(_))
    }
}

/// Connects to `HOST:PORT`.
pub(super) async fn dial(
    place: &str,
    anchor: Anchor,
    own: Option<&Credentials>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let config = config(anchor.clone(), own).map_err(DialError::Credentials)?;
    let opening = async {
        let stream = TcpStream::connect(place).await.map_err(DialError::Unreachable)?;
        stream.set_nodelay(true).map_err(DialError::Unreachable)?;
        let name = ServerName::try_from(SERVER_NAME).expect("a DNS name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| failed(&error, &anchor))
    };
    timeout(OPENING, opening).await.map_err(|_| DialError::Timeout)?
}

fn failed(error: &io::Error, anchor: &Anchor) -> DialError {
    let Some(reason) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return DialError::Handshake(wording::system(error));
    };
    let known = match anchor {
        Anchor::Pin(_) => "the join URI pins",
        Anchor::Known(_) => "this edge joined",
    };
    match reason {
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => DialError::Clock { now: clock() },
        Error::InvalidCertificate(
            CertificateError::NotValidForName
            | CertificateError::NotValidForNameContext { .. }
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. },
        ) => DialError::NotAControlPort,
        Error::InvalidCertificate(_) => DialError::NotTrusted(known),
        Error::AlertReceived(alert) if is_about_certificate(*alert) => DialError::NotAccepted,
        Error::InvalidMessage(_) => DialError::Handshake("the peer does not speak TLS".to_owned()),
        other => DialError::Handshake(other.to_string()),
    }
}

/// True where a connection ended because the server does not accept the edge's certificate. It is said after the
/// handshake, as far as this side is concerned.
pub(super) fn is_not_accepted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let of_io = cause.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let reason = of_io.and_then(|inner| inner.downcast_ref::<Error>()).or_else(|| cause.downcast_ref::<Error>());
        if let Some(Error::AlertReceived(alert)) = reason {
            return is_about_certificate(*alert);
        }
        next = cause.source();
    }
    false
}

const fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateExpired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

/// The time of this host, for people.
fn clock() -> String {
    let secs = UnixTime::now().as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Days since 1970 as a date: the algorithm of the proleptic Gregorian calendar, counted from March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

fn config(anchor: Anchor, own: Option<&Credentials>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(ControlPortVerifier { provider: Arc::clone(&provider), anchor });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match own {
        Some(own) => {
            let chain = vec![CertificateDer::from(own.certificate.clone())];
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.clone()));
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // The server has one name for all, which need not be sent.
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts control ports by who signed their certificate.
#[derive(Debug)]
struct ControlPortVerifier {
    provider: Arc<CryptoProvider>,
    anchor: Anchor,
}

impl ControlPortVerifier {
    fn roots(&self, more: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match &self.anchor {
            Anchor::Pin(pin) => {
                let pinned = more.iter().find(|certificate| Digest::of(certificate) == *pin);
                roots.add(pinned.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned())?;
            }
            Anchor::Known(known) => drop(roots.add_parsable_certificates(known.iter().cloned())),
        }
        Ok(roots)
    }
}

impl ServerCertVerifier for ControlPortVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(shown)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots(more)?, more, now, algorithms)?;
        // The one name of all control ports, and of nothing else that the authority signs.
        verify_server_name(&parsed, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
