//! What should happen: planning, the fleet state machine, and the server around them.

pub mod act;
