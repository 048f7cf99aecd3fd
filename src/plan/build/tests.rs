mod secrets;
mod settings;

use super::*;
use crate::plan::arm::ArmSpec;
use crate::plan::arm::Sizes;
use crate::plan::deployment::{GpuAssignment, InstancePlan};
use crate::plan::gpus::Vendor;
use crate::plan::lengths::Lengths;
use crate::plan::load::Extent;
use crate::plan::options::SloOptions;
use crate::plan::options::{LoadOptions, WorkloadOptions};
use crate::plan::secrecy::EnvValue;
use crate::plan::slo_words::{self, Metric, SloWord};
use crate::plan::typed::number;
use crate::plan::{MetricChoice, OnFailure, Timeouts};
use crate::units::{RequestRate, TokenCount};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The flags that a plan is made of, without the program around them.
#[derive(Debug, Parser)]
struct Flags {
    arms: Vec<String>,
    #[arg(long, default_value = "sim")]
    engine: String,
    #[arg(long)]
    attach: Option<String>,
    #[arg(long, value_parser = number)]
    gate: Option<f64>,
    #[arg(long)]
    name: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    engine_arg: Vec<String>,
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    slo: SloOptions,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    std::iter::once("plan").chain(text.split_whitespace())
}

fn gpus(ids: &[&str]) -> GpuPool {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    GpuPool {
        vendor: Vendor::Cuda,
        ids,
        places: Vec::new(),
        nodes: Vec::new(),
        origin: "the GPUs of this machine".to_string(),
    }
}

/// From a command line to a plan, on a machine with two GPUs.
fn plan_with(text: &str, env: &Environment) -> Result<Plan, String> {
    let flags =
        Flags::try_parse_from(words(text)).map_err(|e| e.to_string().lines().next().unwrap_or("").to_string())?;
    request(flags, env).and_then(|r| build(&r, env, || gpus(&["0", "1"]))).map_err(|e| e.to_string())
}

fn request(flags: Flags, env: &Environment) -> Result<PlanRequest, PlanError> {
    let arms = match flags.attach {
        Some(url) => Arms::Attach(AttachRequest {
            servers: Servers::Endpoint { url, hands_over: false },
            name: "simple".to_string(),
            gpus: None,
            headers: Vec::new(),
            insecure: false,
            metrics: Vec::new(),
            metrics_lag: None,
        }),
        None => {
            let specs = flags.arms.iter().map(|a| ArmSpec::parse(a)).collect::<Result<_, _>>()?;
            Arms::Spawn { specs, engine: flags.engine }
        }
    };
    let limit = |flag: &str, metric, value: &Option<String>| {
        value.clone().map(|value| SloWord { position: 1, shown: format!("{flag} {value}"), metric, value })
    };
    let slo = [
        limit("--ttft-slo", Metric::Ttft, &flags.slo.ttft_slo),
        limit("--tpot-slo", Metric::Tpot, &flags.slo.tpot_slo),
    ];
    let seconds = Duration::from_secs(60);
    Ok(PlanRequest {
        arms,
        workload: flags.workload,
        load: flags.load,
        slo: slo_words::resolve(slo.into_iter().flatten().collect(), env)?,
        target: slo_words::target(flags.slo.target, env)?,
        run: RunOptions {
            order: None,
            result_dir: PathBuf::from("results"),
            name: flags.name,
            gate: flags.gate,
            window: flags.slo.window,
            goodput_per: flags.slo.goodput_per.unwrap_or_default(),
            on_failure: OnFailure::default(),
            profile: false,
            metadata: BTreeMap::new(),
            metrics: MetricChoice::default(),
            engine_args: flags.engine_arg,
            through_proxy: false,
            job: None,
            ready_timeout: seconds,
            timeouts: Timeouts { first_token: seconds, idle: seconds, drain: seconds },
        },
    })
}

