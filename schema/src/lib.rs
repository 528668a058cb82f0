//! What things are: rules, trees, diagnostics, differences and messages. Pure: no files, sockets, clock or printing.
//!
//! One rule's way through this crate: bytes → [`text`] (spanned tree, all syntax errors) → [`decode`] by the table in
//! [`fields`] (drafts, all field errors) → [`check`] (clashes) → [`ruleset::RuleSet`] → [`diff`] → [`wire`]. Beside it:
//! [`ending`] for what a difference costs live connections,
//! [`format`](mod@format) for people's files, [`spec`] for rules as data, [`reference`](mod@reference) for what a key
//! or a code means.

pub mod access;
pub mod bounds;
pub mod canonical;
pub mod capability;
pub mod causes;
pub mod check;
pub mod codes;
pub mod counters;
pub mod decode;
pub mod diagnostic;
pub mod diff;
pub mod ending;
pub mod fields;
pub mod findings;
pub mod format;
pub mod health;
pub mod host;
pub mod join;
pub mod masked;
pub mod name;
pub mod net;
pub mod networks;
pub mod policy;
pub mod quota;
pub mod rate;
pub mod reference;
pub mod rollout;
pub mod rule;
pub mod ruleset;
pub mod scope;
pub mod shared_port;
pub mod sni;
pub mod spec;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;
pub mod wire;

/// The messages of the edge protocol, as prost generates them.
#[expect(missing_docs, clippy::pedantic, clippy::large_enum_variant, reason = "generated")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/portunus.v1.rs"));
}
