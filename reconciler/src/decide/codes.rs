//! The codes of problem documents that are not about a rule or a file; those are in [`schema::codes`]. Values.
//!
//! Keeps: a code that is misspelt does not compile. What each one means is in the glossary.

macro_rules! problem_codes {
    ($($variant:ident = $text:literal;)*) => {
        /// A code of the operator API (CONTRACT §5).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemCode {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl ProblemCode {
            /// Every code, by name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As in a problem document.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The code with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

problem_codes! {
    AmbiguousPort = "ambiguous_port";
    AmbiguousRevision = "ambiguous_revision";
    BadRequest = "bad_request";
    BeforeLedger = "before_ledger";
    Busy = "busy";
    CaGiven = "ca_given";
    CaInUse = "ca_in_use";
    CaOverlap = "ca_overlap";
    CaSingle = "ca_single";
    CaUnusable = "ca_unusable";
    Dirty = "dirty";
    DuplicateOperator = "duplicate_operator";
    EdgeConnected = "edge_connected";
    Extra = "extra";
    Forbidden = "forbidden";
    ForeignHost = "foreign_host";
    ForeignOrigin = "foreign_origin";
    Frozen = "frozen";
    Internal = "internal";
    InvalidTree = "invalid_tree";
    Locked = "locked";
    MethodNotAllowed = "method_not_allowed";
    NoCommit = "no_commit";
    NoTree = "no_tree";
    NotAdvertised = "not_advertised";
    NotEditable = "not_editable";
    NotFollowed = "not_followed";
    NotFound = "not_found";
    NotJson = "not_json";
    NotSupported = "not_supported";
    OutsideGrant = "outside_grant";
    OverrideRule = "override_rule";
    Rails = "rails";
    ReservedName = "reserved_name";
    RevisionGone = "revision_gone";
    Stale = "stale";
    StateNotWritable = "state_not_writable";
    Stopping = "stopping";
    Timeout = "timeout";
    TooManyFailedLogins = "too_many_failed_logins";
    TooManyOperators = "too_many_operators";
    TooManyStreams = "too_many_streams";
    Unauthorized = "unauthorized";
    UnknownEdge = "unknown_edge";
    UnknownNotifier = "unknown_notifier";
    UnknownOperator = "unknown_operator";
    UnknownQuota = "unknown_quota";
    UnknownRevision = "unknown_revision";
    UnknownRule = "unknown_rule";
    UnknownTarget = "unknown_target";
    UnreadList = "unread_list";
}

impl AsRef<str> for ProblemCode {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<ProblemCode> for String {
    fn eq(&self, code: &ProblemCode) -> bool {
        self == code.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::glossary;

    #[test]
    fn every_code_parses_back_and_is_explained() {
        for code in ProblemCode::ALL {
            assert_eq!(ProblemCode::parse(code.as_str()), Some(*code));
            let is_of_api = |meaning: &glossary::Meaning| meaning.topic == "code of the API";
            assert!(glossary::explain(code.as_str()).any(is_of_api), "{code:?}");
        }
    }
}
