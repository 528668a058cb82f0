//! What an identity token of a CI job must say to be an operator's. Pure.
//!
//! Keeps: only claims that are texts count, each is matched as a whole, and all of them must fit.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Claims of one operator.
const MOST_CLAIMS: usize = 20;
/// The longest issuer, audience, key or glob.
const LONGEST: usize = 500;

/// The identity tokens of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who signs them: the URL that they name as `iss`.
    pub issuer: String,
    /// For whom they are: the `aud` that they must have.
    pub audience: String,
    /// What they must claim, at least one thing.
    pub claims: Vec<Claim>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its name, such as `sub` or `repository`.
    pub key: String,
    /// What its text must be; `*` stands for any characters, `/` among them.
    pub glob: String,
}

/// Why terms cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerms {
    /// Not an issuer.
    #[error(
        "the issuer must be an https URL without query (http on loopback only), such as https://gitlab.example.org"
    )]
    Issuer,
    /// No audience.
    #[error("the audience must be a text on one line")]
    Audience,
    /// No claim, or too many.
    #[error("an operator for identity tokens needs 1 to {MOST_CLAIMS} claims, such as repository=team/rules")]
    Claims,
    /// Not a claim.
    #[error("claim `{0}`: expected KEY=GLOB, such as repository=team/rules")]
    Claim(String),
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

impl Claim {
    /// Parses `KEY=GLOB`.
    pub fn parse(text: &str) -> Result<Self, InvalidTerms> {
        let pair = text.split_once('=').filter(|(key, glob)| is_line(key) && is_line(glob));
        let (key, glob) = pair.ok_or_else(|| InvalidTerms::Claim(text.chars().take(LONGEST).collect()))?;
        Ok(Self { key: key.trim().to_owned(), glob: glob.to_owned() })
    }

    fn fits(&self, claims: &Map<String, Value>) -> bool {
        claims.get(&self.key).and_then(Value::as_str).is_some_and(|text| matches(&self.glob, text))
    }
}

impl Terms {
    /// Refuses terms that no token should be accepted by.
    pub fn check(&self) -> Result<(), InvalidTerms> {
        if !is_issuer(&self.issuer) {
            return Err(InvalidTerms::Issuer);
        }
        if !is_line(&self.audience) {
            return Err(InvalidTerms::Audience);
        }
        if self.claims.is_empty() || self.claims.len() > MOST_CLAIMS {
            return Err(InvalidTerms::Claims);
        }
        let is_wrong = |claim: &&Claim| !is_line(&claim.key) || !is_line(&claim.glob);
        match self.claims.iter().find(is_wrong) {
            Some(wrong) => Err(InvalidTerms::Claim(wrong.key.chars().take(LONGEST).collect())),
            None => Ok(()),
        }
    }

    /// True if a verified token with these claims is the operator's.
    pub fn accept(&self, claims: &Map<String, Value>) -> bool {
        let is_for = |audience: &Value| audience.as_str() == Some(&self.audience);
        let is_audience = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_for),
            Some(one) => is_for(one),
            None => false,
        };
        let is_issuer = claims.get("iss").and_then(Value::as_str) == Some(&self.issuer);
        is_issuer && is_audience && self.claims.iter().all(|claim| claim.fits(claims))
    }
}

/// True for an https URL, or an http one that means this machine, with nothing that does not belong to an issuer.
fn is_issuer(text: &str) -> bool {
    let is_plain = is_line(text) && !text.contains(['?', '#', '@', ' ', '\\']);
    let (rest, is_secure) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return false,
    };
    let place = rest.split('/').next().unwrap_or_default();
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    };
    is_plain && !host.is_empty() && (is_secure || is_loopback(host))
}

/// True for a host that only ever means this machine.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// True if the whole text fits; `*` stands for any characters. Takes time in proportion to both lengths.
fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn terms(claims: &[&str]) -> Terms {
        Terms {
            issuer: "https://ci.example.org".to_owned(),
            audience: "portunus".to_owned(),
            claims: claims.iter().map(|text| Claim::parse(text).expect("a claim")).collect(),
        }
    }

    fn accepted(terms: &Terms, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let token = json!({
            "iss": "https://ci.example.org", "aud": ["other", "portunus"], "repository": "team/rules",
            "ref": "refs/heads/main", "runs": 7, "groups": ["team/rules"],
        });
        let Value::Object(mut claims) = token else { unreachable!() };
        change(&mut claims);
        terms.accept(&claims)
    }

    #[test]
    fn every_claim_must_fit_as_a_whole_and_a_star_crosses_slashes() {
        for right in ["repository=team/rules", "repository=team/*", "repository=*", "ref=refs/*", "ref=*/main"] {
            assert!(accepted(&terms(&[right]), |_| {}), "{right}");
        }
        for bad in ["repository=rules", "repository=team", "repository=team/rule", "ref=main", "repository=Team/*"] {
            assert!(!accepted(&terms(&[bad]), |_| {}), "{bad}");
        }
        assert!(accepted(&terms(&["repository=team/*", "ref=refs/heads/main"]), |_| {}));
        assert!(!accepted(&terms(&["repository=team/*", "ref=refs/tags/*"]), |_| {}));
    }

    #[test]
    fn only_texts_count() {
        for bad in ["runs=7", "runs=*", "groups=*", "none=*"] {
            assert!(!accepted(&terms(&[bad]), |_| {}), "{bad}");
        }
    }

    #[test]
    fn issuer_and_audience_must_be_exactly_those() {
        let all = terms(&["repository=*"]);
        assert!(accepted(&all, |claims| _ = claims.insert("aud".to_owned(), json!("portunus"))));
        for (key, value) in [
            ("aud", json!("portunus2")),
            ("aud", json!(["other"])),
            ("aud", Value::Null),
            ("iss", json!("https://ci.example.org/")),
            ("iss", json!(["https://ci.example.org"])),
        ] {
            assert!(!accepted(&all, |claims| _ = claims.insert(key.to_owned(), value.clone())), "{key} {value}");
        }
        assert!(!accepted(&all, |claims| _ = claims.remove("aud")));
    }

    #[test]
    fn terms_that_cannot_be_trusted_are_refused() {
        let with = |issuer: &str| Terms { issuer: issuer.to_owned(), ..terms(&["sub=x"]) }.check();
        for right in ["https://gitlab.example.org", "https://forge.example.org:8443/api", "http://127.0.0.1:4000"] {
            assert_eq!(with(right), Ok(()), "{right}");
        }
        for bad in [
            "http://gitlab.example.org",
            "gitlab.example.org",
            "https://",
            "https://a?b",
            "http://localhost.example.org",
            "https://me@a",
        ] {
            assert_eq!(with(bad), Err(InvalidTerms::Issuer), "{bad}");
        }
        assert_eq!(terms(&[]).check(), Err(InvalidTerms::Claims));
        assert_eq!(Terms { audience: " ".to_owned(), ..terms(&["sub=x"]) }.check(), Err(InvalidTerms::Audience));
        for bad in ["sub", "=x", "sub=", "sub=a\nb"] {
            assert!(Claim::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stars_match_from_left_to_right() {
        for (glob, text, is_match) in [
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*a", "a", false),
            ("*a*", "bab", true),
            ("ab*ab", "abab", true),
            ("ab*ab", "aba", false),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(glob, text), is_match, "{glob} {text}");
        }
    }
}
