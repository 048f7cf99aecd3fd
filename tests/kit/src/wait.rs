//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// Longer than anything in a test takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `ready` gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "still not after {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(10));
    }
}
