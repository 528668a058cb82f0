//! The operators that exist, and which of them a token belongs to. Pure.
//!
//! Keeps: the operator of the state directory is always there and cannot be replaced or revoked; no name that the server
//! itself uses in the ledger is an operator's; a token is compared with every operator's digest, each in constant time.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::OperatorName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Caller, Grant, InvalidGrant, InvalidTerms, Role, Terms};

/// The operator whose token is in the state directory.
pub const BUILT_IN: &str = "operator";
/// Names that the ledger uses for something else.
const RESERVED: [&str; 5] = [BUILT_IN, "clock", "server", "tree", "watch"];
/// Operators of one server: each request compares its token with all of them.
const MOST: usize = 1000;
/// Version of the record.
const FORMAT: u32 = 1;

/// How an operator shows who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// By a token, of which the digest is kept.
    Token(Digest),
    /// By an identity token that its issuer signed.
    Oidc(Terms),
}

/// One operator, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Version of this record.
    pub format: u32,
    /// The name.
    pub name: OperatorName,
    /// The role.
    pub role: Role,
    /// The limits.
    #[serde(default, skip_serializing_if = "Grant::is_unlimited")]
    pub grant: Grant,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When its token ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How it shows who it is.
    pub secret: Secret,
}

impl Operator {
    /// An operator that is created now.
    pub fn new(
        name: OperatorName,
        (role, grant): (Role, Grant),
        (created_at, created_by): (Timestamp, String),
        expires_at: Option<Timestamp>,
        secret: Secret,
    ) -> Self {
        Self { format: FORMAT, name, role, grant, created_at, created_by, expires_at, secret }
    }
}

