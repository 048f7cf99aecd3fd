use super::*;
use crate::plan::deployment::JobNode;
use crate::plan::secrecy::{EngineEnv, Secret};
use std::time::Duration;

const PORTS: Ports = Ports { http: 8101, side_channel: 5616, internal: 20_100 };

fn fleet(kv: Option<KvTransfer>) -> FleetPlan {
    FleetPlan {
        program: "vllm".into(),
        model: "Qwen/Qwen3-8B".into(),
        served_model_name: "Qwen/Qwen3-8B".into(),
        api_key: None,
        env: EngineEnv::default(),
        kv,
        instances: vec![],
        ready_timeout: Duration::from_secs(600),
    }
}

fn instance(role: Role) -> InstancePlan {
    InstancePlan {
        role,
        index: 0,
        parallelism: Parallelism::default(),
        gpus: GpuAssignment::Cuda(vec!["1".into()]),
        args: vec!["--gpu-memory-utilization".into(), "0.8".into()],
        node: None,
        more_nodes: Vec::new(),
    }
}

#[test]
fn an_instance_on_a_node_listens_on_its_address_and_has_its_gpus_as_they_are_called_there() {
    let node = JobNode { name: "n2".into(), address: "10.0.0.2".into() };
    let gpus = GpuAssignment::Cuda(vec!["n2:0".into(), "n2:1".into()]);
    let instance =
        InstancePlan { gpus, parallelism: Parallelism::tensor(2), node: Some(node), ..instance(Role::Decode) };
    insta::assert_snapshot!(line(&fleet(Some(KvTransfer::default())), &instance, None), @r#"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1' VLLM_NIXL_SIDE_CHANNEL_HOST=10.0.0.2 VLLM_NIXL_SIDE_CHANNEL_PORT=5616 VLLM_PORT=20100 vllm serve Qwen/Qwen3-8B --host 10.0.0.2 --port 8101 --tensor-parallel-size 2 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_load_failure_policy":"fail"}' --gpu-memory-utilization 0.8"#);
}

fn line(fleet: &FleetPlan, instance: &InstancePlan, version: Option<EngineVersion>) -> String {
    command(fleet, instance, PartOf::whole(PORTS), version).expect("a sound plan").shell_line()
}

#[test]
fn where_traces_go_is_a_flag_since_0_13_and_was_a_variable_before() {
    let mut fleet = fleet(None);
    fleet.env.insert(PROFILER_DIR, "/runs/1/profile");
    let flag = r#"--profiler-config '{"profiler":"torch","torch_profiler_dir":"/runs/1/profile"}'"#;
    let of = |instance: &InstancePlan, version| line(&fleet, instance, Some(version));
    let plain = instance(Role::Replica);
    assert!(of(&plain, EngineVersion::new(0, 32, 0)).contains(flag));
    let old = of(&plain, EngineVersion::new(0, 12, 1));
    assert!(!old.contains("--profiler-config") && old.contains("VLLM_TORCH_PROFILER_DIR=/runs/1/profile"), "{old}");
    let own = InstancePlan { args: vec!["--profiler_config={}".into()], ..plain };
    assert!(!of(&own, EngineVersion::new(0, 32, 0)).contains(flag), "what the user gives stays");
}

#[test]
fn a_decode_instance_of_the_newest_version() {
    insta::assert_snapshot!(line(&fleet(Some(KvTransfer::default())), &instance(Role::Decode), None), @r#"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1 VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1 VLLM_NIXL_SIDE_CHANNEL_PORT=5616 VLLM_PORT=20100 vllm serve Qwen/Qwen3-8B --host 127.0.0.1 --port 8101 --tensor-parallel-size 1 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_load_failure_policy":"fail"}' --gpu-memory-utilization 0.8"#);
}

#[test]
fn a_prefill_instance_on_cpu_buffers_with_extra_config() {
    let kv = KvTransfer {
        buffer_device: Some("cpu".into()),
        extra_config: BTreeMap::from([("kv_lease_duration".to_string(), 60.into())]),
        ..KvTransfer::default()
    };
    let instance = InstancePlan { gpus: GpuAssignment::None, args: vec![], ..instance(Role::Prefill) };
    insta::assert_snapshot!(line(&fleet(Some(kv)), &instance, Some(EngineVersion::new(0, 32, 0))), @r#"VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1 VLLM_NIXL_SIDE_CHANNEL_PORT=5616 VLLM_PORT=20100 vllm serve Qwen/Qwen3-8B --host 127.0.0.1 --port 8101 --tensor-parallel-size 1 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_producer","kv_buffer_device":"cpu","kv_load_failure_policy":"fail","kv_connector_extra_config":{"kv_lease_duration":60}}'"#);
}

#[test]
fn a_decode_instance_with_data_parallel_ranks_has_one_api_server_and_finds_its_internal_ports_itself() {
    let instance = InstancePlan {
        parallelism: Parallelism { data_parallel: 2, expert_parallel: true, ..Parallelism::tensor(2) },
        gpus: GpuAssignment::Cuda(["0", "1", "2", "3"].map(String::from).into()),
        args: vec![],
        ..instance(Role::Decode)
    };
    let plan = fleet(Some(KvTransfer::default()));
    insta::assert_snapshot!(line(&plan, &instance, None), @r#"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1,2,3' VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1 VLLM_NIXL_SIDE_CHANNEL_PORT=5616 vllm serve Qwen/Qwen3-8B --host 127.0.0.1 --port 8101 --tensor-parallel-size 2 --data-parallel-size 2 --api-server-count 1 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_load_failure_policy":"fail"}' --enable-expert-parallel"#);
    let command = command(&plan, &instance, PartOf::whole(PORTS), None).expect("a sound plan");
    assert_eq!(command.env_removed, [INTERNAL_PORT], "not inherited either");
}

#[test]
fn an_engine_over_nodes_says_on_each_who_it_is_and_where_all_meet() {
    let node = |number: u8| JobNode { name: format!("n{number}"), address: format!("10.0.0.{number}") };
    let gpus = |nodes: u8| (1..=nodes).flat_map(|node| (0..4).map(move |gpu| format!("n{node}:{gpu}"))).collect();
    let over = |parallelism: Parallelism, nodes: u8| InstancePlan {
        parallelism,
        gpus: GpuAssignment::Cuda(gpus(nodes)),
        args: vec![],
        node: Some(node(1)),
        more_nodes: (2..=nodes).map(node).collect(),
        ..instance(Role::Decode)
    };
    let part =
        |number| PartOf { number, ports: Ports { http: 8100, side_channel: 5632, internal: 20_000 }, first: PORTS };
    let lines = |instance: &InstancePlan, plan: &FleetPlan| -> String {
        let line = |number| command(plan, instance, part(number), None).expect("a sound plan").shell_line();
        (0..instance.parts()).map(line).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(lines(&over(Parallelism::tensor(8), 2), &fleet(None)), @r"
    CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1,2,3' VLLM_HOST_IP=10.0.0.1 VLLM_PORT=20000 vllm serve Qwen/Qwen3-8B --host 10.0.0.1 --port 8100 --tensor-parallel-size 8 --nnodes 2 --node-rank 0 --master-addr 10.0.0.1 --master-port 20199
    CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1,2,3' VLLM_HOST_IP=10.0.0.2 VLLM_PORT=20000 vllm serve Qwen/Qwen3-8B --tensor-parallel-size 8 --nnodes 2 --node-rank 1 --master-addr 10.0.0.1 --master-port 20199 --headless
    ");
    let ranks = Parallelism { data_parallel: 4, expert_parallel: true, ..Parallelism::tensor(2) };
    insta::assert_snapshot!(lines(&over(ranks, 2), &fleet(Some(KvTransfer::default()))), @r#"
    CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1,2,3' VLLM_HOST_IP=10.0.0.1 VLLM_NIXL_SIDE_CHANNEL_HOST=10.0.0.1 VLLM_NIXL_SIDE_CHANNEL_PORT=5632 vllm serve Qwen/Qwen3-8B --host 10.0.0.1 --port 8100 --tensor-parallel-size 2 --data-parallel-size 4 --api-server-count 1 --data-parallel-size-local 2 --data-parallel-address 10.0.0.1 --data-parallel-rpc-port 20198 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_load_failure_policy":"fail"}' --enable-expert-parallel
    CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1,2,3' VLLM_HOST_IP=10.0.0.2 VLLM_NIXL_SIDE_CHANNEL_HOST=10.0.0.2 VLLM_NIXL_SIDE_CHANNEL_PORT=5632 vllm serve Qwen/Qwen3-8B --tensor-parallel-size 2 --data-parallel-size 4 --data-parallel-size-local 2 --data-parallel-start-rank 2 --data-parallel-address 10.0.0.1 --data-parallel-rpc-port 20198 --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_consumer","kv_load_failure_policy":"fail"}' --enable-expert-parallel --headless
    "#);
    // Each of two ranks over two nodes.
    let wide = over(Parallelism { data_parallel: 2, ..Parallelism::tensor(8) }, 4);
    let last = command(&fleet(None), &wide, part(3), None).expect("a sound plan").args.join(" ");
    insta::assert_snapshot!(last, @"serve Qwen/Qwen3-8B --tensor-parallel-size 8 --data-parallel-size 2 --nnodes 4 --node-rank 3 --master-addr 10.0.0.1 --master-port 20199 --data-parallel-address 10.0.0.1 --data-parallel-rpc-port 20198 --headless");
}

#[test]
fn a_replica_has_no_side_channel_and_its_secrets_are_masked() {
    let mut fleet = fleet(None);
    fleet.served_model_name = "qwen 8b".into();
    fleet.api_key = Some(Secret::new("sk-very-secret"));
    fleet.env = [("HF_TOKEN", "hf_abc"), ("TOKENIZERS_PARALLELISM", "false")].into_iter().collect();
    let replica = InstancePlan {
        parallelism: Parallelism::tensor(2),
        gpus: GpuAssignment::Cuda(vec!["0".into(), "1".into()]),
        ..instance(Role::Replica)
    };
    insta::assert_snapshot!(line(&fleet, &replica, None), @"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES='0,1' HF_TOKEN=*** TOKENIZERS_PARALLELISM=false VLLM_API_KEY=*** VLLM_PORT=20100 vllm serve Qwen/Qwen3-8B --host 127.0.0.1 --port 8101 --tensor-parallel-size 2 --served-model-name 'qwen 8b' --gpu-memory-utilization 0.8");
    let command = command(&fleet, &replica, PartOf::whole(PORTS), None).expect("a sound plan");
    let manifest = serde_json::to_string(&command).expect("serialises");
    for secret in ["sk-very-secret", "hf_abc"] {
        assert!(!manifest.contains(secret) && !format!("{command:?}").contains(secret));
    }
    assert_eq!(command.env["VLLM_API_KEY"].expose(), "sk-very-secret");
}

#[test]
fn the_kv_config_follows_the_version() {
    let config = |version| {
        let command =
            command(&fleet(Some(KvTransfer::default())), &instance(Role::Prefill), PartOf::whole(PORTS), Some(version));
        let args = command.expect("a sound plan").args;
        let at = args.iter().position(|a| a == "--kv-transfer-config").expect("is there");
        args[at + 1].clone()
    };
    assert_eq!(config(EngineVersion::new(0, 12, 9)), r#"{"kv_connector":"NixlConnector","kv_role":"kv_both"}"#);
    assert!(config(EngineVersion::new(0, 20, 2)).contains(r#""kv_role":"kv_both","kv_load_failure_policy":"fail""#));
    assert!(config(EngineVersion::new(0, 21, 0)).contains("kv_producer"));
}

#[test]
fn amd_engines_see_one_kind_of_device_list() {
    let instance = InstancePlan { gpus: GpuAssignment::Hip(vec!["2".into()]), ..instance(Role::Replica) };
    let command = command(&fleet(None), &instance, PartOf::whole(PORTS), None).expect("a sound plan");
    assert_eq!(command.env["HIP_VISIBLE_DEVICES"].masked(), "2");
    assert_eq!(command.env_removed, ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"]);
}

#[test]
fn flags_that_fight_with_ours_are_refused_however_they_are_spelt() {
    for (arg, flag) in [
        ("--port", "--port"),
        ("--port=9000", "--port"),
        ("--tensor_parallel_size", "--tensor-parallel-size"),
        ("-tp", "-tp"),
        ("--api-key=sk", "--api-key"),
    ] {
        let instance = InstancePlan { args: vec![arg.into(), "9000".into()], ..instance(Role::Decode) };
        match command(&fleet(None), &instance, PartOf::whole(PORTS), None) {
            Err(ArgvError::FlagIsOurs { flag: named, .. }) => assert_eq!(named, flag),
            other => panic!("{arg} must be refused, got {other:?}"),
        }
    }
    let harmless = InstancePlan { args: vec!["--port-of-call".into()], ..instance(Role::Decode) };
    assert!(command(&fleet(None), &harmless, PartOf::whole(PORTS), None).is_ok());
}

#[test]
fn the_error_for_a_flag_names_instance_flag_and_remedy() {
    let instance = InstancePlan { args: vec!["--kv-transfer-config={}".into()], ..instance(Role::Decode) };
    let error = command(&fleet(None), &instance, PartOf::whole(PORTS), None).expect_err("is refused");
    insta::assert_snapshot!(error, @"decode-0: --kv-transfer-config is set by topobench: leave it out of the engine's arguments; use the [kv] table of the topology file");
}

#[test]
fn the_environment_may_ask_for_ports_but_not_for_gpus() {
    let mut plan = fleet(Some(KvTransfer::default()));
    plan.env.insert(SIDE_CHANNEL_PORT, "5700");
    assert_eq!(requested_port(&plan, SIDE_CHANNEL_PORT), Ok(Some(5700)));
    plan.env.insert(INTERNAL_PORT, "many");
    assert!(matches!(requested_port(&plan, INTERNAL_PORT), Err(ArgvError::NotAPort { .. })));
    plan.env.insert("CUDA_VISIBLE_DEVICES", "0");
    assert!(matches!(
        command(&plan, &instance(Role::Decode), PartOf::whole(PORTS), None),
        Err(ArgvError::VariableIsOurs { .. })
    ));
}
