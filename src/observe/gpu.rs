//! The machine's GPUs: what there is, what holds them, and how they fare under load.
//!
//! NVIDIA's are read through NVML, AMD's through sysfs, Hygon's DCUs through `hy-smi`. Without any there are no GPUs, which is
//! an answer and no error.

use super::amd::AmdGpus;
use super::dcu::DcuGpus;
use super::nvml::NvmlGpus;
use crate::outcome::GpuFacts;
use crate::units::Offset;
use serde::{Serialize, Serializer};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The GPUs of this machine, by driver.
#[derive(Debug)]
pub enum Gpus {
    Nvml(NvmlGpus),
    Amd(AmdGpus),
    Dcu(DcuGpus),
    None,
}

/// A GPU as it stands: goes into the manifest.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GpuInfo {
    /// As in `CUDA_VISIBLE_DEVICES` with `CUDA_DEVICE_ORDER=PCI_BUS_ID`, or `HIP_VISIBLE_DEVICES`.
    pub index: u32,
    /// `GPU-...` of NVIDIA; the unique id of AMD; empty if the driver gives none.
    pub uuid: String,
    pub name: String,
    pub memory_total_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub driver: Option<String>,
    /// CUDA version that the driver supports.
    pub cuda: Option<String>,
    pub pci_bus_id: Option<String>,
    pub pcie_generation_max: Option<u32>,
    pub pcie_width_max: Option<u32>,
    pub numa_node: Option<u32>,
    pub ecc: Option<bool>,
    pub mig: Option<bool>,
    pub persistence: Option<bool>,
    pub compute_mode: Option<String>,
    pub power_limit_watts: Option<f64>,
    /// Processes that compute on it.
    pub processes: Vec<GpuProcess>,
    /// Its ways to the other GPUs.
    pub peers: Vec<GpuPeer>,
}

impl GpuInfo {
    /// Whether this id, as in `CUDA_VISIBLE_DEVICES`, is its index or an unambiguous beginning of its UUID.
    pub fn is_called(&self, id: &str) -> bool {
        self.index.to_string() == id || (id.len() > 4 && self.uuid.starts_with(id))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuProcess {
    pub pid: u32,
    pub memory_bytes: Option<u64>,
}

/// The way from one GPU to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuPeer {
    pub index: u32,
    /// Where their PCI paths meet: `internal`, `single`, `multiple`, `host_bridge`, `node`, `system`.
    pub topology: Option<String>,
    pub p2p_read: Option<bool>,
    pub p2p_write: Option<bool>,
    pub nvlink: Option<bool>,
    /// Active NVLinks between the two, directly or through switches: the 18 of `nvidia-smi topo`'s NV18.
    pub nvlinks: Option<u32>,
}

/// A GPU at one moment: a row of gpu.csv.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuSample {
    /// Since the epoch given to the sampler.
    pub at: Offset,
    pub gpu: u32,
    pub utilization_percent: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub temperature_celsius: Option<f64>,
    pub power_watts: Option<f64>,
    pub power_limit_watts: Option<f64>,
    pub sm_clock_mhz: Option<u32>,
    pub memory_clock_mhz: Option<u32>,
    pub throttle: Option<Throttle>,
    /// Since the driver was loaded.
    pub energy_joules: Option<f64>,
    pub pcie_generation: Option<u32>,
    pub pcie_width: Option<u32>,
}

impl GpuSample {
    pub fn empty(at: Offset, gpu: u32) -> Self {
        GpuSample {
            at,
            gpu,
            utilization_percent: None,
            memory_used_bytes: None,
            temperature_celsius: None,
            power_watts: None,
            power_limit_watts: None,
            sm_clock_mhz: None,
            memory_clock_mhz: None,
            throttle: None,
            energy_joules: None,
            pcie_generation: None,
            pcie_width: None,
        }
    }
}

/// NVML's clock throttle reasons (`nvmlClocksThrottleReasons`, nvml.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle(pub u64);

