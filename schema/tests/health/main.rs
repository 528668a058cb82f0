//! The laws of the health model, as properties: of a counter, a target, pools, choices and a rule's targets together.

mod counter;
mod group;
mod pools;
mod ports;
mod selection;
mod simulate;
mod support;
mod target;
