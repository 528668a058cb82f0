//! Who may join and who has joined: codes, epochs and revocations of edges. Pure.
//!
//! Keeps: a code works once, for one name and until its end; an epoch is never used twice; a certificate of an earlier
//! epoch admits nobody.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::codes::MembershipCode;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

/// Wrong codes after which a code is burnt.
const TRIES: u32 = 3;
/// The version of an entry on disk.
const FORMAT: u32 = 1;

/// An invitation that was not used yet, or was used and its answer may have been lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCode {
    /// SHA-256 of the code.
    pub digest: Digest,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The authority that its URI pins.
    pub authority: Digest,
    /// Wrong codes so far.
    pub wrong: u32,
    /// SHA-256 of the key that used it: an edge that got no answer asks once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<Digest>,
}

/// What is kept of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The format of this entry.
    pub version: u32,
    /// Which join counts; 0 before the first.
    pub epoch: u64,
    /// True if an operator revoked it, and it has not joined since.
    pub revoked: bool,
    /// When its newest certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The authority that signed its newest certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Digest>,
    /// Its open code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<OpenCode>,
}

impl Default for Enrolment {
    fn default() -> Self {
        Self { version: FORMAT, epoch: 0, revoked: false, expires_at: None, authority: None, code: None }
    }
}

impl Enrolment {
    /// Reads an entry of this or an earlier format.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match entry.version {
            FORMAT => Ok(entry),
            found => Err(format!("it has format {found}; this version reads up to {FORMAT}")),
        }
    }

    /// True if an edge of this name has joined.
    pub fn has_joined(&self) -> bool {
        self.epoch > 0
    }

    /// True if a certificate of another authority than this one is in use.
    pub fn is_of_another(&self, authority: Digest) -> bool {
        self.has_joined() && !self.revoked && self.authority.is_some_and(|signed| signed != authority)
    }
}

/// What an edge asks with that joins.
#[derive(Debug, Clone, Copy)]
pub struct JoinAttempt {
    /// SHA-256 of the code.
    pub code: Digest,
    /// SHA-256 of the edge's key.
    pub key: Digest,
    /// The authority that signs now.
    pub authority: Digest,
    /// When its certificate will end.
    pub expires_at: Timestamp,
}

/// The code is not good, for whatever reason: a stranger learns no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the join code is not valid: it was used, replaced or revoked, has expired, or is for another name; create a new \
     one with `portunus edge-token create NAME`"
)]
pub struct InvalidCode;

/// Why a certificate admits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The store has no such name.
    #[error("the server does not know this edge: join again with a new code from `portunus edge-token create`")]
    Unknown,
    /// An operator revoked it.
    #[error("this edge was revoked: it can only join again, with a new code from `portunus edge-token create`")]
    Revoked,
    /// The name has joined again since.
    #[error("another edge has joined under this name since, and its certificate replaced this one")]
    Superseded,
    /// It is good for renewal only.
    #[error("the certificate of this edge has expired: it has to be renewed first")]
    Expired,
}

impl NotAdmitted {
    /// A word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => MembershipCode::UnknownEdge,
            Self::Revoked => MembershipCode::Revoked,
            Self::Superseded => MembershipCode::Superseded,
            Self::Expired => MembershipCode::CertificateExpired,
        }
        .as_str()
    }
}

/// All names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Register {
    entries: BTreeMap<EdgeName, Enrolment>,
    /// The highest epoch that was given out.
    epoch: u64,
}

impl Register {
    /// From what was stored.
    pub fn restore(entries: BTreeMap<EdgeName, Enrolment>, epoch: u64) -> Self {
        let epoch = entries.values().map(|entry| entry.epoch).fold(epoch, u64::max);
        Self { entries, epoch }
    }

    /// One name.
    pub fn get(&self, name: &EdgeName) -> Option<&Enrolment> {
        self.entries.get(name)
    }

