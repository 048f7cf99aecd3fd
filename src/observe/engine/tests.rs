use super::*;
use crate::observe::fleet::{EngineTarget, ScrapeError};
use crate::plan::access::Access;
use crate::plan::deployment::Secret;
use kit::scripted::Server;

const PREFILL: &str = include_str!("../../../tests/fixtures/observe/metrics_prefill_cpu_0.32.txt");
const DECODE: &str = include_str!("../../../tests/fixtures/observe/metrics_decode_cpu_0.32.txt");
const SIMPLE: &str = include_str!("../../../tests/fixtures/observe/metrics_simple_cpu_0.32.txt");

fn engine(name: &str, role: Role, text: &str) -> EngineSnapshot {
    EngineSnapshot { name: name.into(), role, metrics: Ok(Snapshot::parse(text)) }
}

fn unread(name: &str, role: Role) -> EngineSnapshot {
    let error = ScrapeError { instance: name.into(), url: "http://x/metrics".into(), detail: "refused".into() };
    EngineSnapshot { name: name.into(), role, metrics: Err(error) }
}

fn fleet<const N: usize>(engines: [EngineSnapshot; N]) -> FleetSnapshot {
    FleetSnapshot { engines: engines.into() }
}

/// A fresh engine: every series there, at zero.
fn zeroed(text: &str) -> String {
    text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| format!("{series} 0.0\n")).collect()
}

fn pair(prefill: &str, decode: &str) -> FleetSnapshot {
    fleet([engine("prefill-0", Role::Prefill, prefill), engine("decode-0", Role::Decode, decode)])
}

#[test]
fn a_real_pair_is_counted_by_role() {
    let window = between(&pair(&zeroed(PREFILL), &zeroed(DECODE)), &pair(PREFILL, DECODE));
    let counters = window.counters.expect("both were read");
    assert_eq!(counters.external_kv_tokens, Some(5716.0));
    assert_eq!(counters.local_compute_tokens, Some(200.0), "of D; P computed 5716 by design");
    assert_eq!(counters.prompt_tokens, Some(5916.0));
    assert_eq!(counters.generation_tokens, Some(1476.0));
    assert_eq!(counters.kv_transfers, Some(59.0));
    assert_eq!(counters.kv_transfer_bytes, Some(8_388_608.0));
    assert_eq!(counters.kv_expired, Some(0.0));
    assert_eq!(counters.prefill_time, Some(TimeSum { secs: 4.31201436099991, count: 59.0 }));
    assert_eq!(counters.decode_queue, Some(TimeSum { secs: 2.309337062997656, count: 60.0 }));
    assert!(window.restarted.is_empty() && window.unread.is_empty());
}

#[test]
fn a_replica_has_no_transfer_counters_at_all() {
    let replica = |text: &str| fleet([engine("replica-0", Role::Replica, text)]);
    let counters = between(&replica(&zeroed(SIMPLE)), &replica(SIMPLE)).counters.expect("was read");
    assert_eq!(counters.local_compute_tokens, Some(464.0));
    assert_eq!(counters.cached_prompt_tokens, Some(0.0));
    assert_eq!(counters.decode_time, Some(TimeSum { secs: 1.55937910800003, count: 18.0 }));
    assert_eq!((counters.kv_transfers, counters.external_kv_tokens, counters.decode_queue), (None, None, None));
}

#[test]
fn drafts_of_speculative_decoding_are_counted_where_tokens_are_made() {
    let page = |drafts: u32| {
        let lines = [("drafts", drafts), ("draft_tokens", 3 * drafts), ("accepted_tokens", 2 * drafts)];
        let series = |(name, n): (&str, u32)| format!("vllm:spec_decode_num_{name}_total{{engine=\"0\"}} {n}.0\n");
        lines.map(series).concat()
    };
    // Prefill drafts nothing, and isn't asked.
    let counters = between(&pair(PREFILL, &page(100)), &pair(PREFILL, &page(350))).counters.expect("both were read");
    assert_eq!((counters.spec_drafts, counters.spec_accepted_tokens), (Some(250.0), Some(500.0)));
    assert_eq!(counters.acceptance_length(), Some(3.0));
    assert!(counters.acceptance_percent().is_some_and(|p| (p - 66.67).abs() < 0.01));
    let without = between(&pair(PREFILL, &zeroed(DECODE)), &pair(PREFILL, DECODE)).counters.expect("both were read");
    assert_eq!((without.acceptance_length(), without.acceptance_percent()), (None, None));
}

