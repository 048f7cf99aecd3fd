//! What is simulated: models and GPUs as plain numbers.
//!
//! Model figures come from the public `config.json` of each model, GPU figures from the vendors'
//! data sheets (dense bf16). The efficiencies are what the 8B/H100 pair needs to reproduce a
//! measured vLLM 0.22 run (see `cost.rs`); the other GPUs borrow them.
//! Deliberately absent: quantised weights, sliding-window attention.

/// Architecture of a decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Preset name, lower case.
    pub name: &'static str,
    /// Architecture name as vLLM logs it.
    pub architecture: &'static str,
    /// Number of weights.
    pub parameters: f64,
    pub layers: u32,
    pub hidden: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Longest context the model was trained for, in tokens.
    pub max_context: u32,
    /// Of a mixture of experts; `None` of a dense model.
    pub experts: Option<Experts>,
}

/// The experts of each layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    pub count: u32,
    /// Those that compute one token.
    pub active: u32,
    /// Hidden size inside one.
    pub intermediate: u32,
}

/// Bytes of one bf16 weight, activation or KV element.
pub const ELEMENT_BYTES: f64 = 2.0;

impl Model {
    /// Bytes of key and value that one token occupies over all layers and all ranks.
    pub fn kv_bytes_per_token(&self) -> f64 {
        2.0 * f64::from(self.layers) * f64::from(self.kv_heads) * f64::from(self.head_dim) * ELEMENT_BYTES
    }

    /// Weights of all experts together: three matrices each.
    pub fn expert_parameters(&self) -> f64 {
        let of = |e: Experts| 3.0 * f64::from(self.hidden) * f64::from(e.intermediate) * f64::from(e.count);
        f64::from(self.layers) * self.experts.map_or(0.0, of)
    }

    /// Weights that every token passes through.
    pub fn shared_parameters(&self) -> f64 {
        self.parameters - self.expert_parameters()
    }

    /// Finds a preset by its name, the basename of a path or a Hugging Face id.
    /// Case, a `Meta-` prefix and the suffixes `-Instruct`, `-Base` and `-Chat` do not matter.
    pub fn find(name: &str) -> Option<&'static Model> {
        let base = name.trim_end_matches('/').rsplit('/').next()?;
        let lower = base.to_ascii_lowercase();
        let mut plain = lower.strip_prefix("meta-").unwrap_or(&lower);
        for suffix in ["-instruct", "-base", "-chat"] {
            plain = plain.strip_suffix(suffix).unwrap_or(plain);
        }
        MODELS.iter().find(|model| model.name == plain)
    }
}

const fn qwen3(name: &'static str, parameters: f64, shape: [u32; 4]) -> Model {
    Model {
        name,
        architecture: "Qwen3ForCausalLM",
        parameters,
        layers: shape[0],
        hidden: shape[1],
        heads: shape[2],
        kv_heads: shape[3],
        head_dim: 128,
        max_context: 40_960,
        experts: None,
    }
}

const fn llama(name: &'static str, parameters: f64, shape: [u32; 4]) -> Model {
    Model {
        name,
        architecture: "LlamaForCausalLM",
        parameters,
        layers: shape[0],
        hidden: shape[1],
        heads: shape[2],
        kv_heads: shape[3],
        head_dim: 128,
        max_context: 131_072,
        experts: None,
    }
}

/// Every model that can be served. Shapes: layers, hidden size, attention heads, KV heads.
pub const MODELS: &[Model] = &[
    qwen3("qwen3-0.6b", 0.596e9, [28, 1024, 16, 8]),
    qwen3("qwen3-1.7b", 1.72e9, [28, 2048, 16, 8]),
    qwen3("qwen3-4b", 4.02e9, [36, 2560, 32, 8]),
    qwen3("qwen3-8b", 8.19e9, [36, 4096, 32, 8]),
    qwen3("qwen3-14b", 14.77e9, [40, 5120, 40, 8]),
    qwen3("qwen3-32b", 32.76e9, [64, 5120, 64, 8]),
    Model {
        architecture: "Qwen3MoeForCausalLM",
        experts: Some(Experts { count: 128, active: 8, intermediate: 768 }),
        ..qwen3("qwen3-30b-a3b", 30.53e9, [48, 2048, 32, 4])
    },
    llama("llama-3.1-8b", 8.03e9, [32, 4096, 32, 8]),
    llama("llama-3.1-70b", 70.55e9, [80, 8192, 64, 8]),
];

