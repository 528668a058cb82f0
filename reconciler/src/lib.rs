//! What decides what should run where, and the server around it.
//!
//! Read in this order:
//!
//! 1. [`decide::view`]: what the server knows of one edge. [`decide::applied`] and [`decide::control`]: what is in force,
//!    and what people decided about the fleet as a whole.
//! 2. [`decide::assign`]: which rules an edge is sent. Planner and fleet both call it, so what is applied was planned.
//! 3. [`decide::plan`]: what a tree would change, with its impact and the rails that it trips.
//! 4. [`decide::fleet`]: the state machine. `step(event, now)` gives effects; a link per edge knows what was sent and
//!    answered, and a rollout owns the apply that is under way.
//! 5. [`decide::record`] and [`decide::ledger`]: what must not be forgotten, and who did what.
//! 6. [`act::driver`]: the one task that owns the fleet, takes events and carries effects out in their order.
//! 7. [`act::source`], [`act::remote`], [`act::watch`]: where trees come from. [`act::edges`], [`act::operator`],
//!    [`act::metrics`]: the three ports.
//!
//! [`decide`] is pure and knows no I/O; [`act`] feeds it events and carries out its effects. Never the other way.
//! ARCHITECTURE.md shows every task with its channels and their bounds.

pub mod act;
pub mod decide;
