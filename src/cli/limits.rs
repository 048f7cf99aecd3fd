//! Limits that the kernel enforces with a signal.

use nix::sys::signal::{SigSet, Signal};

/// A file that would outgrow `ulimit -f` fails its write, as on a full disk, instead of ending this program: the run then says
/// which file it was, and stops its engines. Threads inherit this, so it comes before any; engines don't, their guardians see to it.
pub(super) fn let_writes_fail() {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGXFSZ);
    let _ = blocked.thread_block();
}
