//! The wall clock steps: NTP, a suspended machine, an administrator. Dates may then be wrong, durations may not.

use crate::support::{Bench, RunDir, compiled};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[test]
fn a_wall_clock_that_steps_changes_dates_and_no_duration() {
    let bench = Bench::new("nixl").args("--request-rate 20 --num-prompts 20 --random-output-len 4");
    let clock = compiled(bench.dir.path(), "clock.rs", "libclock.so");
    let bench = bench.env("LD_PRELOAD", &clock.display().to_string());
    let began = Instant::now();
    let finished = bench.run();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(finished.code, Some(0), "{}", finished.words);
    let run = RunDir(finished.dir());
    let requests = run.requests(20.0);
    assert_eq!(requests.len(), 20);
    for request in &requests {
        let at = |name: &str| request[name].as_f64().unwrap_or_else(|| panic!("no {name}: {request}"));
        let instants = [at("due"), at("sent"), at("first_token"), at("last_token"), at("end")];
        assert!(instants.is_sorted() && instants[0] >= 0.0 && instants[4] < took, "{request}");
    }
    let point = run.point(20.0);
    assert!(point["duration_secs"].as_f64().is_some_and(|secs| secs > 0.9 && secs < took), "{point}");
    // The clock did step: dates are an hour off.
    let told = chrono::DateTime::parse_from_rfc3339(run.manifest()["created_at"].as_str().unwrap_or_default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let off = (told.expect("a date").timestamp() as f64 - now).abs();
    assert!((3600.0 - took - 5.0..3600.0 + took + 5.0).contains(&off), "{off} s off");
}