#[track_caller]
fn plan(text: &str) -> Plan {
    plan_with(text, &Environment::default()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refusals(cases: &[&str]) -> String {
    let refusal = |text: &&str| match plan_with(text, &Environment::default()) {
        Err(error) => format!("{text}\n{}", indented(&error)),
        Ok(_) => panic!("`{text}` makes a plan"),
    };
    cases.iter().map(refusal).collect::<Vec<_>>().join("\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[track_caller]
fn instances(plan: &Plan, arm: usize) -> &[InstancePlan] {
    match &plan.arms[arm].deployment {
        Deployment::Spawn(fleet) => &fleet.instances,
        Deployment::Attach(_) => panic!("attached"),
    }
}

fn gpus_of(plan: &Plan, arm: usize) -> Vec<String> {
    instances(plan, arm).iter().map(|i| format!("{} {}", i.name(), i.gpus.ids().join("+"))).collect()
}

#[test]
fn a_bad_arm_is_refused_by_name_with_a_remedy() {
    insta::assert_snapshot!(refusals(&[
        "simple:tp=0",
        "simple:tp=4294967295",
        "simple:replicas=0",
        "nixl:decode=0",
        "simple:tp=-1",
        "simple:tp=two",
        "simple:tp",
        "simple:gpus=2",
        "nixl:prefil=1",
        "nixl:data-parallel-size=2",
        "simple:decode.max-num-seqs=2",
        "simple:block-size=16,block_size=32",
        "simple:x='1",
        "simple:prefill=1",
        "nixl:tp=2",
        "simple:tp=1,tp=2",
        ":tp=2",
        "sinple",
        "nope.toml",
        "simple --engine tpu",
        "simple:tp=9",
        "nixl:prefill=8",
        "simple:tp=4 --engine vllm",
        "simple --name ../x",
    ]));
}

#[test]
fn a_bad_load_is_refused_with_the_value() {
    insta::assert_snapshot!(refusals(&[
        "simple --request-rate 0",
        "simple --request-rate=-1",
        "simple --request-rate nan",
        "simple --request-rate 1,x",
        "simple --request-rate 1,2,1.0",
        "simple --request-rate 1,inf --duration 5",
        "simple --duration 0",
        "simple --duration=-3",
        "simple --duration inf",
        "simple --duration nan",
        "simple --num-prompts 0",
        "simple --num-prompts x",
        "simple --num-prompts 20000001",
        "simple --request-rate 10000 --duration 3000",
        "simple --attempts 0",
        "simple --launches 0",
        "simple --launches 1001",
        "simple --max-concurrency 0",
        "simple --burstiness 0",
        "simple --burstiness 1e-9",
        "simple --burstiness 1e9",
        "simple --request-rate 1e-9",
        "simple --attempts 4294967295",
        "simple --num-warmups 4294967295",
        "simple --burstiness=-inf",
        "simple --ramp-up-strategy linear --ramp-up-start-rps 0 --ramp-up-end-rps 5",
        "simple --ramp-up-strategy linear --ramp-up-start-rps 1 --ramp-up-end-rps inf",
        "simple --strategy search --request-rate 1",
        "simple --strategy search --concurrency 4",
        "simple --request-rate 1 --precision 5",
        "simple --strategy grid --budget 5m",
        "simple --gate 90",
    ]));
}

#[test]
fn a_bad_workload_is_refused_with_the_value() {
    insta::assert_snapshot!(refusals(&[
        "simple --random-input-len 0",
        "simple --random-output-len 0",
        "simple --random-input-len 4294967295",
        "simple --random-prefix-len 4294967295",
        "simple --dataset-name sharegpt --dataset-path x --multi-turn 4294967295",
        "simple --model=",
        "simple --model=--help",
        "simple --served-model-name=-x",
        "simple --tokenizer=",
        "simple --output-len 0 --dataset-name custom --dataset-path x",
        "simple --random-range-ratio 1",
        "simple --random-range-ratio=-0.1",
        "simple --random-lognormal-sigma 0",
        "simple --random-input-len 32000 --random-output-len 1000",
        "simple --random-input-len 32000 --random-prefix-len 1000",
        "simple --random-input-len 20000 --random-range-ratio 0.9",
        "simple --engine-arg --max-model-len --engine-arg 1k",
        "simple --dataset-name custom",
        "simple --dataset-name hf",
        "simple --dataset-name timed_trace",
        "simple --extra-body {",
        "simple --extra-body [1]",
        "simple --endpoint /v1/embeddings",
        "simple --temperature=-1",
        "simple --temperature nan",
    ]));
}

#[test]
fn a_bad_objective_is_refused_with_the_value() {
    insta::assert_snapshot!(refusals(&[
        "simple --ttft-slo 0",
        "simple --ttft-slo 0.125",
        "simple --ttft-slo 5kg",
        "simple --tpot-slo fast",
        "simple --target 0",
        "simple --target 100.5",
        "simple --gate=-1",
        "simple --gate 101",
    ]));
}

#[test]
fn a_place_to_attach_to_may_be_pasted_as_it_stands_anywhere() {
    for (text, base) in [
        ("localhost:8000", "http://localhost:8000"),
        (" http://h:8000/ ", "http://h:8000"),
        ("http://h:8000/v1", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000"),
        ("https://h/v1/chat/completions", "https://h"),
        ("127.0.0.1:8000/v1/completions/", "http://127.0.0.1:8000"),
        ("https://h/some/path/v1/models", "https://h/some/path"),
        ("[::1]:8000", "http://[::1]:8000"),
    ] {
        assert_eq!(arms::base_url(text).expect(text), base);
    }
}

#[test]
fn a_bad_place_to_attach_to_is_refused_and_a_password_is_not_repeated() {
    insta::assert_snapshot!(refusals(&[
        "--attach ftp://host --model m --request-rate 1",
        "--attach http://user:pa55@host:8000 --model m --request-rate 1",
        "--attach http://host:8000/?key=1 --model m --request-rate 1",
        "--attach http://host:8000 --request-rate 1",
        "--attach http://host:8000 --model m --strategy grid",
    ]));
    assert!(!refusals(&["--attach http://user:pa55@host:8000 --model m"]).lines().skip(1).any(|l| l.contains("pa55")));
}

#[test]
fn an_argument_that_takes_more_gpus_is_refused_wherever_it_comes_from() {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("name='mine'\nkind='simple'\ndevices=8\n{text}")).expect("written");
        path.display().to_string()
    };
    let cases = [
        ("simple --engine-arg=--data-parallel-size=2".to_string(), "--data-parallel-size=2"),
        ("simple --engine-arg --pipeline_parallel_size --engine-arg 2".to_string(), "--pipeline_parallel_size"),
        ("nixl --engine-arg=--config=x.yaml".to_string(), "--config=x.yaml"),
        (file("args.toml", "args=['-dp', '2']"), "-dp (from args of topology `mine`)"),
        (file("group.toml", "[group]\nargs=['--nnodes=2']"), "--nnodes=2 (from args in [group] of topology `mine`)"),
        (file("env.toml", "[env]\nVLLM_DP_SIZE='2'"), "VLLM_DP_SIZE (from env of topology `mine`)"),
    ];
    for (line, word) in cases {
        let error = plan_with(&line, &Environment::default()).expect_err(&line);
        assert!(error.contains(word) && error.contains("\nhint: "), "{line}: {error}");
    }
    let inherited = Environment::of([("VLLM_DP_SIZE", "2")]);
    assert!(plan_with("simple", &inherited).expect_err("two engines").contains("VLLM_DP_SIZE=2"));
    assert!(plan_with("simple --engine-arg=", &Environment::default()).expect_err("empty").contains("empty"));
}

#[test]
fn a_size_that_cannot_be_is_told_as_it_was_given() {
    let flags = Sizes { prefill: Some(0), ..Sizes::default() };
    let error = ArmSpec::named("nixl", flags).load("sim", &Environment::default()).expect_err("none").to_string();
    assert!(error.starts_with("invalid value `0` for --prefill\n"), "{error}");
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, "name='mine'\nkind='prefill-decode'\n[decode]\nreplicas=0\n").expect("written");
    let error = plan_with(&path.display().to_string(), &Environment::default()).expect_err("none");
    assert!(error.contains("replicas in [decode] of topology `mine`"), "{error}");
    std::fs::write(&path, "name='mine'\nkind='simple'\ndevices=4294967295\n").expect("written");
    let error = plan_with(&path.display().to_string(), &Environment::default()).expect_err("too many");
    assert!(error.contains("devices = 4294967295"), "{error}");
}

#[test]
fn bad_variables_are_refused_by_name() {
    for (name, value) in [
        ("TENSOR_PARALLEL_SIZE", "two"),
        ("TENSOR_PARALLEL_SIZE", "-1"),
        ("TENSOR_PARALLEL_SIZE", "0"),
        ("GPU_MEMORY_UTILIZATION", "0"),
        ("GPU_MEMORY_UTILIZATION", "80%"),
        ("GPU_MEMORY_UTILIZATION", "nan"),
        ("TTFT_SLO", "0.125"),
        ("TPOT_SLO", "x"),
        ("TARGET_ATTAINMENT", "0"),
        ("TARGET_ATTAINMENT", "ninety"),
    ] {
        let error = plan_with("simple", &Environment::of([(name, value)])).expect_err(value);
        assert!(error.contains(name) && error.to_lowercase().contains(value), "{name}={value}: {error}");
        assert!(error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn what_nobody_says_is_the_documented_default() {
    let plan = plan("simple nixl --engine vllm");
    let sweep = &plan.sweep;
    assert_eq!(sweep.slo.to_string(), "TTFT 125 ms, TPOT 200 ms");
    assert_eq!(sweep.target.percent().get(), 90.0);
    // The rates are looked for.
    let strategy::StrategyPlan::Search(search) = &sweep.strategy else { panic!("{:?}", sweep.strategy) };
    assert_eq!((search.precision, search.budget), (0.1, Duration::from_secs(20 * 60)));
    assert_eq!((search.first_rate.per_second(), search.pilot), (1.0, Duration::from_secs(6)));
    assert_eq!((&sweep.load.rates, sweep.load.extent), (&Vec::new(), Extent::Duration(Duration::from_secs(60))));
    let fixed = |tokens| Lengths::Fixed { tokens: TokenCount(tokens) };
    let Dataset::Random { input, output, .. } = sweep.workload.dataset else { panic!("random is the default") };
    assert_eq!((input, output), (fixed(1024), fixed(128)));
    assert_eq!(sweep.model, "Qwen/Qwen3-0.6B");
    assert_eq!(sweep.served_model_name, "Qwen/Qwen3-0.6B");
    assert_eq!(plan.order, Order::Abba, "two GPUs are shared");
    assert_eq!((sweep.load.launches, sweep.load.attempts), (2, 1), "there and back");
    let sizes: Vec<_> = plan.arms.iter().flat_map(|a| &a.topology).map(|t| t.size_label()).collect();
    assert_eq!(sizes, ["TP2", "1P1D"]);
    assert_eq!(instances(&plan, 0)[0].args, ["--gpu-memory-utilization", "0.8"]);
    // Whether the model's tokenizer is here is the machine's affair.
    assert!(plan.warnings.iter().all(|w| w.starts_with("no tokenizer of")), "{:?}", plan.warnings);
}

#[test]
fn a_grid_has_the_files_rates_and_a_hundred_requests_a_point() {
    let plan = plan("simple --engine vllm --strategy grid");
    let load = &plan.sweep.load;
    assert_eq!((&plan.sweep.strategy, load.extent), (&strategy::StrategyPlan::Grid, Extent::Requests(100)));
    assert_eq!(load.rates.iter().map(|r| r.per_second()).collect::<Vec<_>>(), [0.5, 1.0, 2.0, 4.0, 8.0]);
}

#[test]
fn a_ramp_alone_is_one_point_named_by_its_end() {
    let plan = plan("simple --ramp-up-strategy linear --ramp-up-start-rps 2 --ramp-up-end-rps 20");
    assert_eq!(plan.sweep.load.rates, [RequestRate::new(20.0).expect("a rate")]);
}

#[test]
fn alone_a_deployment_is_as_small_as_it_can_be() {
    let size = |text| plan(text).arms[0].topology.as_ref().map(|t| t.size_label());
    assert_eq!(size("simple").as_deref(), Some("TP1"));
    assert_eq!(size("nixl").as_deref(), Some("1P1D"));
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let env = Environment::of([
        ("TENSOR_PARALLEL_SIZE", "4"),
        ("GPU_MEMORY_UTILIZATION", "0.5"),
        ("TTFT_SLO", "300"),
        ("TPOT_SLO", "30"),
        ("TARGET_ATTAINMENT", "99"),
    ]);
    let ambient = plan_with("simple", &env).expect("a plan");
    assert_eq!(ambient.arms[0].gpus, 4);
    assert_eq!(ambient.sweep.slo.to_string(), "TTFT 300 ms, TPOT 30 ms");
    assert_eq!(ambient.sweep.target.percent().get(), 99.0);
    let typed = plan_with("simple:tp=2 --ttft-slo 250 --target 95 --engine-arg=--gpu-memory-utilization=0.6", &env);
    let typed = typed.expect("a plan");
    assert_eq!(typed.arms[0].gpus, 2);
    assert_eq!(typed.sweep.slo.to_string(), "TTFT 250 ms, TPOT 30 ms");
    assert_eq!(typed.sweep.target.percent().get(), 95.0);
    // The engine takes the last of repeated arguments.
    let args = instances(&typed, 0)[0].args.join(" ");
    assert!(args.ends_with("--gpu-memory-utilization 0.5 --gpu-memory-utilization=0.6"), "{args}");
}

#[test]
fn a_file_keeps_its_sizes_whatever_the_environment_says() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mine.toml");
    let text = "name='mine'\nkind='simple'\nprogram='enginesim'\ndevices=8\n[group]\ntensor_parallel=2\n[defaults]\nmodel='m'\nrequest_rate=[1]\n";
    std::fs::write(&path, text).expect("written");
    let env = Environment::of([("TENSOR_PARALLEL_SIZE", "8")]);
    assert_eq!(plan_with(&path.display().to_string(), &env).expect("a plan").arms[0].gpus, 2);
    assert_eq!(plan_with(&format!("{}:tp=4", path.display()), &env).expect("a plan").arms[0].gpus, 4);
}

#[test]
fn a_file_with_an_unknown_key_is_refused_with_the_key_and_its_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mine.toml");
    std::fs::write(&path, "name='mine'\nkind='simple'\n[group]\ntensor_paralel=2\n").expect("written");
    let error = plan_with(&path.display().to_string(), &Environment::default()).expect_err("a typo");
    assert!(error.contains("mine.toml") && error.contains("tensor_paralel") && error.contains("line 4"), "{error}");
    assert!(error.contains("tensor_parallel`"), "the right spelling is there: {error}");
}

/// 2 prefill instances of TP2 and 2 decode instances of TP1: allowed, and vLLM prefers it the other way round.
#[test]
fn a_decode_side_smaller_than_prefill_runs_with_a_warning() {
    let plan = plan("nixl:prefill=2,decode=2,prefill-tp=2,decode-tp=1");
    assert_eq!(gpus_of(&plan, 0), ["prefill-0 0+1", "prefill-1 2+3", "decode-0 4", "decode-1 5"]);
    assert_eq!(plan.arms[0].gpus, 6);
    insta::assert_snapshot!(plan.warnings.join("\n"));
    assert!(self::plan("nixl:prefill-tp=1,decode-tp=2").warnings.is_empty());
}

#[test]
fn arms_of_one_name_are_told_apart() {
    let labels = |text| plan(text).arms.into_iter().map(|a| a.label).collect::<Vec<_>>();
    assert_eq!(labels("simple nixl"), ["simple", "nixl"]);
    assert_eq!(labels("simple:tp=1 simple:tp=2"), ["simple TP1", "simple TP2"]);
    assert_eq!(labels("simple simple simple"), ["simple TP1", "simple TP1 (2)", "simple TP1 (3)"]);
    assert_eq!(labels("nixl:prefill=2 nixl:decode=2"), ["nixl 2P1D", "nixl 1P2D"]);
}

#[test]
fn one_arm_takes_the_name_it_is_given() {
    let named = plan("simple --name tuned");
    assert_eq!((named.arms[0].name.as_str(), named.arms[0].label.as_str()), ("tuned", "tuned"));
    assert_eq!(plan("--attach http://h --model m --request-rate 1").arms[0].name, "simple");
    assert_eq!(plan("--attach http://h --model m --request-rate 1 --name blue").arms[0].name, "blue");
}

#[test]
fn arms_take_turns_only_where_they_share_gpus() {
    assert_eq!(plan("simple nixl").order, Order::Interleaved, "eight simulated GPUs have room for both");
    assert_eq!(plan("simple nixl:prefill=3,decode=3").order, Order::Abba);
    assert_eq!(plan("simple").order, Order::Ab);
}

#[test]
fn gpus_are_handed_out_as_they_are_called() {
    let env = Environment::default();
    let flags = Flags::try_parse_from(words("nixl:decode-tp=2 --engine vllm")).expect("flags");
    let request = request(flags, &env).expect("a request");
    let plan = build(&request, &env, || gpus(&["GPU-8f3a", "2", "MIG-77"])).expect("a plan");
    assert_eq!(gpus_of(&plan, 0), ["prefill-0 GPU-8f3a", "decode-0 2+MIG-77"]);
    assert!(matches!(instances(&plan, 0)[0].gpus, GpuAssignment::Cuda(_)));
    let none = build(&request, &env, GpuPool::none).expect("a plan for the CPU");
    assert_eq!(none.arms[0].gpus, 0);
}

#[test]
fn a_built_in_tokenizer_serves_all_models_and_others_only_their_own() {
    let tokenizer = |text: &str| plan(text).sweep.workload.tokenizer;
    assert_eq!(tokenizer("simple").as_deref(), Some("enginesim"));
    assert_eq!(tokenizer("simple --model qwen3-0.6b").as_deref(), Some("enginesim"));
    assert_eq!(tokenizer("simple --model m --tokenizer t").as_deref(), Some("t"));
    let texts = "--dataset-name custom --dataset-path x";
    assert_eq!(tokenizer(&format!("simple --engine vllm --model m {texts}")).as_deref(), Some("m"));
    assert_eq!(tokenizer("simple --engine vllm --model not/here"), None, "token ids do without");
}
