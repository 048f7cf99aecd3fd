//! The conductor: plan -> launch -> drive (+ observe) -> record, one step of the strategy after the other. Emits events,
//! reacts to signals, judges nothing.

mod arm;
mod attach;
mod conductor;
mod context;
mod early_stop;
mod error;
pub mod events;
mod fitted;
mod front;
mod identity;
mod kept;
mod limits;
mod live;
mod loss;
mod pairs;
mod point;
mod recorder;
mod sampling;
mod settle;
mod stop;
mod warm;
mod watchdog;

pub use arm::ArmRun;
pub use conductor::{Session, is_complete};
pub use error::SessionError;
pub use kept::KeptFleet;
pub use stop::Stop;
