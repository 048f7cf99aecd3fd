//! Answers as server-sent events: one event a token, one write an event, and the faults that
//! break this on purpose.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::errors::ApiError;
use super::request::Parsed;
use super::whole::{self, prompt_tokens};
use super::wire::{ChatDelta, Chunk, DeltaChoice, Endpoint, FINGERPRINT, TextChoice, Usage};
use crate::enginesim::answer::FinishReason;
use crate::enginesim::faults::{Fault, Faults};
use crate::enginesim::generate::{Delta, Generation, GenerationError};

/// Between the pieces of a split event: long enough for the reader to see them apart.
const SPLIT_PAUSE: Duration = Duration::from_millis(1);
/// Events in one write of a merging server.
const MERGED: usize = 4;

/// Where a stream's bytes go; an error tears the connection down.
pub(super) type BodySender = Sender<io::Result<Bytes>>;

/// The client left; nothing more to do.
struct Gone;

/// Generates and sends events until the answer ends or the client leaves.
pub(super) async fn pump(parsed: Parsed, mut generation: Generation, created: i64, writer: EventWriter) {
    let client = writer.sender.clone();
    let mut stream = Stream::new(parsed, created, writer);
    tokio::select! {
        () = client.closed() => {}
        // The client leaving ends a stream early; there is nobody to tell.
        _ = stream.run(&mut generation) => {}
    }
}

/// Tokens of a choice that wait to be sent together.
#[derive(Debug, Default, Clone)]
struct Pending {
    text: String,
    tokens: Vec<u32>,
    sent_events: u64,
    completion_tokens: u32,
    greeted: bool,
}

struct Stream {
    parsed: Parsed,
    created: i64,
    writer: EventWriter,
    choices: Vec<Pending>,
    tokens_per_event: u64,
    hide_text: bool,
}

impl Stream {
    fn new(parsed: Parsed, created: i64, writer: EventWriter) -> Self {
        let faults = &writer.faults;
        let tokens_per_event = faults.find(|fault| match fault {
            Fault::MultiTokenChunks(tokens) => Some(*tokens),
            _ => None,
        });
        let choices = parsed.job.prompts.len() * parsed.job.n as usize;
        Self {
            tokens_per_event: tokens_per_event.unwrap_or(1),
            hide_text: faults.has(&Fault::EmptyText),
            choices: vec![Pending::default(); choices],
            parsed,
            created,
            writer,
        }
    }

    async fn run(&mut self, generation: &mut Generation) -> Result<(), Gone> {
        while let Some(delta) = generation.next().await {
            match delta {
                Ok(delta) => self.take(delta).await?,
                Err(GenerationError::Reset) => return self.writer.tear_down().await,
                Err(error) => {
                    let error = whole::error(&error);
                    return self.fail(&error).await;
                }
            }
        }
        if self.parsed.include_usage {
            let event = self.usage_event();
            self.writer.event(&event).await?;
        }
        self.writer.done().await
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), Gone> {
        self.writer.event(&error.body()).await?;
        self.writer.done().await
    }

    async fn take(&mut self, delta: Delta) -> Result<(), Gone> {
        let chat = self.parsed.endpoint == Endpoint::Chat;
        let choice = &mut self.choices[delta.choice];
        if chat && !std::mem::replace(&mut choice.greeted, true) {
            let event = self.greeting(delta.choice);
            self.writer.event(&event).await?;
        }
        let choice = &mut self.choices[delta.choice];
        choice.text.push_str(&delta.text);
        choice.tokens.push(delta.token);
        choice.completion_tokens += 1;
        let full = choice.tokens.len() as u64 >= self.tokens_per_event;
        if !full && delta.finish.is_none() {
            return Ok(());
        }
        let hide = self.hide_text && choice.sent_events.is_multiple_of(2) && delta.finish.is_none();
        choice.sent_events += 1;
        let tokens = std::mem::take(&mut choice.tokens);
        let text = if hide { String::new() } else { std::mem::take(&mut choice.text) };
        let event = self.token_event(delta.choice, &text, &tokens, delta.finish.as_ref());
        self.writer.event(&event).await
    }

    fn token_event(&self, index: usize, text: &str, tokens: &[u32], finish: Option<&FinishReason>) -> String {
        let finish_reason = finish.map(FinishReason::name);
        let stop_reason = finish.and_then(FinishReason::stop_reason);
        let token_ids = self.parsed.return_token_ids.then_some(tokens);
        let usage = self.running_usage(self.choices[index].completion_tokens);
        match self.parsed.endpoint {
            Endpoint::Completions => {
                let choice = TextChoice {
                    index,
                    text,
                    logprobs: (),
                    finish_reason,
                    stop_reason,
                    prompt_token_ids: (),
                    token_ids,
                };
                self.chunk(&[choice], usage, None)
            }
            Endpoint::Chat => {
                let choice = DeltaChoice {
                    index,
                    delta: ChatDelta { role: None, content: text },
                    logprobs: (),
                    finish_reason,
                    stop_reason: finish.map(|_| stop_reason),
                    token_ids: Some(token_ids),
                };
                self.chunk(&[choice], usage, None)
            }
        }
    }

