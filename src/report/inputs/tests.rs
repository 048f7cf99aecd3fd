use super::*;
use crate::plan::strategy::Order;
use crate::report::samples::{Made, h100};

#[test]
fn our_own_run_tells_who_measured_what_on_what() {
    let run = Made { rates: vec![2.0, 4.0], requests: 10, ..Made::nixl() }.run();
    let arm = arm(&run, None);
    assert_eq!((arm.label.as_str(), arm.size.as_deref(), arm.gpus), ("nixl", Some("1P1D"), Some(2)));
    assert_eq!(arm.kind, ArmKind::PrefillDecode);
    assert_eq!(arm.identity.model.as_deref(), Some("Qwen3-8B"));
    assert_eq!(arm.identity.engine.as_deref(), Some("vllm 0.32.1"));
    assert_eq!(arm.identity.dataset.as_deref(), Some("random 512 in, 32 out"));
    assert_eq!(hardware(&run).as_deref(), Some("2 × H100 80GB HBM3"));
    assert_eq!(load_words(&run), ["Poisson arrivals", "10 requests a point", "seed 0"]);
    assert_eq!(arm.topology["shape"]["kind"], "prefill-decode", "{}", arm.topology);
    assert_eq!(arm.points.len(), 2);
    assert!(arm.points.iter().all(|p| p.facts.is_some() && p.samples.len() == 10));
}

#[test]
fn an_imported_directory_tells_what_its_files_know() {
    let simple = arm(&h100("tp2"), None);
    assert_eq!((simple.label.as_str(), simple.size.as_deref(), simple.gpus), ("simple", Some("TP2"), Some(2)));
    assert_eq!(simple.kind, ArmKind::Simple);
    assert_eq!(simple.identity.traces, []);
    assert!(simple.points.iter().all(|p| p.facts.is_none()), "nothing is known beside the requests");
    let nixl = arm(&h100("pd"), Some("mine".to_string()));
    assert_eq!((nixl.label.as_str(), nixl.size.as_deref(), nixl.gpus), ("mine", Some("1P1D"), Some(2)));
    assert_eq!(nixl.kind, ArmKind::PrefillDecode);
}

#[test]
fn a_deployment_without_gpus_has_no_number_of_them() {
    let mut run = Made { rates: vec![2.0], requests: 5, ..Made::simple() }.run();
    run.manifest.as_mut().expect("ours").arm.gpus = 0;
    assert_eq!(arm(&run, None).gpus, None);
    assert_eq!(hardware(&run), None);
}

#[test]
fn requests_that_left_no_record_were_offered() {
    let mut run = Made { rates: vec![2.0], requests: 7, ..Made::simple() }.run();
    let mut facts = run.points.remove(0).facts.expect("ours");
    facts.offered = 10;
    let seven = Made { requests: 7, ..Made::simple() }.records(2.0);
    let point = crate::record::RecordedPoint::new(facts.key, Some(facts), &seven).input();
    assert_eq!((point.samples.len(), point.samples.served()), (10, 7));
}

#[test]
fn pairing_asks_which_traces_not_in_which_order() {
    let run = Made { rates: vec![2.0, 4.0], requests: 5, ..Made::simple() }.run();
    let mut turned = run.clone();
    turned.manifest.as_mut().expect("ours").traces.reverse();
    let mut other = run.clone();
    other.manifest.as_mut().expect("ours").traces[0].sha256 = "0".repeat(64);
    let paired = |second: &RecordedRun| {
        let arms = [arm(&run, None), arm(second, None)];
        crate::analyse::Comparison::new(&arms, &crate::analyse::Question::default()).paired
    };
    assert!(paired(&turned));
    assert!(!paired(&other));
}

#[test]
fn a_server_attached_to_is_named_as_a_launched_one_is() {
    let attached = |version: &str| {
        let mut run = Made { rates: vec![2.0], requests: 5, ..Made::simple() }.run();
        let manifest = run.manifest.as_mut().expect("ours");
        manifest.arm.topology = None;
        manifest.instances[0].engine_version = Some(version.to_string());
        manifest.instances.truncate(1);
        engine(&run)
    };
    assert_eq!(attached("0.22.0").as_deref(), Some("vllm 0.22.0"));
    assert_eq!(attached("0.1.0+enginesim").as_deref(), Some("0.1.0+enginesim"));
}

#[test]
fn labels_are_unique() {
    let made = Made { rates: vec![2.0], requests: 5, ..Made::simple() };
    let nixl = Made { topology: "nixl", ..made.clone() };
    let names = |runs: &[RecordedRun]| labels(runs);
    assert_eq!(names(&[made.run(), nixl.run()]), ["simple", "nixl"]);
    assert_eq!(
        names(&[made.run(), nixl.run(), made.run(), made.run()]),
        ["simple TP2", "nixl", "simple TP2 (2)", "simple TP2 (3)"]
    );
}

#[test]
fn a_version_that_names_its_program_needs_no_second_name() {
    let mut run = Made { rates: vec![2.0], requests: 5, ..Made::simple() }.run();
    let manifest = run.manifest.as_mut().expect("ours");
    manifest.instances[0].engine_version = Some("0.1.0+enginesim".to_string());
    manifest.arm.topology.as_mut().expect("spawned").program = "/opt/bin/enginesim".to_string();
    assert_eq!(engine(&run).as_deref(), Some("0.1.0+enginesim"));
    run.manifest.as_mut().expect("ours").instances.clear();
    assert_eq!(engine(&run), None, "nobody told");
}

#[test]
fn an_old_run_there_and_back_had_a_launch_for_every_attempt() {
    let read = |order: Order| {
        let run = Made { rates: vec![2.0, 4.0], requests: 5, ..Made::nixl() }.run();
        let mut manifest = Manifest { order, ..run.manifest.expect("ours") };
        manifest.sweep.load.attempts = 2;
        manifest.points[1].key.attempt = 4;
        let mut old = serde_json::to_value(&manifest).expect("JSON");
        old["sweep"]["load"].as_object_mut().expect("an object").remove("launches");
        for point in old["points"].as_array_mut().expect("a list") {
            point.as_object_mut().expect("an object").remove("launch");
        }
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("manifest.json"), old.to_string()).expect("written");
        let read = Manifest::read(dir.path()).expect("readable");
        let launches: Vec<u32> = read.points.iter().map(|p| p.launch).collect();
        (read.sweep.load.launches, read.sweep.load.attempts, launches)
    };
    assert_eq!(read(Order::Abba), (4, 1, vec![1, 4]));
    assert_eq!(read(Order::Ab), (1, 2, vec![1, 1]));
}
