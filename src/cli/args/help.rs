//! What stands below the flags in each `--help`: exit codes, and the environment variables that a command reads.

pub(super) const PROGRAM: &str = "\
Exit codes: 0 good; 1 internal; 2 usage or invalid plan; 3 launch failed; 4 a point failed, is degraded or invalid \
(the data is still written and printed); 5 gate missed; 130 interrupted.

Environment: TENSOR_PARALLEL_SIZE, GPU_MEMORY_UTILIZATION, NUM_PREFILL_INSTANCES, NUM_DECODE_INSTANCES, \
PREFILLER_TP_SIZE, DECODER_TP_SIZE, TTFT_SLO, TPOT_SLO, TARGET_ATTAINMENT, PLOT_OUTPUT_DIR, CUDA_VISIBLE_DEVICES, \
HIP_VISIBLE_DEVICES, VLLM_API_KEY or OPENAI_API_KEY, NO_COLOR; each command's --help names its own. \
A flag wins over the environment, the environment over the topology file.";

/// What every measuring command reads.
macro_rules! measuring {
    () => {
        "GPU_MEMORY_UTILIZATION (of every engine, above 0, at most 1 [default: 0.8]), TTFT_SLO, TPOT_SLO (ms), \
         TARGET_ATTAINMENT (percent), CUDA_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES (the GPUs to use, in this order), \
         VLLM_API_KEY or OPENAI_API_KEY, NO_COLOR. A flag wins over the environment."
    };
}

pub(super) const SIMPLE: &str = concat!("Environment: TENSOR_PARALLEL_SIZE, ", measuring!());
pub(super) const NIXL: &str = concat!(
    "Environment: NUM_PREFILL_INSTANCES, NUM_DECODE_INSTANCES, PREFILLER_TP_SIZE, DECODER_TP_SIZE, ",
    measuring!()
);
pub(super) const RUN: &str = concat!(
    "Environment: ",
    measuring!(),
    " A topology by name also takes the sizes that `topobench simple --help` and `topobench nixl --help` name; the \
     sizes in a file stand."
);
pub(super) const AB: &str = concat!(
    "Environment: TENSOR_PARALLEL_SIZE, NUM_PREFILL_INSTANCES, NUM_DECODE_INSTANCES, PREFILLER_TP_SIZE, \
     DECODER_TP_SIZE (sizes of arms that name none), PLOT_OUTPUT_DIR, ",
    measuring!()
);
pub(super) const BEST: &str = concat!("Environment: ", measuring!());
pub(super) const COMPARE: &str = "Environment: TTFT_SLO, TPOT_SLO, TARGET_ATTAINMENT, PLOT_OUTPUT_DIR, NO_COLOR.";
pub(super) const PLOT: &str = COMPARE;
pub(super) const SHOW: &str = "Environment: TTFT_SLO, TPOT_SLO, TARGET_ATTAINMENT, NO_COLOR.";
pub(super) const LIVE: &str = "\
The page is served on loopback, at an address with a random word in it: who has the address can read the page, and nobody can \
change anything. From another machine: ssh -L 8800:127.0.0.1:PORT HOST, then open the address with port 8800.

Environment: none.";
pub(super) const LIST: &str = "\
Each run takes two lines:
  2026-11-21 15:30:22 - sharegpt/nixl_20261121_153022 (5 files, 1 plots)
    Config: PF:2, D:2, TP:2x2, Model:Qwen3-0.6B

Environment: none.";
pub(super) const DOCTOR: &str = "\
Environment: CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, and whether VLLM_API_KEY or OPENAI_API_KEY is set.";
pub(super) const PROXY: &str = "Environment: none; an Authorization header passes through.";
