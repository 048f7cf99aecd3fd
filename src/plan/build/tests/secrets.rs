//! What is never written, and where it comes from again.

use super::*;
use crate::plan::deployment::Secret;

#[test]
fn secrets_in_a_body_and_in_arguments_are_never_written() {
    let body = r#"--extra-body={"api_key":"s3cret","top_k":3}"#;
    let plan = plan(&format!("simple {body} --engine-arg=--x-token=s3cret"));
    let written = serde_json::to_string(&plan).expect("serialises");
    assert!(!written.contains("s3cret") && written.contains(r#""api_key":"***","top_k":3"#), "{written}");
    assert_eq!(plan.sweep.workload.extra_body["api_key"], "s3cret", "it is sent");
    assert_eq!(instances(&plan, 0)[0].args.last().map(String::as_str), Some("--x-token=s3cret"));
    let mut read: Stored = serde_json::from_str(&written).expect("reads back");
    assert!(!read.sweep.secrets_are_whole() && !read.arms.remove(0).deployment.secrets_are_whole());
    assert!(plan.sweep.secrets_are_whole());
}

/// What a manifest keeps of a plan.
#[derive(serde::Deserialize)]
struct Stored {
    arms: Vec<ArmPlan>,
    sweep: Sweep,
}

#[test]
fn the_key_comes_from_the_environment_and_is_never_written() {
    let env = Environment::of([("OPENAI_API_KEY", "sk-other"), ("VLLM_API_KEY", "sk-secret")]);
    let plan = plan_with("simple", &env).expect("a plan");
    let Deployment::Spawn(fleet) = &plan.arms[0].deployment else { panic!("spawned") };
    assert_eq!(fleet.api_key.as_ref().map(|k| k.expose()), Some("sk-secret"));
    let written = serde_json::to_string(&plan).expect("serialises");
    assert!(!written.contains("sk-") && !format!("{plan:?}").contains("sk-secret"));
}

#[test]
fn secrets_of_a_topology_file_are_masked_and_come_back_from_the_environment() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("mine.toml");
    let text = "name='mine'\nkind='simple'\nprogram='enginesim'\ndevices=8\n[env]\nHF_TOKEN='hf_secret'\nOMP_NUM_THREADS='1'\n[defaults]\nmodel='m'\nrequest_rate=[1]\n";
    std::fs::write(&path, text).expect("written");
    let plan = plan_with(&path.display().to_string(), &Environment::default()).expect("a plan");
    let written = serde_json::to_string(&plan.arms[0]).expect("serialises");
    assert!(!written.contains("hf_secret") && written.contains(r#""OMP_NUM_THREADS":"1""#), "{written}");

    let mut read: ArmPlan = serde_json::from_str(&written).expect("reads back");
    assert_eq!(read.deployment.take_secrets(&Environment::default()), Err(vec!["HF_TOKEN".to_string()]));
    assert_eq!(read.deployment.take_secrets(&Environment::of([("HF_TOKEN", "hf_again")])), Ok(()));
    let Deployment::Spawn(fleet) = &read.deployment else { panic!("spawned") };
    assert_eq!(fleet.env.get("HF_TOKEN"), Some(&EnvValue::Secret(Secret::new("hf_again"))));
}
