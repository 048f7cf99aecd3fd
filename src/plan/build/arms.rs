//! Arms: topologies made concrete, or servers that somebody else runs.

use super::request::{AttachRequest, PlanRequest, Servers};
use crate::plan::ArmPlan;
use crate::plan::access::Access;
use crate::plan::arm::{self, ArmSpec, SizedTopology};
use crate::plan::attach_gpus::AttachGpus;
use crate::plan::deployment::{AttachPlan, AttachedServers, Deployment, FleetPlan, InstancePlan};
use crate::plan::engine_args;
use crate::plan::environment::{self, Environment};
use crate::plan::error::PlanError;
use crate::plan::gpus::{self, GpuPool, Vendor};
use crate::plan::labels::{self, Flags, Unnamed};
use crate::plan::mask::masked_text;
use crate::plan::topology::{Defaults, Role, SearchDefaults, Shape, Topology};

/// Arms, what their files say by default, and whether no GPU is shared.
type Spawned = (Vec<ArmPlan>, Defaults, bool);

pub(super) fn spawn(
    request: &PlanRequest,
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
    let mut topologies: Vec<Topology> = loaded.into_iter().map(|SizedTopology { topology, .. }| topology).collect();
    if let (Some(name), [only]) = (&request.run.name, topologies.as_mut_slice()) {
        only.name.clone_from(name);
    }
    topologies.iter().try_for_each(|t| engine_args::check(t, &request.run.engine_args, env))?;
    let labels = labels::unique(&topologies.iter().map(unnamed).collect::<Vec<_>>());
    let pool = pool_of(request, &topologies, detect);
    let pairs: Vec<_> = labels.iter().map(String::as_str).zip(&topologies).collect();
    let assigned = gpus::assign(&pairs, &pool)?;
    let disjoint = gpus::disjoint(&assigned);
    for (label, topology) in &pairs {
        warnings.extend(doubts(label, topology));
    }
    let flags: Vec<_> = pairs.iter().map(|(label, t)| (label.to_string(), flags_of(t))).collect();
    warnings.extend(labels::left_at_default(&flags));
    let defaults = merged_defaults(&topologies);
    Ok((made(request, topologies, labels, assigned, &pool, env)?, defaults, disjoint))
}

/// Arms that take the same GPUs, the first of those that there are, one at a time. That they differ in size and settings
/// is what they are there for, and nothing to warn of.
pub(super) fn candidates(
    request: &PlanRequest,
    specs: &[ArmSpec],
    engine: &str,
    gpus: u32,
    env: &Environment,
    detect: impl Fn() -> GpuPool,
) -> Result<Spawned, PlanError> {
    let load = |spec: &ArmSpec| spec.load(engine, env).map(|sized| sized.topology);
    let topologies = specs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    topologies.iter().try_for_each(|t| engine_args::check(t, &request.run.engine_args, env))?;
    let labels = labels::unique(&topologies.iter().map(unnamed).collect::<Vec<_>>());
    let mut pool = pool_of(request, &topologies, detect);
    match pool.vendor {
        // There are as many as are said.
        Vendor::Virtual if pool.nodes.is_empty() => pool = GpuPool::virtual_devices(gpus),
        Vendor::Virtual | Vendor::Cuda | Vendor::Hip | Vendor::None => pool.limit_to(gpus),
    }
    let alone = |(label, topology): (&String, &Topology)| Ok(gpus::assign(&[(label, topology)], &pool)?.remove(0));
    let assigned = labels.iter().zip(&topologies).map(alone).collect::<Result<Vec<_>, PlanError>>()?;
    let defaults = merged_defaults(&topologies);
    Ok((made(request, topologies, labels, assigned, &pool, env)?, defaults, false))
}

