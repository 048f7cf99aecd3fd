//! Faults injected into the real program: nothing is lost, nothing is left running, nobody is misled.

mod clock;
mod disk;
mod gpus;
mod hostile;
mod kill;
mod large_fleet;
mod resume;
mod search;
mod secrets;
mod sessions;
mod signals;
mod startup;
mod support;
mod sweep;
