//! Flags of vLLM that make an engine take more GPUs than topobench counts, in every spelling that vLLM takes.

/// A family of flags, and what to do instead.
struct Refused {
    /// The long name, or its beginning where all flags that begin so are meant.
    long: &'static str,
    is_prefix: bool,
    short: &'static str,
    remedy: &'static str,
}

pub(super) const MORE_ENGINES: &str = "leave it out; more engines are --replicas, --prefill and --decode";
const OVER_NODES: &str = "leave it out; topobench lays engines over nodes itself, with --launcher slurm";

const REFUSED: [Refused; 8] = [
    Refused {
        long: "--data-parallel-",
        is_prefix: true,
        short: "-dp",
        remedy: "give --dp (or --prefill-dp, --decode-dp), or data_parallel in the topology file",
    },
    Refused {
        long: "--pipeline-parallel-size",
        is_prefix: false,
        short: "-pp",
        remedy: "give --pp (or --prefill-pp, --decode-pp), or pipeline_parallel in the topology file",
    },
    Refused { long: "--prefill-context-parallel-size", is_prefix: false, short: "-pcp", remedy: MORE_ENGINES },
    Refused { long: "--nnodes", is_prefix: false, short: "-n", remedy: OVER_NODES },
    Refused { long: "--node-rank", is_prefix: false, short: "-r", remedy: OVER_NODES },
    Refused { long: "--headless", is_prefix: false, short: "", remedy: OVER_NODES },
    Refused {
        long: "--config",
        is_prefix: false,
        short: "",
        remedy: "give its settings one by one with --engine-arg: a file could change the number of GPUs unseen",
    },
    Refused {
        long: "--tensor-parallel-size",
        is_prefix: false,
        short: "-tp",
        remedy: "give --tp (or --prefill-tp, --decode-tp), or tensor_parallel in the topology file",
    },
];

/// Abbreviations shorter than this could mean many flags; argparse refuses those itself.
const SHORTEST_ABBREVIATION: usize = "--abc".len();

/// What to do instead of giving an engine this argument; `None` if it may have it.
pub(super) fn refusal(arg: &str) -> Option<&'static str> {
    refused(arg).map(|refused| refused.remedy)
}

/// vLLM takes `--flag=value`, underscores, abbreviations, and single letters with their value attached.
fn refused(arg: &str) -> Option<&'static Refused> {
    let name = arg.split(['=', ' ']).next().unwrap_or(arg).replace('_', "-");
    REFUSED.iter().find(|r| {
        if !name.starts_with("--") {
            return is_short(&name, r.short);
        }
        let whole = if r.is_prefix { name.starts_with(r.long) } else { name == r.long };
        whole || (name.len() >= SHORTEST_ABBREVIATION && r.long.starts_with(&name))
    })
}

fn is_short(name: &str, short: &str) -> bool {
    if short.is_empty() {
        return false;
    }
    let attached = || name.strip_prefix(short).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    // -dpl, -dpr and their like belong to -dp.
    name == short || attached() || (short == "-dp" && name.starts_with(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_flag_that_takes_more_gpus_is_refused() {
        for arg in [
            "--data-parallel-size",
            "--data-parallel-size=4",
            "--data_parallel_size=4",
            "--data-parallel-size-local=2",
            "--data-parallel-rank",
            "-dp",
            "-dp=2",
            "-dp2",
            "-dpl",
            "--pipeline-parallel-size=2",
            "--pipeline",
            "-pp",
            "-pp=2",
            "--nnodes=2",
            "-n",
            "-n2",
            "-r=1",
            "--headless",
            "--config=x.yaml",
            "--config",
            "--tensor-parallel-size=2",
            "--tensor_parallel_size",
            "-tp",
            "--data-parallel-size 2",
            "-pcp",
        ] {
            assert!(refused(arg).is_some(), "{arg}");
        }
        for arg in [
            "--max-num-seqs",
            "--max-num-seqs=8",
            "--config-format=hf",
            "--enable-expert-parallel",
            "--distributed-executor-backend=mp",
            "--no-enable-prefix-caching",
            "--sim-speed=20",
            "-O3",
            "-O",
            "-q",
            "4",
            "-1",
            "--block-size",
        ] {
            assert!(refused(arg).is_none(), "{arg}");
        }
    }
}
