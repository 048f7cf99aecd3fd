//! A fleet between two sessions of the same deployment: up, warm, and measured by nobody.

use super::events::EventSink;
use super::live::LiveArm;
use super::stop::Stop;

/// What a session left up for the next one. Whoever holds it takes it down, or hands it on.
pub struct KeptFleet {
    pub(super) live: LiveArm,
}

impl KeptFleet {
    /// Tokens of prompt and output together that every engine takes; `None` where they don't tell.
    pub fn context(&self) -> Option<u32> {
        self.live.max_model_len
    }

    pub async fn take_down(self, events: &EventSink, stop: &Stop) {
        self.live.take_down(events, stop).await;
    }
}
