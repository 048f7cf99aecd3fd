//! `doctor --kv`: what handing over a known prompt costs, measured on a prefill and a decode instance started for it, and
//! what the links between the GPUs could do.

use super::link::{self, LinkFacts};
use crate::analyse::hand_over::HandOver;
use crate::analyse::{Comparison, Question};
use crate::cli::args::{Cli, Command, DoctorArgs};
use crate::cli::exit::{CliError, Exit};
use crate::cli::live::Showing;
use crate::cli::{measure, out};
use crate::observe::gpu::GpuInfo;
use crate::plan::arm::ArmSpec;
use crate::plan::build::Arms;
use crate::predict::model::preset::Model;
use crate::record::{RecordedRun, links};
use crate::report::inputs;
use crate::words::number;
use clap::{CommandFactory, FromArgMatches};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Prompts handed over one after the other.
const PROMPTS: u32 = 8;

/// The vLLM that would be started.
pub(super) struct Vllm {
    pub(super) path: String,
    pub(super) has_nixl: bool,
}

/// What was measured, and in words why something was not.
#[derive(Serialize)]
pub(super) struct KvFacts {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<LinkFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links_not_measured: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hand_over: Option<MeasuredHandOver>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hand_over_not_measured: Option<String>,
}

/// Means of single hand-overs between engines that serve nothing else.
#[derive(Serialize)]
struct MeasuredHandOver {
    engine: Option<String>,
    prompts: u32,
    prompt_tokens: u32,
    /// What the model's shape makes of the prompt, where it is known.
    expected_bytes: Option<f64>,
    ttft_ms: Option<f64>,
    #[serde(flatten)]
    kv: HandOver,
}

/// Measures both, as far as the machine can.
pub(super) fn measure_all(gpus: &[GpuInfo], vllm: Option<&Vllm>, args: &DoctorArgs) -> Result<KvFacts, CliError> {
    let links = match (gpus.len(), vllm) {
        (0, _) => Err("there is no GPU here".to_string()),
        (1, _) => Err("there is one GPU here, and a link wants two".to_string()),
        (_, None) => Err("vllm is not on PATH, whose Python would measure them".to_string()),
        (_, Some(vllm)) => link::measure(Path::new(&vllm.path)),
    };
    let wants_nixl = args.engine != "sim";
    let hint = "`topobench doctor --kv --engine sim` shows one between simulated engines";
    let hand_over = match vllm {
        None if wants_nixl => Err(format!("vllm is not on PATH; {hint}")),
        Some(vllm) if wants_nixl && !vllm.has_nixl => {
            Err(format!("NIXL does not import where vllm runs: pip install nixl; {hint}"))
        }
        _ if args.engine == "vllm" && gpus.len() < 2 => Err(format!(
            "a prefill and a decode instance want two GPUs, and there are {}; --engine cpu runs real vLLM without; {hint}",
            gpus.len()
        )),
        _ => Ok(hand_over(args)?),
    };
    let uuids: Vec<String> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    let slowest = links.iter().flatten().map(|link| link.bytes_per_sec).min_by(f64::total_cmp);
    if let Some(slowest) = slowest
        && let Err(error) = links::keep(uuids, slowest)
    {
        out::warn(format!("what was measured can't be kept for later runs: {error}"));
    }
    let (links, links_not_measured) = links.map_or_else(|why| (Vec::new(), Some(why)), |links| (links, None));
    let (hand_over, hand_over_not_measured) =
        hand_over.map_or_else(|why| (None, Some(why)), |facts| (Some(facts), None));
    Ok(KvFacts { links, links_not_measured, hand_over, hand_over_not_measured })
}

