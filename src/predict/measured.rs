//! Measured runs, as far as a prediction can be compared with them.

use super::arm::PredictedArm;
use super::latency::Latency;
use super::model::preset::Model;
use super::workload::Arrival;

/// A measured arm.
#[derive(Debug)]
pub struct MeasuredArm {
    /// Where it is from, for a reader.
    pub name: String,
    pub arm: PredictedArm,
    pub model: &'static Model,
    /// In the order in which they were measured, on engines that lived through all of them.
    pub points: Vec<MeasuredPoint>,
}

#[derive(Debug)]
pub struct MeasuredPoint {
    /// Requests per second, as the point is named.
    pub rate: f64,
    pub arrivals: Vec<Arrival>,
    /// Of the requests that were served.
    pub served: Vec<Latency>,
}
