//! The certificates that edges show: verified against the authorities, and read. No files.
//!
//! Keeps: without a certificate nobody is refused here, since an edge that joins has none; one that expired is accepted
//! within the grace time and marked as expired; a certificate that is not that of one edge is refused.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use schema::join;
use schema::name::EdgeName;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use super::keeping::{Authorities, Watched};

/// What a certificate of an edge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The edge.
    pub name: EdgeName,
    /// Which join of the name it comes from.
    pub epoch: u64,
    /// When it ends, in seconds since 1970.
    pub not_after: u64,
}

impl Identity {
    /// What a certificate says, where it is that of one edge.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let usage = parsed.extended_key_usage().ok()??.value;
        if !usage.client_auth || parsed.is_ca() {
            return None;
        }
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        Some(Self { name: name(&parsed)?, epoch: epoch(&parsed)?, not_after })
    }

    /// True if it is good for renewal only.
    pub fn is_expired(&self, now: u64) -> bool {
        self.not_after < now
    }
}

/// The one name of a certificate: a second one of any kind makes it useless.
fn name(certificate: &X509Certificate<'_>) -> Option<EdgeName> {
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => join::edge_of(uri),
        _ => None,
    }
}

fn epoch(certificate: &X509Certificate<'_>) -> Option<u64> {
    let mut attributes = certificate.subject().iter_by_oid(&x509_parser::oid_registry::OID_X509_SERIALNUMBER);
    match (attributes.next(), attributes.next()) {
        (Some(epoch), None) => epoch.as_str().ok()?.parse().ok(),
        _ => None,
    }
}

/// Verifies what edges show.
#[derive(Debug)]
pub struct EdgeVerifier {
    authorities: Watched,
    /// How long an expired certificate is good for renewal.
    grace: Duration,
    provider: Arc<CryptoProvider>,
}

impl EdgeVerifier {
    /// With this grace time.
    pub fn new(authorities: Watched, grace: Duration) -> Arc<Self> {
        Arc::new(Self { authorities, grace, provider: Arc::new(aws_lc_rs::default_provider()) })
    }

    fn verify(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let identity = Identity::read(shown).ok_or(CertificateError::ApplicationVerificationFailure)?;
        let authorities = Arc::clone(&self.authorities.borrow());
        let by_chain = by_chain(&authorities, &self.provider)?;
        let verified = by_chain.verify_client_cert(shown, more, now);
        let Err(error) = verified else { return Ok(()) };
        let end = Duration::from_secs(identity.not_after);
        let is_expired = matches!(
            error,
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })
        );
        if !is_expired || Duration::from_secs(now.as_secs()) > end + self.grace {
            return Err(error);
        }
        // Everything but its end is as it must be.
        by_chain.verify_client_cert(shown, more, UnixTime::since_unix_epoch(end)).map(drop)
    }
}