/// Why an operator is not created or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedOperator {
    /// The name stands for something else.
    #[error("the name {0} is reserved: choose another one")]
    Reserved(OperatorName),
    /// The operator of the state directory stays.
    #[error("operator {BUILT_IN} is the one of the state directory and cannot be revoked")]
    BuiltIn,
    /// There is one already.
    #[error("operator {0} exists already: revoke it first, or choose another name")]
    Exists(OperatorName),
    /// There is none.
    #[error("operator {0} does not exist")]
    Unknown(OperatorName),
    /// A limit cannot be read.
    #[error(transparent)]
    Grant(#[from] InvalidGrant),
    /// The terms of its identity tokens cannot be trusted.
    #[error(transparent)]
    Terms(#[from] InvalidTerms),
    /// There are too many.
    #[error("there are {MOST} operators, and there can be no more: revoke those that are not used")]
    Full,
}

/// An operator, ready to be asked about.
#[derive(Debug, Clone)]
struct Enrolled {
    operator: Operator,
    caller: Arc<Caller>,
}

/// Whom a token belongs to.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The operator.
    pub caller: Arc<Caller>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// All operators.
#[derive(Debug, Clone)]
pub struct Roster {
    built_in: Digest,
    /// The one of the state directory.
    own: Arc<Caller>,
    known: BTreeMap<OperatorName, Enrolled>,
}

impl Roster {
    /// The operator of the state directory alone.
    pub fn new(token: &str) -> Self {
        let name = OperatorName::new(BUILT_IN).expect("a name");
        let own = Arc::new(Caller::new(name, Role::Admin, Grant::default()));
        Self { built_in: Digest::of(token.as_bytes()), own, known: BTreeMap::new() }
    }

    /// The same with one more, as it was recorded.
    #[must_use]
    pub fn with(mut self, operator: Operator) -> Self {
        let caller = Arc::new(Caller::new(operator.name.clone(), operator.role, operator.grant.clone()));
        self.known.insert(operator.name.clone(), Enrolled { operator, caller });
        self
    }

    /// The same without one.
    #[must_use]
    pub fn without(mut self, name: &OperatorName) -> Self {
        self.known.remove(name);
        self
    }

    /// Refuses an operator that cannot be created.
    pub fn check_new(&self, operator: &Operator) -> Result<(), RefusedOperator> {
        if RESERVED.contains(&operator.name.as_str()) {
            return Err(RefusedOperator::Reserved(operator.name.clone()));
        }
        if self.known.contains_key(&operator.name) {
            return Err(RefusedOperator::Exists(operator.name.clone()));
        }
        if self.known.len() >= MOST {
            return Err(RefusedOperator::Full);
        }
        operator.grant.check()?;
        if let Secret::Oidc(terms) = &operator.secret {
            terms.check()?;
        }
        Ok(())
    }

    /// Refuses to revoke an operator that is not there, or that stays.
    pub fn check_revoked(&self, name: &OperatorName) -> Result<&Operator, RefusedOperator> {
        if name.as_str() == BUILT_IN {
            return Err(RefusedOperator::BuiltIn);
        }
        let known = self.known.get(name).map(|known| &known.operator);
        known.ok_or_else(|| RefusedOperator::Unknown(name.clone()))
    }

    /// The operators, by name, without the one of the state directory.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.known.values().map(|known| &known.operator)
    }

    /// The operator of the state directory.
    pub fn own(&self) -> &Arc<Caller> {
        &self.own
    }

    /// Whom the token belongs to, expired or not. Takes as long for any token.
    pub fn find(&self, token: &str) -> Option<Recognised> {
        let given = Digest::of(token.as_bytes());
        let is_it = |digest: &Digest| verify_slices_are_equal(digest.as_bytes(), given.as_bytes()).is_ok();
        let mut found = is_it(&self.built_in).then(|| Recognised { caller: self.own.clone(), until: None });
        for known in self.known.values() {
            if let Secret::Token(digest) = &known.operator.secret
                && is_it(digest)
            {
                found = Some(Recognised { caller: known.caller.clone(), until: known.operator.expires_at });
            }
        }
        found
    }

    /// True if an operator shows who it is by identity tokens of that issuer.
    pub fn trusts(&self, issuer: &str) -> bool {
        self.operators().any(|operator| matches!(&operator.secret, Secret::Oidc(terms) if terms.issuer == issuer))
    }

    /// Whom a verified identity token belongs to; nobody where it fits several operators.
    pub fn find_by_claims(&self, claims: &Map<String, Value>) -> Option<Recognised> {
        let accepts = |known: &&Enrolled| matches!(&known.operator.secret, Secret::Oidc(terms) if terms.accept(claims));
        let mut fitting = self.known.values().filter(accepts);
        let (first, second) = (fitting.next()?, fitting.next());
        second.is_none().then(|| Recognised { caller: first.caller.clone(), until: first.operator.expires_at })
    }

    /// True if the operator that was recognised as this caller is still there: one that was created anew under the same
    /// name is another one.
    pub fn has(&self, caller: &Arc<Caller>) -> bool {
        Arc::ptr_eq(&self.own, caller)
            || self.known.get(&caller.name).is_some_and(|known| Arc::ptr_eq(&known.caller, caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, token: &str) -> Operator {
        let name = OperatorName::new(name).expect("a name");
        let created = (Timestamp::UNIX_EPOCH, BUILT_IN.to_owned());
        let secret = Secret::Token(Digest::of(token.as_bytes()));
        Operator::new(name, (Role::Viewer, Grant::default()), created, None, secret)
    }

    fn name_of(roster: &Roster, token: &str) -> Option<String> {
        roster.find(token).map(|found| found.caller.name.to_string())
    }

    #[test]
    fn a_token_belongs_to_its_operator_and_to_no_other() {
        let roster = Roster::new("own").with(operator("ann", "of-ann")).with(operator("bob", "of-bob"));
        assert_eq!(name_of(&roster, "own").as_deref(), Some(BUILT_IN));
        assert_eq!(name_of(&roster, "of-ann").as_deref(), Some("ann"));
        assert_eq!(name_of(&roster, "of-bob").as_deref(), Some("bob"));
        for wrong in ["", "of-an", "of-ann ", "OF-ANN"] {
            assert_eq!(name_of(&roster, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reserved_names_are_not_created_and_the_built_in_one_is_not_revoked() {
        let roster = Roster::new("own").with(operator("ann", "1"));
        for name in RESERVED {
            assert!(matches!(roster.check_new(&operator(name, "2")), Err(RefusedOperator::Reserved(_))), "{name}");
        }
        assert!(matches!(roster.check_new(&operator("ann", "2")), Err(RefusedOperator::Exists(_))));
        let revoked = |name: &str| roster.check_revoked(&OperatorName::new(name).expect("a name")).map(drop);
        assert_eq!(revoked(BUILT_IN), Err(RefusedOperator::BuiltIn));
        assert!(matches!(revoked("bob"), Err(RefusedOperator::Unknown(_))));
        assert_eq!(revoked("ann"), Ok(()));
    }

    #[test]
    fn an_operator_that_is_created_anew_is_another_one() {
        let roster = Roster::new("own").with(operator("ann", "1"));
        let caller = roster.find("1").expect("known").caller;
        assert!(roster.has(&caller));
        let without = roster.without(&caller.name);
        assert!(!without.has(&caller));
        assert!(!without.with(operator("ann", "1")).has(&caller));
    }
}
