//! How many requests a second a deployment would carry: where the model's attainment falls through the target.

use super::arm::{EngineSettings, Group, PredictedArm};
use super::fleet::VirtualFleet;
use super::latency::SloTally;
use super::model::cost::CostModel;
use super::model::preset::{Gpu, Model};
use super::workload::Arrival;
use crate::plan::parallelism::Parallelism;
use crate::plan::slo::{Slo, Target};
use std::time::Duration;

/// Instances that are simulated one by one; larger deployments are told from parts of this size.
const SIMULATED: u32 = 8;
/// Replicas behind one router, beyond which more of them change little but the sum.
const REPLICAS: u32 = 4;
/// Rates between which a crossing is looked for, requests a second and GPU.
const RATES: (f64, f64) = (0.02, 400.0);
/// First step of the search, with a guess and without, and how near it comes, as factors.
const GUESSED_STEP: f64 = 1.15;
const STEP: f64 = 2.0;
const NEAR: f64 = 1.05;
/// How long the load of a rate that is tried lasts, and how often the same requests come in it at most.
const LASTS: Duration = Duration::from_secs(6);
const MOST_ROUNDS: f64 = 12.0;
/// How sharply the slower of two roles decides.
const SHARPNESS: f64 = 8.0;

/// Requests that can be sent at any rate: their gaps keep their proportions.
#[derive(Debug, Clone)]
pub struct Demand {
    /// From time zero on.
    arrivals: Vec<Arrival>,
    rate: f64,
}

impl Demand {
    /// `None` with fewer than two requests, or where all come at once.
    pub fn new(mut arrivals: Vec<Arrival>) -> Option<Demand> {
        arrivals.sort_by_key(|arrival| arrival.at);
        let first = arrivals.first()?.at;
        for arrival in &mut arrivals {
            arrival.at -= first;
        }
        let span = arrivals.last()?.at.as_secs_f64();
        let rate = (arrivals.len() - 1) as f64 / span;
        (rate.is_finite() && rate > 0.0).then_some(Demand { arrivals, rate })
    }

    /// Again and again until the engines have been busy for long enough: a batch takes as long to fill as a request takes,
    /// and what a deployment carries for a second or two it may not carry for long.
    fn at(&self, rate: f64) -> Vec<Arrival> {
        let stretch = self.rate / rate;
        let round = Duration::from_secs_f64(self.arrivals.len() as f64 / rate);
        let rounds = (LASTS.as_secs_f64() / round.as_secs_f64()).ceil().clamp(1.0, MOST_ROUNDS) as u32;
        let of_round = |i: u32| {
            let moved = move |arrival: &Arrival| Arrival { at: round * i + arrival.at.mul_f64(stretch), ..*arrival };
            self.arrivals.iter().map(moved)
        };
        (0..rounds).flat_map(of_round).collect()
    }

    fn longest(&self) -> u64 {
        let tokens = self.arrivals.iter().map(|a| u64::from(a.input_tokens) + u64::from(a.output_tokens));
        tokens.max().unwrap_or(0)
    }
}

/// What deployments of a model on a kind of GPU are predicted to carry.
#[derive(Debug)]
pub struct Predictor<'a> {
    pub model: &'static Model,
    pub gpu: &'a Gpu,
    pub demand: &'a Demand,
    pub slo: Slo,
    pub target: Target,
}

/// A deployment that would carry so much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carried {
    /// Requests a second at which the target is just met.
    pub rate: f64,
    /// How far prefill decides over it, 0 (decode does) to 1; `None` where requests are served whole.
    pub bound_by_prefill: Option<f64>,
}

/// One role, beside enough of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Half {
    pub prefills: bool,
    pub ranks: Parallelism,
    /// Of prefill and of decode instances.
    pub settings: [EngineSettings; 2],
    pub pushed: bool,
}

/// What an instance of each role carries beside enough of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Halves {
    pub prefill: f64,
    pub decode: f64,
}

