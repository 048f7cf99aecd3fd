//! Settings that an engine accepted and whose effect its counters don't show.

use super::input::{ArmInput, PointInput};
use super::reports::ArmReport;
use crate::words::number;

/// Descriptors a prompt may be this many times what a setting should make of them: prompts vary, and so does a pool.
const GENEROUS: f64 = 2.0;

pub(super) fn of(arm: &ArmInput, report: &ArmReport) -> Vec<String> {
    block_size(arm, report).into_iter().chain(joined_layers(arm, report)).collect()
}

/// The engine says another block size than it was given.
fn block_size(arm: &ArmInput, report: &ArmReport) -> Option<String> {
    let given: u32 = ["decode.block-size", "block-size"].iter().find_map(|key| arm.setting(key))?.parse().ok()?;
    let runs_with = report.points.iter().find_map(|p| p.kv.as_ref()?.block_size)?;
    (given != runs_with).then(|| {
        format!(
            "{}: block-size {given} had no effect: its decode engines run with blocks of {runs_with} tokens",
            report.name
        )
    })
}

/// One piece a block was asked for, and there are more.
fn joined_layers(arm: &ArmInput, report: &ArmReport) -> Option<String> {
    if !arm.joins_layers() {
        return None;
    }
    let of = |point: &PointInput| {
        let kv = report.points.iter().find(|r| r.rate == point.rate && r.attempt == point.attempt)?.kv.as_ref()?;
        let (mut tokens, mut prompts) = (0.0, 0.0);
        for row in point.samples.rows() {
            tokens += f64::from(row.prompt_tokens.get());
            prompts += 1.0;
        }
        let blocks = tokens / prompts / f64::from(kv.block_size?);
        (blocks > 0.0).then_some((kv.descriptors?, blocks.ceil()))
    };
    let told = arm.points.iter().filter_map(of).find(|(descriptors, blocks)| *descriptors > GENEROUS * blocks);
    told.map(|(descriptors, blocks)| {
        format!(
            "{}: enable_cross_layers_blocks had no effect: {} descriptors a prompt, where one a block would be about {}",
            report.name,
            number(descriptors),
            number(blocks)
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::analyse::tests::{arm, fine, point};
    use crate::analyse::{Comparison, Question, Samples, VllmColumns};
    use crate::outcome::{EngineCounters, HandOverFacts};
    use serde_json::{Value, json};

    /// Prompts of 100 tokens: 7 blocks of 16.
    fn warnings(topology: Value, descriptors: f64) -> Vec<String> {
        let mut point = point(4.0, 100, 0);
        let mut facts = fine(4.0, 100);
        facts.engines = Some(EngineCounters {
            kv_transfers: Some(100.0),
            kv_transfer_secs: Some(1.0),
            kv_descriptors: Some(100.0 * descriptors),
            ..EngineCounters::default()
        });
        facts.hand_over = Some(HandOverFacts { block_size: Some(16), course: Vec::new() });
        point.facts = Some(facts);
        let columns = VllmColumns { ttfts: &[0.1; 10], input_lens: Some(&[100; 10]), ..VllmColumns::default() };
        point.samples = Samples::from_vllm(&columns).expect("columns fit").into();
        let mut input = arm("nixl", "1P1D", vec![point]);
        input.topology = topology;
        let compared = Comparison::new(&[input], &Question::default());
        compared.warnings.into_iter().filter(|w| w.contains("no effect")).collect()
    }

    #[test]
    fn layers_that_stay_apart_are_told() {
        let joined = json!({"shape": {"kv": {"extra_config": {"enable_cross_layers_blocks": "True"}}}});
        let told = warnings(joined.clone(), 504.0);
        assert!(told.len() == 1 && told[0].contains("504 descriptors a prompt, where one a block"), "{told:?}");
        assert_eq!(warnings(joined, 9.0), [""; 0]);
        assert_eq!(warnings(json!({"shape": {"kv": {"extra_config": {}}}}), 504.0), [""; 0]);
    }

    #[test]
    fn a_block_size_that_the_engine_does_not_run_with_is_told() {
        let told = warnings(json!({"settings": {"block-size": "128"}}), 504.0);
        assert!(told.len() == 1 && told[0].contains("blocks of 16 tokens"), "{told:?}");
        assert_eq!(warnings(json!({"settings": {"block-size": "16"}}), 504.0), [""; 0]);
    }
}
