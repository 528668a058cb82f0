//! Certificate authorities as values: what they are known by and what they sign. No files.
//!
//! Keeps: an edge's certificate says one name and nothing else, whatever its request asks for; only certificates for
//! servers have the server's name.

use std::fmt;
use std::net::IpAddr;

use data_encoding::{BASE64, HEXLOWER};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use schema::canonical::Digest;
use schema::join;
use schema::name::EdgeName;
use time::OffsetDateTime;

use super::TrustError;

/// How long an authority is valid. `ca rotate` replaces it long before.
const AUTHORITY_SECS: u64 = 10 * 365 * 24 * 3600;
/// Certificates begin earlier than they are made, for peers whose clock is behind.
const BACKDATED_SECS: u64 = 3600;
/// Attribute type `serialNumber` of a subject (X.520, 6.2.9): where the epoch of an edge stands.
const EPOCH: [u64; 4] = [2, 5, 4, 5];
/// Characters of one line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// One certificate authority with its key.
pub struct Authority {
    /// It counts them: the first one is 1; of an authority that the operator gave, 0.
    pub number: u32,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// SHA-256 of its certificate.
    pub pin: Digest,
    /// Seconds since 1970 when it ends.
    pub not_after: u64,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("number", &self.number).field("pin", &self.pin).finish_non_exhaustive()
    }
}

/// What a certificate for an edge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSubject<'a> {
    /// Its name.
    pub name: &'a EdgeName,
    /// Which join of the name it comes from.
    pub epoch: u64,
    /// Seconds since 1970 when it is issued.
    pub now: u64,
    /// How long it is valid from then on, in seconds.
    pub ttl: u64,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn generate(number: u32, now: u64) -> Result<Self, TrustError> {
        let key = KeyPair::generate()?;
        let mut params = parameters(now, now + AUTHORITY_SECS);
        // A name of its own, so that no chain leads to the key of another authority.
        let id = HEXLOWER.encode(&Digest::of(&key.subject_public_key_info()).as_bytes()[..8]);
        params.distinguished_name.push(DnType::CommonName, format!("portunus CA {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Self::new(number, certificate, key)
    }

    /// The authority of a certificate and its key.
    pub fn new(number: u32, certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, TrustError> {
        let not_after = validity(&certificate).map_or(0, |(_, end)| end);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { number, pin: Digest::of(&certificate), not_after, certificate, issuer })
    }

    /// The key, for its file.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// True if the certificate is that of this key, and one of an authority.
    pub fn is_consistent(&self) -> bool {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&self.certificate) else { return false };
        parsed.is_ca() && parsed.public_key().raw == self.issuer.key().subject_public_key_info().as_slice()
    }

    /// A certificate of another authority, signed by this one: a peer that trusts this one can verify what that one signs.
    pub fn vouch_for(&self, next: &Self, now: u64) -> Result<CertificateDer<'static>, TrustError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&next.certificate)
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let mut params = parameters(now, self.not_after.min(next.not_after));
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        params.distinguished_name.push(DnType::CommonName, name.unwrap_or_default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params.signed_by(next.issuer.key(), &self.issuer)?.der().clone())
    }

    /// A certificate for a server by these names and addresses.
    pub fn issue_server(
        &self,
        key: &KeyPair,
        names: &[String],
        validity: (u64, u64),
    ) -> Result<CertificateDer<'static>, TrustError> {
        let mut params = parameters(validity.0, validity.1);
        params.distinguished_name.push(DnType::CommonName, "portunus server");
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }

    /// A certificate for an edge, for the key of its request; whatever else the request asks for is ignored.
    pub fn issue_edge(
        &self,
        request: &CertificateSigningRequestParams,
        member: &EdgeSubject<'_>,
    ) -> Result<CertificateDer<'static>, TrustError> {
        let mut params = parameters(member.now, member.now + member.ttl);
        params.distinguished_name.push(DnType::CommonName, member.name.as_str());
        params.distinguished_name.push(DnType::CustomDnType(EPOCH.to_vec()), member.epoch.to_string());
        params.subject_alt_names.push(SanType::URI(join::identity(member.name).as_str().try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer)?.der().clone())
    }
}

/// Reads a signing request and checks that its sender has the key.
pub fn read_request(der: &[u8]) -> Option<CertificateSigningRequestParams> {
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der)).ok()
}

/// Begin and end of a certificate, in seconds since 1970.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(u64, u64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let secs = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
    Some((secs(parsed.validity().not_before), secs(parsed.validity().not_after)))
}

fn parameters(now: u64, not_after: u64) -> CertificateParams {
    let at = |secs: u64| {
        let secs = i64::try_from(secs).unwrap_or(i64::MAX);
        // Certificates have four digits for a year.
        OffsetDateTime::from_unix_timestamp(secs).unwrap_or(rcgen::date_time_ymd(9999, 1, 1))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = at(now.saturating_sub(BACKDATED_SECS));
    params.not_after = at(not_after);
    params.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    if getrandom::fill(&mut serial).is_ok() {
        // A serial number is positive (RFC 5280, 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
    }
    params
}

/// Certificates as text.
pub fn pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64.encode(certificate);
        for line in encoded.as_bytes().chunks(PEM_LINE) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