impl Throttle {
    const NAMES: [(u64, &'static str); 9] = [
        (0x1, "gpu_idle"),
        (0x2, "applications_clocks_setting"),
        (0x4, "sw_power_cap"),
        (0x8, "hw_slowdown"),
        (0x10, "sync_boost"),
        (0x20, "sw_thermal_slowdown"),
        (0x40, "hw_thermal_slowdown"),
        (0x80, "hw_power_brake_slowdown"),
        (0x100, "display_clock_setting"),
    ];
    /// A GPU slowed by its cooling or its supply measures the room, not the deployment. The power cap is not among
    /// them: it is how a GPU runs under load.
    const DOUBTFUL: u64 = 0x8 | 0x20 | 0x40 | 0x80;

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.0 & bit != 0).map(|(_, name)| name)
    }

    /// Those reasons that make a point doubtful.
    pub fn doubtful(self) -> Throttle {
        Throttle(self.0 & Self::DOUBTFUL)
    }
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join("|"))
    }
}

impl Serialize for Throttle {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl Gpus {
    /// This machine's: NVIDIA's first, then AMD's. The driver is opened once in a process: where persistence mode is
    /// off it starts its GPUs anew for everybody who comes while nobody else holds them.
    pub fn detect() -> &'static Gpus {
        static FOUND: OnceLock<Gpus> = OnceLock::new();
        FOUND.get_or_init(|| {
            let nvidia = NvmlGpus::load().map(Gpus::Nvml);
            let amd = || AmdGpus::find().map(Gpus::Amd);
            nvidia.or_else(amd).or_else(|| DcuGpus::find().map(Gpus::Dcu)).unwrap_or(Gpus::None)
        })
    }

    pub fn list(&self) -> Vec<GpuInfo> {
        match self {
            Gpus::Nvml(gpus) => gpus.list(),
            Gpus::Amd(gpus) => gpus.list(),
            Gpus::Dcu(gpus) => gpus.list(),
            Gpus::None => Vec::new(),
        }
    }

    /// One sample for each GPU.
    pub fn sample(&self, at: Offset) -> Vec<GpuSample> {
        match self {
            Gpus::Nvml(gpus) => gpus.sample(at),
            Gpus::Amd(gpus) => gpus.sample(at),
            Gpus::Dcu(gpus) => gpus.sample(at),
            Gpus::None => Vec::new(),
        }
    }
}

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
    /// One sample of each GPU in `only` (all if `None`) each `period`, with offsets since `epoch`, handed to `sink` as
    /// rows for gpu.csv.
    pub fn start(
        gpus: impl Borrow<Gpus> + Send + 'static,
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
                let mut rows = gpus.borrow().sample(at);
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
        assert_eq!(Throttle(0x44).to_string(), "sw_power_cap|hw_thermal_slowdown");
        assert_eq!(Throttle(0).to_string(), "none");
    }

    #[test]
    fn without_samples_there_are_no_facts() {
        assert_eq!(facts_between(&[], Offset::ZERO, Offset::from_secs(1.0)), None);
    }

    #[test]
    fn a_machine_without_a_driver_has_no_gpus_and_no_panic() {
        assert!(Gpus::None.list().is_empty());
        // Whatever this machine has, asking must be safe.
        let gpus = Gpus::detect();
        assert_eq!(gpus.list().len(), gpus.sample(Offset::ZERO).len());
    }

    #[tokio::test]
    async fn the_sampler_answers_a_request_with_a_fresh_sample() {
        let (rows, received) = mpsc::channel();
        let tree = super::super::amd::tests::one_card();
        let gpus = Gpus::Amd(AmdGpus::at(tree.path()).expect("a card"));
        let sampler = GpuSampler::start(gpus, None, Instant::now(), Duration::from_secs(3600), move |samples| {
            let _ = rows.send(samples.len());
        })
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
