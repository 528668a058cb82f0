//! What should happen: planning, the fleet state machine, and the server around them.
//!
//! [`decide`] is pure and knows no I/O; [`act`] feeds it events and carries out its effects. Never the other way.

pub mod act;
pub mod decide;