/// The job's where there is one; else virtual GPUs where the files state them, else those of the machine.
fn pool_of(request: &PlanRequest, topologies: &[Topology], detect: impl Fn() -> GpuPool) -> GpuPool {
    let devices = topologies.iter().filter_map(|t| t.devices).min();
    match (&request.run.job, devices) {
        (Some(job), devices) => job.pool(devices),
        (None, Some(devices)) => GpuPool::virtual_devices(devices),
        (None, None) => detect(),
    }
}

fn made(
    request: &PlanRequest,
    topologies: Vec<Topology>,
    labels: Vec<String>,
    assigned: Vec<gpus::ArmGpus>,
    pool: &GpuPool,
    env: &Environment,
) -> Result<Vec<ArmPlan>, PlanError> {
    let each = topologies.into_iter().zip(labels).zip(assigned);
    each.map(|((topology, label), gpus)| one(request, topology, label, gpus, pool, env)).collect()
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
            max_warmup: acc.max_warmup.or(d.max_warmup),
            search: SearchDefaults {
                first_rate: acc.search.first_rate.or(d.search.first_rate),
                point: acc.search.point.or(d.search.point),
                pilot: acc.search.pilot.or(d.search.pilot),
                budget: acc.search.budget.or(d.search.budget),
            },
        }
    })
}

fn unnamed(topology: &Topology) -> Unnamed {
    Unnamed { name: topology.name.clone(), size: Some(topology.size_label()), settings: topology.settings.shown() }
}

/// What a topology gives its engines; what is typed for all arms alike tells none apart.
fn flags_of(topology: &Topology) -> Flags {
    let groups = topology.groups().flat_map(|(_, group)| &group.args);
    Flags::new(&topology.settings.shown(), topology.args.iter().chain(groups).cloned().collect())
}

/// What may be wanted, and may not work.
fn doubts(label: &str, topology: &Topology) -> Vec<String> {
    let mut out = Vec::new();
    if let Shape::PrefillDecode { prefill, decode, .. } = &topology.shape
        && decode.tensor_parallel < prefill.tensor_parallel
    {
        out.push(format!(
                "{label}: prefill instances have TP {} and decode instances TP {}. vLLM's NIXL connector supports different sizes \
                 best when decode's is the larger (prefill TP <= decode TP); the smoke request before the sweep will show whether \
                 this version can do it",
                prefill.tensor_parallel, decode.tensor_parallel
            ));
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

fn one(
    request: &PlanRequest,
    topology: Topology,
    label: String,
    gpus: gpus::ArmGpus,
    pool: &GpuPool,
    env: &Environment,
) -> Result<ArmPlan, PlanError> {
    let model = model(request, topology.defaults.model.as_deref())?;
    let utilisation = gpu_memory_utilization(env)?;
    let instances = gpus
        .into_iter()
        .enumerate()
        .map(|(position, (role, index, gpus))| {
            let group = topology.groups().find(|(r, _)| *r == role).map(|(_, g)| g.clone()).unwrap_or_default();
            let args = [&topology.args, &utilisation, &group.args, &request.run.engine_args, &group.settings];
            let args = args.into_iter().flatten().cloned();
            let mut nodes = pool.nodes_of(position, &gpus).into_iter();
            InstancePlan {
                role,
                index,
                parallelism: group.parallelism(),
                gpus,
                args: args.collect(),
                node: nodes.next(),
                more_nodes: nodes.collect(),
            }
        })
        .collect::<Vec<_>>();
    let fleet = FleetPlan {
        program: topology.program.clone(),
        served_model_name: named(request.workload.served_model_name.as_deref(), "--served-model-name")?
            .map_or_else(|| model.clone(), str::to_string),
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
            remedy: "give a share of GPU memory above 0, at most 1, or unset it".to_string(),
        });
    }
    Ok(vec!["--gpu-memory-utilization".to_string(), share.to_string()])
}