impl Predictor<'_> {
    /// Whether weights and the longest request fit, and heads divide by the ranks.
    pub fn fits(&self, arm: &PredictedArm) -> bool {
        let fits = |group: &Group| {
            let cost = CostModel::new(self.model, self.gpu, group.ranks);
            let settings = &group.settings;
            let blocks = cost.kv_blocks(cost.kv_memory(settings.memory_utilization), settings.block_size);
            let divides = self.model.heads.is_multiple_of(group.ranks.tensor_parallel.max(1));
            divides && u64::from(blocks) * u64::from(settings.block_size) >= self.demand.longest()
        };
        match arm {
            PredictedArm::Simple(group) => fits(group),
            PredictedArm::PrefillDecode { prefill, decode, .. } => fits(prefill) && fits(decode),
        }
    }

    /// Of replicas that serve requests whole. `None` where even few requests a second miss the target.
    pub fn simple(&self, group: Group) -> Option<f64> {
        let queues = group.queues().clamp(1, REPLICAS);
        let part = self.crossing(PredictedArm::Simple(group), [queues, 0], None)?;
        Some(part * f64::from(group.queues()) / f64::from(queues))
    }

    /// What an instance of one role carries beside enough of the other, whose engines are taken to be like its own: how
    /// many prefill and decode engines of different sizes there are decides more than who is beside whom.
    pub fn half(&self, half: &Half) -> Option<f64> {
        const FEW: u32 = 2;
        let [prefill, decode] = half.settings.map(|settings| Group { replicas: 1, ranks: half.ranks, settings });
        let queues = if half.prefills { [FEW, SIMULATED - FEW] } else { [SIMULATED - FEW, FEW] };
        let arm = PredictedArm::PrefillDecode { prefill, decode, pushed: half.pushed };
        let rate = self.crossing(arm, queues, None)?;
        Some(rate / f64::from(FEW) * f64::from(half.ranks.data_parallel))
    }

    /// Of prefill and decode instances as a whole, by their halves alone.
    pub fn by_halves(prefill: Group, decode: Group, halves: Halves) -> Carried {
        let sides = (f64::from(prefill.replicas) * halves.prefill, f64::from(decode.replicas) * halves.decode);
        let bound_by_prefill = Some(1.0 / (1.0 + (sides.0 / sides.1).powf(SHARPNESS)));
        let rate = (sides.0.powf(-SHARPNESS) + sides.1.powf(-SHARPNESS)).powf(-1.0 / SHARPNESS);
        Carried { rate, bound_by_prefill }
    }

    /// Of them as a whole, simulated if there are few, else by their halves.
    pub fn prefill_decode(&self, prefill: Group, decode: Group, pushed: bool, halves: Halves) -> Option<Carried> {
        let joined = Self::by_halves(prefill, decode, halves);
        if prefill.queues() + decode.queues() > SIMULATED {
            return Some(joined);
        }
        let arm = PredictedArm::PrefillDecode { prefill, decode, pushed };
        let rate = self.crossing(arm, [prefill.queues(), decode.queues()], Some(joined.rate))?;
        Some(Carried { rate, ..joined })
    }

    /// Between a rate that meets the target and one that misses it, nearer and nearer. The engines live through all of
    /// it, so that most of what is asked is asked of engines that have aged.
    fn crossing(&self, arm: PredictedArm, queues: [u32; 2], guess: Option<f64>) -> Option<f64> {
        let of_queue = |group: Group| group.ranks.gpus() / group.ranks.data_parallel;
        let gpus = match arm {
            PredictedArm::Simple(group) => queues[0] * of_queue(group),
            PredictedArm::PrefillDecode { prefill, decode, .. } => {
                queues[0] * of_queue(prefill) + queues[1] * of_queue(decode)
            }
        };
        let gpus = f64::from(gpus);
        let mut fleet = VirtualFleet::of_queues(self.model, self.gpu, arm, queues);
        let mut meets = |rate: f64| {
            let arrivals = self.demand.at(rate);
            fleet.meets(&arrivals, SloTally::new(self.slo, self.target, arrivals.len()))
        };
        let (mut met, mut missed) = (None, None);
        let mut rate = guess.unwrap_or(gpus * 2.0);
        let step = if guess.is_some() { GUESSED_STEP } else { STEP };
        while met.is_none() || missed.is_none() {
            if !(gpus * RATES.0..=gpus * RATES.1).contains(&rate) {
                return met;
            }
            if meets(rate) {
                met = Some(rate);
                rate *= step;
            } else {
                missed = Some(rate);
                rate /= step;
            }
        }
        let (mut met, mut missed) = (met?, missed?);
        while missed / met > NEAR {
            let middle = (met * missed).sqrt();
            if meets(middle) { met = middle } else { missed = middle }
        }
        Some((met * missed).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::workload::Poisson;
    use crate::units::{Tpot, Ttft};

    fn demand() -> Demand {
        let poisson = Poisson { input_tokens: 1024, output_tokens: 64, rate: 1.0, requests: 150, seed: 3 };
        Demand::new(poisson.arrivals()).unwrap()
    }

    fn group(replicas: u32, tensor_parallel: u32) -> Group {
        Group { replicas, ranks: Parallelism::tensor(tensor_parallel), settings: EngineSettings::default() }
    }

    fn predictor(demand: &Demand) -> Predictor<'_> {
        Predictor {
            model: Model::find("qwen3-8b").unwrap(),
            gpu: Gpu::find("h100").unwrap(),
            demand,
            slo: Slo { ttft: Ttft::from_millis(300.0), tpot: Tpot::from_millis(10.0), e2el: None },
            target: Target::default(),
        }
    }

    #[test]
    fn a_short_trace_is_repeated_until_the_engines_are_busy() {
        let demand = demand();
        let (slow, fast) = (demand.at(1.0), demand.at(60.0));
        assert_eq!(slow.len(), 150, "it lasts long enough by itself");
        assert_eq!(fast.len(), 3 * 150);
        assert!(fast.is_sorted_by_key(|arrival| arrival.at));
        let rate = fast.len() as f64 / fast.last().unwrap().at.as_secs_f64();
        assert!((58.0..63.0).contains(&rate), "{rate}");
    }

    #[test]
    fn more_of_the_same_carry_more() {
        let demand = demand();
        let predict = predictor(&demand);
        let [one, two, eight] = [1, 2, 8].map(|n| predict.simple(group(n, 1)).unwrap());
        assert!(two > one * 1.7 && (2.9..=4.6).contains(&(eight / two)), "{one:.1} {two:.1} {eight:.1}");
    }

    #[test]
    fn the_role_with_too_few_instances_decides() {
        let demand = demand();
        let predict = predictor(&demand);
        let half = |prefills| {
            let of = Half { prefills, ranks: Parallelism::tensor(1), settings: Default::default(), pushed: false };
            predict.half(&of).unwrap()
        };
        let halves = Halves { prefill: half(true), decode: half(false) };
        let of = |p, d| predict.prefill_decode(group(p, 1), group(d, 1), false, halves).unwrap();
        let [prefill_short, decode_short] = [of(1, 7), of(7, 1)];
        assert!(prefill_short.bound_by_prefill > Some(0.9) && decode_short.bound_by_prefill < Some(0.1));
        let best = [(3, 5), (4, 4), (5, 3)].map(|(p, d)| of(p, d).rate).into_iter().fold(0.0, f64::max);
        assert!(best > 1.3 * prefill_short.rate.max(decode_short.rate), "{best:.1}");
    }

    #[test]
    fn a_model_that_is_too_large_does_not_fit() {
        let demand = demand();
        let large = Predictor { model: Model::find("llama-3.1-70b").unwrap(), ..predictor(&demand) };
        assert!(!large.fits(&PredictedArm::Simple(group(8, 1))) && large.fits(&PredictedArm::Simple(group(2, 4))));
        let small = predictor(&demand);
        assert!(small.fits(&PredictedArm::Simple(group(1, 8))) && !small.fits(&PredictedArm::Simple(group(1, 3))));
    }
}
