//! The words and the waiting of vLLM's start, and the ways in which it can go wrong.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::enginesim::args::ServeArgs;
use crate::enginesim::config::{Config, KvSide};
use crate::enginesim::faults::Fault;
use crate::enginesim::log::{self, Source};
use topobench::predict::model::Parallelism;

/// First lines: who this is and what was asked.
pub(super) fn banner(args: &ServeArgs) {
    let model = args.model_tag.as_deref().or(args.model.as_deref()).unwrap_or("none");
    let version = concat!("0.32.0+enginesim.", env!("CARGO_PKG_VERSION"));
    let text = format!("version {version} (simulated)   model {model}");
    log::info(Source::ApiServer, "utils.py:344", &text);
    // Keys stay out of the log.
    let mut words: Vec<String> = Vec::new();
    let mut secret = false;
    for word in std::env::args().skip(2) {
        if word.starts_with("--") {
            secret = word.starts_with("--api-key") || word.starts_with("--api_key");
            words.push(word.split('=').next().filter(|_| secret).unwrap_or(&word).to_owned());
        } else {
            words.push(if secret { "***".to_owned() } else { word });
        }
    }
    log::info(Source::ApiServer, "utils.py:278", &format!("non-default args: {words:?}"));
    if let Ok(devices) = std::env::var("CUDA_VISIBLE_DEVICES") {
        let text = format!("CUDA_VISIBLE_DEVICES={devices} (not used by a simulation)");
        log::info(Source::ApiServer, "utils.py:279", &text);
    }
}

/// The time until ready; an exit code when it never comes.
pub(super) async fn wait(config: &Config) -> Option<ExitCode> {
    describe(config);
    leave_children(config);
    if config.faults.has(&Fault::LeaveFiles)
        && let Err(error) = leave_files()
    {
        log::error(Source::ApiServer, "faults", &error.to_string());
    }
    tokio::time::sleep(config.start_delay).await;
    let faults = &config.faults;
    if let Some(code) = faults.find(|fault| match fault {
        Fault::DieBeforeReady(code) => Some(*code),
        _ => None,
    }) {
        log::error(Source::EngineCore, "core.py:936", "EngineCore failed to start.");
        log::traceback(&["  ...", "RuntimeError: Engine core initialization failed. See root cause above."]);
        return Some(ExitCode::from(code.rem_euclid(256) as u8));
    }
    if faults.has(&Fault::NeverReady) {
        std::future::pending::<()>().await;
    }
    let late = faults.find(|fault| match fault {
        Fault::SlowReady(delay) => Some(*delay),
        _ => None,
    });
    tokio::time::sleep(late.unwrap_or(Duration::ZERO)).await;
    None
}

fn describe(config: &Config) {
    let core = |place: &str, text: String| log::info(Source::EngineCore, place, &text);
    let api = |place: &str, text: String| log::info(Source::ApiServer, place, &text);
    api("model.py:617", format!("Resolved architecture: {}", config.model.architecture));
    api("model.py:1752", format!("Using max model len {}", config.max_model_len));
    let batched = config.limits.batched_tokens;
    api("scheduler.py:239", format!("Chunked prefill is enabled with max_num_batched_tokens={batched}."));
    let Parallelism { tensor_parallel, data_parallel, pipeline_parallel, .. } = config.parallelism;
    let ranks = tensor_parallel * pipeline_parallel;
    core("parallel_state.py:1422", format!("world_size={ranks} rank=0 local_rank=0 backend=simulated"));
    if data_parallel > 1 {
        core("utils.py:941", format!("Started {data_parallel} data-parallel ranks"));
    }
    let cost = config.cost();
    let gib = cost.kv_memory(config.utilization) / f64::from(1 << 30);
    core("gpu_worker.py:466", format!("Available KV cache memory: {gib:.2} GiB"));
    core("kv_cache_utils.py:1733", format!("GPU KV cache size: {} tokens", config.kv_tokens()));
    if let Some(kv) = &config.kv {
        core(
            "factory.py:62",
            format!(
                "Creating v1 connector with name: NixlConnector, role {:?} and engine_id: {}",
                kv.transfer.kv_role, kv.engine_id
            ),
        );
    }
}

fn leave_children(config: &Config) {
    for (fault, words) in [(Fault::Grandchild, &["linger"][..]), (Fault::SetsidChild, &["linger", "--own-session"][..])]
    {
        if !config.faults.has(&fault) {
            continue;
        }
        match Command::new("/proc/self/exe").arg0("enginesim").args(words).stdin(Stdio::null()).spawn() {
            Ok(child) => {
                let text = format!("left child {} behind ({fault:?})", child.id());
                log::info(Source::ApiServer, "faults", &text);
            }
            Err(error) => log::error(Source::ApiServer, "faults", &error.to_string()),
        }
    }
}

/// Open for the rest of the process's life and never removed, with names such as Python and ZeroMQ give.
fn leave_files() -> std::io::Result<()> {
    let pid = std::process::id();
    let memory = format!("/dev/shm/psm_sim{pid}");
    let socket = format!("/tmp/{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", pid, 0, 0, 0, pid);
    std::mem::forget(std::fs::File::create(&memory)?);
    std::mem::forget(std::os::unix::net::UnixListener::bind(&socket)?);
    log::info(Source::ApiServer, "faults", &format!("will leave {memory} and {socket} behind"));
    Ok(())
}

/// The last lines before requests are answered.
pub(super) fn ready(config: &Config) {
    let address = format!("http://{}:{}", config.host, config.port);
    let text = format!("Starting vLLM server on {address}");
    log::info(Source::ApiServer, "api_server.py:596", &text);
    log::uvicorn(&format!("Started server process [{}]", std::process::id()));
    log::uvicorn("Waiting for application startup.");
    log::uvicorn("Application startup complete.");
    let megabytes = config.faults.find(|fault| match fault {
        Fault::HugeLog(megabytes) => Some(*megabytes),
        _ => None,
    });
    if let Some(megabytes) = megabytes {
        std::thread::spawn(move || flood(megabytes));
    }
}

/// Log without newline and not in UTF-8.
fn flood(megabytes: u64) {
    let block = [0xff, b'x', 0xc3, 0x28].repeat(256 * 1024);
    for _ in 0..megabytes {
        if std::io::stderr().write_all(&block).is_err() {
            return;
        }
    }
}

/// What vLLM prints before it hangs on a side channel that somebody else has.
pub(super) fn side_channel_taken(kv: &KvSide, port: u16, error: &std::io::Error) {
    let last = format!("zmq.error.ZMQError: Address already in use (addr='tcp://{}:{}') [{error}]", kv.host, port);
    let text = "Exception in thread nixl_handshake_listener:\n";
    // A reader that went away must not end the engine.
    let _ = std::io::stderr().write_all(text.as_bytes());
    log::traceback(&["    with zmq_ctx(zmq.ROUTER, path) as sock:", "    socket.bind(path)", &last]);
}
