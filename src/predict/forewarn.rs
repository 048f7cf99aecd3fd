//! What the model of the engines knows a plan will run into, told before anything is started.

use super::arm::PredictedArm;
use super::model::cost::{CostModel, StepLoad};
use super::model::preset::{Gpu, Model};
use crate::plan::Plan;
use crate::plan::deployment::Deployment;
use crate::words::number;

/// The GPU whose posting and steps were measured best.
const GPU: &str = "h100";
/// vLLM's maintainers benchmark with it.
const LARGE_BLOCK: u32 = 128;

/// Arms whose hand-over will be bound by descriptors once their KV memory is fragmented: posting a prompt of this many tokens
/// takes longer than a decode step, which waits for it. Only for models whose shape is known.
pub fn bound_by_descriptors(plan: &Plan, prompt_tokens: u32) -> Vec<String> {
    plan.arms.iter().filter_map(|arm| {
        let Deployment::Spawn(fleet) = &arm.deployment else { return None };
        let Some(PredictedArm::PrefillDecode { decode, pushed: false, .. }) = PredictedArm::of(fleet) else { return None };
        let cost = CostModel::new(Model::find(&fleet.model)?, Gpu::find(GPU)?, decode.ranks);
        let block = decode.settings.block_size;
        let descriptors = |block: u32| cost.descriptors(prompt_tokens.div_ceil(block));
        let ms = |n: u32| cost.post(n).as_secs_f64() * 1e3;
        let mut one_decode = StepLoad::default();
        one_decode.add_decode(prompt_tokens);
        let step = cost.step(&one_decode);
        (block < LARGE_BLOCK && cost.post(descriptors(block)) > step).then(|| {
            format!(
                "{}: its hand-over will be bound by descriptors: {} a prompt of {prompt_tokens} tokens in blocks of {block}, \
                 and posting them holds decode's whole batch up for {} ms (an H100's costs). With block-size={LARGE_BLOCK} it is {} \
                 and {} ms; kv.connector=NixlPushConnector posts beside the steps",
                arm.label,
                descriptors(block),
                number(ms(descriptors(block))),
                descriptors(LARGE_BLOCK),
                number(ms(descriptors(LARGE_BLOCK)))
            )
        })
    })
    .collect()
}
