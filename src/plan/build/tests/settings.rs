//! Engine settings as part of an arm.

use super::*;

#[test]
fn settings_are_part_of_an_arm() {
    let plan = plan("nixl nixl:block-size=128,decode.max_num_seqs=256,env.OMP_NUM_THREADS=4,kv.num_threads=2");
    let labels: Vec<&str> = plan.arms.iter().map(|a| a.label.as_str()).collect();
    assert_eq!(labels[0], "nixl 1P1D");
    assert_eq!(
        labels[1],
        "nixl 1P1D (block-size 128, decode.max-num-seqs 256, env.OMP_NUM_THREADS 4, kv.num_threads 2)"
    );
    let args = |instance: usize| instances(&plan, 1)[instance].args.clone();
    assert_eq!(args(0).last().map(String::as_str), Some("--block-size=128"), "prefill");
    assert!(args(1).ends_with(&["--block-size=128".to_string(), "--max-num-seqs=256".to_string()]), "{:?}", args(1));
    let Deployment::Spawn(fleet) = &plan.arms[1].deployment else { panic!("spawned") };
    assert_eq!(fleet.env.get("OMP_NUM_THREADS").map(EnvValue::expose), Some("4"));
    assert_eq!(fleet.kv.as_ref().map(|kv| kv.extra_config["num_threads"].clone()), Some(2.into()));
    let stored = serde_json::to_value(&plan.arms[1]).expect("serialises");
    assert_eq!(stored["topology"]["settings"]["block-size"], "128");
    let left = "nixl 1P1D ran with the engine's default block-size";
    assert!(plan.warnings.iter().any(|w| w.starts_with(left)), "{:?}", plan.warnings);
}

#[test]
fn settings_win_over_all_other_arguments_and_keep_the_size_open() {
    let plan = plan("simple:max-num-seqs=8,enforce-eager=true nixl --engine-arg=--max-num-seqs=4");
    assert_eq!(plan.arms[0].gpus, 2, "as many as the other arm");
    let args = &instances(&plan, 0)[0].args;
    assert!(args.ends_with(&["--enforce-eager".to_string(), "--max-num-seqs=8".to_string()]), "{args:?}");
    let quoted = self::plan(r#"simple:compilation-config='{"level":3,"x":1}'"#);
    let last = instances(&quoted, 0)[0].args.last().cloned();
    assert_eq!(last.as_deref(), Some(r#"--compilation-config={"level":3,"x":1}"#));
    assert_eq!(quoted.arms[0].label, "simple", "nothing to be told from");
}

#[test]
fn a_file_may_bring_settings_and_keys_replace_them() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mine.toml");
    let text = "name='mine'\nkind='prefill-decode'\nprogram='enginesim'\ndevices=8\n[tune]\nblock-size=128\n\
                [tune.decode]\nmax-num-seqs=64\n[defaults]\nmodel='m'\nrequest_rate=[1]\n";
    std::fs::write(&path, text).expect("written");
    let plan = plan(&format!("{}:block-size=64", path.display()));
    assert_eq!(instances(&plan, 0)[1].args, ["--block-size=64", "--max-num-seqs=64"]);
    std::fs::write(&path, text.replace("block-size=128", "data-parallel-size=2")).expect("written");
    let error = plan_with(&path.display().to_string(), &Environment::default()).expect_err("more GPUs");
    assert!(error.contains("[tune]: data-parallel-size"), "{error}");
}
