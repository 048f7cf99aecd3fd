//! After the warm-up burst: more unmeasured requests until the hand-over costs what it will go on costing.
//!
//! On a fresh decode engine the KV blocks of a prompt lie next to each other and are handed over in one piece a layer.
//! vLLM hands out free blocks in order, so that lasts until every block was used once; then the pool is fragmented and
//! each block is a piece of its own. Measured on H100s (vLLM 0.22, Qwen3-8B, 2048 tokens a prompt): 72 descriptors a prompt
//! in the first 30 seconds, 9,216 after. A launch's first minute is not the deployment.

use super::error::SessionError;
use super::events::SessionEvent;
use super::warm::WarmUp;
use crate::plan::topology::Role;
use crate::plan::workload::WarmUpRequest;
use futures_util::stream::{self, StreamExt};
use std::time::Instant;

/// Prompts shorter than this are handed over in few pieces, however fragmented the pool.
const SHORT_PROMPT: u32 = 1024;
/// Requests under way at once for each decode instance, or each data-parallel rank of one.
const AT_ONCE: usize = 16;
/// Requests between two looks at the counters, while the pool fills and after. Each look waits for the last answer.
const FILLING_ROUND: usize = 128;
const ROUND: usize = 32;
/// Descriptors a transfer of two pairs of rounds that differ by less than this share are one state. Pairs, because a small
/// pool swings from one round to the next: it recovers while a round's last answers are waited for.
const ALIKE: f64 = 0.25;
/// More requests than this are not sent, however large the pool.
const MOST: usize = 2000;
/// Rounds after the pool is full in which two pairs must be alike.
const ROUNDS_AFTER: usize = 8;

/// How the hand-over was when the warm-up ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Settled {
    /// Every block was used once, and from then on rounds cost the same.
    Steady,
    OutOfTime,
    OutOfRequests,
}

impl WarmUp<'_> {
    /// Sends requests until the hand-over is steady, or a bound is reached, which is said. Does nothing where no decode
    /// instance counts hand-overs or tells its memory, for short prompts, and where no warm-up was asked for.
    pub(super) async fn settle(&self, sent: usize) -> Result<(), SessionError> {
        let load = &self.sweep().load;
        if !self.live.is_prefill_decode() || load.warmups == 0 || load.max_warmup.is_zero() {
            return Ok(());
        }
        let fleet = self.live.scraper.settled().await;
        let (Some(mut seen), Some(pools)) = (fleet.hand_overs(), fleet.decode_pools()) else { return Ok(()) };
        let typical = self.fresh(sent, ROUND)?;
        let Some(fill) = requests_to_fill(pools.iter().map(|p| p.tokens()).sum(), &typical) else { return Ok(()) };
        let requests = self.fresh(sent, (fill + ROUNDS_AFTER * ROUND).min(MOST))?;
        let began = Instant::now();
        let (mut done, mut costs) = (0, Vec::new());
        let ended = loop {
            let length = if done < fill { FILLING_ROUND.min(fill - done) } else { ROUND };
            let Some(round) = requests.get(done..done + length) else { break Settled::OutOfRequests };
            self.round(round, sent + done).await?;
            done += length;
            let Some(now) = self.live.scraper.settled().await.hand_overs() else { return Ok(()) };
            let cost = now.since(seen).descriptors_each();
            seen = now;
            if done > fill {
                costs.extend(cost);
            }
            if steady(&costs) {
                break Settled::Steady;
            }
            if began.elapsed() >= load.max_warmup {
                break Settled::OutOfTime;
            }
        };
        self.tell(ended, done, fill, costs.last().copied(), began);
        Ok(())
    }

    /// Requests that were not sent before, after the first `sent`.
    fn fresh(&self, sent: usize, count: usize) -> Result<Vec<WarmUpRequest>, SessionError> {
        let all = u32::try_from(sent + count).unwrap_or(u32::MAX);
        Ok(self.context.workload.current().warm_ups(all)?.split_off(sent))
    }

    async fn round(&self, requests: &[WarmUpRequest], first: usize) -> Result<(), SessionError> {
        let at_once = AT_ONCE * self.live.ranks(Role::Decode).max(1);
        let sends = requests
            .iter()
            .enumerate()
            .map(|(i, r)| self.send(r, r.output_tokens.get(), first + i, Vec::new(), &self.live.target));
        let mut answers = stream::iter(sends).buffer_unordered(at_once);
        while let Some(answer) = answers.next().await {
            answer.map_err(|e| self.smoke("while the hand-over was warmed up".to_string(), &e))?;
        }
        Ok(())
    }

    fn tell(&self, ended: Settled, requests: usize, fill: usize, descriptors: Option<f64>, began: Instant) {
        let arm = self.live.label.clone();
        let secs = began.elapsed().as_secs_f64();
        let limit = match ended {
            Settled::Steady => {
                (self.events)(SessionEvent::HandOverSteady { arm, requests, secs, descriptors });
                return;
            }
            Settled::OutOfTime => format!("{secs:.0} s had passed (--max-warmup)"),
            Settled::OutOfRequests => format!("{requests} requests were sent"),
        };
        let text = format!(
            "{arm}: the warm-up ended before the hand-over was steady: {limit}, and about {fill} requests use every KV block \
             once. The first points may show a hand-over faster than the one that lasts"
        );
        (self.events)(SessionEvent::Warning { text });
    }
}