/// A run like any other, of one pair and eight prompts one after the other, that leaves nothing behind.
fn hand_over(args: &DoctorArgs) -> Result<MeasuredHandOver, CliError> {
    let dir = tempfile::tempdir().map_err(|e| CliError::new(Exit::Internal, e))?;
    let (tokens, prompts, dir_name) =
        (args.kv_tokens.to_string(), PROMPTS.to_string(), dir.path().display().to_string());
    let mut words = vec!["topobench", "nixl"];
    words.extend(["--random-input-len", &tokens, "--random-output-len", "8", "--request-rate", "inf"]);
    words.extend(["--max-concurrency", "1", "--num-prompts", &prompts, "--max-warmup", "0"]);
    words.extend(["--ttft-slo", "600000", "--tpot-slo", "600000", "--result-dir", &dir_name]);
    if let Some(model) = &args.model {
        words.extend(["--model", model]);
    }
    let matches = Cli::command().get_matches_from(words);
    let parsed = Cli::from_arg_matches(&matches).map_err(CliError::usage)?;
    let (Command::Nixl(nixl), Some((_, matches))) = (parsed.command, matches.subcommand()) else {
        return Err(CliError::usage("no command of doctor's own"));
    };
    let arms = Arms::Spawn { specs: vec![ArmSpec::parse("nixl:prefill=1,decode=1")?], engine: args.engine.clone() };
    let plan = measure::plan(arms, None, &nixl.sweep, matches)?;
    let measured = measure::measure(plan.clone(), None, Showing::session(nixl.sweep.run.json, None))?;
    let run = measured.runs.first().map(|run| RecordedRun::read(&run.dir)).transpose()?;
    measured.settle(Ok(Exit::Good))?;
    let arm = run.as_ref().map(|run| inputs::arm(run, None));
    let question = Question { slo: plan.sweep.slo, ..Question::default() };
    let report = arm.as_ref().map(|arm| Comparison::new(std::slice::from_ref(arm), &question));
    let kv = report.and_then(|mut report| report.arms.pop()?.points.pop()?.kv);
    let kv = kv.ok_or_else(|| CliError::new(Exit::Internal, "the decode engine counted no hand-over"))?;
    // All are due at once and take turns: their waiting is no part of a hand-over.
    let kv = HandOver { ttft_percent: None, ..kv };
    let rows = arm.iter().flat_map(|arm| &arm.points).flat_map(|point| point.samples.rows());
    let ttfts: Vec<f64> = rows.filter_map(|row| Some(row.ttft?.as_secs() - (row.sent? - row.due))).collect();
    Ok(MeasuredHandOver {
        engine: arm.and_then(|arm| arm.identity.engine),
        prompts: PROMPTS,
        prompt_tokens: args.kv_tokens,
        expected_bytes: Model::find(&plan.sweep.model).map(|m| m.kv_bytes_per_token() * f64::from(args.kv_tokens)),
        ttft_ms: (!ttfts.is_empty()).then(|| 1e3 * ttfts.iter().sum::<f64>() / ttfts.len() as f64),
        kv,
    })
}

impl std::fmt::Display for KvFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        // Writing into a `String` cannot fail.
        if let Some(why) = &self.links_not_measured {
            let _ = writeln!(text, "links between GPUs: not measured: {why}");
        }
        for link in &self.links {
            let way = if link.direct { "directly" } else { "through the host" };
            let _ = writeln!(
                text,
                "GPU {} to GPU {}: {} GB/s, {way}",
                link.from,
                link.to,
                number(link.bytes_per_sec / 1e9)
            );
        }
        if let Some(why) = &self.hand_over_not_measured {
            let _ = writeln!(text, "hand-over: not measured: {why}");
        }
        if let Some(facts) = &self.hand_over {
            let engine = facts.engine.as_deref().unwrap_or("unknown engine");
            let _ = writeln!(
                text,
                "hand-over between two idle instances ({engine}), {} prompts of {} tokens, one after the other:",
                facts.prompts, facts.prompt_tokens
            );
            let _ = writeln!(text, "  {}", facts.kv);
            if let Some(bytes) = facts.expected_bytes {
                let _ = writeln!(
                    text,
                    "  the model's shape makes {} MiB of such a prompt",
                    number(bytes / f64::from(1 << 20))
                );
            }
            if let Some(ms) = facts.ttft_ms {
                let _ = writeln!(text, "  first token after {} ms, prefill included", number(ms));
            }
            let _ = writeln!(
                text,
                "  fresh engines: once their KV memory is fragmented, every block is a descriptor of its own"
            );
        }
        f.write_str(text.trim_end())
    }
}
