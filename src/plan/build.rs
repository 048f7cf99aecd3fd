//! From arms, flags and environment to a validated [`Plan`]; the one place where defaults are filled in.

use super::arm::{self, ArmSpec, SizedTopology};
use super::context::{self, Context};
use super::deployment::{AttachPlan, Deployment, FleetPlan, InstancePlan};
use super::environment::{self, Environment};
use super::error::PlanError;
use super::gpus::{self, GpuPool};
use super::load::{Arrivals, Dataset, Endpoint, Extent, Lengths, Load, RampUp, Workload};
use super::options::{DatasetName, LoadOptions, WorkloadOptions};
use super::slo::{Slo, Target};
use super::strategy::{self, Order};
use super::topology::{Defaults, Shape, Topology};
use super::{ArmPlan, MetricChoice, OnFailure, Plan, Sweep, Timeouts};
use crate::units::{Percent, TokenCount};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the user wants, flags still as typed.
#[derive(Debug, Clone)]
pub struct Request {
    pub arms: Arms,
    pub workload: WorkloadOptions,
    pub load: LoadOptions,
    pub slo: Slo,
    pub target: Target,
    pub run: RunOptions,
}

/// Where the arms come from.
#[derive(Debug, Clone)]
pub enum Arms {
    /// Topologies for an engine, by name or file.
    Spawn {
        specs: Vec<ArmSpec>,
        engine: String,
    },
    /// Running servers: one endpoint, or prefill and decode engines.
    Endpoint(String),
    PrefillDecode {
        prefill: Vec<String>,
        decode: Vec<String>,
    },
}

/// What concerns the run rather than the requests.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub order: Option<Order>,
    pub result_dir: PathBuf,
    /// Name of the run's directory when attached; a topology has its own.
    pub name: Option<String>,
    pub gate: Option<f64>,
    pub on_failure: OnFailure,
    pub metadata: BTreeMap<String, String>,
    pub metrics: MetricChoice,
    pub engine_args: Vec<String>,
    pub through_proxy: bool,
    pub ready_timeout: Duration,
    pub timeouts: Timeouts,
}

/// # Errors
/// Whatever makes the plan impossible or meaningless, before anything starts.
pub fn build(request: &Request, env: &Environment, detect: impl Fn() -> GpuPool) -> Result<Plan, PlanError> {
    let mut warnings = Vec::new();
    let (arms, defaults, disjoint) = match &request.arms {
        Arms::Spawn { specs, engine } => spawn_arms(request, specs, engine, env, detect, &mut warnings)?,
        attach => (vec![attach_arm(request, attach, env)?], Defaults::default(), true),
    };
    let sweep = sweep(request, &arms, &defaults)?;
    check_context(&sweep, &arms)?;
    let order = request.run.order.unwrap_or_else(|| strategy::default_order(arms.len(), disjoint));
    Ok(Plan { arms, sweep, order, result_dir: request.run.result_dir.clone(), warnings })
}

type Spawned = (Vec<ArmPlan>, Defaults, bool);

fn spawn_arms(
    request: &Request,
    specs: &[ArmSpec],
    engine: &str,
    env: &Environment,
    detect: impl Fn() -> GpuPool,
    warnings: &mut Vec<String>,
) -> Result<Spawned, PlanError> {
    let mut loaded = specs.iter().map(|s| s.load(engine, env)).collect::<Result<Vec<_>, _>>()?;
    if loaded.len() > 1 {
        arm::equalise(&mut loaded);
    }
    let topologies: Vec<Topology> = loaded.into_iter().map(|SizedTopology { topology, .. }| topology).collect();
    let labels = unique_labels(&topologies);
    let pool = match topologies.iter().filter_map(|t| t.devices).min() {
        Some(devices) => GpuPool::virtual_devices(devices),
        None => detect(),
    };
    let pairs: Vec<_> = labels.iter().map(String::as_str).zip(&topologies).collect();
    let assigned = gpus::assign(&pairs, &pool)?;
    let disjoint = gpus::disjoint(&assigned);
    for (label, topology) in &pairs {
        warnings.extend(doubts(label, topology));
    }
    let defaults = merged_defaults(&topologies);
    let arms = topologies
        .into_iter()
        .zip(labels)
        .zip(assigned)
        .map(|((topology, label), gpus)| spawn_arm(request, topology, label, gpus, env))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((arms, defaults, disjoint))
}