/// How many of these use every block of the decode instances once; `None` for short prompts.
fn requests_to_fill(pool_tokens: u64, requests: &[WarmUpRequest]) -> Option<usize> {
    let count = requests.len().max(1) as f64;
    let prompts: f64 = requests.iter().map(|r| f64::from(r.prompt_tokens.get())).sum::<f64>() / count;
    let outputs: f64 = requests.iter().map(|r| f64::from(r.output_tokens.get())).sum::<f64>() / count;
    (prompts >= f64::from(SHORT_PROMPT)).then(|| (pool_tokens as f64 / (prompts + outputs)).ceil() as usize)
}

/// Whether the last two rounds cost what the two before them did. `costs`: descriptors a transfer, by round.
fn steady(costs: &[f64]) -> bool {
    let [.., a, b, c, d] = *costs else { return false };
    let (before, now) = (a + b, c + d);
    (now - before).abs() <= ALIKE * before.max(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::workload::Prompt;
    use crate::units::TokenCount;

    fn requests(prompt: u32, output: u32) -> Vec<WarmUpRequest> {
        let request = WarmUpRequest {
            prompt: Prompt::Text(String::new()),
            prompt_tokens: TokenCount(prompt),
            output_tokens: TokenCount(output),
        };
        vec![request; 4]
    }

    #[test]
    fn an_h100_with_an_8b_model_is_full_after_some_hundred_and_seventy_prompts() {
        // 22,993 blocks of 16 tokens, as vLLM 0.22 told.
        assert_eq!(requests_to_fill(22_993 * 16, &requests(2048, 128)), Some(170));
    }

    #[test]
    fn short_prompts_are_not_waited_for() {
        assert_eq!(requests_to_fill(22_993 * 16, &requests(512, 128)), None);
        assert_eq!(requests_to_fill(22_993 * 16, &[]), None);
    }

    #[test]
    fn the_hand_over_is_steady_when_two_pairs_of_rounds_cost_the_same() {
        assert!(steady(&[72.0, 9216.0, 9000.0, 9216.0, 9216.0]), "what was before does not matter");
        assert!(steady(&[4457.0, 715.0, 4596.0, 974.0]), "a small pool swings");
        assert!(!steady(&[72.0, 72.0, 3647.0, 9216.0]) && !steady(&[9216.0, 9216.0, 9216.0]));
    }
}
