use super::*;
use crate::predict::model::Parallelism;
use crate::predict::model::blocks::prefix_hashes;
use crate::predict::model::preset::{Gpu, Model};

const BLOCK: u32 = 16;

fn scheduler(batched_tokens: u32, blocks: u32) -> Scheduler {
    let limits = BatchLimits { batched_tokens, sequences: 64, block_size: BLOCK };
    let model = Model::find("qwen3-8b").unwrap();
    let cost = CostModel::new(model, Gpu::find("h100").unwrap(), Parallelism::tensor(1));
    Scheduler::new(limits, cost, BlockPool::new(blocks, true))
}

/// A prompt of `prompt_tokens` tokens, all equal to `family`.
fn sequence(id: SequenceId, family: u32, prompt_tokens: u32, output_tokens: u32) -> NewSequence {
    NewSequence {
        id,
        prompt_tokens,
        hashes: prefix_hashes(&vec![family; prompt_tokens as usize], BLOCK),
        output_tokens,
        kv: KvOrigin::Local,
        remote_blocks: Vec::new(),
        hold_blocks: false,
    }
}

/// Steps until nothing runs; every output with the time it appeared.
fn drain(scheduler: &mut Scheduler, mut now: Duration) -> Vec<(Duration, Output)> {
    let mut outputs = Vec::new();
    while let Some(duration) = scheduler.begin_step(now) {
        now += duration;
        outputs.extend(scheduler.end_step(now).into_iter().map(|o| (now, o)));
    }
    outputs
}

#[test]
fn an_idle_scheduler_has_no_step() {
    assert_eq!(scheduler(2048, 100).begin_step(Duration::ZERO), None);
}

#[test]
fn every_sequence_gets_exactly_the_tokens_it_asked_for() {
    let mut scheduler = scheduler(512, 400);
    for id in 0..5 {
        scheduler.submit(sequence(id, id as u32, 700, 3 + id as u32), Duration::ZERO);
    }
    let outputs = drain(&mut scheduler, Duration::ZERO);
    for id in 0..5 {
        let mine: Vec<_> = outputs.iter().filter(|(_, o)| o.id == id).collect();
        assert_eq!(mine.len(), 3 + id as usize);
        assert!(mine[0].1.first.is_some() && mine[1..].iter().all(|(_, o)| o.first.is_none()));
        let report = mine.last().unwrap().1.finished.clone().unwrap();
        assert_eq!(report.output_tokens, 3 + id as u32);
        assert!(mine[..mine.len() - 1].iter().all(|(_, o)| o.finished.is_none()));
    }
    assert_eq!(scheduler.kv_usage(), 0.0, "all blocks came back");
}

#[test]
fn a_long_prompt_is_computed_in_chunks_while_others_go_on_decoding() {
    let mut scheduler = scheduler(256, 400);
    scheduler.submit(sequence(1, 1, 32, 50), Duration::ZERO);
    scheduler.begin_step(Duration::ZERO).unwrap();
    assert_eq!(scheduler.end_step(Duration::ZERO).len(), 1);
    scheduler.submit(sequence(2, 2, 1000, 1), Duration::ZERO);
    let mut steps_until_second = 0;
    loop {
        scheduler.begin_step(Duration::ZERO).unwrap();
        let outputs = scheduler.end_step(Duration::ZERO);
        steps_until_second += 1;
        assert!(outputs.iter().any(|o| o.id == 1), "the first one never pauses");
        if outputs.iter().any(|o| o.id == 2) {
            break;
        }
    }
    assert_eq!(steps_until_second, 4, "1000 tokens in chunks of 255");
}

#[test]
fn a_prompt_lengthens_the_step_of_those_who_decode() {
    let mut scheduler = scheduler(8192, 1000);
    scheduler.submit(sequence(1, 1, 32, 50), Duration::ZERO);
    scheduler.begin_step(Duration::ZERO).unwrap();
    scheduler.end_step(Duration::ZERO);
    let alone = scheduler.begin_step(Duration::ZERO).unwrap();
    scheduler.end_step(Duration::ZERO);
    scheduler.submit(sequence(2, 2, 2048, 2), Duration::ZERO);
    let together = scheduler.begin_step(Duration::ZERO).unwrap();
    assert!(together > alone * 5, "{together:?} against {alone:?}");
}

