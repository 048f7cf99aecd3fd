//! Turns that wait for the answer before them.

use super::*;
use std::collections::HashMap;
use topobench::plan::load::Causal;

/// A point of sessions from a trace: three turns each, 300 ms of think time before the second, none before the third.
fn sessions(address: std::net::SocketAddr, count: u32) -> PointSpec {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace.jsonl");
    let turn = |session: u32, at: u32, delay: u32| {
        format!(
            r#"{{"timestamp": {at}, "input_length": 8, "output_length": 3, "session_id": {session}, "delay": {delay}}}"#
        )
    };
    let lines = (0..count).flat_map(|s| [turn(s, 10 * s, 0), turn(s, 10 * s + 1, 300), turn(s, 10 * s + 2, 0)]);
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("written");
    let rate = RequestRate::new(300.0).expect("positive");
    let load = Load {
        arrivals: Arrivals::Constant,
        causal: Some(Causal { think_secs: 1.0 }),
        ..Load::poisson(vec![rate], Extent::Requests(3 * count))
    };
    let workload = Workload { dataset: Dataset::TimedTrace { path: path.display().to_string() }, ..workload() };
    let prompts = PreparedWorkload::prepare(&workload, &load, PrepareContext::default()).expect("prepares");
    let schedule = Arc::new(prompts.schedule(rate, 1).expect("schedules"));
    PointSpec { schedule, prompts: Arc::new(prompts), ..point(address, 1, 1.0) }
}

/// By session and turn.
fn by_turn(records: &[RequestRecord]) -> HashMap<(u32, u32), &RequestRecord> {
    records.iter().map(|r| r.turn.map(|t| ((t.session, t.turn), r)).expect("a turn")).collect()
}

#[tokio::test]
async fn a_turn_is_sent_think_time_after_the_end_of_the_one_before_and_sessions_run_side_by_side() {
    // Every first turn is held until all sessions have begun: whoever waited for one would never begin the others.
    let begun = Arc::new(Barrier::new(4));
    let server = Server::start(move |request: Received, mut answer: Answer| {
        let begun = Arc::clone(&begun);
        async move {
            let index: u32 = request
                .header("x-request-id")
                .expect("an id")
                .rsplit('-')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("an index");
            if index < 4 {
                begun.wait().await;
            }
            answer.serve(&request).await;
            Some(answer)
        }
    })
    .await;
    let mut spec = sessions(server.address, 4);
    // First turns first, so that their indexes are known.
    assert!(spec.schedule.turns[..4].iter().all(|t| t.turn == 0));
    spec.id_prefix = "x".to_string();
    let (report, records) = run_all(spec).await;
    assert_eq!(report.counts.completed, 12);
    let turns = by_turn(&records);
    for ((session, turn), record) in &turns {
        let (line, place) = (&record.timeline, record.turn.expect("a turn"));
        assert!(line.sent.expect("sent") >= line.due && line.due >= place.planned, "{record:?}");
        if let Some(before) = turn.checked_sub(1).map(|before| turns[&(*session, before)]) {
            assert_eq!(line.due.as_nanos(), before.timeline.end.as_nanos() + place.think.as_nanos());
        }
    }
}

#[tokio::test]
async fn a_session_goes_on_after_a_turn_that_failed() {
    let server = Server::start(|request: Received, mut answer: Answer| async move {
        if request.header("x-request-id").expect("an id").ends_with("-0") {
            return None;
        }
        answer.serve(&request).await;
        Some(answer)
    })
    .await;
    let spec = PointSpec { id_prefix: "x".to_string(), ..sessions(server.address, 1) };
    let (report, records) = run_all(spec).await;
    assert_eq!((report.counts.completed, report.counts.failed), (2, 1));
    let turns = by_turn(&records);
    assert!(matches!(turns[&(0, 0)].outcome, Outcome::Failed(_)));
    assert_eq!(turns[&(0, 1)].timeline.due.as_nanos(), turns[&(0, 0)].timeline.end.as_nanos() + 300_000_000);
}

#[tokio::test]
async fn turns_whose_time_never_came_are_accounted_for() {
    let (server, asked) = server_that_falls_silent().await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(sessions(server.address, 3), cancel.clone()));
    let _ = asked.acquire_many(3).await.expect("open");
    cancel.cancel();
    let (report, records) = running.await.expect("no panic");
    assert_eq!((records.len(), report.counts.sent, report.counts.unfinished), (9, 3, 9));
    let sent = |turn: u32| {
        records.iter().filter(|r| r.turn.is_some_and(|t| t.turn == turn) && r.timeline.sent.is_some()).count()
    };
    assert_eq!([sent(0), sent(1), sent(2)], [3, 0, 0]);
}

#[tokio::test]
async fn a_limit_of_requests_in_flight_holds_between_sessions_too() {
    let (flying, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&flying), Arc::clone(&most));
    let server = Server::start(move |request: Received, mut answer: Answer| {
        let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            answer.head().await;
            answer.tokens(request.max_tokens()).await;
            now.fetch_sub(1, Ordering::SeqCst);
            answer.end().await;
            Some(answer)
        }
    })
    .await;
    let spec = PointSpec { pace: Pace::Limited(2), ..sessions(server.address, 8) };
    let (report, records) = run_all(spec).await;
    assert_eq!(report.counts.completed, 24);
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert!(records.iter().all(|r| r.timeline.slot >= r.timeline.due));
}
