//! GPUs sampled under load, and what their samples say of a stretch of time: energy, and throttling that makes it doubtful.

use super::gpu::{GpuSample, Throttle};
use crate::outcome::GpuFacts;
use crate::units::Offset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Wants a sample, and its offset for an answer.
type SampleRequest = tokio::sync::oneshot::Sender<Offset>;

/// Samples GPUs from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct GpuSampler {
    requests: Option<mpsc::Sender<SampleRequest>>,
    samples: Arc<Mutex<Vec<GpuSample>>>,
    thread: Option<JoinHandle<()>>,
}

impl GpuSampler {
    /// One sample of each GPU in `only` (all if `None`) each `period`, as `read` takes them at an offset since `epoch`,
    /// handed to `sink` as rows for gpu.csv.
    pub fn start(
        read: impl Fn(Offset) -> Vec<GpuSample> + Send + 'static,
        only: Option<BTreeSet<u32>>,
        epoch: Instant,
        period: Duration,
        mut sink: impl FnMut(&[GpuSample]) + Send + 'static,
    ) -> std::io::Result<Self> {
        let samples: Arc<Mutex<Vec<GpuSample>>> = Arc::default();
        let kept = Arc::clone(&samples);
        let (requests, asked) = mpsc::channel::<SampleRequest>();
        let thread = std::thread::Builder::new().name("gpu-sampler".into()).spawn(move || {
            let mut waiting: Option<SampleRequest> = None;
            loop {
                let at = Offset::from(epoch.elapsed());
                let mut rows = read(at);
                rows.retain(|row| only.as_ref().is_none_or(|only| only.contains(&row.gpu)));
                sink(&rows);
                kept.lock().unwrap_or_else(PoisonError::into_inner).append(&mut rows);
                if let Some(answer) = waiting.take() {
                    let _ = answer.send(at);
                }
                // Whoever asks gets a sample taken after the question: the next round's.
                match asked.recv_timeout(period) {
                    Ok(answer) => waiting = Some(answer),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(GpuSampler { requests: Some(requests), samples, thread: Some(thread) })
    }

    /// Takes a sample now and tells its offset: at the edges of a point, so that its energy is known to the moment.
    /// `None` if the sampler's thread is gone.
    pub async fn sample_now(&self) -> Option<Offset> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.requests.as_ref()?.send(answer).ok()?;
        answered.await.ok()
    }

    /// What is known of the GPUs between two offsets, best those of two samples; `None` without a single sample. `roles`:
    /// which GPUs belong to which.
    pub fn facts(&self, from: Offset, to: Offset, roles: &BTreeMap<String, BTreeSet<u32>>) -> Option<GpuFacts> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let of =
            |gpus: &BTreeSet<u32>| gpus.iter().map(|gpu| energy_between(&samples, *gpu, from, to)).sum::<Option<f64>>();
        let by_role = roles.iter().filter_map(|(role, gpus)| Some((role.clone(), of(gpus)?)));
        let joules_by_role = by_role.collect();
        facts_between(&samples, from, to).map(|facts| GpuFacts { joules_by_role, ..facts })
    }
}

impl Drop for GpuSampler {
    fn drop(&mut self) {
        self.requests.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Energy and doubtful throttling of a window. Energy is given only if every GPU's is known at both edges.
pub fn facts_between(samples: &[GpuSample], from: Offset, to: Offset) -> Option<GpuFacts> {
    let gpus: BTreeSet<u32> = samples.iter().map(|s| s.gpu).collect();
    if gpus.is_empty() {
        return None;
    }
    let mut throttled = Vec::new();
    for &gpu in &gpus {
        let inside = samples.iter().filter(|s| s.gpu == gpu && (from..=to).contains(&s.at));
        let reasons = inside.filter_map(|s| s.throttle).fold(0, |all, reasons| all | reasons.0);
        throttled.extend(Throttle(reasons).doubtful().names().map(|name| format!("{name} on GPU {gpu}")));
    }
    let energy_joules = gpus.iter().map(|&gpu| energy_between(samples, gpu, from, to)).sum();
    Some(GpuFacts { energy_joules, throttled, joules_by_role: BTreeMap::new() })
}

/// From the energy counter where there is one, else from power by the trapezoid rule.
fn energy_between(samples: &[GpuSample], gpu: u32, from: Offset, to: Offset) -> Option<f64> {
    let of_gpu = || samples.iter().filter(|s| s.gpu == gpu);
    let counter: Vec<(f64, f64)> = of_gpu().filter_map(|s| Some((s.at.as_secs(), s.energy_joules?))).collect();
    if counter.len() > 1 {
        return Some((at(&counter, to.as_secs())? - at(&counter, from.as_secs())?).max(0.0));
    }
    let power: Vec<(f64, f64)> = of_gpu().filter_map(|s| Some((s.at.as_secs(), s.power_watts?))).collect();
    let used = power.windows(2).scan(0.0, |sum, pair| {
        *sum += (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0;
        Some((pair[1].0, *sum))
    });
    let curve: Vec<(f64, f64)> = power.first().map(|first| (first.0, 0.0)).into_iter().chain(used).collect();
    Some(at(&curve, to.as_secs())? - at(&curve, from.as_secs())?)
}

/// Linear between neighbours; `None` outside the samples.
fn at(curve: &[(f64, f64)], time: f64) -> Option<f64> {
    let after = curve.iter().position(|(t, _)| *t >= time)?;
    let (t1, y1) = curve[after];
    if t1 == time {
        return Some(y1);
    }
    let (t0, y0) = *curve.get(after.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (time - t0) / (t1 - t0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, gpu: u32) -> GpuSample {
        GpuSample::empty(Offset::from_secs(at), gpu)
    }

    fn window(samples: &[GpuSample], from: f64, to: f64) -> GpuFacts {
        facts_between(samples, Offset::from_secs(from), Offset::from_secs(to)).expect("there are samples")
    }

    #[test]
    fn energy_counters_are_read_between_their_samples() {
        let counted = |t: f64, gpu, joules| GpuSample { energy_joules: Some(joules), ..sample(t, gpu) };
        let samples = [
            counted(0.0, 0, 1000.0),
            counted(0.0, 1, 0.0),
            counted(2.0, 0, 1600.0),
            counted(2.0, 1, 200.0),
            counted(4.0, 0, 2200.0),
            counted(4.0, 1, 400.0),
        ];
        assert_eq!(window(&samples, 1.0, 3.0).energy_joules, Some(600.0 + 200.0));
        assert_eq!(window(&samples, 0.0, 4.0).energy_joules, Some(1200.0 + 400.0));
        assert_eq!(window(&samples, 1.0, 5.0).energy_joules, None, "the end was not sampled");
    }

    #[test]
    fn power_is_integrated_where_there_is_no_counter() {
        let powered = |t: f64, watts| GpuSample { power_watts: Some(watts), ..sample(t, 0) };
        let samples = [powered(0.0, 100.0), powered(2.0, 300.0), powered(4.0, 300.0)];
        assert_eq!(window(&samples, 0.0, 4.0).energy_joules, Some(400.0 + 600.0));
        assert_eq!(window(&samples, 2.0, 3.0).energy_joules, Some(300.0));
    }

    #[test]
    fn one_gpu_without_energy_leaves_the_sum_unknown() {
        let samples = [
            GpuSample { energy_joules: Some(0.0), ..sample(0.0, 0) },
            GpuSample { energy_joules: Some(9.0), ..sample(1.0, 0) },
            sample(0.0, 1),
            sample(1.0, 1),
        ];
        assert_eq!(window(&samples, 0.0, 1.0).energy_joules, None);
    }

    #[test]
    fn only_heat_and_supply_make_a_point_doubtful() {
        let throttled = |t: f64, gpu, bits| GpuSample { throttle: Some(Throttle(bits)), ..sample(t, gpu) };
        let samples =
            [throttled(0.0, 0, 0x80), throttled(1.0, 0, 0x4), throttled(2.0, 1, 0x40 | 0x4), throttled(2.5, 1, 0x40)];
        assert_eq!(window(&samples, 0.5, 3.0).throttled, ["hw_thermal_slowdown on GPU 1"]);
    }

    #[test]
    fn without_samples_there_are_no_facts() {
        assert_eq!(facts_between(&[], Offset::ZERO, Offset::from_secs(1.0)), None);
    }

    #[tokio::test]
    async fn the_sampler_answers_a_request_with_a_fresh_sample() {
        let (rows, received) = mpsc::channel();
        let tree = crate::observe::amd::tests::one_card();
        let gpus = crate::observe::gpus::Gpus::Amd(crate::observe::amd::AmdGpus::at(tree.path()).expect("a card"));
        let sampler = GpuSampler::start(
            move |at| gpus.sample(at),
            None,
            Instant::now(),
            Duration::from_secs(3600),
            move |samples| {
                let _ = rows.send(samples.len());
            },
        )
        .expect("starts");
        let first = sampler.sample_now().await.expect("the thread lives");
        let second = sampler.sample_now().await.expect("the thread lives");
        assert!(first < second);
        let facts = sampler.facts(first, second, &BTreeMap::new()).expect("samples");
        assert!(facts.energy_joules.is_some(), "both edges were sampled");
        drop(sampler);
        assert!(received.iter().filter(|n| *n == 1).count() >= 2);
    }
}
