//! Judging what was measured: attainment, the exact SLO-scale curve, crossings, intervals, validity, comparison.
//!
//! A comparison is a claim, so every number here carries how sure it is, and says so when it could not be had:
//! "above the highest rate tested" is an answer, a made-up number is not. The way through the room:
//! [`samples`] (columns of one point) -> [`attainment`], [`scale`] -> [`crossing`] over rates -> [`confidence`]
//! (resampling the same estimators) -> [`compare`] (the machine-readable comparison) -> [`verdict`] (one sentence).
//!
//! Deliberately absent: files, clocks, threads, drawing. Everything is a function of its arguments; the random numbers
//! of the resampling come from a fixed seed, so that the same results give the same bytes.

mod arm;
pub mod attainment;
pub mod attribution;
pub mod claim;
pub mod compare;
pub mod confidence;
pub mod crossing;
mod curve;
mod dice;
pub mod energy;
mod evidence;
pub mod fitted;
pub mod gaps;
pub mod goodput;
pub mod hand_over;
mod holm;
pub mod input;
pub mod interval;
pub mod latencies;
pub mod lateness;
pub mod launches;
mod levels;
mod normal;
pub mod outlook;
mod pairing;
pub mod percentiles;
mod power;
pub mod prefix;
pub mod proof;
mod ratio;
mod replicates;
mod reports;
pub mod samples;
pub mod scale;
mod scale_band;
mod series;
pub mod session_slo;
pub mod summary;
pub mod threshold;
mod unfelt;
pub mod validity;
pub mod verdict;
mod warnings;

pub use attainment::{Attainment, PointAttainment, Verdict};
pub use claim::{Claim, ClaimKind, CommonRate};
pub use compare::Comparison;
pub use crossing::Crossing;
pub use fitted::Fitted;
pub use input::{ArmInput, ArmKind, Censored, Identity, PointInput, Question, StoppedPoint};
pub use interval::Interval;
pub use launches::Covers;
pub use power::{Advice, Precision};
pub use ratio::{Ratio, RatioReport};
pub use reports::{ArmReport, ByLimit, MaxConcurrency, MaxRate, PointReport, RateReport, ScaleCurves, ScaleReport};
pub use samples::{Row, Samples, VllmColumns};
pub use scale_band::scale_band;

#[cfg(test)]
mod tests;