    /// All names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeName, &Enrolment)> {
        self.entries.iter()
    }

    /// The highest epoch that was given out.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The entries of these names as they are now.
    pub fn clone_of<'n>(&self, names: impl Iterator<Item = &'n EdgeName>) -> BTreeMap<EdgeName, Option<Enrolment>> {
        names.map(|name| (name.clone(), self.entries.get(name).cloned())).collect()
    }

    /// Puts an entry back as it was.
    pub fn undo(&mut self, name: EdgeName, before: Option<Enrolment>) {
        match before {
            Some(before) => drop(self.entries.insert(name, before)),
            None => drop(self.entries.remove(&name)),
        }
    }

    /// Opens a code for a name; an open one is replaced.
    pub fn invite(&mut self, name: &EdgeName, code: OpenCode) {
        self.entries.entry(name.clone()).or_default().code = Some(code);
    }

    /// Uses a code. Epochs follow the clock, so that a store that was restored from a backup gives out none again.
    pub fn join(&mut self, name: &EdgeName, attempt: &JoinAttempt, now: Timestamp) -> Result<u64, InvalidCode> {
        let next = (self.epoch + 1).max(u64::try_from(now.as_second()).unwrap_or(0));
        let entry = self.entries.get_mut(name).ok_or(InvalidCode)?;
        let open = entry.code.as_mut().filter(|open| open.expires_at > now).ok_or(InvalidCode)?;
        // Digests are compared, so that the time of the comparison says nothing about the code.
        if open.digest != attempt.code {
            open.wrong += 1;
            if open.wrong >= TRIES {
                entry.code = None;
            }
            return Err(InvalidCode);
        }
        match open.used_by {
            Some(key) if key == attempt.key => {}
            Some(_) => return Err(InvalidCode),
            None => {
                open.used_by = Some(attempt.key);
                entry.epoch = next;
                self.epoch = next;
            }
        }
        entry.revoked = false;
        (entry.expires_at, entry.authority) = (Some(attempt.expires_at), Some(attempt.authority));
        Ok(entry.epoch)
    }

    /// Whether a certificate of this epoch speaks for its name.
    pub fn admits(&self, name: &EdgeName, epoch: u64) -> Result<(), NotAdmitted> {
        let entry = self.entries.get(name).filter(|entry| entry.has_joined()).ok_or(NotAdmitted::Unknown)?;
        if entry.revoked {
            Err(NotAdmitted::Revoked)
        } else if entry.epoch == epoch {
            Ok(())
        } else {
            Err(NotAdmitted::Superseded)
        }
    }

    /// Notes the next certificate of an edge.
    pub fn renew(&mut self, name: &EdgeName, epoch: u64, signed: (Digest, Timestamp)) -> Result<(), NotAdmitted> {
        self.admits(name, epoch)?;
        if let Some(entry) = self.entries.get_mut(name) {
            (entry.authority, entry.expires_at) = (Some(signed.0), Some(signed.1));
        }
        Ok(())
    }

    /// Revokes a name with its code; false where it is not known.
    pub fn revoke(&mut self, name: &EdgeName) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        (entry.revoked, entry.code) = (true, None);
        true
    }

    /// Forgets a name.
    pub fn forget(&mut self, name: &EdgeName) {
        self.entries.remove(name);
    }

    /// The names whose certificate another authority than this one signed.
    pub fn of_other_authorities(&self, authority: Digest) -> Vec<EdgeName> {
        self.entries.iter().filter(|(_, entry)| entry.is_of_another(authority)).map(|(name, _)| name.clone()).collect()
    }

    /// Ends the codes that pin another authority than this one; the names that changed.
    pub fn end_codes_of_others(&mut self, authority: Digest) -> Vec<EdgeName> {
        let mut changed = Vec::new();
        for (name, entry) in &mut self.entries {
            if entry.code.take_if(|code| code.authority != authority).is_some() {
                changed.push(name.clone());
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).expect("a time")
    }

    fn name(text: &str) -> EdgeName {
        EdgeName::new(text).expect("a name")
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn invited(register: &mut Register, edge: &str, code: &str) {
        let code =
            OpenCode { digest: digest(code), expires_at: at(600), authority: digest("ca"), wrong: 0, used_by: None };
        register.invite(&name(edge), code);
    }

    fn join(register: &mut Register, edge: &str, (code, key): (&str, &str), secs: i64) -> Result<u64, InvalidCode> {
        let attempt = JoinAttempt {
            code: digest(code),
            key: digest(key),
            authority: digest("ca"),
            expires_at: at(secs + 86_400),
        };
        register.join(&name(edge), &attempt, at(secs))
    }

    #[test]
    fn a_code_works_once_and_again_for_the_key_that_used_it() {
        let mut register = Register::default();
        invited(&mut register, "a", "one");
        let epoch = join(&mut register, "a", ("one", "key"), 1).expect("good");
        assert_eq!(join(&mut register, "a", ("one", "key"), 2), Ok(epoch), "the answer was lost");
        assert_eq!(join(&mut register, "a", ("one", "other"), 3), Err(InvalidCode));
        assert_eq!(register.admits(&name("a"), epoch), Ok(()));
        assert_eq!(join(&mut register, "a", ("one", "key"), 601), Err(InvalidCode), "its time is over");
    }

    #[test]
    fn a_code_ends_in_time_with_a_newer_one_and_for_other_names() {
        let mut register = Register::default();
        invited(&mut register, "a", "one");
        assert_eq!(join(&mut register, "b", ("one", "key"), 1), Err(InvalidCode));
        assert_eq!(join(&mut register, "a", ("one", "key"), 600), Err(InvalidCode));
        invited(&mut register, "a", "two");
        assert_eq!(join(&mut register, "a", ("one", "key"), 1), Err(InvalidCode));
        assert!(join(&mut register, "a", ("two", "key"), 599).is_ok());
    }

    #[test]
    fn three_wrong_tries_burn_a_code() {
        let mut register = Register::default();
        invited(&mut register, "a", "one");
        for wrong in ["x", "y"] {
            assert_eq!(join(&mut register, "a", (wrong, "key"), 1), Err(InvalidCode));
        }
        let mut twice = register.clone();
        assert!(join(&mut twice, "a", ("one", "key"), 2).is_ok());
        assert_eq!(join(&mut register, "a", ("z", "key"), 1), Err(InvalidCode));
        assert_eq!(join(&mut register, "a", ("one", "key"), 2), Err(InvalidCode));
    }

    #[test]
    fn a_new_join_supersedes_and_a_revocation_ends_until_the_next_join() {
        let mut register = Register::default();
        let edge = name("a");
        assert_eq!(register.admits(&edge, 1), Err(NotAdmitted::Unknown));
        invited(&mut register, "a", "one");
        assert_eq!(register.admits(&edge, 0), Err(NotAdmitted::Unknown), "invited is not joined");
        let first = join(&mut register, "a", ("one", "key"), 1).expect("good");
        invited(&mut register, "a", "two");
        let second = join(&mut register, "a", ("two", "key"), 1).expect("good");
        assert!(second > first);
        assert_eq!(register.admits(&edge, first), Err(NotAdmitted::Superseded));
        invited(&mut register, "a", "three");
        assert!(register.revoke(&edge) && !register.revoke(&name("b")));
        assert_eq!(register.admits(&edge, second), Err(NotAdmitted::Revoked));
        assert_eq!(register.renew(&edge, second, (digest("ca"), at(9))), Err(NotAdmitted::Revoked));
        assert_eq!(join(&mut register, "a", ("three", "key"), 2), Err(InvalidCode), "its codes ended");
        invited(&mut register, "a", "four");
        let last = join(&mut register, "a", ("four", "key"), 3).expect("good");
        assert_eq!(register.admits(&edge, last), Ok(()));
        // Forgotten and joined again, the name has yet another epoch.
        register.forget(&edge);
        assert_eq!(register.admits(&edge, last), Err(NotAdmitted::Unknown));
        invited(&mut register, "a", "five");
        assert!(join(&mut register, "a", ("five", "key"), 3).expect("good") > last);
    }

    #[test]
    fn codes_and_edges_of_an_authority_that_ends_are_found() {
        let mut register = Register::default();
        invited(&mut register, "a", "one");
        invited(&mut register, "b", "two");
        let epoch = join(&mut register, "a", ("one", "key"), 1).expect("good");
        assert_eq!(register.of_other_authorities(digest("next")), [name("a")]);
        register.renew(&name("a"), epoch, (digest("next"), at(9))).expect("renewed");
        assert!(register.of_other_authorities(digest("next")).is_empty());
        assert_eq!(register.end_codes_of_others(digest("next")), [name("a"), name("b")]);
        assert_eq!(join(&mut register, "b", ("two", "key"), 2), Err(InvalidCode));
    }

    #[test]
    fn an_entry_of_a_later_format_is_refused() {
        let entry = Enrolment { epoch: 7, ..Enrolment::default() };
        let bytes = serde_json::to_vec(&entry).expect("JSON");
        assert_eq!(Enrolment::read(&bytes), Ok(entry.clone()));
        let later = serde_json::to_vec(&Enrolment { version: 2, ..entry }).expect("JSON");
        assert!(Enrolment::read(&later).is_err());
    }
}