/// The first arm that has an opinion wins: all arms get the same load.
fn merged_defaults(topologies: &[Topology]) -> Defaults {
    topologies.iter().fold(Defaults::default(), |acc, t| {
        let d = t.defaults.clone();
        Defaults {
            model: acc.model.or(d.model),
            tokenizer: acc.tokenizer.or(d.tokenizer),
            request_rate: acc.request_rate.or(d.request_rate),
            num_prompts: acc.num_prompts.or(d.num_prompts),
            duration: acc.duration.or(d.duration),
            random_input_len: acc.random_input_len.or(d.random_input_len),
            random_output_len: acc.random_output_len.or(d.random_output_len),
            num_warmups: acc.num_warmups.or(d.num_warmups),
        }
    })
}

/// `simple` where the name says enough, `simple TP2` where two arms share it, `simple TP2 (2)` for an A/A comparison.
fn unique_labels(topologies: &[Topology]) -> Vec<String> {
    let same_name = |t: &Topology| topologies.iter().filter(|o| o.name == t.name).count();
    let mut labels: Vec<String> = Vec::new();
    for topology in topologies {
        let base = match same_name(topology) {
            1 => topology.name.clone(),
            _ => format!("{} {}", topology.name, topology.size_label()),
        };
        let twins = labels.iter().filter(|l| **l == base || l.starts_with(&format!("{base} ("))).count();
        labels.push(if twins == 0 { base } else { format!("{base} ({})", twins + 1) });
    }
    labels
}

/// What may be wanted, and may not work.
fn doubts(label: &str, topology: &Topology) -> Vec<String> {
    let mut out = Vec::new();
    if let Shape::PrefillDecode { prefill, decode, .. } = &topology.shape {
        if decode.tensor_parallel < prefill.tensor_parallel {
            out.push(format!(
                "{label}: prefill instances have TP {} and decode instances TP {}. vLLM's NIXL connector supports different sizes \
                 best when decode's is the larger (prefill TP <= decode TP); the smoke request before the sweep will show whether \
                 this version can do it",
                prefill.tensor_parallel, decode.tensor_parallel
            ));
        }
    }
    for (role, group) in topology.groups() {
        if !group.tensor_parallel.is_power_of_two() {
            out.push(format!(
                "{label}: tensor-parallel size {} of {} instances divides the attention heads of few models",
                group.tensor_parallel,
                role.name()
            ));
        }
    }
    out
}

fn spawn_arm(
    request: &Request,
    topology: Topology,
    label: String,
    gpus: gpus::ArmGpus,
    env: &Environment,
) -> Result<ArmPlan, PlanError> {
    let model = model(request, topology.defaults.model.as_deref())?;
    let utilisation = gpu_memory_utilization(env)?;
    let instances = gpus
        .into_iter()
        .map(|(role, index, gpus)| {
            let group = topology.groups().find(|(r, _)| *r == role).map(|(_, g)| g.clone()).unwrap_or_default();
            let args =
                [&topology.args, &utilisation, &group.args, &request.run.engine_args].into_iter().flatten().cloned();
            InstancePlan { role, index, tensor_parallel: group.tensor_parallel, gpus, args: args.collect() }
        })
        .collect::<Vec<_>>();
    let fleet = FleetPlan {
        program: topology.program.clone(),
        served_model_name: request.workload.served_model_name.clone().unwrap_or_else(|| model.clone()),
        model,
        api_key: env.api_key(),
        env: topology.env.clone(),
        kv: match &topology.shape {
            Shape::PrefillDecode { kv, .. } => Some(kv.clone()),
            Shape::Simple { .. } => None,
        },
        instances,
        ready_timeout: request.run.ready_timeout,
    };
    let on_gpus = fleet.instances.iter().all(|i| !i.gpus.ids().is_empty());
    Ok(ArmPlan {
        label,
        name: topology.name.clone(),
        gpus: if on_gpus { topology.gpu_count() } else { 0 },
        topology: Some(topology),
        deployment: Deployment::Spawn(fleet),
        through_proxy: request.run.through_proxy,
    })
}

/// Repeated arguments are settled by the last one, so the environment's comes after the file's.
fn gpu_memory_utilization(env: &Environment) -> Result<Vec<String>, PlanError> {
    let name = environment::GPU_MEMORY_UTILIZATION;
    let Some(share) = env.number::<f64>(name, "a share above 0, at most 1")? else { return Ok(Vec::new()) };
    if !(share > 0.0 && share <= 1.0) {
        return Err(PlanError::Value {
            what: format!("environment variable {name}"),
            value: share.to_string(),
            remedy: "give a share of GPU memory above 0, at most 1".to_string(),
        });
    }
    Ok(vec!["--gpu-memory-utilization".to_string(), share.to_string()])
}

