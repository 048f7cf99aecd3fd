//! Plans for fake engines, and ways to see what is left of them.

pub(crate) use kit::process::{survivors, survivors_after};

use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use topobench::launch::{Fleet, LaunchError, LaunchOptions};
use topobench::plan::deployment::{FleetPlan, GpuAssignment, InstancePlan};
use topobench::plan::parallelism::Parallelism;
use topobench::plan::secrecy::EngineEnv;
use topobench::plan::topology::{KvTransfer, Role};

/// One prefill and one decode instance of the fake engine, each with its own flags.
pub(crate) fn pair(prefill: &[&str], decode: &[&str]) -> FleetPlan {
    let instance = |role, args: &[&str]| InstancePlan {
        role,
        index: 0,
        parallelism: Parallelism::default(),
        gpus: GpuAssignment::None,
        args: args.iter().map(|arg| (*arg).to_string()).collect(),
        node: None,
        more_nodes: Vec::new(),
    };
    FleetPlan {
        program: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/launch/fake_engine.py").into(),
        model: "/models/tiny".into(),
        served_model_name: "tiny".into(),
        api_key: None,
        env: EngineEnv::default(),
        kv: Some(KvTransfer::default()),
        instances: vec![instance(Role::Prefill, prefill), instance(Role::Decode, decode)],
        ready_timeout: Duration::from_secs(60),
    }
}

pub(crate) fn options(dir: &Path) -> LaunchOptions {
    LaunchOptions {
        guardian: env!("CARGO_BIN_EXE_topobench").into(),
        // Plenty for an engine that heeds SIGTERM, however busy the machine.
        grace: Duration::from_secs(20),
        version: Some(topobench::launch::EngineVersion::new(0, 32, 0)),
        ..LaunchOptions::new(dir.join("logs"))
    }
}

pub(crate) async fn launch(plan: &FleetPlan, dir: &Path) -> Result<Fleet, LaunchError> {
    Fleet::launch(plan, &options(dir), |_| {}, &CancellationToken::new()).await
}

/// A fleet whose engines ignore SIGTERM: there is no point in waiting long for them.
pub(crate) async fn launch_of_the_deaf(plan: &FleetPlan, dir: &Path) -> Fleet {
    let options = hasty(dir);
    let launched = Fleet::launch(plan, &options, |_| {}, &CancellationToken::new()).await;
    launched.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn hasty(dir: &Path) -> LaunchOptions {
    LaunchOptions { grace: Duration::from_millis(300), ..options(dir) }
}

/// The error of a launch that must fail.
pub(crate) async fn failure(plan: &FleetPlan, dir: &Path) -> LaunchError {
    match launch(plan, dir).await {
        Ok(_) => panic!("this fleet must not come up"),
        Err(error) => error,
    }
}

/// A directory in which every process of an engine leaves its pid.
pub(crate) fn family(dir: &Path) -> PathBuf {
    let family = dir.join("family");
    std::fs::create_dir_all(&family).expect("creates");
    family
}

pub(crate) fn pids(family: &Path) -> Vec<i32> {
    let names = std::fs::read_dir(family).expect("reads").map(|entry| entry.expect("reads").file_name());
    names.map(|name| name.to_str().and_then(|n| n.parse().ok()).expect("a pid")).collect()
}
