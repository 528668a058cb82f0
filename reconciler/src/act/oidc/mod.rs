//! Identity tokens of CI jobs: their signature and times, by the keys of their issuer. I/O.
//!
//! Keeps: only issuers that an operator names are ever asked; a token never chooses how it is verified, for the
//! algorithms are a fixed list without any that is symmetric; answers of issuers are bounded in time and size.

mod keys;

use jiff::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use keys::Keys;

/// What a token may be signed with.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far clocks may be apart.
const LEEWAY_SECS: u64 = 60;
/// The longest name of a key.
const LONGEST_KEY_ID: usize = 500;

/// A token that its issuer signed and whose time it is.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    /// Everything that it claims.
    pub(super) claims: Map<String, Value>,
    /// When it ends, the leeway included.
    pub(super) until: Timestamp,
}

/// The issuers that were asked, with their keys.
#[derive(Debug)]
pub(super) struct Issuers(Keys);

impl Issuers {
    /// None so far.
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        Ok(Self(Keys::new()?))
    }

    /// The issuer that a token names; nothing of it is verified.
    pub(super) fn named(token: &str) -> Option<String> {
        let claims: Map<String, Value> = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        claims.get("iss")?.as_str().map(str::to_owned)
    }

    /// Verifies a token of an issuer that is trusted; `None` where it is not one of its, for whatever reason.
    pub(super) async fn verify(&self, issuer: &str, token: &str) -> Option<Verified> {
        let header = decode_header(token).ok()?;
        let id = header.kid.filter(|id| id.len() <= LONGEST_KEY_ID)?;
        if !ALGORITHMS.contains(&header.alg) {
            return None;
        }
        let key = self.0.find(issuer, &id).await?;
        checked(&key, header.alg, issuer, token, Timestamp::now())
    }
}

/// A token against one key of its issuer.
fn checked(key: &Jwk, algorithm: Algorithm, issuer: &str, token: &str, now: Timestamp) -> Option<Verified> {
    let is_for_signatures = key.common.public_key_use.as_ref().is_none_or(|found| *found == PublicKeyUse::Signature);
    let is_asymmetric = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_));
    let is_for_algorithm = key.common.key_algorithm.is_none_or(|known| known.to_string() == format!("{algorithm:?}"));
    if !is_for_signatures || !is_asymmetric || !is_for_algorithm {
        return None;
    }
    let decoding = DecodingKey::from_jwk(key).ok()?;
    if decoding.family() != algorithm.family() {
        return None;
    }
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_SECS;
    validation.validate_nbf = true;
    // Which audience is wanted depends on the operator.
    validation.validate_aud = false;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let claims: Map<String, Value> = decode(token, &decoding, &validation).ok()?.claims;
    let leeway = i64::try_from(LEEWAY_SECS).unwrap_or_default();
    let issued = claims.get("iat").map(|at| at.as_f64().map(|at| at as i64));
    // One that was issued in the future is not trusted, whatever else it says.
    if issued.is_some_and(|at| at.is_none_or(|at| at > now.as_second() + leeway)) {
        return None;
    }
    let ends = claims.get("exp")?.as_f64()? as i64;
    let until = Timestamp::from_second(ends.saturating_add(leeway)).ok()?;
    Some(Verified { claims, until })
}

#[cfg(test)]
mod tests;
