//! What is counted of connections and flows, and by whom: from their admission to their end. Shared memory.
//!
//! A [`meter::Meter`] is what a rule has, a [`tally::Tally`] is one set of its counters, and a [`ticket::Ticket`] is one
//! connection's place in them.

pub(super) mod admitted;
pub(super) mod drain;
pub(super) mod gate;
pub(super) mod meant;
pub(super) mod meter;
pub(super) mod shortages;
pub(super) mod source;
pub(super) mod switch;
pub(super) mod tally;
pub(super) mod ticket;
