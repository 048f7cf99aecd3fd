//! Waking at a due time, to some ten microseconds.
//!
//! tokio's own timers tick every millisecond; spinning would steal the core that reads the answers. A timerfd wakes the
//! load's own event loop by the kernel's high-resolution timer, without a second thread to hand over from.

use super::stamped::watched;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct DueTimer {
    timer: AsyncFd<Timer>,
}

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl DueTimer {
    /// Within a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(DueTimer { timer: watched(Timer(timer), Interest::READABLE)? })
    }

    /// Returns at or after `due`, at once if it has passed.
    pub(super) async fn sleep_until(&self, due: Instant) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.arm(left)?;
            // Arming forgot older expirations, so what is seen here needn't be read, only forgotten.
            self.timer.readable().await?.clear_ready();
        }
    }

    fn arm(&self, left: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        Ok(self.timer.get_ref().0.set(once, TimerSetTimeFlags::empty())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_wakes_early_and_never_misses_a_second_use() {
        let timer = DueTimer::new().expect("a timerfd");
        for micros in [0, 1, 300, 50, 2000] {
            let due = Instant::now() + Duration::from_micros(micros);
            timer.sleep_until(due).await.expect("sleeps");
            assert!(Instant::now() >= due);
        }
        timer.sleep_until(Instant::now()).await.expect("returns at once for what has passed");
    }

    #[tokio::test]
    async fn an_abandoned_sleep_doesnt_wake_the_next_one_early() {
        let timer = DueTimer::new().expect("a timerfd");
        let abandoned = timer.sleep_until(Instant::now() + Duration::from_micros(200));
        let _ = tokio::time::timeout(Duration::from_micros(1), abandoned).await;
        let due = Instant::now() + Duration::from_millis(3);
        timer.sleep_until(due).await.expect("sleeps");
        assert!(Instant::now() >= due);
    }
}
