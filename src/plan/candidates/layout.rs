//! Shapes that fill a number of GPUs.

use crate::plan::parallelism::Parallelism;
use crate::plan::topology::{pair_label, replicas_label};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Ranks of one instance at most: what they tell each other stays inside of a host's fast links.
const MOST_RANKS: u32 = 8;

/// How GPUs are divided among instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layout {
    /// Replicas that serve requests whole.
    Simple {
        replicas: u32,
        each: Parallelism,
    },
    PrefillDecode {
        prefill: u32,
        of_prefill: Parallelism,
        decode: u32,
        of_decode: Parallelism,
    },
}

/// The two kinds that are compared.
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

    /// Every way to use all of `gpus`: engines have a power of two of them, and decode's tensor-parallel size is not the
    /// smaller one, which vLLM's connectors want. The engines of a mixture of experts come with data-parallel ranks that
    /// share the experts, too. Few instances come first.
    pub fn all(gpus: u32, is_mixture: bool) -> Vec<Layout> {
        let engines = |gpus: u32| sizes(gpus).flat_map(move |size| engines(size, is_mixture));
        let simple = engines(gpus).map(|each| Layout::Simple { replicas: gpus / each.gpus(), each });
        let mut layouts: Vec<Layout> = simple.collect();
        for for_prefill in 1..gpus {
            let for_decode = gpus - for_prefill;
            for of_prefill in engines(for_prefill) {
                let suits = |of_decode: &Parallelism| of_decode.tensor_parallel >= of_prefill.tensor_parallel;
                for of_decode in engines(for_decode).filter(suits) {
                    let (prefill, decode) = (for_prefill / of_prefill.gpus(), for_decode / of_decode.gpus());
                    layouts.push(Layout::PrefillDecode { prefill, of_prefill, decode, of_decode });
                }
            }
        }
        layouts
    }

    /// Whether each of its engines finds its GPUs on one of these nodes. Ranks of one over several would talk over the
    /// network in every step, which predictions know nothing of. No nodes: all is one host.
    pub fn fits(self, gpus_of_nodes: &[u32]) -> bool {
        let mut engines = match self {
            Layout::Simple { replicas, each } => vec![each.gpus(); replicas as usize],
            Layout::PrefillDecode { prefill, of_prefill, decode, of_decode } => {
                [vec![of_prefill.gpus(); prefill as usize], vec![of_decode.gpus(); decode as usize]].concat()
            }
        };
        engines.sort_unstable_by_key(|gpus| std::cmp::Reverse(*gpus));
        let mut free = gpus_of_nodes.to_vec();
        let mut takes = |wanted: u32| match free.iter_mut().find(|free| **free >= wanted) {
            Some(node) => {
                *node -= wanted;
                true
            }
            None => false,
        };
        gpus_of_nodes.is_empty() || engines.into_iter().all(&mut takes)
    }

    /// All of it.
    pub fn gpus(self) -> u32 {
        match self {
            Layout::Simple { replicas, each } => replicas * each.gpus(),
            Layout::PrefillDecode { prefill, of_prefill, decode, of_decode } => {
                prefill * of_prefill.gpus() + decode * of_decode.gpus()
            }
        }
    }

    /// Whether KV can be pushed from its prefill instances: not from ranks that decode doesn't know yet.
    pub fn can_push(self) -> bool {
        matches!(self, Layout::PrefillDecode { of_prefill, .. } if of_prefill.data_parallel == 1)
    }

    /// As keys of an ARM: `prefill=1,decode=1`.
    pub fn sizes(self) -> String {
        match self {
            Layout::Simple { replicas, each } if each.is_tensor_only() => {
                format!("replicas={replicas},tp={}", each.tensor_parallel)
            }
            Layout::Simple { replicas, each } => format!("replicas={replicas}{}", keys("", each)),
            Layout::PrefillDecode { prefill, of_prefill, decode, of_decode } => {
                let counts = format!("prefill={prefill},decode={decode}");
                let tensor_only = of_prefill.is_tensor_only() && of_decode.is_tensor_only();
                let (p, d) = (of_prefill.tensor_parallel, of_decode.tensor_parallel);
                match (tensor_only, p, d) {
                    (true, 1, 1) => counts,
                    (true, ..) => format!("{counts},prefill-tp={p},decode-tp={d}"),
                    (false, ..) => format!("{counts}{}{}", keys("prefill-", of_prefill), keys("decode-", of_decode)),
                }
            }
        }
    }
}

