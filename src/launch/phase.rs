//! What an engine's log says about its start. Pure: lines in, phase and progress out.
//!
//! An engine may need ten minutes, and a stuck one may chatter for ever (vLLM repeats "Waiting for ..." every minute).
//! So a line counts as progress only if nothing like it, digits aside, was seen before, or if it is a progress bar
//! that moved.

use serde::Serialize;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Stages of a start, in the order engines pass them. Not every engine shows every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Importing and reading its configuration.
    Importing,
    LoadingWeights,
    /// torch.compile.
    Compiling,
    /// Sizing and creating the KV cache.
    AllocatingKvCache,
    CapturingGraphs,
    /// The engine is there; the HTTP server is being set up.
    StartingServer,
    Serving,
}

impl Phase {
    pub fn words(self) -> &'static str {
        match self {
            Phase::Importing => "importing",
            Phase::LoadingWeights => "loading weights",
            Phase::Compiling => "compiling",
            Phase::AllocatingKvCache => "allocating the KV cache",
            Phase::CapturingGraphs => "capturing graphs",
            Phase::StartingServer => "starting the server",
            Phase::Serving => "serving",
        }
    }

    /// The phase that a line announces (wordings of vLLM 0.10 to 0.32).
    pub fn announced_by(line: &str) -> Option<Phase> {
        const MARKS: [(&str, Phase); 17] = [
            ("Application startup complete", Phase::Serving),
            ("Started server process", Phase::StartingServer),
            ("Starting vLLM server on", Phase::StartingServer),
            ("Starting vLLM API server", Phase::StartingServer),
            ("init engine (profile, create kv cache", Phase::StartingServer),
            ("Capturing CUDA graph", Phase::CapturingGraphs),
            ("Capturing cudagraph", Phase::CapturingGraphs),
            ("Graph capturing finished", Phase::CapturingGraphs),
            ("Available KV cache memory", Phase::AllocatingKvCache),
            ("KV cache size:", Phase::AllocatingKvCache),
            ("Registering KV_Caches", Phase::AllocatingKvCache),
            ("for vLLM's torch.compile", Phase::Compiling),
            ("Dynamo bytecode transform", Phase::Compiling),
            ("Compiling a graph", Phase::Compiling),
            ("Starting to load model", Phase::LoadingWeights),
            ("Loading model from scratch", Phase::LoadingWeights),
            ("Loading safetensors checkpoint shards", Phase::LoadingWeights),
        ];
        MARKS.iter().find(|(mark, _)| line.contains(mark)).map(|(_, phase)| *phase)
    }
}

/// Lines of more shapes than this are a flood and no start; it also bounds the memory.
const SHAPES: usize = 8192;

/// Follows a log line by line.
#[derive(Debug)]
pub(super) struct LoadingProgress {
    phase: Phase,
    seen: HashSet<u64>,
}

impl Default for LoadingProgress {
    fn default() -> Self {
        LoadingProgress { phase: Phase::Importing, seen: HashSet::new() }
    }
}

impl LoadingProgress {
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Takes the next line; true if the start got on.
    pub(super) fn advance(&mut self, line: &str) -> bool {
        let announced = Phase::announced_by(line).filter(|phase| *phase > self.phase);
        if let Some(phase) = announced {
            self.phase = phase;
        }
        announced.is_some() | self.is_new(line)
    }

    fn is_new(&mut self, line: &str) -> bool {
        let moving = is_progress_bar(line);
        let mut hasher = DefaultHasher::new();
        for c in line.chars().filter(|c| moving || !c.is_ascii_digit()) {
            c.hash(&mut hasher);
        }
        !line.trim().is_empty() && self.seen.len() < SHAPES && self.seen.insert(hasher.finish())
    }
}

/// tqdm's `4%|▍  | 2/51 [00:00<00:03, 14.77it/s]`.
pub(super) fn is_progress_bar(line: &str) -> bool {
    line.contains("%|") || line.contains("% Completed |")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases_of(log: &str) -> Vec<Phase> {
        let mut progress = LoadingProgress::default();
        let mut phases = vec![progress.phase()];
        for line in log.split(['\n', '\r']) {
            progress.advance(line);
            if phases.last() != Some(&progress.phase()) {
                phases.push(progress.phase());
            }
        }
        phases
    }

    #[test]
    fn a_real_start_on_gpus_passes_every_phase_in_order() {
        let log = include_str!("../../tests/fixtures/launch/startup_h100_0.22.log");
        use Phase::*;
        assert_eq!(
            phases_of(log),
            [Importing, LoadingWeights, Compiling, AllocatingKvCache, CapturingGraphs, StartingServer, Serving]
        );
    }

    #[test]
    fn a_real_start_on_cpu_skips_what_it_does_not_do() {
        let log = include_str!("../../tests/fixtures/launch/side_channel_in_use_cpu_0.32.log");
        use Phase::*;
        assert_eq!(phases_of(log), [Importing, LoadingWeights, AllocatingKvCache, StartingServer]);
    }

    #[test]
    fn a_heartbeat_is_no_progress() {
        let mut progress = LoadingProgress::default();
        assert!(progress.advance("INFO 11-21 21:33:42 Waiting for 1 local, 0 remote core engine proc(s) to start."));
        assert!(!progress.advance("INFO 11-21 21:34:42 Waiting for 1 local, 0 remote core engine proc(s) to start."));
        assert!(!progress.advance(""));
    }

    #[test]
    fn a_moving_progress_bar_is_progress() {
        let mut progress = LoadingProgress::default();
        assert!(progress.advance("Loading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]"));
        assert!(progress.advance("Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:09<00:27, 9.1s/it]"));
        assert!(
            !progress.advance("Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:09<00:27, 9.1s/it]")
        );
    }

    #[test]
    fn phases_never_go_back() {
        let mut progress = LoadingProgress::default();
        progress.advance("INFO:     Application startup complete.");
        progress.advance("Capturing CUDA graphs (FULL):   4%|");
        assert_eq!(progress.phase(), Phase::Serving);
    }

    #[test]
    fn a_flood_of_ever_new_lines_stops_counting() {
        let mut progress = LoadingProgress::default();
        let word = |n: usize| (0..14).map(|bit| if n >> bit & 1 == 0 { 'a' } else { 'b' }).collect::<String>();
        assert!(progress.advance(&word(0)));
        for n in 1..SHAPES {
            progress.advance(&word(n));
        }
        assert!(!progress.advance(&word(SHAPES)));
    }
}
