//! Aborts a point when an engine dies or all of them hang.
//!
//! A death is seen by the engine's guardian. A hang is not: /health stays 200, the port stays open, and only the tokens
//! stop. So the watchdog looks at tokens while a point runs ([`Watchdog`]), and engines are asked for a token after a
//! point in which requests failed ([`first_unresponsive`]).

use super::live::LiveArm;
use super::loss::{Abort, AbortCell, BackendIndex, DEATH_NOTICE, Incident, Loss};
use crate::drive::{Deadlines, Destination, Progress, Single, SingleError, send_one};
use crate::outcome::Failure;
use crate::plan::workload::Prompt;
use crate::plan::{Timeouts, load::Endpoint};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// How often the tokens are counted.
const PERIOD: Duration = Duration::from_millis(250);
/// Longest wait for the one token that an engine is asked for after a point with failures.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// A single error or shed request does not make an engine broken; this many in a row do.
const PROBES: u32 = 3;

/// Watches the fleet while a point runs.
pub(super) struct Watchdog<'a> {
    pub(super) live: &'a LiveArm,
    pub(super) progress: &'a Progress,
    pub(super) timeouts: Timeouts,
    pub(super) cancel: &'a CancellationToken,
    pub(super) abort: &'a AbortCell,
}

impl Watchdog<'_> {
    /// Runs the load to its end. A dead engine or a long silence of all engines aborts it: nothing after that would be a
    /// measurement.
    pub(super) async fn guard<R>(&self, load: impl Future<Output = R>) -> (R, Option<Incident>) {
        tokio::pin!(load);
        let incident = tokio::select! {
            report = &mut load => {
                let death = match self.progress.counts().failed {
                    0 => None,
                    _ => timeout(DEATH_NOTICE, self.live.next_death()).await.ok(),
                };
                return (report, self.settle(death.map(Incident::Died)));
            }
            death = self.live.next_death() => Incident::Died(death),
            incident = self.silence() => incident,
        };
        let incident = self.settle(Some(incident));
        self.cancel.cancel();
        (load.await, incident)
    }

    fn settle(&self, incident: Option<Incident>) -> Option<Incident> {
        let abort = incident.as_ref().map(|incident| match incident {
            Incident::Died(death) => Abort::Died {
                instance: death.instance.clone(),
                backend: BackendIndex::find(&self.live.engines, &death.instance),
            },
            Incident::Silence { secs, .. } => Abort::Silence { secs: *secs },
        });
        // A point has one watchdog, which settles once.
        let _ = self.abort.set(abort);
        incident
    }

    /// Returns when requests have been in flight and no token has come for longer than any single request may be
    /// silent.
    async fn silence(&self) -> Incident {
        let limit = self.timeouts.first_token.max(self.timeouts.idle);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tokens, mut moved) = (0, Instant::now());
        loop {
            ticks.tick().await;
            let counts = self.progress.counts();
            if counts.in_flight == 0 || counts.tokens != tokens {
                (tokens, moved) = (counts.tokens, Instant::now());
            }
            if moved.elapsed() > limit {
                return Incident::Silence { secs: moved.elapsed().as_secs_f64(), in_flight: counts.in_flight };
            }
        }
    }
}

/// Asks every engine for one token, bypassing the proxy, and returns the first that gives none. Every role can answer:
/// without transfer parameters a prefill instance serves the whole request, and a decode instance computes the prompt
/// itself.
pub(super) async fn first_unresponsive(live: &LiveArm, nonce: &str, timeouts: Timeouts) -> Option<Loss> {
    let patience = timeouts.first_token.min(PROBE_TIMEOUT);
    let probes = live.engines.iter().map(|engine| async move {
        let target = Destination { base_url: engine.base_url.clone(), ..live.target.clone() };
        let how = unresponsive(&target, nonce, patience).await?;
        Some(Loss { instance: engine.name.clone(), how, log: None, ended: false })
    });
    join_all(probes).await.into_iter().flatten().next()
}

async fn unresponsive(target: &Destination, nonce: &str, patience: Duration) -> Option<String> {
    let prompt = match target.endpoint {
        Endpoint::Completions => Prompt::Text("Hello".to_string()),
        Endpoint::Chat => Prompt::user("Hello".to_string()),
    };
    let mut last = String::new();
    for number in 0..PROBES {
        let single = Single {
            prompt: prompt.clone(),
            max_tokens: 1,
            id: format!("tb-{nonce}-probe-{number}"),
            headers: Vec::new(),
            deadlines: Deadlines { first_token: patience, idle: patience },
        };
        match timeout(patience * 2, send_one(target, &single)).await {
            Ok(Ok(_)) | Ok(Err(SingleError::Failed(Failure::Shed { .. }))) => return None,
            Ok(Err(SingleError::Failed(Failure::Stalled { .. }))) | Err(_) => {
                return Some(format!("hangs: not one token within {:.1} s", patience.as_secs_f64()));
            }
            Ok(Err(error)) => last = error.to_string(),
        }
    }
    Some(format!("gives no token: {last}"))
}