fn by_chain(authorities: &Authorities, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities.all() {
        roots.add(authority.certificate.clone())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    builder.build().map_err(|error| Error::General(error.to_string()))
}

impl ClientCertVerifier for EdgeVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A stranger learns nothing, and an edge has one certificate.
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(shown, more, now).map(|()| ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use tokio::sync::watch;

    use super::*;
    use crate::act::trust::authority::{Authority, EdgeSubject, read_request};
    use crate::act::trust::keeping;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;
    const GRACE: u64 = 30 * DAY;

    fn request(params: &CertificateParams) -> rcgen::CertificateSigningRequestParams {
        let key = KeyPair::generate().expect("a key");
        read_request(params.serialize_request(&key).expect("a request").der()).expect("readable")
    }

    fn issued(authority: &Authority, name: &str, epoch: u64) -> CertificateDer<'static> {
        let name = EdgeName::new(name).expect("a name");
        let member = EdgeSubject { name: &name, epoch, now: NOW, ttl: DAY };
        authority.issue_edge(&request(&CertificateParams::default()), &member).expect("issued")
    }

    struct Scene {
        dir: tempfile::TempDir,
        sender: watch::Sender<Arc<Authorities>>,
        verifier: Arc<EdgeVerifier>,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let authorities = keeping::open(dir.path(), true, NOW).expect("opens");
        let (sender, receiver) = watch::channel(Arc::new(authorities));
        let verifier = EdgeVerifier::new(receiver, Duration::from_secs(GRACE));
        Scene { dir, sender, verifier }
    }

    impl Scene {
        fn authorities(&self) -> Arc<Authorities> {
            Arc::clone(&self.sender.borrow())
        }

        fn accepts(&self, certificate: &CertificateDer<'_>, now: u64) -> bool {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            self.verifier.verify_client_cert(certificate, &[], now).is_ok()
        }
    }

    #[test]
    fn a_certificate_says_one_name_and_its_epoch_whatever_its_request_asked_for() {
        let scene = scene();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(join::SERVER_NAME.try_into().expect("a name"))];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let longest = "a._-".repeat(15) + "aaa";
        for text in ["a", "0", "edge-01.fra_1", &longest] {
            let name = EdgeName::new(text).expect("a name");
            for epoch in [0, 1, u64::MAX] {
                let member = EdgeSubject { name: &name, epoch, now: NOW, ttl: DAY };
                let issued = scene.authorities().current.issue_edge(&request(&params), &member).expect("issued");
                let read = Identity::read(&issued).expect("an edge's");
                assert_eq!(read, Identity { name: name.clone(), epoch, not_after: NOW + DAY });
                assert!(scene.accepts(&issued, NOW));
            }
        }
    }

    #[test]
    fn the_limits_of_time_are_exact() {
        let scene = scene();
        let certificate = issued(&scene.authorities().current, "a", 1);
        let identity = Identity::read(&certificate).expect("an edge's");
        let end = NOW + DAY;
        for (now, is_accepted, is_expired) in [
            (NOW - 3601, false, false),
            (NOW - 3600, true, false),
            (end, true, false),
            (end + 1, true, true),
            (end + GRACE, true, true),
            (end + GRACE + 1, false, true),
        ] {
            let found = (scene.accepts(&certificate, now), identity.is_expired(now));
            assert_eq!(found, (is_accepted, is_expired), "at {}", now.cast_signed() - end.cast_signed());
        }
    }

    #[test]
    fn certificates_of_other_authorities_servers_and_authorities_are_refused() {
        let scene = scene();
        let authorities = scene.authorities();
        let other = Authority::generate(1, NOW).expect("made");
        assert!(!scene.accepts(&issued(&other, "a", 1), NOW));
        assert!(!scene.accepts(&authorities.current.certificate, NOW));
        let key = KeyPair::generate().expect("a key");
        for names in [vec!["localhost".to_owned()], vec![join::SERVER_NAME.to_owned()], Vec::new()] {
            let server = authorities.current.issue_server(&key, &names, (NOW, NOW + DAY)).expect("issued");
            assert!(!scene.accepts(&server, NOW), "{names:?}");
        }
    }

    #[test]
    fn both_authorities_count_until_the_first_is_retired() {
        let scene = scene();
        let first = scene.authorities();
        let old = issued(&first.current, "a", 1);
        let both = keeping::rotate(scene.dir.path(), &first, NOW).expect("rotates");
        scene.sender.send_replace(Arc::new(both.clone()));
        let new = issued(&both.current, "a", 1);
        assert!(scene.accepts(&old, NOW) && scene.accepts(&new, NOW));
        let last = keeping::retire(scene.dir.path(), &both).expect("retires");
        scene.sender.send_replace(Arc::new(last));
        assert!(!scene.accepts(&old, NOW) && scene.accepts(&new, NOW));
    }

    #[test]
    fn a_request_whose_key_its_sender_has_not_is_refused() {
        let key = KeyPair::generate().expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        let mut der = request.der().to_vec();
        assert!(read_request(&der).is_some());
        *der.last_mut().expect("bytes") ^= 1;
        assert!(read_request(&der).is_none());
        assert!(read_request(b"").is_none());
    }
}
