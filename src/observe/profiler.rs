//! vLLM's torch profiler, switched on and off on every engine by itself: a proxy would reach one of them.

use super::fleet::EngineTarget;
use super::http;
use futures_util::future::join_all;
use std::time::Duration;

/// Writing the traces of a busy minute takes its time.
const PATIENCE: Duration = Duration::from_secs(600);
/// How an engine gets a profiler.
const REMEDY: &str = r#"start it with --profiler-config '{"profiler":"torch","torch_profiler_dir":"DIR"}' (vLLM before 0.13: VLLM_TORCH_PROFILER_DIR set)"#;

/// What went wrong, a sentence for each engine.
pub async fn start(engines: &[EngineTarget]) -> Vec<String> {
    ask(engines, "start_profile").await
}

/// Returns when every engine has written its traces.
pub async fn stop(engines: &[EngineTarget]) -> Vec<String> {
    ask(engines, "stop_profile").await
}

async fn ask(engines: &[EngineTarget], what: &str) -> Vec<String> {
    let one = |engine: &EngineTarget| {
        let (engine, what) = (engine.clone(), what.to_string());
        async move { post(&engine, &what).await.err().map(|why| format!("{}: {what}: {why}", engine.name)) }
    };
    join_all(engines.iter().map(one)).await.into_iter().flatten().collect()
}

async fn post(engine: &EngineTarget, what: &str) -> Result<(), String> {
    let client = http::client(PATIENCE, engine.access.insecure).map_err(|e| e.to_string())?;
    let url = format!("{}/{what}", engine.base_url.trim_end_matches('/'));
    let headers = engine.access.to_headers();
    let request = headers.into_iter().fold(client.post(url), |request, (name, value)| request.header(name, value));
    let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.as_u16() == 404 => Err(format!("it has no profiler: {REMEDY}")),
        status => Err(format!("HTTP {status}")),
    }
}
