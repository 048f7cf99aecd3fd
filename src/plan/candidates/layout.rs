//! Shapes that fill a number of GPUs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Ranks of one instance at most: all-reduces stay inside of a host's fast links.
const MOST_RANKS: u32 = 8;

/// How GPUs are divided among instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// Replicas that serve requests whole.
    Simple {
        replicas: u32,
        tp: u32,
    },
    PrefillDecode {
        prefill: u32,
        prefill_tp: u32,
        decode: u32,
        decode_tp: u32,
    },
}

/// The two kinds that are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LayoutKind {
    /// Replicas of tensor-parallel engines
    Simple,
    /// Prefill and decode instances
    Nixl,
}

impl LayoutKind {
    /// Of its topology.
    pub fn name(self) -> &'static str {
        match self {
            LayoutKind::Simple => "simple",
            LayoutKind::Nixl => "nixl",
        }
    }
}

impl Layout {
    pub fn kind(self) -> LayoutKind {
        match self {
            Layout::Simple { .. } => LayoutKind::Simple,
            Layout::PrefillDecode { .. } => LayoutKind::Nixl,
        }
    }

    /// Every way to use all of `gpus`: tensor-parallel sizes are powers of two, and decode's is not the smaller one, which
    /// vLLM's connectors want. Few instances come first.
    pub fn all(gpus: u32) -> Vec<Layout> {
        let simple = sizes(gpus).map(|tp| Layout::Simple { replicas: gpus / tp, tp });
        let mut layouts: Vec<Layout> = simple.collect();
        for for_prefill in 1..gpus {
            let for_decode = gpus - for_prefill;
            for prefill_tp in sizes(for_prefill) {
                for decode_tp in sizes(for_decode).filter(|tp| *tp >= prefill_tp) {
                    let (prefill, decode) = (for_prefill / prefill_tp, for_decode / decode_tp);
                    layouts.push(Layout::PrefillDecode { prefill, prefill_tp, decode, decode_tp });
                }
            }
        }
        layouts
    }

    /// All of it.
    pub fn gpus(self) -> u32 {
        match self {
            Layout::Simple { replicas, tp } => replicas * tp,
            Layout::PrefillDecode { prefill, prefill_tp, decode, decode_tp } => {
                prefill * prefill_tp + decode * decode_tp
            }
        }
    }

    /// As keys of an ARM: `prefill=1,decode=1`.
    pub fn sizes(self) -> String {
        self.keys().into_iter().map(|(key, size)| format!("{key}={size}")).collect::<Vec<_>>().join(",")
    }

    fn keys(self) -> Vec<(&'static str, u32)> {
        match self {
            Layout::Simple { replicas, tp } => vec![("replicas", replicas), ("tp", tp)],
            Layout::PrefillDecode { prefill, prefill_tp: 1, decode, decode_tp: 1 } => {
                vec![("prefill", prefill), ("decode", decode)]
            }
            Layout::PrefillDecode { prefill, prefill_tp, decode, decode_tp } => {
                vec![("prefill", prefill), ("decode", decode), ("prefill-tp", prefill_tp), ("decode-tp", decode_tp)]
            }
        }
    }
}

/// The short form people say, with its kind.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Layout::Simple { replicas: 1, tp } => write!(f, "simple TP{tp}"),
            Layout::Simple { replicas, tp } => write!(f, "simple {replicas}xTP{tp}"),
            Layout::PrefillDecode { prefill, prefill_tp: 1, decode, decode_tp: 1 } => {
                write!(f, "nixl {prefill}P{decode}D")
            }
            Layout::PrefillDecode { prefill, prefill_tp, decode, decode_tp } => {
                write!(f, "nixl {prefill}P{decode}D TP{prefill_tp}/TP{decode_tp}")
            }
        }
    }
}

/// Tensor-parallel sizes that divide `gpus`.
fn sizes(gpus: u32) -> impl Iterator<Item = u32> {
    let powers = (0..).map(|power| 1 << power).take_while(move |tp| *tp <= gpus.min(MOST_RANKS));
    powers.filter(move |tp| gpus.is_multiple_of(*tp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gpus: u32) -> Vec<String> {
        Layout::all(gpus).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_gpus_have_three_shapes() {
        assert_eq!(names(1), ["simple TP1"]);
        assert_eq!(names(2), ["simple 2xTP1", "simple TP2", "nixl 1P1D"]);
    }

    #[test]
    fn eight_gpus_have_every_ratio_from_1_to_7_to_7_to_1() {
        let names = names(8);
        for p in 1..8 {
            let ratio = format!("nixl {p}P{}D", 8 - p);
            assert!(names.contains(&ratio), "{ratio} in {names:?}");
        }
        for other in ["simple TP8", "simple 2xTP4", "nixl 2P1D TP2/TP4", "nixl 1P1D TP4/TP4", "nixl 4P1D TP1/TP4"] {
            assert!(names.contains(&other.to_string()), "{other} in {names:?}");
        }
        assert_eq!(names.len(), 20);
    }

    #[test]
    fn every_shape_takes_all_gpus_and_no_ranks_cross_a_host() {
        for gpus in [3, 6, 16, 64] {
            for layout in Layout::all(gpus) {
                let ranks = match layout {
                    Layout::Simple { tp, .. } => tp,
                    Layout::PrefillDecode { prefill_tp, decode_tp, .. } => decode_tp.max(prefill_tp),
                };
                assert!(layout.gpus() == gpus && ranks <= 8, "{layout}");
            }
        }
    }
}
