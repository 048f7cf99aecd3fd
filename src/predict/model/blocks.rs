//! The KV block pool: allocation, sharing by prefix, eviction of the least recently used.
//!
//! Follows vLLM's `BlockPool`: a block whose last user left keeps its contents, findable by the
//! hash of the whole prefix that it ends, until it is handed out again.
//! Deliberately absent: caching of generated tokens (prompts only), several KV cache groups.

use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Identifies a physical block.
pub type BlockId = u32;

/// Hash of a whole block of tokens and of every token before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixHash(u64);

/// Hashes of the full blocks of `tokens`; each one covers everything before it.
pub fn prefix_hashes(tokens: &[u32], block_size: u32) -> Vec<PrefixHash> {
    let mut chain = 0x9e37_79b9_7f4a_7c15_u64;
    tokens
        .chunks_exact(block_size.max(1) as usize)
        .map(|block| {
            chain = block.iter().fold(chain, |hash, token| mix(hash, *token));
            PrefixHash(chain)
        })
        .collect()
}

/// Those of a prompt that shares nothing with any other.
pub fn hashes_of_its_own(id: u64, tokens: u32, block_size: u32) -> Vec<PrefixHash> {
    let own = mix(id, u32::MAX);
    (0..tokens / block_size.max(1)).map(|block| PrefixHash(mix(own, block))).collect()
}

/// In how many pieces the contents of `remote` blocks are copied into the `local` ones: neighbours on both sides go in
/// one. Blocks that nobody named have no neighbours.
pub fn contiguous_pieces(local: &[BlockId], remote: &[BlockId]) -> u32 {
    let follows = |blocks: &[BlockId], index: usize| match (blocks.get(index - 1), blocks.get(index)) {
        (Some(before), Some(this)) => before + 1 == *this,
        _ => false,
    };
    (0..local.len()).filter(|&i| i == 0 || !(follows(local, i) && follows(remote, i))).count() as u32
}

/// One round of a hash.
pub fn mix(hash: u64, value: u32) -> u64 {
    SplitMix64::seed_from_u64(hash ^ u64::from(value)).next_u64()
}

#[derive(Debug, Default, Clone)]
struct Block {
    users: u32,
    hash: Option<PrefixHash>,
    /// Its place among those that were given back, while nobody uses it.
    idle_since: u64,
}

/// All KV blocks of one instance.
#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    by_hash: FxHashMap<PrefixHash, BlockId>,
    /// From here on no block was ever used; they come before those that were.
    untouched: BlockId,
    /// Blocks that were given back, the next victim first, with when. Those that are in use again, or were given back once
    /// more since, are passed over.
    returned: VecDeque<(u64, BlockId)>,
    /// Blocks that nobody uses.
    idle: u32,
    clock: u64,
    caching: bool,
}

impl BlockPool {
    /// A pool of `capacity` blocks; without `caching` nothing is ever found by prefix.
    pub fn new(capacity: u32, caching: bool) -> Self {
        Self {
            blocks: vec![Block::default(); capacity as usize],
            by_hash: FxHashMap::default(),
            untouched: 0,
            returned: VecDeque::new(),
            idle: capacity,
            clock: 0,
            caching,
        }
    }

    /// Blocks that nobody uses.
    pub fn idle(&self) -> u32 {
        self.idle
    }

