//! Any bytes as a result file of another program: no panic, and no latency that is none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topobench::record::import::Contents;

fuzz_target!(|bytes: &[u8]| {
    let Contents { points, problems } = Contents::of_reader(bytes);
    assert!(!points.is_empty() || !problems.is_empty(), "what gives nothing says why");
    for record in points.iter().flat_map(|point| &point.records) {
        let latencies = [record.ttft().map(|t| t.as_secs()), record.tpot().map(|t| t.as_secs())];
        assert!(latencies.into_iter().flatten().all(|secs| secs.is_finite() && secs >= 0.0));
    }
});
