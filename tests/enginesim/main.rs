//! Drives the real enginesim over its sockets, as a benchmark would.

mod calibration;
mod faults;
mod handoff;
mod life;
mod push;
mod support;
mod surface;