/// `,decode-dp=4,decode-ep=true`: what isn't one.
fn keys(role: &str, each: Parallelism) -> String {
    let sizes = [("tp", each.tensor_parallel), ("dp", each.data_parallel), ("pp", each.pipeline_parallel)];
    let named = sizes.iter().filter(|(_, size)| *size != 1).map(|(key, size)| format!(",{role}{key}={size}"));
    named.chain(each.expert_parallel.then(|| format!(",{role}ep=true"))).collect()
}

/// The short form people say, with its kind.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match *self {
            Layout::Simple { replicas, each } => replicas_label(replicas, each),
            Layout::PrefillDecode { prefill, of_prefill, decode, of_decode } => {
                pair_label((prefill, of_prefill), (decode, of_decode))
            }
        };
        write!(f, "{} {size}", self.kind().name())
    }
}

/// The ways in which an engine can use this many GPUs.
fn engines(gpus: u32, is_mixture: bool) -> impl Iterator<Item = Parallelism> {
    let ranks = Parallelism { data_parallel: gpus, expert_parallel: true, ..Parallelism::tensor(1) };
    std::iter::once(Parallelism::tensor(gpus)).chain((is_mixture && gpus > 1).then_some(ranks))
}

/// GPUs of an engine that divide `gpus`.
fn sizes(gpus: u32) -> impl Iterator<Item = u32> {
    let powers = (0..).map(|power| 1 << power).take_while(move |size| *size <= gpus.min(MOST_RANKS));
    powers.filter(move |size| gpus.is_multiple_of(*size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(gpus: u32) -> Vec<String> {
        Layout::all(gpus, false).iter().map(ToString::to_string).collect()
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
    fn engines_stay_on_a_node() {
        let names = |nodes: &[u32]| -> Vec<String> {
            let all = Layout::all(nodes.iter().sum(), false).into_iter();
            all.filter(|layout| layout.fits(nodes)).map(|layout| layout.to_string()).collect()
        };
        let all =
            Layout::all(8, false).into_iter().map(|layout| layout.to_string()).filter(|name| !name.contains("TP8"));
        assert_eq!(names(&[4, 4]), all.collect::<Vec<_>>());
        // A third pair would be torn.
        assert!(!names(&[3, 3]).iter().any(|name| name.contains("3xTP2")), "{:?}", names(&[3, 3]));
    }

    #[test]
    fn every_shape_takes_all_gpus_and_no_ranks_cross_a_host() {
        for gpus in [3, 6, 16, 64] {
            for layout in Layout::all(gpus, true) {
                let ranks = match layout {
                    Layout::Simple { each, .. } => each.gpus(),
                    Layout::PrefillDecode { of_prefill, of_decode, .. } => of_decode.gpus().max(of_prefill.gpus()),
                };
                assert!(layout.gpus() == gpus && ranks <= 8, "{layout}");
            }
        }
    }

    #[test]
    fn the_engines_of_a_mixture_share_its_experts_over_data_parallel_ranks_too() {
        let names: Vec<String> = Layout::all(4, true).iter().map(ToString::to_string).collect();
        for shape in ["simple TP4", "simple DP4,EP", "simple 2xDP2,EP", "nixl 1P1D TP2/TP2", "nixl 2P+1D(DP2,EP)"] {
            let shape = shape.replace("2xDP2,EP", "2x(DP2,EP)");
            assert!(names.contains(&shape), "{shape} in {names:?}");
        }
        assert!(
            !names.contains(&"nixl 1P(TP2)+1D(DP2,EP)".to_string()),
            "decode would have fewer tensor-parallel ranks"
        );
        let dense = Layout::all(4, false).len();
        assert!(names.len() > dense && names.len() < 2 * dense, "{} of {dense}: short enough to read", names.len());
    }

    #[test]
    fn sizes_read_back_as_the_layout() {
        use crate::plan::arm::ArmSpec;
        use crate::plan::environment::Environment;
        for layout in Layout::all(8, true) {
            let arm = format!("{}:{}", layout.kind().name(), layout.sizes());
            let sized = ArmSpec::parse(&arm).and_then(|spec| spec.load("sim", &Environment::default()));
            let topology = sized.unwrap_or_else(|e| panic!("{arm}: {e}")).topology;
            assert_eq!(format!("{} {}", topology.name, topology.size_label()), layout.to_string(), "{arm}");
        }
    }
}
