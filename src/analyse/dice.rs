//! Random numbers of the resampling: named streams, so that arms can draw alike.

/// Steele, Lea and Flood's SplitMix64 (OOPSLA 2014): the same numbers on every machine and in every version, which a
/// crate's "standard" generator doesn't promise.
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) fn new(stream: u64, round: u32, slot: usize) -> Self {
        SplitMix(mix(stream ^ mix((u64::from(round) << 20) ^ slot as u64 ^ 0x746F_706F)))
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        ((u128::from(mix(self.0)) * n as u128) >> 64) as usize
    }
}

pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