    /// The first chunk of a chat: a role and no token.
    fn greeting(&self, index: usize) -> String {
        let choice = DeltaChoice {
            index,
            delta: ChatDelta { role: Some("assistant"), content: "" },
            logprobs: (),
            finish_reason: None,
            stop_reason: None,
            token_ids: None,
        };
        self.chunk(&[choice], self.running_usage(0), None)
    }

    fn usage_event(&self) -> String {
        let completion = self.choices.iter().map(|choice| choice.completion_tokens).sum();
        let usage = Usage::new(prompt_tokens(&self.parsed), completion);
        self.chunk::<()>(&[], Some(usage), Some(FINGERPRINT))
    }

    fn running_usage(&self, completion: u32) -> Option<Usage> {
        let usage = || Usage::new(prompt_tokens(&self.parsed), completion);
        self.parsed.continuous_usage.then(usage)
    }

    fn chunk<C: serde::Serialize>(
        &self,
        choices: &[C],
        usage: Option<Usage>,
        system_fingerprint: Option<&'static str>,
    ) -> String {
        let object = match self.parsed.endpoint {
            Endpoint::Completions => "text_completion",
            Endpoint::Chat => "chat.completion.chunk",
        };
        let chunk = Chunk {
            id: &self.parsed.job.id,
            object,
            created: self.created,
            model: &self.parsed.model,
            choices,
            usage,
            system_fingerprint,
        };
        // Structs of strings and numbers always have a JSON form.
        serde_json::to_string(&chunk).unwrap_or_default()
    }
}

/// Frames events and writes them, well or badly.
pub(super) struct EventWriter {
    sender: BodySender,
    faults: Faults,
    events: usize,
    merging: Vec<u8>,
}

impl EventWriter {
    pub(super) fn new(sender: BodySender, faults: Faults) -> Self {
        Self { sender, faults, events: 0, merging: Vec::new() }
    }

    async fn event(&mut self, data: &str) -> Result<(), Gone> {
        let newline = self.newline();
        let mut frame = String::new();
        if self.faults.has(&Fault::GarbageSse) {
            frame.push_str(garbage(self.events));
        }
        frame.push_str(&format!("data: {data}{newline}{newline}"));
        self.events += 1;
        if self.faults.has(&Fault::MergeSse) {
            self.merging.extend_from_slice(frame.as_bytes());
            if self.events.is_multiple_of(MERGED) {
                return self.flush().await;
            }
            return Ok(());
        }
        if !self.faults.has(&Fault::SplitSse) {
            return self.send(Bytes::from(frame)).await;
        }
        for piece in split(frame.as_bytes()) {
            self.send(Bytes::copy_from_slice(piece)).await?;
            tokio::time::sleep(SPLIT_PAUSE).await;
        }
        Ok(())
    }

    async fn done(&mut self) -> Result<(), Gone> {
        if !self.faults.has(&Fault::NoDone) {
            self.event("[DONE]").await?;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.merging.is_empty() {
            return Ok(());
        }
        let merged = std::mem::take(&mut self.merging);
        self.send(Bytes::from(merged)).await
    }

    async fn tear_down(&mut self) -> Result<(), Gone> {
        let error = io::ErrorKind::ConnectionReset.into();
        self.sender.send(Err(error)).await.map_err(|_| Gone)
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.sender.send(Ok(bytes)).await.map_err(|_| Gone)
    }

    fn newline(&self) -> &'static str {
        if self.faults.has(&Fault::Crlf) { "\r\n" } else { "\n" }
    }
}

/// Noise before the event with this number.
fn garbage(event: usize) -> &'static str {
    match event % 4 {
        0 => ": a comment\n\n",
        1 => "id: 7\nretry: 10\nunknown: field\n\n",
        2 => "data: {\"choices\":[{\"text\":\n\n",
        _ => "",
    }
}

/// Cuts inside the field name, inside the first multi-byte character and between the newlines.
fn split(frame: &[u8]) -> Vec<&[u8]> {
    let multibyte = frame.iter().position(|byte| *byte >= 0x80).map(|at| at + 1);
    let middle = multibyte.unwrap_or(frame.len() / 2);
    let mut cuts = vec![0, 3.min(frame.len()), middle, frame.len().saturating_sub(1), frame.len()];
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| &frame[pair[0]..pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_loses_nothing_and_cuts_inside_a_character() {
        let frame = "data: né\n\n".as_bytes();
        let pieces = split(frame);
        assert_eq!(pieces.concat(), frame);
        assert!(pieces.iter().any(|piece| std::str::from_utf8(piece).is_err()));
        assert_eq!(split(b"x").concat(), b"x");
    }
}
