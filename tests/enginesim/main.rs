//! Drives the real enginesim binary over its sockets, as a harness would.

mod calibration;
mod faults;
mod handoff;
mod life;
mod support;
mod surface;