#[test]
fn a_repeated_prompt_is_served_from_the_cache_but_for_its_tail() {
    let mut scheduler = scheduler(8192, 1000);
    let now = Duration::ZERO;
    scheduler.submit(sequence(1, 7, 2048, 1), now);
    let cold = drain(&mut scheduler, now).pop().unwrap().1.finished.unwrap();
    scheduler.submit(sequence(2, 7, 2048, 1), now);
    let warm = drain(&mut scheduler, now).pop().unwrap().1.finished.unwrap();
    assert_eq!((cold.cached_tokens, warm.cached_tokens), (0, 2032));
    assert!(warm.prefill < cold.prefill / 5);
    assert_eq!(scheduler.totals().cache_hits, 2032);
    assert_eq!(scheduler.totals().cache_queries, 4096);
}

#[test]
fn when_blocks_run_out_the_youngest_is_preempted_and_still_finishes() {
    let mut scheduler = scheduler(8192, 12);
    scheduler.submit(sequence(1, 1, 64, 64), Duration::ZERO);
    scheduler.submit(sequence(2, 2, 64, 64), Duration::ZERO);
    let outputs = drain(&mut scheduler, Duration::ZERO);
    let reports: Vec<_> = outputs.iter().filter_map(|(_, o)| o.finished.clone().map(|report| (o.id, report))).collect();
    assert_eq!(reports.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    assert!(reports[1].1.preemptions > 0 && reports[0].1.preemptions == 0);
    assert_eq!(scheduler.totals().preemptions, u64::from(reports[1].1.preemptions));
    assert_eq!(outputs.len(), 128);
}

#[test]
fn sequences_beyond_the_limit_wait_their_turn() {
    let mut scheduler = scheduler(8192, 1000);
    for id in 0..70 {
        scheduler.submit(sequence(id, id as u32, 16, 2), Duration::ZERO);
    }
    scheduler.begin_step(Duration::ZERO).unwrap();
    assert_eq!((scheduler.running(), scheduler.waiting()), (64, 6));
}

#[test]
fn remote_kv_is_fetched_once_then_one_token_is_computed() {
    let mut scheduler = scheduler(8192, 1000);
    let mut spec = sequence(1, 1, 2048, 9);
    spec.kv = KvOrigin::Remote;
    scheduler.submit(spec, Duration::ZERO);
    assert!(scheduler.begin_step(Duration::ZERO) > Some(Duration::from_millis(20)), "posting, nothing to compute yet");
    let fetch = Fetch { id: 1, missing_tokens: 2048, descriptors: 2 * 36 * 128, blocks: Vec::new() };
    assert_eq!(scheduler.take_fetches(), [fetch]);
    assert_eq!((scheduler.loading(), scheduler.waiting()), (1, 0));

    scheduler.kv_loaded(1, 4);
    scheduler.kv_loaded(1, 8);
    assert_eq!(scheduler.loading(), 0, "a second arrival changes nothing");
    let now = Duration::from_millis(20);
    let outputs = drain(&mut scheduler, now);
    assert_eq!(outputs.len(), 4);
    assert!(outputs[0].0 < Duration::from_millis(30), "the prompt is not recomputed");
    let report = outputs[3].1.finished.clone().unwrap();
    assert_eq!((report.transferred_tokens, report.cached_tokens), (2048, 0));
    assert_eq!(report.queued, Duration::from_millis(20));
}

#[test]
fn a_failed_fetch_can_be_recomputed() {
    let mut scheduler = scheduler(8192, 1000);
    let mut spec = sequence(1, 1, 2048, 2);
    spec.kv = KvOrigin::Remote;
    scheduler.submit(spec, Duration::ZERO);
    scheduler.begin_step(Duration::ZERO);
    scheduler.kv_recompute(1, 2);
    let outputs = drain(&mut scheduler, Duration::ZERO);
    assert!(outputs[0].0 > Duration::from_millis(50));
    assert_eq!(outputs[1].1.finished.clone().unwrap().transferred_tokens, 0);
}

#[test]
fn held_blocks_stay_until_released() {
    let mut scheduler = scheduler(8192, 130);
    let mut spec = sequence(1, 1, 2048, 1);
    spec.hold_blocks = true;
    scheduler.submit(spec, Duration::ZERO);
    let report = drain(&mut scheduler, Duration::ZERO).pop().unwrap().1.finished.unwrap();
    assert_eq!(report.held_blocks.len(), 128);
    scheduler.submit(sequence(2, 2, 2048, 1), Duration::ZERO);
    assert_eq!(scheduler.begin_step(Duration::ZERO), None, "no room");
    scheduler.release(1);
    assert!(scheduler.begin_step(Duration::ZERO).is_some());
}

#[test]
fn an_abort_frees_everything_in_every_state() {
    let mut scheduler = scheduler(8192, 1000);
    let mut remote = sequence(1, 1, 64, 5);
    remote.kv = KvOrigin::Remote;
    scheduler.submit(remote, Duration::ZERO);
    scheduler.submit(sequence(2, 2, 64, 5), Duration::ZERO);
    scheduler.begin_step(Duration::ZERO).unwrap();
    scheduler.submit(sequence(3, 3, 64, 5), Duration::ZERO);
    for id in 1..=3 {
        assert!(scheduler.abort(id));
    }
    assert!(!scheduler.abort(3));
    assert!(scheduler.end_step(Duration::ZERO).is_empty());
    assert_eq!((scheduler.running(), scheduler.waiting(), scheduler.loading()), (0, 0, 0));
    assert_eq!(scheduler.kv_usage(), 0.0);
}

#[test]
fn a_transfer_has_as_many_descriptors_as_pieces_of_memory_and_holds_decoding_up_while_it_is_posted() {
    let posted = |remote_blocks: Vec<u32>| {
        let mut scheduler = scheduler(8192, 1000);
        scheduler.submit(sequence(1, 1, 32, 50), Duration::ZERO);
        scheduler.begin_step(Duration::ZERO).unwrap();
        scheduler.end_step(Duration::ZERO);
        let spec = NewSequence { kv: KvOrigin::Remote, remote_blocks, ..sequence(2, 2, 2048, 9) };
        scheduler.submit(spec, Duration::ZERO);
        let step = scheduler.begin_step(Duration::ZERO).unwrap();
        (scheduler.take_fetches()[0].descriptors, step)
    };
    let (whole, undisturbed) = posted((0..128).collect());
    let (scattered, held_up) = posted((0..128).rev().collect());
    assert_eq!((whole, scattered), (2 * 36, 2 * 36 * 128));
    assert!(held_up > undisturbed * 2, "{held_up:?} against {undisturbed:?}");
}

#[test]
fn pushed_kv_names_its_blocks_and_costs_decode_no_step() {
    let mut scheduler = scheduler(2048, 400);
    scheduler.submit(NewSequence { kv: KvOrigin::Pushed, ..sequence(1, 1, 160, 2) }, Duration::ZERO);
    assert_eq!(scheduler.begin_step(Duration::ZERO), None, "nothing is posted here");
    let fetches = scheduler.take_fetches();
    assert_eq!((fetches[0].blocks.len(), fetches[0].descriptors, scheduler.loading()), (10, 0, 1));
    scheduler.kv_loaded(1, 2);
    let outputs = drain(&mut scheduler, Duration::ZERO);
    assert_eq!(outputs.len(), 2);
    assert_eq!(outputs[0].1.first, Some(PromptKv { computed: 0, cached: 0, transferred: 160 }));
}

#[test]
fn blocks_that_a_push_was_promised_outlive_their_sequence() {
    let mut scheduler = scheduler(2048, 400);
    scheduler.submit(NewSequence { kv: KvOrigin::Pushed, ..sequence(1, 1, 160, 2) }, Duration::ZERO);
    scheduler.begin_step(Duration::ZERO);
    assert!(scheduler.abort(1));
    assert_eq!(scheduler.loading(), 0);
    assert!(scheduler.kv_usage() > 0.0);
    scheduler.release(1);
    assert_eq!(scheduler.kv_usage(), 0.0);
}
