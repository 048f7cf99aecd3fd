//! What to do: topology, workload, arrivals, SLO; files and flags to one validated plan.

pub mod arrivals;
pub mod deployment;
pub mod load;
pub mod slo;
pub mod topology;
pub mod workload;
