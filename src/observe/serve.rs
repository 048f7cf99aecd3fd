//! vLLM's metrics under other names: Ray Serve LLM reports them through Ray, whose page every replica on a node shares.
//!
//! Ray calls `vllm:prompt_tokens_total` `ray_vllm_prompt_tokens_total`, tells replicas apart by `ReplicaId`, and says only
//! in its own metrics which deployment a replica belongs to. The sums of its histograms are made up: every observation counts
//! as the middle of its bucket, so that queues of nothing show as 150 ms. They are left out; counts and counters are true.

use super::prometheus::Sample;
use std::collections::HashMap;

/// Labels that Ray Serve knows of a replica and vLLM's series don't have.
pub(super) const OF_SERVE: [&str; 2] = ["deployment", "application"];
/// One for every replica, from its start.
pub(super) const REPLICAS: &str = "ray_serve_deployment_replica_starts_total";
/// Which replica a series of vLLM's is from.
pub(super) const REPLICA: &str = "ReplicaId";

/// Gives series their names as vLLM writes them, and those of Ray's replicas their deployment. True if any came through Ray.
pub(super) fn as_vllm_writes(samples: &mut Vec<Sample>) -> bool {
    let known: HashMap<String, Vec<(String, String)>> = samples.iter().filter_map(replica).collect();
    let mut by_ray = false;
    samples.retain(|sample| !(sample.name.starts_with("ray_vllm") && sample.name.ends_with("_sum")));
    for sample in samples {
        let through_ray = sample.name.strip_prefix("ray_");
        let bare = through_ray.unwrap_or(&sample.name);
        let Some(bare) = bare.strip_prefix("vllm_").or_else(|| bare.strip_prefix("vllm:")) else { continue };
        by_ray |= through_ray.is_some();
        sample.name = format!("vllm:{bare}");
        let more = sample.label(REPLICA).and_then(|id| known.get(id)).cloned().unwrap_or_default();
        for (label, value) in more {
            if sample.label(&label).is_none() {
                sample.labels.push((label, value));
            }
        }
    }
    by_ray
}

fn replica(sample: &Sample) -> Option<(String, Vec<(String, String)>)> {
    if sample.name != REPLICAS {
        return None;
    }
    let labels = OF_SERVE.iter().filter_map(|label| Some((label.to_string(), sample.label(label)?.to_string())));
    Some((sample.label("replica")?.to_string(), labels.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::prometheus::Snapshot;

    #[test]
    fn a_real_page_of_rays_is_read_as_vllm_would_have_written_it() {
        let mut samples =
            Snapshot::parse(include_str!("../../tests/fixtures/observe/ray_node_2.60.txt")).into_samples();
        assert!(as_vllm_writes(&mut samples));
        let prompts: Vec<&Sample> = samples.iter().filter(|s| s.name == "vllm:prompt_tokens_total").collect();
        let of = |deployment: &str| prompts.iter().find(|s| s.label("deployment") == Some(deployment)).expect("there");
        assert_eq!((of("Prefill:m").label("application"), of("Decode:m").label("engine")), (Some("llm"), Some("0")));
        assert_eq!(prompts.len(), 2);
        let times =
            |end: &str| samples.iter().filter(|s| s.name == format!("vllm:request_queue_time_seconds_{end}")).count();
        assert_eq!((times("count"), times("sum")), (2, 0), "what Ray makes up is nothing that was measured");
    }

    #[test]
    fn an_engines_own_page_is_left_as_it_is() {
        let page = "vllm:prompt_tokens_total{engine=\"0\"} 3\nvllm_config_info 1\npython_info 1\n";
        let mut samples = Snapshot::parse(page).into_samples();
        assert!(!as_vllm_writes(&mut samples));
        let names: Vec<&str> = samples.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["vllm:prompt_tokens_total", "vllm:config_info", "python_info"]);
    }
}