fn model(request: &Request, default: Option<&str>) -> Result<String, PlanError> {
    request.workload.model.as_deref().or(default).map(str::to_string).ok_or_else(|| PlanError::Missing {
        what: "--model".to_string(),
        remedy: "name the model: a directory or a Hugging Face id".to_string(),
    })
}

fn attach_arm(request: &Request, arms: &Arms, env: &Environment) -> Result<ArmPlan, PlanError> {
    let model = request.workload.served_model_name.clone().map_or_else(|| model(request, None), Ok)?;
    let api_key = env.api_key();
    let (plan, name) = match arms {
        Arms::PrefillDecode { prefill, decode } => {
            let prefill = prefill.iter().map(|u| base_url(u)).collect::<Result<Vec<_>, _>>()?;
            let decode = decode.iter().map(|u| base_url(u)).collect::<Result<Vec<_>, _>>()?;
            (AttachPlan::PrefillDecode { prefill, decode, model, api_key }, "nixl")
        }
        Arms::Endpoint(url) => (AttachPlan::Endpoint { url: base_url(url)?, model, api_key }, "attached"),
        Arms::Spawn { .. } => unreachable!("spawned arms are built by spawn_arms"),
    };
    let name = request.run.name.clone().unwrap_or_else(|| name.to_string());
    Ok(ArmPlan {
        label: name.clone(),
        name,
        topology: None,
        deployment: Deployment::Attach(plan),
        gpus: 0,
        through_proxy: request.run.through_proxy,
    })
}

