//! The conductor: plan -> launch -> drive (+ observe) -> record. Emits events, reacts to signals, judges nothing.

mod conductor;
mod error;
pub mod events;
mod identity;
mod live;
mod loss;
mod point;
mod recorder;
mod stop;
mod warm;
mod watch;

pub use conductor::{ArmRun, Session, is_complete};
pub use error::SessionError;
pub use stop::Stop;
