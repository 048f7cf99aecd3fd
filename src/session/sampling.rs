//! Samples of engines and GPUs while a fleet is up, to engine-metrics.jsonl and gpu.csv.

use super::error::SessionError;
use super::live::LiveArm;
use crate::observe::engine::EngineSampler;
use crate::observe::fleet::FleetSnapshot;
use crate::observe::gpu::{GpuInfo, GpuSample};
use crate::observe::gpu_sampler::GpuSampler;
use crate::observe::hand_over::HandOverCourse;
use crate::outcome::{GpuFacts, HandOverFacts};
use crate::record::dir;
use crate::units::Offset;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ENGINE_PERIOD: Duration = Duration::from_secs(1);
const GPU_PERIOD: Duration = Duration::from_secs(2);

/// Samples until it is dropped.
pub(super) struct Samplers {
    epoch: Instant,
    gpus: Option<GpuSampler>,
    /// GPUs of prefill and decode instances.
    roles: BTreeMap<String, BTreeSet<u32>>,
    hand_overs: Arc<Mutex<HandOverCourse>>,
    _engines: EngineSampler,
    _writer: tokio::task::JoinHandle<()>,
}

/// A wall time on this process's clock. Samples count from when the manifest was created, whichever process takes them, so
/// that a point's own wall time finds its samples, after a resume too. A time that can't be read, or lies in the future
/// because somebody set the clock back, counts from now.
pub(super) fn epoch(created_at: &str) -> Instant {
    let now = Instant::now();
    let age =
        DateTime::parse_from_rfc3339(created_at).ok().and_then(|begun| (Utc::now() - begun.to_utc()).to_std().ok());
    age.and_then(|age| now.checked_sub(age)).unwrap_or(now)
}

impl Samplers {
    /// `epoch` is the run's: offsets of all samples count from it.
    pub(super) async fn start(live: &LiveArm, run: &Path, epoch: Instant) -> Result<Samplers, SessionError> {
        let append = |name: &str| {
            let file = File::options().create(true).append(true).open(run.join(name));
            file.map_err(|source| SessionError::System { what: "open a file of samples", source })
        };
        let (engines, mut samples) = EngineSampler::start(live.scraper.clone(), epoch, ENGINE_PERIOD);
        let mut out = BufWriter::new(append(dir::ENGINE_METRICS)?);
        let hand_overs = Arc::new(Mutex::new(HandOverCourse::default()));
        let course = Arc::clone(&hand_overs);
        let writer = tokio::spawn(async move {
            // A full disk ends the samples, never the measurement: the journal tells of it.
            while let Some(sample) = samples.recv().await {
                if let Some(kv) = sample.kv {
                    locked(&course).push(&sample.instance, sample.at, kv);
                }
                let line = serde_json::to_vec(&sample).unwrap_or_default();
                if out.write_all(&line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        });
        let known = match &live.fleet {
            Some(fleet) => fleet.hosts().gpus().await,
            None => Vec::new(),
        };
        let gpus = gpu_sampler(live, &known, epoch, || append(dir::GPU_CSV))?;
        let roles = roles(live, &known);
        Ok(Samplers { epoch, gpus, roles, hand_overs, _engines: engines, _writer: writer })
    }

    /// Now, with a GPU sample taken at this moment.
    pub(super) async fn mark(&self) -> Offset {
        let sampled = match &self.gpus {
            Some(gpus) => gpus.sample_now().await,
            None => None,
        };
        sampled.unwrap_or_else(|| Offset::from(self.epoch.elapsed()))
    }

    /// The hand-overs between two moments, at which the fleet was as given; `None` where no decode instance counts them.
    pub(super) fn hand_over_facts(
        &self,
        (from, before): (Offset, &FleetSnapshot),
        (to, after): (Offset, &FleetSnapshot),
    ) -> Option<HandOverFacts> {
        after.hand_overs()?;
        let mut course = locked(&self.hand_overs);
        for (at, fleet) in [(from, before), (to, after)] {
            fleet.each_hand_over().for_each(|(instance, totals)| course.push(instance, at, totals));
        }
        let sizes: BTreeSet<u32> = after.decode_pools().unwrap_or_default().iter().map(|p| p.block_size).collect();
        let block_size = sizes.first().copied().filter(|_| sizes.len() == 1);
        Some(HandOverFacts { block_size, course: course.spans(from, to) })
    }

    pub(super) fn gpu_facts(&self, from: Offset, to: Offset) -> Option<GpuFacts> {
        self.gpus.as_ref()?.facts(from, to, &self.roles)
    }
}

fn locked(course: &Mutex<HandOverCourse>) -> MutexGuard<'_, HandOverCourse> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// GPUs by the role of the engines on them; empty for a deployment without roles.
fn roles(live: &LiveArm, known: &[GpuInfo]) -> BTreeMap<String, BTreeSet<u32>> {
    let mut roles: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    if !live.is_prefill_decode() {
        return roles;
    }
    for (engine, record) in live.engines.iter().zip(&live.records) {
        let own = known.iter().filter(|g| record.gpus.iter().any(|id| g.is_called(id)));
        roles.entry(engine.role.name().to_string()).or_default().extend(own.map(|g| g.index));
    }
    roles
}

/// Only the GPUs of our own engines; none for servers that are not ours, or where there are none.
fn gpu_sampler(
    live: &LiveArm,
    known: &[GpuInfo],
    epoch: Instant,
    file: impl FnOnce() -> Result<File, SessionError>,
) -> Result<Option<GpuSampler>, SessionError> {
    let Some(fleet) = &live.fleet else { return Ok(None) };
    let ours = |gpu: &&GpuInfo| live.records.iter().flat_map(|r| &r.gpus).any(|id| gpu.is_called(id));
    let only: BTreeSet<u32> = known.iter().filter(ours).map(|g| g.index).collect();
    if only.is_empty() {
        return Ok(None);
    }
    let (hosts, runtime) = (fleet.hosts().clone(), tokio::runtime::Handle::current());
    let file = file()?;
    // Fleets that come up one after another share the file, and its one line of headers.
    let is_new = file.metadata().is_ok_and(|m| m.len() == 0);
    let mut csv = csv::WriterBuilder::new().has_headers(is_new).from_writer(file);
    let sink = move |rows: &[GpuSample]| {
        for row in rows {
            let _ = csv.serialize(row);
        }
        let _ = csv.flush();
    };
    let read = move |at| hosts.sample(at, &runtime);
    let sampler = GpuSampler::start(read, Some(only), epoch, GPU_PERIOD, sink);
    sampler.map(Some).map_err(|source| SessionError::System { what: "start the GPU sampler's thread", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_began_elsewhere_goes_on_counting_from_its_beginning() {
        let began =
            |seconds_ago: i64| epoch(&(Utc::now() - chrono::Duration::seconds(seconds_ago)).to_rfc3339()).elapsed();
        let (hour, limit) = (Duration::from_secs(3600), Duration::from_secs(3660));
        assert!(began(3600) + Duration::from_millis(5) >= hour && began(3600) < limit);
    }

    #[test]
    fn times_that_make_no_sense_count_from_now() {
        let minute = Duration::from_secs(60);
        let tomorrow = (Utc::now() + chrono::Duration::days(1)).to_rfc3339();
        assert!(epoch(&tomorrow).elapsed() < minute);
        assert!(epoch("yesterday").elapsed() < minute);
    }
}
