//! What a model of the engines predicts for a deployment, in virtual time, and how the model is fitted to measured
//! runs. Pure: the same scheduler and costs as the simulated engine's ([`model`]), driven without sleeping.
//!
//! A prediction is never a result: it says what is worth measuring, and what a setting should change.

pub mod arm;
pub mod calibrate;
pub mod capacity;
mod doubt;
pub mod field;
pub mod fleet;
pub mod forewarn;
mod instance;
pub mod latency;
pub mod measured;
pub mod model;
#[cfg(test)]
mod tests;
pub mod workload;