/// `http://host:port` without a trailing slash or `/v1`, which people like to copy along.
pub fn base_url(text: &str) -> Result<String, PlanError> {
    let refuse = |remedy: &str| PlanError::Value {
        what: "URL".to_string(),
        value: text.to_string(),
        remedy: remedy.to_string(),
    };
    let trimmed = text.trim().trim_end_matches('/');
    let trimmed = trimmed.strip_suffix("/v1").unwrap_or(trimmed);
    let url = reqwest::Url::parse(trimmed).map_err(|_| refuse("give a base URL, e.g. http://127.0.0.1:8000"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("give a base URL that begins with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let what = "URL".to_string();
        let value = "one with a user name or password in it".to_string();
        let remedy = "leave them out: a key comes from VLLM_API_KEY or OPENAI_API_KEY".to_string();
        return Err(PlanError::Value { what, value, remedy });
    }
    Ok(trimmed.to_string())
}

fn sweep(request: &Request, arms: &[ArmPlan], defaults: &Defaults) -> Result<Sweep, PlanError> {
    let (model, served_model_name) = match arms.first().map(|a| &a.deployment) {
        Some(Deployment::Spawn(fleet)) => (fleet.model.clone(), fleet.served_model_name.clone()),
        Some(Deployment::Attach(AttachPlan::Endpoint { model, .. } | AttachPlan::PrefillDecode { model, .. })) => {
            (request.workload.model.clone().unwrap_or_else(|| model.clone()), model.clone())
        }
        None => {
            return Err(PlanError::Missing {
                what: "an arm".to_string(),
                remedy: "name at least one, e.g. `topobench ab simple nixl`".to_string(),
            });
        }
    };
    let tokenizer = request.workload.tokenizer.clone().or_else(|| {
        // The default tokenizer belongs to the default model.
        defaults
            .tokenizer
            .clone()
            .filter(|_| request.workload.model.as_ref().is_none_or(|m| defaults.model.as_ref() == Some(m)))
    });
    let gate =
        request.run.gate.map(|g| Percent::new(g).ok_or_else(|| value("--gate", g, "give a percentage from 0 to 100")));
    Ok(Sweep {
        workload: workload(&request.workload, defaults, tokenizer.or_else(|| Some(model.clone())))?,
        load: load(&request.load, &request.workload, defaults)?,
        model,
        served_model_name,
        slo: request.slo,
        target: request.target,
        gate: gate.transpose()?,
        timeouts: request.run.timeouts,
        on_failure: request.run.on_failure,
        metadata: request.run.metadata.clone(),
        metrics: request.run.metrics.clone(),
    })
}

fn value(what: &str, value: impl ToString, remedy: &str) -> PlanError {
    PlanError::Value { what: what.to_string(), value: value.to_string(), remedy: remedy.to_string() }
}

fn workload(o: &WorkloadOptions, defaults: &Defaults, tokenizer: Option<String>) -> Result<Workload, PlanError> {
    let dataset = dataset(o, defaults)?;
    let fixed_length = matches!(dataset, Dataset::Random { .. } | Dataset::TimedTrace { .. });
    let extra_body = match o.extra_body.as_deref().map(serde_json::from_str) {
        None => serde_json::Map::new(),
        Some(Ok(serde_json::Value::Object(map))) => map,
        Some(Ok(other)) => return Err(value("--extra-body", other, "give a JSON object, e.g. '{\"top_p\": 0.9}'")),
        Some(Err(e)) => return Err(value("--extra-body", e, "give a JSON object, e.g. '{\"top_p\": 0.9}'")),
    };
    let endpoint = match o.endpoint.trim_start_matches('/') {
        "v1/completions" | "completions" => Endpoint::Completions,
        "v1/chat/completions" | "chat/completions" | "chat" => Endpoint::Chat,
        _ => return Err(value("--endpoint", &o.endpoint, "endpoints are /v1/completions and /v1/chat/completions")),
    };
    let temperature = o.temperature.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&temperature) {
        return Err(value("--temperature", temperature, "give a number from 0 up"));
    }
    Ok(Workload {
        dataset,
        endpoint,
        tokenizer,
        ignore_eos: o.ignore_eos || fixed_length,
        temperature: Some(temperature),
        extra_body,
        save_texts: o.save_texts,
    })
}

fn dataset(o: &WorkloadOptions, defaults: &Defaults) -> Result<Dataset, PlanError> {
    let output_len = positive("--output-len", o.output_len)?.map(TokenCount);
    let path = |name: &str| {
        o.dataset_path.clone().ok_or_else(|| PlanError::Missing {
            what: "--dataset-path".to_string(),
            remedy: format!("--dataset-name {name} reads a local file: give its path"),
        })
    };
    match o.dataset_name {
        DatasetName::Random => random(o, defaults),
        DatasetName::Sharegpt => {
            Ok(Dataset::Sharegpt { path: super::dataset_file::sharegpt(o.dataset_path.as_deref())?, output_len })
        }
        DatasetName::Custom => Ok(Dataset::Custom { path: path("custom")?, output_len }),
        DatasetName::Hf => Ok(Dataset::Hf { path: path("hf")?, column: o.hf_column.clone(), output_len }),
        DatasetName::TimedTrace => Ok(Dataset::TimedTrace { path: path("timed_trace")? }),
    }
}

fn random(o: &WorkloadOptions, defaults: &Defaults) -> Result<Dataset, PlanError> {
    let input = positive("--random-input-len", o.random_input_len)?.or(defaults.random_input_len).unwrap_or(1024);
    let output = positive("--random-output-len", o.random_output_len.or(o.output_len))?
        .or(defaults.random_output_len)
        .unwrap_or(128);
    if let Some(ratio) = o.random_range_ratio.filter(|r| !(0.0..1.0).contains(r)) {
        return Err(value("--random-range-ratio", ratio, "give a share from 0 to below 1"));
    }
    if let Some(sigma) = o.random_lognormal_sigma.filter(|s| !(*s > 0.0 && *s <= 5.0)) {
        return Err(value("--random-lognormal-sigma", sigma, "give a sigma above 0, at most 5"));
    }
    let lengths = |tokens| {
        let tokens = TokenCount(tokens);
        match (o.random_range_ratio, o.random_lognormal_sigma) {
            (Some(range_ratio), _) if range_ratio > 0.0 => Lengths::Uniform { tokens, range_ratio },
            (_, Some(sigma)) => Lengths::LogNormal { tokens, sigma },
            _ => Lengths::Fixed { tokens },
        }
    };
    Ok(Dataset::Random { input: lengths(input), output: lengths(output), prefix_len: TokenCount(o.random_prefix_len) })
}

fn positive(what: &str, number: Option<u32>) -> Result<Option<u32>, PlanError> {
    match number {
        Some(0) => Err(value(what, 0, "give at least 1")),
        other => Ok(other),
    }
}

fn load(o: &LoadOptions, workload: &WorkloadOptions, defaults: &Defaults) -> Result<Load, PlanError> {
    let rates = if o.request_rate.is_empty() {
        defaults.request_rate.clone().unwrap_or_default()
    } else {
        o.request_rate.clone()
    };
    if rates.is_empty() {
        return Err(PlanError::Missing {
            what: "--request-rate".to_string(),
            remedy: "give the rates to measure, e.g. --request-rate 0.5,1,2,4".to_string(),
        });
    }
    for (i, rate) in rates.iter().enumerate() {
        if rates[..i].contains(rate) {
            return Err(value("--request-rate", rate, "a rate stands once in the list; --attempts repeats it"));
        }
    }
    let extent = extent(o, defaults)?;
    if matches!(extent, Extent::Duration(_)) && rates.iter().any(|r| r.is_infinite()) {
        return Err(value("--request-rate", "inf", "an infinite rate has no duration: give --num-prompts"));
    }
    if o.attempts == 0 {
        return Err(value("--attempts", 0, "give at least 1"));
    }
    if o.max_concurrency == Some(0) {
        return Err(value("--max-concurrency", 0, "give at least 1, or leave it out for no limit"));
    }
    Ok(Load {
        rates,
        extent,
        arrivals: arrivals(o, workload)?,
        ramp_up: ramp_up(o)?,
        max_concurrency: o.max_concurrency,
        warmups: o.num_warmups.or(defaults.num_warmups).unwrap_or(4),
        attempts: o.attempts,
        seed: o.seed,
    })
}

fn extent(o: &LoadOptions, defaults: &Defaults) -> Result<Extent, PlanError> {
    match (o.num_prompts, o.duration) {
        (Some(0), _) => Err(value("--num-prompts", 0, "give at least 1")),
        (Some(n), _) => Ok(Extent::Requests(n)),
        (None, Some(secs)) if secs.is_finite() && secs > 0.0 && secs <= 1e7 => {
            Ok(Extent::Duration(Duration::from_secs_f64(secs)))
        }
        (None, Some(secs)) => Err(value("--duration", secs, "give seconds above 0")),
        (None, None) => Ok(match (defaults.num_prompts, defaults.duration) {
            (None, Some(secs)) => Extent::Duration(
                Duration::try_from_secs_f64(secs).map_err(|e| value("duration in [defaults]", secs, &e.to_string()))?,
            ),
            (n, _) => Extent::Requests(n.unwrap_or(100)),
        }),
    }
}

fn arrivals(o: &LoadOptions, workload: &WorkloadOptions) -> Result<Arrivals, PlanError> {
    if workload.dataset_name == DatasetName::TimedTrace {
        return Ok(Arrivals::Trace);
    }
    match o.burstiness {
        b if b.is_infinite() && b > 0.0 => Ok(Arrivals::Constant),
        b if b > 0.0 => Ok(Arrivals::Gamma { burstiness: b }),
        b => Err(value("--burstiness", b, "give a gamma shape above 0 (1 is Poisson), or `inf` for constant gaps")),
    }
}

fn ramp_up(o: &LoadOptions) -> Result<Option<RampUp>, PlanError> {
    let (Some(shape), Some(start), Some(end)) = (o.ramp_up_strategy, o.ramp_up_start_rps, o.ramp_up_end_rps) else {
        return Ok(None);
    };
    for (flag, rps) in [("--ramp-up-start-rps", start), ("--ramp-up-end-rps", end)] {
        if !(rps.is_finite() && rps > 0.0) {
            return Err(value(flag, rps, "give requests per second above 0"));
        }
    }
    Ok(Some(RampUp { shape, start, end }))
}

/// Requests that can't fit would only be measured as failures.
fn check_context(sweep: &Sweep, arms: &[ArmPlan]) -> Result<(), PlanError> {
    let Dataset::Random { input, output, prefix_len } = sweep.workload.dataset else { return Ok(()) };
    let (input, output) = (input.largest().0.saturating_add(prefix_len.0), output.largest().0);
    for arm in arms {
        let Deployment::Spawn(fleet) = &arm.deployment else { continue };
        for instance in &fleet.instances {
            if let Some(Context { tokens, origin }) = context::known_context(&instance.args, &fleet.model) {
                if input.saturating_add(output) > tokens {
                    let what = format!("a random request for arm `{}`", arm.label);
                    return Err(PlanError::ContextOverflow { what, input, output, context: tokens, origin });
                }
            }
        }
    }
    Ok(())
}
