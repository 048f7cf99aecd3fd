//! In which order several arms take turns.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// `--order`: how several arms take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// All fleets stay up and take turns at every rate: for arms on disjoint GPUs.
    #[value(skip)]
    Interleaved,
    /// Each arm's sweep once, one fleet after the other.
    #[value(name = "AB", alias = "ab")]
    Ab,
    /// There and back with full teardown in between, so that drift hits both arms alike.
    #[value(name = "ABBA", alias = "abba")]
    Abba,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Interleaved => "interleaved",
            Order::Ab => "AB",
            Order::Abba => "ABBA",
        })
    }
}

/// The default: interleaved where no GPU is shared, else there and back.
pub fn default_order(arms: usize, disjoint: bool) -> Order {
    match (arms, disjoint) {
        (0 | 1, _) => Order::Ab,
        (_, true) => Order::Interleaved,
        (_, false) => Order::Abba,
    }
}
