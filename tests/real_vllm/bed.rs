//! The engines of the scenes: one replica, one prefill and one decode instance of the same engine, and our proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use topobench::drive::Destination;
use topobench::launch::{Fleet, InstanceExit, LaunchOptions};
use topobench::observe::fleet::EngineTarget;
use topobench::observe::scrape::Scraper;
use topobench::plan::arm::ArmSpec;
use topobench::plan::build::{self, Arms, PlanRequest, RunOptions};
use topobench::plan::deployment::{Deployment, FleetPlan};
use topobench::plan::environment::Environment;
use topobench::plan::gpus::GpuPool;
use topobench::plan::load::Workload;
use topobench::plan::options::{LoadOptions, WorkloadOptions};
use topobench::plan::slo::{Slo, Target};
use topobench::plan::{MetricChoice, OnFailure, Timeouts};
use topobench_proxy::{BackendUrl, Proxy, ProxyConfig, ProxyHandle, Routes};

/// Which engine, and with which model.
pub(crate) struct Bed {
    engine: &'static str,
    program: PathBuf,
    model: Option<String>,
    connector: &'static str,
}

impl Bed {
    pub(crate) fn simulated(connector: &'static str) -> Bed {
        Bed { engine: "sim", program: kit::enginesim!(), model: None, connector }
    }

    pub(crate) fn real(connector: &'static str) -> Option<Bed> {
        let root = PathBuf::from(std::env::var_os("TOPOBENCH_REAL_VLLM").filter(|v| !v.is_empty())?);
        let program = root.join("venv/bin/vllm");
        assert!(program.is_file(), "TOPOBENCH_REAL_VLLM={}: there is no venv/bin/vllm in it", root.display());
        Some(Bed { engine: "cpu", program, model: Some(root.join("model").display().to_string()), connector })
    }

    /// Starts everything.
    pub(crate) async fn raise(self) -> Stage {
        let logs = tempfile::tempdir().expect("a directory for logs");
        let (nixl, workload) = self.plan(&format!("nixl:prefill=1,decode=1,kv.connector={}", self.connector));
        let (simple, _) = self.plan("simple:tp=1");
        let options = |name: &str| {
            let mut options = LaunchOptions::new(logs.path().join(name));
            options.guardian = env!("CARGO_BIN_EXE_topobench").into();
            options
        };
        let cancel = CancellationToken::new();
        let (pair_options, single_options) = (options("pair"), options("single"));
        let (pair, single) = tokio::join!(
            Fleet::launch(&nixl, &pair_options, |_| (), &cancel),
            Fleet::launch(&simple, &single_options, |_| (), &cancel)
        );
        let pair = pair.unwrap_or_else(|e| panic!("prefill and decode did not come up: {e}"));
        let single = single.unwrap_or_else(|e| panic!("the replica did not come up: {e}"));
        let url = |fleet: &Fleet, i: usize| fleet.instances()[i].base_url.clone();
        let (prefill, decode, replica) = (url(&pair, 0), url(&pair, 1), url(&single, 0));
        let backend = |url: &str| vec![url.parse::<BackendUrl>().expect("a backend's URL")];
        let routes = Routes::prefill_decode(backend(&prefill), backend(&decode));
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let proxy = Proxy::spawn(ProxyConfig::new(listen, routes)).expect("the proxy starts");
        let engines = pair.instances().iter().map(|i| EngineTarget {
            name: i.name.clone(),
            role: i.role,
            base_url: i.base_url.clone(),
            ranks: 1,
            access: topobench::plan::access::Access::default(),
        });
        Stage {
            real: self.engine == "cpu",
            model: nixl.served_model_name.clone(),
            scraper: Scraper::new(engines.collect()).expect("a client"),
            proxied: format!("http://{}", proxy.addr()),
            prefill,
            decode,
            replica,
            workload,
            proxy,
            fleets: vec![pair, single],
            _logs: logs,
        }
    }

    fn plan(&self, arm: &str) -> (FleetPlan, Workload) {
        let minutes = Duration::from_secs(600);
        let request = PlanRequest {
            arms: Arms::Spawn { specs: vec![ArmSpec::parse(arm).expect("an arm")], engine: self.engine.to_string() },
            workload: WorkloadOptions {
                model: self.model.clone(),
                endpoint: "/v1/completions".to_string(),
                ..WorkloadOptions::default()
            },
            load: LoadOptions { attempts: 1, burstiness: 1.0, ..LoadOptions::default() },
            slo: Slo::default(),
            target: Target::default(),
            run: RunOptions {
                order: None,
                result_dir: PathBuf::new(),
                name: None,
                gate: None,
                window: None,
                goodput_per: topobench::plan::goodput_unit::GoodputUnit::Request,
                on_failure: OnFailure::default(),
                profile: false,
                metadata: Default::default(),
                metrics: MetricChoice::default(),
                engine_args: Vec::new(),
                through_proxy: false,
                job: None,
                ready_timeout: minutes,
                timeouts: Timeouts { first_token: minutes, idle: minutes, drain: minutes },
            },
        };
        let plan = build::build(&request, &Environment::default(), GpuPool::none).expect("a plan");
        let Deployment::Spawn(mut fleet) = plan.arms.into_iter().next().expect("an arm").deployment else {
            panic!("a spawned arm");
        };
        fleet.program = self.program.display().to_string();
        (fleet, plan.sweep.workload)
    }
}

/// Running engines.
pub(crate) struct Stage {
    pub real: bool,
    pub model: String,
    /// Base URLs.
    pub prefill: String,
    pub decode: String,
    pub replica: String,
    pub proxied: String,
    pub scraper: Scraper,
    pub proxy: ProxyHandle,
    workload: Workload,
    fleets: Vec<Fleet>,
    _logs: tempfile::TempDir,
}

impl Stage {
    /// A target for the load client.
    pub(crate) fn target(&self, base_url: &str) -> Destination {
        Destination::new(base_url, self.model.clone(), &self.workload)
    }

    pub(crate) async fn lower(mut self) -> Vec<InstanceExit> {
        self.proxy.shutdown(Duration::from_secs(1)).await;
        let mut exits = Vec::new();
        for fleet in self.fleets {
            exits.extend(fleet.shutdown().await);
        }
        exits
    }
}
