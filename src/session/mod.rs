//! The conductor: plan -> launch -> drive (+ observe) -> record. Emits events, reacts to signals, judges nothing.

pub mod events;
pub mod recorder;
