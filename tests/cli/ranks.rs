//! Data-parallel, pipeline-parallel and expert-parallel engines: what is started, warmed and counted.

use crate::support::{Ended, Place, read_json};
use serde_json::Value;
use std::collections::BTreeMap;

fn events(ended: &Ended, kind: &str) -> Vec<Value> {
    let events = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == kind).collect()
}

fn manifest(place: &Place) -> Value {
    read_json(place.runs("random")[0].join("manifest.json"))
}

fn argv(manifest: &Value, instance: &str) -> String {
    let instances = manifest["instances"].as_array().expect("instances");
    let found = instances.iter().find(|i| i["name"] == instance).expect("was started");
    let words = found["argv"].as_array().expect("words").iter().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn kv_goes_from_every_prefill_rank_to_every_decode_rank_and_each_is_counted() {
    let place = Place::new();
    let ended = place.measure("nixl --prefill-dp 2 --decode-dp 2 --decode-ep --model qwen3-30b-a3b").measured();
    assert_eq!(ended.json()["arms"][0]["gpus"], 4);
    assert_eq!(events(&ended, "warning"), [Value::Null; 0], "every rank was reached");
    // Two ranks times two ranks, and the burst of one.
    assert_eq!(events(&ended, "warming_up")[0]["requests"], 5);

    let manifest = manifest(&place);
    assert!(argv(&manifest, "prefill-0").contains("--data-parallel-size 2 --api-server-count 1"));
    assert!(argv(&manifest, "decode-0").contains("--enable-expert-parallel"));
    assert!(!argv(&manifest, "prefill-0").contains("--enable-expert-parallel"));
    for point in manifest["points"].as_array().expect("points") {
        let mut by_rank: BTreeMap<(String, u64), f64> = BTreeMap::new();
        for rank in point["ranks"].as_array().expect("ranks") {
            let name = rank["instance"].as_str().expect("a name").to_string();
            let number = rank["rank"].as_u64().expect("a number");
            by_rank.insert((name.clone(), number), rank["prompt_tokens"].as_f64().expect("counted"));
            if name == "decode-0" {
                assert_eq!(rank["local_compute_tokens"], 0.0, "{rank}");
                assert_eq!(rank["external_kv_tokens"], rank["prompt_tokens"], "{rank}");
            }
        }
        assert_eq!(by_rank.len(), 4, "{by_rank:?}");
        assert!(by_rank.values().all(|tokens| *tokens > 0.0), "six requests reach both ranks of each: {by_rank:?}");
        let of = |name: &str| by_rank.iter().filter(|((n, _), _)| n == name).map(|(_, tokens)| tokens).sum::<f64>();
        assert_eq!((of("prefill-0"), of("decode-0")), (384.0, 384.0));
        assert_eq!(point["engines"]["external_kv_tokens"], 384.0);
    }
}

#[test]
fn one_engine_with_two_ranks_is_warmed_on_both_without_a_proxy() {
    let place = Place::new();
    let ended = place.measure("simple --tp 2 --dp 2 --pp 2 --ep --model qwen3-30b-a3b").measured();
    assert_eq!(ended.json()["arms"][0]["gpus"], 8);
    assert_eq!(events(&ended, "warming_up")[0]["requests"], 3, "two ranks, and the burst of one");
    assert_eq!(events(&ended, "warning"), [Value::Null; 0]);
    let manifest = manifest(&place);
    let argv = argv(&manifest, "replica-0");
    let sizes = "--tensor-parallel-size 2 --pipeline-parallel-size 2 --data-parallel-size 2 --api-server-count 1 \
                 --enable-expert-parallel";
    assert!(argv.contains(sizes), "{argv}");
    assert_eq!(manifest["points"][0]["ranks"].as_array().map(Vec::len), Some(2));
}

#[test]
fn labels_say_how_gpus_are_shared() {
    let line = "ab nixl:decode-dp=4,decode-ep=true,prefill-tp=2 nixl:prefill=2 simple:dp=2,ep=on simple:replicas=2,tp=2,ep=on \
                --engine sim --request-rate 4 --num-prompts 10 --dry-run --json";
    let plan = Place::new().type_in(line).expect(0).json();
    let labels: Vec<&str> = plan["arms"].as_array().expect("arms").iter().filter_map(|a| a["label"].as_str()).collect();
    assert_eq!(labels, ["nixl 1P(TP2)+1D(DP4,EP)", "nixl 2P1D", "simple DP2,EP", "simple 2x(TP2,EP)"]);
}

#[test]
fn a_topology_file_and_vllms_own_names_say_the_same() {
    let place = Place::new();
    place.write(
        "mine.toml",
        "name = 'mine'\nkind = 'prefill-decode'\nprogram = 'enginesim'\ndevices = 8\n[decode]\ndata_parallel = 2\nexpert_parallel = true\n[defaults]\nmodel = 'qwen3-30b-a3b'\nrequest_rate = [4]\n",
    );
    let commands = |arm: &str| {
        let plan = place
            .type_in(&format!("ab {arm} simple:tp=1 --engine sim --dry-run --json --num-prompts 4"))
            .expect(0)
            .json();
        let commands = plan["arms"][0]["commands"].as_array().expect("commands").clone();
        let decode = commands[1].as_str().expect("a line").to_string();
        let sizes = decode.split("--kv-transfer-config").next().expect("before").to_string();
        sizes.split_once("--tensor-parallel-size").expect("sizes").1.to_string()
    };
    let of_file = commands("mine.toml");
    assert_eq!(of_file.trim(), "1 --data-parallel-size 2 --api-server-count 1");
    for arm in
        ["nixl:decode-dp=2,decode-ep=true", "nixl:decode.data-parallel-size=2,decode.enable-expert-parallel=true"]
    {
        assert_eq!(commands(arm), of_file, "{arm}");
    }
}

#[test]
fn what_multiplies_gpus_is_refused_with_the_flag_that_counts_them() {
    let place = Place::new();
    for (arg, flag) in
        [("--data-parallel-size=2", "--dp"), ("--pipeline-parallel-size=2", "--pp"), ("-dp=2", "--decode-dp")]
    {
        let ended = place.type_in(&format!("simple --engine sim --engine-arg={arg} --dry-run")).expect(2);
        assert!(ended.stderr.contains(flag), "{}", ended.stderr);
    }
    let ended =
        place.type_in("ab nixl:prefill-dp=2,kv.connector=NixlPushConnector simple --engine sim --dry-run").expect(2);
    assert!(ended.stderr.contains("can't push"), "{}", ended.stderr);
}
