//! What of the servers' limits shows in the warm-up: their context, and what a chat template adds to a prompt.

use super::error::SessionError;
use super::events::SessionEvent;
use super::warm::WarmUp;
use crate::plan::load::{Endpoint, Overlong};
use crate::plan::workload::{PrepareContext, Prompt, Tokenizer, WarmUpRequest};
use crate::units::TokenCount;
use std::sync::Arc;

impl WarmUp<'_> {
    /// Requests that find out what the server understands: on a chat with a known tokenizer short ones, whose tokens can
    /// be told from those of the server's chat template.
    pub(super) async fn probes(&self, count: usize) -> Result<Vec<WarmUpRequest>, SessionError> {
        let workload = self.context.workload.current();
        let needed = u32::try_from(count).unwrap_or(u32::MAX);
        let chat = self.sweep().workload.endpoint == Endpoint::Chat && !self.sweep().workload.dataset.needs_chat();
        let Some(tokenizer) = (if chat { self.tokenizer().await } else { None }) else {
            return Ok(workload.warm_ups(needed)?);
        };
        let probe = |number: usize| {
            let text = format!("Hello, this is request {number} of run {}.", self.nonce);
            let prompt_tokens = TokenCount(tokenizer.count_plain(&text));
            WarmUpRequest { prompt: Prompt::user(text), prompt_tokens, output_tokens: TokenCount(u32::MAX) }
        };
        Ok((0..count).map(probe).collect())
    }

    /// Whether requests can be answered at all, before one is sent that the server must refuse.
    pub(super) fn check_context(&self, requests: &[WarmUpRequest]) -> Result<(), SessionError> {
        let refuses = self.sweep().workload.overlong == Overlong::Refuse;
        let Some(context) = self.live.max_model_len.filter(|_| refuses) else { return Ok(()) };
        let tokens = |request: &WarmUpRequest| match request.output_tokens.get() {
            // A probe has no length of its own.
            u32::MAX => request.prompt_tokens.get(),
            output => request.prompt_tokens.get().saturating_add(output),
        };
        match requests.iter().map(tokens).max().filter(|tokens| *tokens > context) {
            Some(tokens) => Err(SessionError::Context { arm: self.live.label.clone(), tokens, context }),
            None => Ok(()),
        }
    }

    /// Takes the server's limits into account. `seen`: prompt tokens of a probe, as we and as the server counted them.
    pub(super) fn fit(&self, seen: Option<(TokenCount, TokenCount)>) -> Result<(), SessionError> {
        let workload = self.context.workload.current();
        let prepared = workload.context();
        let template_tokens = seen.map_or(0, |(ours, servers)| servers.get().saturating_sub(ours.get()));
        let told = self.live.max_model_len.map(TokenCount);
        let max_model_len = prepared.max_model_len.into_iter().chain(told).min_by_key(|n| n.get());
        let context = PrepareContext { max_model_len, template_tokens, ..prepared };
        self.context.workload.fit(self.sweep(), context)?;
        let now = self.context.workload.current();
        if now.report() != workload.report() {
            let text = format!(
                "{}: prompts were made to fit the model's context of {context} tokens (--overlong): {}",
                self.live.label,
                now.report()
            );
            (self.events)(SessionEvent::Warning { text });
        }
        Ok(())
    }

    /// The workload's tokenizer, off the threads that send.
    pub(super) async fn tokenizer(&self) -> Option<Arc<Tokenizer>> {
        let spec = self.sweep().workload.tokenizer.clone()?;
        let loaded = tokio::task::spawn_blocking(move || Tokenizer::load(&spec)).await;
        loaded.ok()?.ok().map(Arc::new)
    }
}
