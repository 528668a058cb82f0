//! Roles: each may do what the ones before it may. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operator is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also validates, plans and proves plans.
    Planner,
    /// Also applies, rolls back, resumes, freezes, overrides, steers and checks targets, and ends connections.
    Applier,
    /// Also manages operators, edges and the certificate authority, and reads the audit.
    Admin,
}

impl Role {
    /// Every role, from the weakest to the strongest.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Planner, Self::Applier, Self::Admin];

    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Planner => "planner",
            Self::Applier => "applier",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
