//! Tokens with keys that the test makes, against one key of an issuer.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://ci.example.org";

struct Signer {
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    /// Both coordinates of the public key.
    fn point(&self) -> (String, String) {
        let point = self.pair.public_key().as_ref();
        (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]))
    }

    fn jwk(&self) -> Jwk {
        let (x, y) = self.point();
        read(json!({ "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": x, "y": y }))
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.pair.sign(&random, message.as_bytes()).expect("signed");
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

fn read(jwk: Value) -> Jwk {
    serde_json::from_value(jwk).expect("a key")
}

fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "portunus", "sub": "x", "exp": now() + 300, "nbf": now(), "iat": now() })
}

fn es256() -> Value {
    json!({ "alg": "ES256", "kid": "k" })
}

fn check(key: &Jwk, token: &str) -> Option<Verified> {
    let algorithm = decode_header(token).ok()?.alg;
    ALGORITHMS.contains(&algorithm).then(|| checked(key, algorithm, ISSUER, token, Timestamp::now()))?
}

#[test]
fn a_token_of_the_issuer_is_verified_with_its_claims_and_its_end() {
    let signer = Signer::new();
    let claims = claims();
    let found = check(&signer.jwk(), &signer.token(&es256(), &claims)).expect("verified");
    assert_eq!(found.claims["sub"], json!("x"));
    assert_eq!(found.until.as_second(), claims["exp"].as_i64().expect("a time") + 60);
}

#[test]
fn no_token_chooses_how_it_is_verified() {
    let signer = Signer::new();
    let (key, claims) = (signer.jwk(), claims());
    let none = format!("{}.", message(&json!({ "alg": "none", "kid": "k" }), &claims));
    assert!(decode_header(&none).is_err() || check(&key, &none).is_none());
    // Signed symmetrically, with the public key for a secret.
    for secret in [signer.pair.public_key().as_ref().to_vec(), serde_json::to_vec(&key).expect("JSON")] {
        let message = message(&json!({ "alg": "HS256", "kid": "k" }), &claims);
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let signature = aws_lc_rs::hmac::sign(&secret, message.as_bytes());
        let token = format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()));
        assert!(check(&key, &token).is_none());
        assert!(checked(&key, Algorithm::HS256, ISSUER, &token, Timestamp::now()).is_none());
    }
    // A key of the issuer that is symmetric is none for tokens.
    let symmetric = read(json!({ "kty": "oct", "kid": "k", "k": BASE64URL_NOPAD.encode(b"secret") }));
    assert!(checked(&symmetric, Algorithm::HS256, ISSUER, &none, Timestamp::now()).is_none());
    for alg in ["ES384", "RS256", "EdDSA"] {
        assert!(check(&key, &signer.token(&json!({ "alg": alg, "kid": "k" }), &claims)).is_none(), "{alg}");
    }
}

#[test]
fn another_key_and_a_changed_token_are_refused() {
    let (signer, other) = (Signer::new(), Signer::new());
    let token = signer.token(&es256(), &claims());
    assert!(check(&other.jwk(), &token).is_none());
    let changed = message(&es256(), &json!({ "iss": ISSUER, "aud": "portunus", "sub": "admin", "exp": now() + 300 }));
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(check(&signer.jwk(), &format!("{changed}.{signature}")).is_none());
    for cut in [&token[..token.len() - 4], "", "..", "a.b.c"] {
        assert!(check(&signer.jwk(), cut).is_none(), "{cut}");
    }
    let (x, y) = signer.point();
    let for_encryption = read(json!({ "kty": "EC", "crv": "P-256", "kid": "k", "use": "enc", "x": x, "y": y }));
    assert!(check(&for_encryption, &token).is_none());
}

#[test]
fn times_count_with_a_minute_of_leeway() {
    let signer = Signer::new();
    let with = |key: &str, at: i64| {
        let mut claims = claims();
        claims[key] = json!(at);
        check(&signer.jwk(), &signer.token(&es256(), &claims)).is_some()
    };
    assert!(with("exp", now() - 50) && !with("exp", now() - 65));
    assert!(with("nbf", now() + 50) && !with("nbf", now() + 70));
    assert!(with("iat", now() + 50) && !with("iat", now() + 70));
}

#[test]
fn what_is_missing_or_another_issuers_is_refused() {
    let signer = Signer::new();
    for key in ["exp", "iss", "aud"] {
        let mut claims = claims();
        claims.as_object_mut().expect("claims").remove(key);
        assert!(check(&signer.jwk(), &signer.token(&es256(), &claims)).is_none(), "{key}");
    }
    for (key, value) in [("iss", json!("https://other.example.org")), ("exp", json!("soon")), ("iat", json!("now"))] {
        let mut claims = claims();
        claims[key] = value;
        assert!(check(&signer.jwk(), &signer.token(&es256(), &claims)).is_none(), "{key}");
    }
}
