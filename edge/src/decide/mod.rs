//! What should happen on an edge. Pure: no sockets, no runtime, no clock; time and chance are arguments.

pub mod admission;
pub mod backoff;
pub mod breaks;
pub mod client_header;
pub mod datagrams;
pub mod deferred;
pub mod desired;
pub mod dial;
pub mod dialling;
pub mod entry;
pub mod faults;
pub mod flows;
pub mod live;
pub mod names;
pub mod overrides;
pub mod parting;
pub mod patience;
pub mod policy;
pub mod probe_schedule;
pub mod proxy;
pub mod relaying;
pub mod ticks;
pub mod transition;
pub mod waiting;
