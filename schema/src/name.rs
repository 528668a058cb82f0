//! Names of rules and edges, and the labels and selectors of edges. Pure.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Longest name; also the longest DNS label.
pub const MAX_NAME: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 characters from a-z, 0-9, `.`, `_`, `-` and starts with a letter or digit")]
pub struct InvalidName;

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    bytes.len() <= MAX_NAME
        && bytes.first().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || b"._-".contains(byte))
}

macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form of the name.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The name of a rule: its identity on its edges.
    RuleName
}
name_type! {
    /// The name of an edge.
    EdgeName
}
name_type! {
    /// The name of an operator.
    OperatorName
}

impl EdgeName {
    /// The edge inside `portunus up`, known to every tree.
    pub fn local() -> Self {
        Self("local".into())
    }
}

/// `EDGE/RULE`, as commands take and print it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleAddress {
    /// The edge.
    pub edge: EdgeName,
    /// The rule.
    pub rule: RuleName,
}

impl RuleAddress {
    /// Parses `EDGE/RULE`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let (edge, rule) = text.split_once('/').ok_or(InvalidName)?;
        Ok(Self { edge: EdgeName::new(edge)?, rule: RuleName::new(rule)? })
    }
}

impl fmt::Display for RuleAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.edge, self.rule)
    }
}

/// Labels of an edge, from the inventory.
pub type Labels = BTreeMap<String, String>;
