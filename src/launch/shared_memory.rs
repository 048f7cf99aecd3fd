//! /dev/shm, in which vLLM's workers talk.

use nix::sys::statvfs::statvfs;

/// Free bytes of it on this machine; `None` where there is none.
pub(super) fn free() -> Option<u64> {
    let shm = statvfs("/dev/shm").ok()?;
    #[allow(clippy::useless_conversion, reason = "the fields are 32 bits wide on some targets")]
    let (blocks, size) = (u64::from(shm.blocks_available()), u64::from(shm.fragment_size()));
    Some(blocks * size)
}
