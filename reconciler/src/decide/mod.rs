//! What should happen, decided without any I/O: no file, socket, clock or task in here. Pure.
//!
//! `act` feeds events in and carries effects out; never the other way round.

pub mod applied;
pub mod assign;
pub mod blame;
pub mod break_glass;
pub mod certificate_ends;
pub mod codes;
pub mod connections;
pub mod control;
pub mod deviations;
pub mod drift;
pub mod edges;
pub mod enrolment;
pub mod fleet;
pub mod generation;
pub mod glossary;
pub mod held;
pub mod kept;
pub mod ledger;
pub mod live;
mod lockouts;
pub mod new_override;
pub mod notices;
pub mod operators;
pub mod outcome;
pub mod overrides;
pub mod page;
pub mod plan;
pub mod proposal;
pub mod quota;
pub mod record;
pub mod remote;
pub mod render;
pub mod restored;
pub mod selection;
pub mod statistics;
pub mod status;
pub mod succession;
pub mod summary;
pub mod target;
pub mod target_override;
pub mod target_totals;
pub mod trace;
pub mod unused;
pub mod view;
pub mod words;

/// True for a figure that is left out of JSON.
pub(crate) fn is_zero<T: Default + PartialEq>(figure: &T) -> bool {
    *figure == T::default()
}
