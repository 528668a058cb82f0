//! Whether an operator may do what it asks for: one function for every route. Pure.
//!
//! Keeps: what is not known to be inside the limits of an operator is outside.

use std::fmt;
use std::sync::Arc;

use schema::name::OperatorName;

use super::grant::GrantMatcher;
use super::{Grant, Rights, Role, Route, Touch};
use crate::decide::codes::ProblemCode;

/// Changes that a refusal names; the rest is counted.
const NAMED: usize = 10;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The operator.
    pub name: OperatorName,
    /// Its role.
    pub role: Role,
    /// Its limits, as they were written.
    pub grant: Grant,
    /// Its limits, as they are asked about.
    pub limits: GrantMatcher,
}

impl Caller {
    /// An operator with its limits read.
    pub fn new(name: OperatorName, role: Role, grant: Grant) -> Self {
        let limits = GrantMatcher::from(&grant);
        Self { name, role, grant, limits }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedRoute {
    /// The route.
    pub route: Route,
    /// True if it is only to be planned.
    pub is_dry_run: bool,
}

impl AskedRoute {
    /// A request that is to be carried out.
    pub const fn for_real(route: Route) -> Self {
        Self { route, is_dry_run: false }
    }
}

/// Who asks for what. The fleet checks it again against what would change at that moment.
#[derive(Debug, Clone)]
pub struct Mandate {
    /// Who.
    pub caller: Arc<Caller>,
    /// What.
    pub asked: AskedRoute,
}

impl Mandate {
    /// Decides, with what would be touched.
    pub fn may(&self, plan: Option<&[Touch]>) -> Result<(), Denied> {
        may(&self.caller, self.asked, plan)
    }
}

/// Why an operator may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The role is too weak.
    Role {
        /// The operator.
        name: OperatorName,
        /// Its role.
        has: Role,
        /// The weakest role that may; none where the route is not for operators.
        needs: Option<Role>,
    },
    /// It would change something outside of the operator's limits.
    OutsideGrant {
        /// The operator.
        name: OperatorName,
        /// Its limits, in words.
        grant: String,
        /// What is outside.
        changes: Vec<String>,
    },
}

impl Denied {
    /// As in a problem document.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Role { .. } => ProblemCode::Forbidden.as_str(),
            Self::OutsideGrant { .. } => ProblemCode::OutsideGrant.as_str(),
        }
    }

    /// A few words.
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Role { .. } => "The role does not allow it",
            Self::OutsideGrant { .. } => "Outside of the operator's limits",
        }
    }

    /// What is outside, where that is the reason.
    pub fn changes(&self) -> &[String] {
        match self {
            Self::Role { .. } => &[],
            Self::OutsideGrant { changes, .. } => changes,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { name, has, needs: Some(needs) } => {
                write!(f, "operator {name} has the role {has}, and this needs the role {needs}")
            }
            Self::Role { name, needs: None, .. } => write!(f, "operator {name} cannot do this: no operator can"),
            Self::OutsideGrant { name, grant, changes } => {
                write!(f, "operator {name} is limited to {grant}, and this would change ")?;
                let named: Vec<&str> = changes.iter().take(NAMED).map(String::as_str).collect();
                write!(f, "{}", named.join(", "))?;
                match changes.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    rest => write!(f, " and {rest} more"),
                }
            }
        }
    }
}

impl std::error::Error for Denied {}

/// Decides. `plan` is what the request would touch; `None` where that is not known yet, and is asked about later, or
/// where it touches nothing.
pub fn may(operator: &Caller, asked: AskedRoute, plan: Option<&[Touch]>) -> Result<(), Denied> {
    let needs = asked.route.least(asked.is_dry_run);
    if needs.is_none_or(|needs| operator.role < needs) {
        return Err(Denied::Role { name: operator.name.clone(), has: operator.role, needs });
    }
    if operator.limits.is_none() {
        return Ok(());
    }
    let mut outside: Vec<String> = Vec::new();
    if matches!(asked.route.row().rights, Rights::Role { unlimited: true, .. }) {
        outside.push("the whole fleet".to_owned());
    }
    outside.extend(plan.into_iter().flatten().filter_map(|touch| outside_of(&operator.limits, touch)));
    if outside.is_empty() {
        return Ok(());
    }
    outside.dedup();
    Err(Denied::OutsideGrant { name: operator.name.clone(), grant: operator.grant.in_words(), changes: outside })
}

/// What of it is outside, in words.
fn outside_of(limits: &GrantMatcher, touch: &Touch) -> Option<String> {
    match touch {
        Touch::Settings => Some("portunus.toml".to_owned()),
        Touch::Fleet(what) => Some((*what).to_owned()),
        Touch::Rule { edge, rule, ports, owners } => {
            if !limits.has_edge(edge) {
                return Some(format!("{edge}/{rule}"));
            }
            let ports: Vec<String> =
                ports.iter().filter(|range| !limits.has_ports(**range)).map(ToString::to_string).collect();
            if !ports.is_empty() {
                return Some(format!("{edge}/{rule} (ports {})", ports.join(", ")));
            }
            let is_outside = |owner: &&String| !limits.has_owner(owner);
            let owner = owners.iter().find(is_outside)?;
            let owner = if owner.is_empty() { "without an owner".to_owned() } else { format!("owner {owner}") };
            Some(format!("{edge}/{rule} ({owner})"))
        }
    }
}

#[cfg(test)]
mod tests;
