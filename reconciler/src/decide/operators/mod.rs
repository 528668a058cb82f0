//! Who may do what: operators, their roles and limits, and the one function that decides. Pure.
//!
//! - [`route`]: every route of the API with the rights that it needs, as one table.
//! - [`may()`](may()): the decision, from a caller, a request and what the request would touch.
//! - [`grant`]: limits of edges, ports and owners; [`touch`]: what a plan or an order touches.
//! - [`roster`]: the operators that exist, and what a token is compared with; [`claims`]: identity tokens of CI jobs.
//! - [`session_table`]: who is signed in to the page.
//! - [`audit`]: what is written down about requests; [`failed_logins`]: how often a source may be wrong.
//!
//! Keeps: an operator's secret is known by its digest only, and is compared in constant time.

pub mod audit;
pub mod claims;
pub mod failed_logins;
pub mod grant;
pub mod may;
pub mod role;
pub mod roster;
pub mod route;
pub mod session_table;
mod sight;
pub mod touch;

pub use audit::{AuditEntry, Refusals};
pub use claims::{Claim, InvalidTerms, Terms};
pub use failed_logins::FailedLogins;
pub use grant::{Grant, InvalidGrant};
pub use may::{AskedRoute, Caller, Denied, Mandate, may};
pub use role::Role;
pub use roster::{Operator, RefusedOperator, Roster, Secret};
pub use route::{Audited, Rights, Route};
pub use session_table::SessionTable;
pub use touch::Touch;
