//! topobench: one tensor-parallel deployment or prefill/decode instances joined by NIXL - which serves better, by how
//! much, how surely, and why. ARCHITECTURE.md is the map of the rooms.

pub mod analyse;
pub mod cli;
pub mod draw;
pub mod drive;
mod files;
pub mod launch;
pub mod live;
pub mod observe;
pub mod outcome;
pub mod plan;
pub mod predict;
pub mod record;
pub mod report;
pub mod session;
pub mod strategy;
mod tls;
pub mod units;
pub mod words;
