//! Engines that nothing more can be measured on: those that ended, and those that live and give no token.
//!
//! An end is seen by the engine's guardian. A hang is not: /health stays 200, the port stays open, and only the tokens
//! stop. So tokens are what is watched while a point runs ([`Vigil`]), and what is asked for after a point in which
//! requests failed ([`first_mute`]).

use super::live::LiveArm;
use crate::drive::{Deadlines, Progress, Single, SingleError, Target, send_one};
use crate::launch::Death;
use crate::observe::engine::EngineTarget;
use crate::outcome::Failure;
use crate::plan::topology::Role;
use crate::plan::workload::Prompt;
use crate::plan::{Timeouts, load::Endpoint};
use futures_util::future::join_all;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// Requests may fail an instant before their engine's end is told.
pub const DEATH_NOTICE: Duration = Duration::from_millis(500);
/// How often the tokens are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Longest wait for the one token that an engine is asked for after a point with failures.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
/// An error or a shed request now and then is no broken engine; as many in a row are.
const PROBES: u32 = 3;

/// An engine that is lost to the measurement.
#[derive(Debug, Clone)]
pub struct Loss {
    pub instance: String,
    /// `ended (exit code 1): ..`, `gives no token: ..`.
    pub how: String,
    /// Its process had ended, which somebody else has told already.
    pub ended: bool,
}

impl From<&Death> for Loss {
    fn from(death: &Death) -> Self {
        let how = match &death.cause {
            Some(cause) => format!("ended ({}): {}", death.status, cause.kind.what()),
            None => format!("ended ({})", death.status),
        };
        Loss { instance: death.instance.clone(), how, ended: true }
    }
}

/// Where an engine stands among those of its role, as the proxy counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    pub role: Role,
    pub index: u32,
}

/// Why a point was cut short, as far as its requests are concerned.
#[derive(Debug, Clone, PartialEq)]
pub enum Cut {
    Died {
        instance: String,
        seat: Option<Seat>,
    },
    /// No token came from anywhere for this long.
    Silence {
        secs: f64,
    },
}

/// Set once when the load is over: `None` if nothing cut it short. Until then nobody knows.
pub type Verdict = Arc<OnceLock<Option<Cut>>>;

/// What befell the fleet while a point ran.
#[derive(Debug, Clone)]
pub enum Incident {
    Died(Death),
    Silence { secs: f64, in_flight: u32 },
}

impl Incident {
    pub fn why(&self) -> String {
        match self {
            Incident::Died(death) => format!("{} {}", death.instance, Loss::from(death).how),
            Incident::Silence { secs, in_flight } => {
                format!("not one token for {secs:.1} s while {in_flight} requests were in flight")
            }
        }
    }
}

/// The watch over a running point.
pub struct Vigil<'a> {
    pub live: &'a LiveArm,
    pub progress: &'a Progress,
    pub timeouts: Timeouts,
    pub cancel: &'a CancellationToken,
    pub verdict: &'a Verdict,
}

impl Vigil<'_> {
    /// The load to its end. An engine's death or a long silence of all of them cuts it short: nothing that comes after
    /// would be a measurement.
    pub async fn over<R>(&self, run: impl Future<Output = R>) -> (R, Option<Incident>) {
        tokio::pin!(run);
        let incident = tokio::select! {
            report = &mut run => {
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
        (run.await, incident)
    }

    fn settle(&self, incident: Option<Incident>) -> Option<Incident> {
        let cut = incident.as_ref().map(|incident| match incident {
            Incident::Died(death) => {
                Cut::Died { instance: death.instance.clone(), seat: seat(&self.live.engines, &death.instance) }
            }
            Incident::Silence { secs, .. } => Cut::Silence { secs: *secs },
        });
        // There is one vigil a point.
        let _ = self.verdict.set(cut);
        incident
    }

    /// Returns when requests have been in flight and no token has come for longer than any single request may be
    /// silent.
    async fn silence(&self) -> Incident {
        let limit = self.timeouts.first_token.max(self.timeouts.idle);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tokens, mut moved) = (0, Instant::now());
        loop {
            looks.tick().await;
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

fn seat(engines: &[EngineTarget], instance: &str) -> Option<Seat> {
    let role = engines.iter().find(|e| e.name == instance)?.role;
    let index = engines.iter().filter(|e| e.role == role).position(|e| e.name == instance)?;
    Some(Seat { role, index: u32::try_from(index).ok()? })
}

/// Asks every engine for one token, past the proxy, and names the first that gives none. Every role answers: without
/// transfer parameters a prefill instance serves the request whole, and a decode instance computes the prompt itself.
pub async fn first_mute(live: &LiveArm, nonce: &str, timeouts: Timeouts) -> Option<Loss> {
    let patience = timeouts.first_token.min(PROBE_PATIENCE);
    let asked = live.engines.iter().map(|engine| async move {
        let target = Target { base_url: engine.base_url.clone(), ..live.target.clone() };
        let how = mute(&target, nonce, patience).await?;
        Some(Loss { instance: engine.name.clone(), how, ended: false })
    });
    join_all(asked).await.into_iter().flatten().next()
}

async fn mute(target: &Target, nonce: &str, patience: Duration) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_counted_within_their_role() {
        let engine =
            |name: &str, role| EngineTarget { name: name.to_string(), role, base_url: String::new(), api_key: None };
        let engines =
            [engine("prefill-0", Role::Prefill), engine("decode-0", Role::Decode), engine("decode-1", Role::Decode)];
        assert_eq!(seat(&engines, "decode-1"), Some(Seat { role: Role::Decode, index: 1 }));
        assert_eq!(seat(&engines, "prefill-0"), Some(Seat { role: Role::Prefill, index: 0 }));
        assert_eq!(seat(&engines, "decode-7"), None);
    }
}