#[test]
fn two_instances_add_up_and_one_unread_leaves_no_partial_sum() {
    let both = fleet([engine("decode-0", Role::Decode, DECODE), engine("decode-1", Role::Decode, DECODE)]);
    let zero = zeroed(DECODE);
    let start = fleet([engine("decode-0", Role::Decode, &zero), engine("decode-1", Role::Decode, &zero)]);
    assert_eq!(between(&start, &both).counters.expect("read").generation_tokens, Some(2.0 * 1476.0));

    let one_lost = fleet([engine("decode-0", Role::Decode, DECODE), unread("decode-1", Role::Decode)]);
    let window = between(&start, &one_lost);
    assert_eq!(window.counters, None);
    assert_eq!(window.unread, ["decode-1: no metrics from http://x/metrics: refused"]);
}

#[test]
fn an_unread_prefill_instance_leaves_decode_counters_standing() {
    let start = pair(&zeroed(PREFILL), &zeroed(DECODE));
    let end = fleet([unread("prefill-0", Role::Prefill), engine("decode-0", Role::Decode, DECODE)]);
    let counters = between(&start, &end).counters.expect("D was read");
    assert_eq!((counters.kv_transfers, counters.kv_expired), (Some(59.0), None));
}

#[test]
fn what_an_engine_does_not_report_stays_absent() {
    let old = "vllm:prompt_tokens_total 10\nvllm:gpu_prefix_cache_hits_total 4\n";
    let new = "vllm:prompt_tokens_total 30\nvllm:gpu_prefix_cache_hits_total 9\n";
    let replica = |text: &str| fleet([engine("replica-0", Role::Replica, text)]);
    let counters = between(&replica(old), &replica(new)).counters.expect("was read");
    let expected =
        EngineCounters { prompt_tokens: Some(20.0), cached_prompt_tokens: Some(5.0), ..EngineCounters::default() };
    assert_eq!(counters, expected);
}

#[test]
fn a_restart_is_seen_by_start_time_or_by_falling_counters_and_counts_from_zero() {
    let replica = |text: &str| fleet([engine("replica-0", Role::Replica, text)]);
    let before = replica("process_start_time_seconds 100\nvllm:generation_tokens_total 500\n");
    let by_time = replica("process_start_time_seconds 160\nvllm:generation_tokens_total 700\n");
    let by_fall = replica("vllm:generation_tokens_total 7\n");
    for (after, tokens) in [(by_time, 700.0), (by_fall, 7.0)] {
        let window = between(&before, &after);
        assert_eq!(window.restarted, ["replica-0"]);
        assert_eq!(window.counters.expect("was read").generation_tokens, Some(tokens));
    }
}

#[test]
fn a_series_that_appears_meanwhile_counts_from_nothing() {
    let replica = |text: &str| fleet([engine("replica-0", Role::Replica, text)]);
    let window = between(
        &replica("vllm:prompt_tokens_total 1\n"),
        &replica("vllm:prompt_tokens_total 1\nvllm:num_preemptions_total 3\n"),
    );
    assert_eq!(window.counters.expect("was read").preemptions, Some(3.0));
}

#[test]
fn a_sample_of_a_silent_engine_is_absent_not_zero() {
    let silent = EngineSample::of(&unread("decode-0", Role::Decode), Offset::from_secs(1.0));
    insta::assert_snapshot!(serde_json::to_string(&silent).expect("serialises"), @r#"{"at":1.0,"instance":"decode-0","answered":false,"running":null,"waiting":null,"kv_usage":null,"prompt_tokens":null,"generation_tokens":null,"preemptions":null}"#);
    let alive = EngineSample::of(&engine("decode-0", Role::Decode, DECODE), Offset::from_secs(1.0));
    assert_eq!((alive.running, alive.generation_tokens), (Some(0.0), Some(1476.0)));
}

#[tokio::test]
async fn a_fleet_is_scraped_over_http_and_a_dead_engine_is_named() {
    let server = Server::start(|request, mut answer| async move {
        let authorized = request.header("authorization") == Some("Bearer sk-1");
        answer.whole("200 OK", if authorized { "vllm:num_requests_running 3\n" } else { "" }).await;
        Some(answer)
    })
    .await;
    let target = |name: &str, base_url: String| EngineTarget {
        name: name.into(),
        role: Role::Replica,
        base_url,
        ranks: 1,
        access: Access::with_key(Some(Secret::new("sk-1"))),
    };
    let targets = vec![target("replica-0", server.url()), target("replica-1", "http://127.0.0.1:1".into())];
    let scraper = Scraper::new(targets).expect("a client");
    let (_sampler, mut samples) = EngineSampler::start(scraper, Instant::now(), Duration::from_secs(3600));
    let first = samples.recv().await.expect("a sample");
    assert_eq!((first.instance.as_str(), first.running), ("replica-0", Some(3.0)));
    let second = samples.recv().await.expect("a sample");
    assert_eq!((second.instance.as_str(), second.answered), ("replica-1", false));
}