    /// All blocks.
    pub fn capacity(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Used share of the pool, 0 to 1.
    pub fn usage(&self) -> f64 {
        if self.blocks.is_empty() {
            return 0.0;
        }
        f64::from(self.capacity() - self.idle()) / f64::from(self.capacity())
    }

    /// Number of leading `hashes` whose blocks are in the pool.
    pub fn cached(&self, hashes: &[PrefixHash]) -> u32 {
        hashes.iter().take_while(|hash| self.by_hash.contains_key(hash)).count() as u32
    }

    /// Takes the first `shared` blocks by their hash and `fresh` new ones, or nothing at all.
    pub fn take(&mut self, hashes: &[PrefixHash], shared: u32, fresh: u32) -> Option<Vec<BlockId>> {
        let shared: Vec<BlockId> =
            hashes.iter().take(shared as usize).filter_map(|hash| self.by_hash.get(hash).copied()).collect();
        let woken = shared.iter().filter(|id| self.block(**id).users == 0);
        if woken.count() as u32 + fresh > self.idle() {
            return None;
        }
        for id in &shared {
            let block = &mut self.blocks[*id as usize];
            self.idle -= u32::from(block.users == 0);
            block.users += 1;
        }
        let mut taken = shared;
        self.extend(&mut taken, fresh).then_some(taken)
    }

    /// Appends `fresh` new blocks to `blocks`; false, and nothing changed, when there are not enough.
    pub fn extend(&mut self, blocks: &mut Vec<BlockId>, fresh: u32) -> bool {
        if fresh > self.idle() {
            return false;
        }
        for _ in 0..fresh {
            let Some(id) = self.next_victim() else {
                return false;
            };
            self.idle -= 1;
            let block = &mut self.blocks[id as usize];
            if let Some(hash) = block.hash.take() {
                self.by_hash.remove(&hash);
            }
            block.users = 1;
            blocks.push(id);
        }
        true
    }

    /// Makes the blocks that hold computed prompt findable by prefix.
    pub fn publish(&mut self, blocks: &[BlockId], hashes: &[PrefixHash]) {
        if !self.caching {
            return;
        }
        for (id, hash) in blocks.iter().zip(hashes) {
            let block = &mut self.blocks[*id as usize];
            if block.hash.is_none() && !self.by_hash.contains_key(hash) {
                block.hash = Some(*hash);
                self.by_hash.insert(*hash, *id);
            }
        }
    }

    /// Gives blocks back. The tail of a sequence is evicted before its head, as in vLLM.
    pub fn give_back(&mut self, blocks: Vec<BlockId>) {
        for id in blocks.into_iter().rev() {
            let block = &mut self.blocks[id as usize];
            block.users = block.users.saturating_sub(1);
            if block.users == 0 {
                self.retire(id);
            }
        }
    }

    fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id as usize]
    }

    fn next_victim(&mut self) -> Option<BlockId> {
        if self.untouched < self.capacity() {
            self.untouched += 1;
            return Some(self.untouched - 1);
        }
        loop {
            let (since, id) = self.returned.pop_front()?;
            let block = self.block(id);
            if block.users == 0 && block.idle_since == since {
                return Some(id);
            }
        }
    }

    fn retire(&mut self, id: BlockId) {
        self.clock += 1;
        self.blocks[id as usize].idle_since = self.clock;
        self.returned.push_back((self.clock, id));
        self.idle += 1;
        // What is passed over must not pile up where few new blocks are taken.
        if self.returned.len() > 2 * self.blocks.len() {
            let blocks = &self.blocks;
            self.returned.retain(|(since, id)| {
                let block = &blocks[*id as usize];
                block.users == 0 && block.idle_since == *since
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u32 = 4;

    fn hashes(tokens: &[u32]) -> Vec<PrefixHash> {
        prefix_hashes(tokens, SIZE)
    }

    #[test]
    fn a_hash_covers_everything_before_its_block() {
        let one = hashes(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let other = hashes(&[0, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(one.len(), 2);
        assert_ne!(one[1], other[1]);
    }

    #[test]
    fn a_prompt_seen_before_shares_its_blocks() {
        let mut pool = BlockPool::new(8, true);
        let prompt = hashes(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let first = pool.take(&prompt, 0, 2).unwrap();
        assert_eq!(pool.cached(&prompt), 0, "not before it is computed");
        pool.publish(&first, &prompt);
        assert_eq!(pool.cached(&prompt), 2);
        let second = pool.take(&prompt, 2, 1).unwrap();
        assert_eq!(second[..2], first[..]);
        assert_eq!(pool.idle(), 5);
        pool.give_back(first);
        pool.give_back(second);
        assert_eq!(pool.idle(), 8);
        assert_eq!(pool.cached(&prompt), 2, "contents outlive their users");
    }

    #[test]
    fn without_caching_nothing_is_shared() {
        let mut pool = BlockPool::new(4, false);
        let prompt = hashes(&[1, 2, 3, 4]);
        let blocks = pool.take(&prompt, 0, 1).unwrap();
        pool.publish(&blocks, &prompt);
        assert_eq!(pool.cached(&prompt), 0);
    }

    #[test]
    fn the_least_recently_used_block_is_evicted_and_tails_go_before_heads() {
        let mut pool = BlockPool::new(3, true);
        let old = hashes(&[1, 1, 1, 1, 2, 2, 2, 2]);
        let blocks = pool.take(&old, 0, 2).unwrap();
        pool.publish(&blocks, &old);
        pool.give_back(blocks);
        pool.take(&[], 0, 2).unwrap();
        assert_eq!(pool.cached(&old), 1, "the head survives its tail");
        assert!(pool.take(&[], 0, 2).is_none());
        assert_eq!(pool.idle(), 1, "a refused request takes nothing");
    }

    #[test]
    fn neighbours_on_both_sides_are_copied_in_one_piece() {
        assert_eq!(contiguous_pieces(&[5, 6, 7, 9], &[1, 2, 3, 4]), 2);
        assert_eq!(contiguous_pieces(&[5, 6, 7, 8], &[4, 3, 2, 1]), 4, "those in falling order are none");
        assert_eq!(contiguous_pieces(&[5, 6, 7], &[]), 3);
        assert_eq!(contiguous_pieces(&[], &[1]), 0);
    }

    #[test]
    fn a_pool_that_was_used_up_once_hands_out_no_neighbours() {
        let mut pool = BlockPool::new(8, true);
        let pieces = |blocks: &[BlockId]| contiguous_pieces(blocks, blocks);
        for _ in 0..2 {
            let blocks = pool.take(&[], 0, 4).unwrap();
            assert_eq!(pieces(&blocks), 1);
            pool.give_back(blocks);
        }
        let reused = pool.take(&[], 0, 4).unwrap();
        assert_eq!(pieces(&reused), 4, "a sequence gives its tail back before its head");
    }

    proptest! {
        #[test]
        fn blocks_are_never_lost_or_doubled(ops in prop::collection::vec((0u32..4, 0u32..5), 1..80)) {
            let mut pool = BlockPool::new(12, true);
            let mut held: Vec<Vec<BlockId>> = Vec::new();
            for (family, fresh) in ops {
                let prompt = hashes(&[family; 12]);
                let shared = pool.cached(&prompt);
                match pool.take(&prompt, shared, fresh) {
                    Some(blocks) => {
                        pool.publish(&blocks, &prompt);
                        held.push(blocks);
                    }
                    None => if let Some(blocks) = held.pop() { pool.give_back(blocks) },
                }
                let mut used: Vec<_> = held.iter().flatten().copied().collect();
                used.sort_unstable();
                used.dedup();
                prop_assert_eq!(used.len() as u32 + pool.idle(), 12);
            }
            held.into_iter().for_each(|blocks| pool.give_back(blocks));
            prop_assert_eq!(pool.idle(), 12);
        }
    }
}
