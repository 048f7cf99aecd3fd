//! Bringing engines up, proving who they are, and leaving nothing behind.
//!
//! A fleet is planned elsewhere. Here its instances get ports ([`ports`]) and commands ([`argv`]), are checked against
//! the machine ([`preflight`]), started each behind a guardian ([`guardian`]) and watched until each has proved its
//! identity (`readiness`). Nothing here sends load or measures, nothing here restarts an engine, and nothing here
//! knows a simulated engine from a real one.

pub mod argv;
pub mod diagnose;
mod error;
mod events;
mod fleet;
mod gpu_memory;
pub mod guardian;
mod host;
mod hosts;
mod instance;
mod leftovers;
mod log;
mod lost;
mod member;
mod part;
mod phase;
mod planned;
pub mod ports;
pub mod preflight;
mod process;
mod procs;
pub mod program;
mod readiness;
mod shared_memory;
pub mod slurm;
mod version;

pub use error::{LaunchError, StartError, StartProblem};
pub use events::{EngineState, InstanceExit, LaunchEvent};
pub use fleet::{Fleet, LaunchOptions};
pub use gpu_memory::{GpuBaseline, GpuMemoryHeld};
pub use hosts::Hosts;
pub use instance::{Death, Instance, InstancePart};
pub use phase::Phase;
pub use planned::{PlannedInstance, PlannedPart, plan_commands};
pub use process::{ExitStatus, SpawnError};
pub use version::EngineVersion;
