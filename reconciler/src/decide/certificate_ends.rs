//! When certificates near their end or have ended, and which changes of that are worth a word. Pure.
//!
//! Keeps: each change is reported once; a certificate that is in order when it is first seen is not reported.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

/// Before the end of the authority: rotating it and renewing every edge takes a while.
const AUTHORITY_NOTICE: Duration = Duration::from_hours(30 * 24);

/// How near a certificate is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateStage {
    /// In order.
    Valid,
    /// It should have been renewed by now.
    Ending,
    /// It has ended.
    Ended,
}

impl CertificateStage {
    /// As in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Ending => "ending",
            Self::Ended => "ended",
        }
    }
}

/// A certificate that is in use: that of the authority, or of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInUse {
    /// The edge; `None` for the authority.
    pub edge: Option<EdgeName>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A certificate with another stage than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChange {
    /// The certificate.
    pub certificate: CertificateInUse,
    /// The stage that it has now.
    pub stage: CertificateStage,
}

/// The stages that were seen last.
#[derive(Debug, Default)]
pub struct CertificateEnds {
    seen: BTreeMap<Option<EdgeName>, CertificateStage>,
}

impl CertificateEnds {
    /// Compares what is in use with what was seen. `lifetime` is that of a new certificate of an edge, which renews it at
    /// half of that.
    pub fn look(
        &mut self,
        in_use: impl IntoIterator<Item = CertificateInUse>,
        lifetime: Duration,
        now: Timestamp,
    ) -> Vec<CertificateChange> {
        let mut seen = BTreeMap::new();
        let mut changes = Vec::new();
        for certificate in in_use {
            let notice = if certificate.edge.is_some() { lifetime / 4 } else { AUTHORITY_NOTICE };
            let stage = stage(certificate.expires_at, notice, now);
            let before = self.seen.get(&certificate.edge).copied().unwrap_or(CertificateStage::Valid);
            seen.insert(certificate.edge.clone(), stage);
            if stage != before {
                changes.push(CertificateChange { certificate, stage });
            }
        }
        self.seen = seen;
        changes
    }
}

fn stage(expires_at: Timestamp, notice: Duration, now: Timestamp) -> CertificateStage {
    match Duration::try_from(expires_at.duration_since(now)) {
        Ok(left) if left > notice => CertificateStage::Valid,
        Ok(left) if !left.is_zero() => CertificateStage::Ending,
        _ => CertificateStage::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(secs).expect("a time")
    }

    fn of(edge: Option<&str>, end: i64) -> CertificateInUse {
        CertificateInUse { edge: edge.map(|name| EdgeName::new(name).expect("a name")), expires_at: at(end) }
    }

    fn stages(ends: &mut CertificateEnds, in_use: &[CertificateInUse], now: i64) -> Vec<(bool, &'static str)> {
        let changes = ends.look(in_use.to_vec(), DAY, at(now));
        changes.into_iter().map(|change| (change.certificate.edge.is_some(), change.stage.as_str())).collect()
    }

    #[test]
    fn each_change_is_reported_once_and_a_renewal_is_one() {
        let mut ends = CertificateEnds::default();
        let day = 24 * 3600;
        let edge = [of(Some("a"), day)];
        assert_eq!(stages(&mut ends, &edge, 0), []);
        assert_eq!(stages(&mut ends, &edge, day * 3 / 4 - 1), []);
        assert_eq!(stages(&mut ends, &edge, day * 3 / 4), [(true, "ending")]);
        assert_eq!(stages(&mut ends, &edge, day - 1), []);
        assert_eq!(stages(&mut ends, &edge, day), [(true, "ended")]);
        assert_eq!(stages(&mut ends, &edge, day + 1), []);
        assert_eq!(stages(&mut ends, &[of(Some("a"), 3 * day)], day + 2), [(true, "valid")]);
        // One that was revoked or forgotten, and joins again.
        assert_eq!(stages(&mut ends, &[], day + 3), []);
        assert_eq!(stages(&mut ends, &edge, day + 4), [(true, "ended")]);
    }

    #[test]
    fn the_authority_has_a_month() {
        let (mut ends, year) = (CertificateEnds::default(), 365 * 24 * 3600);
        let month = 30 * 24 * 3600;
        assert_eq!(stages(&mut ends, &[of(None, year)], year - month - 1), []);
        assert_eq!(stages(&mut ends, &[of(None, year)], year - month), [(false, "ending")]);
    }
}
