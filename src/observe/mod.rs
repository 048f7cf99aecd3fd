//! What engines and GPUs say of themselves while the load runs.
//!
//! Everything here is optional evidence: a metric that is absent stays absent (`None`), and nothing that fails here
//! stops a measurement. Names of metrics differ between versions, so they are looked up, never required.

pub mod amd;
pub mod dcu;
pub mod engine;
pub mod fleet;
pub mod gpu;
pub mod gpu_sampler;
pub mod gpus;
pub mod hand_over;
pub mod http;
pub mod identity;
pub mod nvml;
mod pci;
pub mod profiler;
pub mod prometheus;
mod prometheus_api;
mod ranks;
pub mod scrape;
mod serve;