/// A name that a flag gave, unless it is none: an empty one, or another flag that was swallowed.
///
/// # Errors
/// Names the flag.
pub(super) fn named<'a>(given: Option<&'a str>, flag: &str) -> Result<Option<&'a str>, PlanError> {
    match given {
        Some(name) if name.trim().is_empty() || name.starts_with('-') || name.contains(char::is_control) => {
            Err(PlanError::Value {
                what: flag.to_string(),
                value: name.escape_debug().to_string(),
                remedy: "give a name: a directory or a Hugging Face id".to_string(),
            })
        }
        other => Ok(other),
    }
}

fn model(request: &PlanRequest, default: Option<&str>) -> Result<String, PlanError> {
    named(request.workload.model.as_deref(), "--model")?.or(default).map(str::to_string).ok_or_else(|| {
        PlanError::Missing {
            what: "--model".to_string(),
            remedy: "name the model: a directory or a Hugging Face id".to_string(),
        }
    })
}

pub(super) fn attach(request: &PlanRequest, asked: &AttachRequest, env: &Environment) -> Result<ArmPlan, PlanError> {
    let urls = |urls: &[String]| urls.iter().map(|u| base_url(u)).collect::<Result<Vec<_>, _>>();
    let served = named(request.workload.served_model_name.as_deref(), "--served-model-name")?;
    let model = named(request.workload.model.as_deref(), "--model")?;
    let model = served.or(model).map(str::to_string).ok_or_else(|| PlanError::Missing {
        what: "--model".to_string(),
        remedy: "name the model as the servers name it (their /v1/models lists it)".to_string(),
    })?;
    let hand_over_is_watched = asked.metrics.iter().any(|url| url.role != Role::Replica);
    let servers = match &asked.servers {
        Servers::Endpoint { url, hands_over } => {
            AttachedServers::Endpoint { url: base_url(url)?, hands_over: *hands_over || hand_over_is_watched }
        }
        Servers::PrefillDecode { prefill, decode } => {
            AttachedServers::PrefillDecode { prefill: urls(prefill)?, decode: urls(decode)? }
        }
    };
    let name = request.run.name.clone().unwrap_or_else(|| asked.name.clone());
    Ok(ArmPlan {
        label: name.clone(),
        name,
        topology: None,
        deployment: Deployment::Attach(AttachPlan {
            servers,
            model,
            access: Access::new(env, &asked.headers, asked.insecure)?,
            metrics: asked.metrics.clone(),
            metrics_lag: asked.metrics_lag,
            gpus: asked.gpus,
        }),
        gpus: asked.gpus.map_or(0, AttachGpus::total),
        through_proxy: request.run.through_proxy,
    })
}

/// Ends that people copy along: of the API, not of the base.
const ENDS: [&str; 5] = ["/chat/completions", "/completions", "/models", "/v1", "/"];

/// `http://host:port`, whatever of the API's paths is copied along; a host without a scheme speaks HTTP.
pub fn base_url(text: &str) -> Result<String, PlanError> {
    let refuse = |remedy: &str| PlanError::Value {
        what: "a base URL".to_string(),
        value: masked_text(text),
        remedy: remedy.to_string(),
    };
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    let mut trimmed = with_scheme.as_str();
    for end in ENDS {
        trimmed = trimmed.trim_end_matches('/');
        trimmed = trimmed.strip_suffix(end).unwrap_or(trimmed);
    }
    let url = reqwest::Url::parse(trimmed).map_err(|_| refuse("give scheme and host, e.g. http://127.0.0.1:8000"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("it begins with http:// or https://, e.g. http://127.0.0.1:8000"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The URL is recorded; what stands in it would be seen.
        return Err(PlanError::Value {
            what: "a base URL".to_string(),
            value: format!("{}://***@{}", url.scheme(), url.host_str().unwrap_or_default()),
            remedy: "leave user and password out; an API key comes from VLLM_API_KEY or OPENAI_API_KEY".to_string(),
        });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("leave out what follows `?` or `#`; --extra-body adds to requests"));
    }
    // As it is compared elsewhere: `HTTPS://` is told from http by its letters.
    Ok(format!("{}{}", url.scheme(), &trimmed[url.scheme().len()..]))
}
