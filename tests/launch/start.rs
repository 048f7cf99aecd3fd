use crate::support::{failure, family, hasty, launch, options, pair, pids, survivors};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use topobench::launch::{EngineState, Fleet, LaunchError, LaunchEvent, Phase, StartError, StartProblem};
use topobench::plan::deployment::Secret;

fn start_error(error: LaunchError) -> StartError {
    match error {
        LaunchError::Start(error) => *error,
        other => panic!("expected a failed start, got {other}"),
    }
}

#[tokio::test]
async fn a_fleet_comes_up_proved_and_goes_down_clean() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut plan = pair(&[], &[]);
    plan.api_key = Some(Secret::new("sk-secret"));
    let events: Arc<Mutex<Vec<LaunchEvent>>> = Arc::default();
    let heard = Arc::clone(&events);
    let options = topobench::launch::LaunchOptions { version: None, ..options(dir.path()) };
    let fleet = Fleet::launch(&plan, &options, move |e| heard.lock().expect("lock").push(e), &CancellationToken::new())
        .await
        .unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(fleet.states(), [EngineState::Ready, EngineState::Ready]);
    let names: Vec<&str> = fleet.instances().iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["prefill-0", "decode-0"]);
    let decode = &fleet.instances()[1];
    assert_eq!((decode.version.as_deref(), decode.max_model_len), (Some("0.32.0-fake"), Some(2048)));
    assert!(decode.command.args.iter().any(|arg| arg.contains("kv_consumer")));
    assert!(!serde_json::to_string(decode).expect("serialises").contains("sk-secret"));
    let log = std::fs::read_to_string(&decode.log).expect("a log");
    assert!(log.contains("Application startup complete."), "{log}");

    let pids: Vec<i32> = fleet.instances().iter().map(|i| i.pid).collect();
    let exits = fleet.shutdown().await;
    assert_eq!(survivors(&pids), [] as [i32; 0]);
    for exit in &exits {
        assert_eq!(exit.status.to_string(), "exit code 0");
        assert!(exit.is_clean() && !exit.forced && !exit.unasked, "{exit:?}");
    }
    let events = events.lock().expect("lock");
    let count = |wanted: fn(&LaunchEvent) -> bool| events.iter().filter(|e| wanted(e)).count();
    assert_eq!(count(|e| matches!(e, LaunchEvent::Phase { phase: Phase::Importing, .. })), 2, "{events:?}");
    assert_eq!(count(|e| matches!(e, LaunchEvent::Ready { .. })), 2, "{events:?}");
    assert_eq!(count(|e| matches!(e, LaunchEvent::Stopped(_))), 2, "{events:?}");
}

#[tokio::test]
async fn an_engine_that_ends_while_starting_takes_its_fleet_down_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let plan = pair(&["--hang", "--family", family.to_str().expect("utf-8")], &["--die"]);
    let error = start_error(failure(&plan, dir.path()).await);
    assert_eq!(error.instance, "decode-0");
    assert_eq!(error.problem, StartProblem::Exited(topobench::launch::ExitStatus::Code(7)));
    let said = error.to_string();
    assert!(said.contains("no GPU memory is left for the KV cache") && said.contains("exit code 7"), "{said}");
    assert_eq!(survivors(&pids(&family)), [] as [i32; 0], "the sibling must be gone too");
}

#[tokio::test]
async fn a_doomed_engine_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = start_error(failure(&pair(&["--doom"], &[]), dir.path()).await);
    assert_eq!(error.problem, StartProblem::Doomed);
    assert!(error.to_string().contains("tcp://127.0.0.1:5611"));
}

#[tokio::test]
async fn an_engine_that_only_chatters_is_stuck() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut plan = pair(&["--hang"], &["--hang"]);
    plan.ready_timeout = Duration::from_secs(4);
    let error = start_error(failure(&plan, dir.path()).await);
    assert!(matches!(error.problem, StartProblem::Stuck(_)), "{error}");
    assert!(error.log_tail.iter().any(|line| line.contains("Waiting for")), "{error}");
}

#[tokio::test]
async fn another_model_or_no_token_is_not_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = start_error(failure(&pair(&["--claims", "llama"], &[]), dir.path()).await);
    let expected = StartProblem::WrongModel { expected: "tiny".into(), found: vec!["llama".into()] };
    assert_eq!(error.problem, expected);
    let error = start_error(failure(&pair(&[], &["--mute"]), dir.path()).await);
    assert!(matches!(&error.problem, StartProblem::NoToken(said) if said.contains("KV transfer is broken")), "{error}");
}

#[tokio::test]
async fn a_stranger_on_our_port_is_found_out_by_its_pid() {
    let dir = tempfile::tempdir().expect("a directory");
    let plan = pair(&["--hang"], &["--hang"]);
    // This test takes an instance's port as soon as the instance is started, and answers 200 to everything.
    let squat = |event: LaunchEvent| {
        let LaunchEvent::Started { command, .. } = event else { return };
        let port: u16 =
            command.split("--port ").nth(1).and_then(|s| s.split(' ').next()?.parse().ok()).expect("a port");
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("still free");
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let _ = socket.read(&mut [0; 4096]);
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
    };
    let launched = Fleet::launch(&plan, &options(dir.path()), squat, &CancellationToken::new()).await;
    let error = start_error(launched.err().expect("must be refused"));
    let me = std::process::id().cast_signed();
    assert!(matches!(&error.problem, StartProblem::Impostor { holder: Some(h), .. } if h.pid == me), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let held = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = held.local_addr().expect("bound").port();
    let mut plan = pair(&["--family", family.to_str().expect("utf-8")], &[]);
    plan.env.insert("VLLM_NIXL_SIDE_CHANNEL_PORT", &port.to_string());
    let said = failure(&plan, dir.path()).await.to_string();
    assert!(said.contains(&format!("side-channel port {port} is taken by pid {}", std::process::id())), "{said}");
    assert!(pids(&family).is_empty());
}

#[tokio::test]
async fn an_interrupt_while_starting_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let family = family(dir.path());
    let plan = pair(&["--hang", "--deaf", "--family", family.to_str().expect("utf-8")], &["--hang"]);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let on_loading = move |event| {
        if matches!(event, LaunchEvent::Phase { phase: Phase::LoadingWeights, .. }) {
            stop.cancel();
        }
    };
    let launched = Fleet::launch(&plan, &hasty(dir.path()), on_loading, &cancel).await;
    assert!(matches!(launched.err(), Some(LaunchError::Cancelled)));
    assert_eq!(survivors(&pids(&family)), [] as [i32; 0]);
}

#[tokio::test]
async fn a_flood_of_log_neither_blocks_the_engine_nor_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let fleet = launch(&pair(&["--flood"], &[]), dir.path()).await.unwrap_or_else(|error| panic!("{error}"));
    let log = fleet.instances()[0].log.clone();
    let exits = fleet.shutdown().await;
    assert_eq!(exits[0].log_bytes_lost, 0);
    assert!(std::fs::metadata(log).expect("a log").len() > 4 << 20);
}

#[tokio::test]
async fn a_program_that_cannot_run_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("engine");
    std::fs::write(&program, "#!/no/such/interpreter\n").expect("writes");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("sets");
    let mut plan = pair(&[], &[]);
    plan.program = program.display().to_string();
    let said = failure(&plan, dir.path()).await.to_string();
    assert!(said.contains("cannot start") && said.contains("No such file"), "{said}");
}