/// One accelerator and the links between its like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    pub name: &'static str,
    /// Usable device memory in bytes.
    pub memory_bytes: f64,
    /// Peak dense bf16 rate in FLOP/s.
    pub peak_flops: f64,
    /// Peak memory bandwidth in bytes/s.
    pub memory_bandwidth: f64,
    /// Share of `peak_flops` that large matrix products reach, in (0, 1].
    pub compute_efficiency: f64,
    /// Share of `memory_bandwidth` that decode kernels reach, in (0, 1].
    pub memory_efficiency: f64,
    /// All-reduce: start-up cost of one call between two ranks, in seconds; every doubling of the ranks adds as much.
    pub allreduce_latency: f64,
    /// All-reduce: bytes/s on the wire of one rank.
    pub allreduce_bandwidth: f64,
    /// KV transfer between instances: start-up cost in seconds.
    pub transfer_latency: f64,
    /// KV transfer between instances: bytes/s.
    pub transfer_bandwidth: f64,
    /// Seconds that every step costs beside the kernels: scheduling, launches, sampling.
    pub step_overhead: f64,
    /// Seconds that the API server spends on any request before the engine sees it.
    pub admission: f64,
    /// Seconds that the API server spends on each prompt token (tokenising, validating, copying).
    pub admission_per_token: f64,
    /// Seconds by which the workers of a tensor-parallel engine, processes of their own, delay a first token beside its
    /// steps.
    pub parallel_admission: f64,
    /// Posting a KV transfer, which the decode instance's worker does on its forward path: start-up cost in seconds.
    pub post_latency: f64,
    /// The same for each descriptor. One step is posted for while the one before it runs; what takes longer holds the
    /// batch up, and every sequence in it sees one long gap between tokens.
    pub descriptor_post: f64,
    /// Seconds that each descriptor takes on the link beside its bytes.
    pub descriptor_transfer: f64,
    /// vLLM's default for `--max-num-batched-tokens` on this GPU.
    pub default_batched_tokens: u32,
    /// vLLM's default for `--max-num-seqs` on this GPU.
    pub default_sequences: u32,
}

impl Gpu {
    /// The preset of a GPU as its driver calls it: `NVIDIA H100 80GB HBM3`.
    pub fn of_product(product: &str) -> Option<&'static Gpu> {
        let product = product.to_ascii_lowercase();
        let mut words = product.split(|c: char| !c.is_ascii_alphanumeric());
        words.find_map(|word| GPUS.iter().find(|gpu| gpu.name == word))
    }

    /// Finds a preset by name; case does not matter.
    pub fn find(name: &str) -> Option<&'static Gpu> {
        GPUS.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
    }
}

/// Names as a message lists them.
pub fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// As measured under vLLM 0.22 on a host with two H100s, Qwen3-8B, 2048 tokens in and 128 out.
const H100: Gpu = Gpu {
    name: "h100",
    memory_bytes: 79.6 * GIB,
    peak_flops: 989e12,
    memory_bandwidth: 3.35e12,
    compute_efficiency: 0.69,
    memory_efficiency: 0.78,
    allreduce_latency: 17e-6,
    allreduce_bandwidth: 125e9,
    transfer_latency: 12e-3,
    transfer_bandwidth: 40e9,
    step_overhead: 0.56e-3,
    admission: 2.5e-3,
    admission_per_token: 4e-6,
    parallel_admission: 10e-3,
    post_latency: 0.85e-3,
    descriptor_post: 3.2e-6,
    descriptor_transfer: 1.0e-6,
    default_batched_tokens: 8192,
    default_sequences: 1024,
};

/// Every GPU that can be simulated. `h100x4-vllm-0.22` is the same GPU on a host with four of them, where all-reduces
/// take longer: NVLink's multicast (NVLS) was off there.
pub const GPUS: &[Gpu] = &[
    H100,
    Gpu { name: "h100-vllm-0.22", ..H100 },
    Gpu {
        name: "h100x4-vllm-0.22",
        allreduce_latency: 26e-6,
        allreduce_bandwidth: 150e9,
        parallel_admission: 22e-3,
        ..H100
    },
    // As the H100, with more and faster memory; not fitted.
    Gpu { name: "h200", memory_bytes: 139.8 * GIB, memory_bandwidth: 4.8e12, ..H100 },
    Gpu {
        name: "a100",
        memory_bytes: 79.3 * GIB,
        peak_flops: 312e12,
        memory_bandwidth: 2.04e12,
        allreduce_bandwidth: 100e9,
        transfer_bandwidth: 30e9,
        default_batched_tokens: 2048,
        default_sequences: 256,
        ..H100
    },
    Gpu {
        name: "l4",
        memory_bytes: 22.5 * GIB,
        peak_flops: 121e12,
        memory_bandwidth: 0.30e12,
        allreduce_latency: 30e-6,
        allreduce_bandwidth: 8e9,
        transfer_bandwidth: 8e9,
        default_batched_tokens: 2048,
        default_sequences: 256,
        ..H100
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_found_by_preset_id_or_path_in_any_case() {
        for name in ["qwen3-8b", "Qwen/Qwen3-8B", "/models/Qwen3-8B/", "qwen3-8b-base"] {
            assert_eq!(Model::find(name).map(|m| m.name), Some("qwen3-8b"), "{name}");
        }
        let llama = Model::find("meta-llama/Meta-Llama-3.1-70B-Instruct");
        assert_eq!(llama.map(|m| m.name), Some("llama-3.1-70b"));
        assert_eq!(Model::find("gpt-nothing"), None);
        assert_eq!(Model::find(""), None);
    }

    #[test]
    fn a_gpu_is_found_by_what_its_driver_calls_it() {
        for (product, preset) in [
            ("NVIDIA H100 80GB HBM3", Some("h100")),
            ("NVIDIA H200", Some("h200")),
            ("NVIDIA A100-SXM4-80GB", Some("a100")),
            ("NVIDIA L4", Some("l4")),
            ("NVIDIA L40S", None),
        ] {
            assert_eq!(Gpu::of_product(product).map(|gpu| gpu.name), preset, "{product}");
        }
    }

    #[test]
    fn the_8b_model_holds_144_kib_of_kv_a_token() {
        let model = Model::find("qwen3-8b").unwrap();
        assert_eq!(model.kv_bytes_per_token(), 147_456.0);
    }
}
