//! Queues of one server whose truth is known (M/G/1, first come first served), and arms whose decoding is what binds:
//! the scenes of `intervals`.

use kit::queue::Dice;
use std::fmt;

/// What an arm spends on a request, in units of its mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Exponential; the limit is on the time from due to done.
    Exponential,
    /// Log-normal with a variance of 1.7; the limit is on the time from due to done.
    LogNormal,
    /// Prefills that slow the decoding of whoever came before; the limit is on TPOT.
    Decoding,
}

/// A deployment and its limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    work: Work,
    /// Rate at which 90 % of a very long run meets the limit: also the load, since the mean work is 1.
    pub load: f64,
    pub limit: f64,
    /// How much faster an arm must be to carry 1.15 and 1.3 times the rate.
    pub speeds: [f64; 2],
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.work {
            Work::Exponential => "exponential",
            Work::LogNormal => "log-normal",
            Work::Decoding => "TPOT binds",
        };
        write!(f, "{name} {:.2}", self.load)
    }
}

/// Rates of a sweep, as multiples of the scene's load.
pub(crate) const SWEEP: [f64; 8] = [0.4, 0.6, 0.8, 0.95, 1.1, 1.3, 1.5, 1.8];
pub(crate) const GAINS: [f64; 2] = [1.15, 1.3];
const LONG: usize = 1_000_000;

/// The five scenes, limits and speeds found by long runs.
pub(crate) fn scenes() -> Vec<Scene> {
    use Work::{Decoding, Exponential, LogNormal};
    [(Exponential, 0.45), (Exponential, 0.75), (LogNormal, 0.45), (LogNormal, 0.75), (Decoding, 0.45)]
        .map(|(work, load)| {
            let limit = ninetieth(work, load, 1.0);
            let speed = |gain: f64| {
                let (mut slow, mut fast) = (1.0, 1.6);
                for _ in 0..14 {
                    let middle = f64::midpoint(slow, fast);
                    if ninetieth(work, gain * load, middle) > limit { slow = middle } else { fast = middle }
                }
                f64::midpoint(slow, fast)
            };
            Scene { work, load, limit, speeds: GAINS.map(speed) }
        })
        .to_vec()
}

fn ninetieth(work: Work, rate: f64, speed: f64) -> f64 {
    let mut dice = Dice::seeded(5);
    let due = arrivals(&mut dice, rate, LONG);
    let mut times = served(work, &due, &works(work, &mut dice, LONG), speed);
    *times.select_nth_unstable_by(LONG * 9 / 10, f64::total_cmp).1
}

pub(crate) fn arrivals(dice: &mut Dice, rate: f64, n: usize) -> Vec<f64> {
    let mut now = 0.0;
    let next = |_| {
        now += dice.exponential() / rate;
        now
    };
    (0..n).map(next).collect()
}

fn works(work: Work, dice: &mut Dice, n: usize) -> Vec<f64> {
    let one = |dice: &mut Dice| match work {
        Work::Exponential => dice.exponential(),
        Work::LogNormal => (dice.normal() - 0.5).exp(),
        Work::Decoding => (0.5 * dice.normal() - 0.125).exp(),
    };
    (0..n).map(|_| one(dice)).collect()
}

/// Decode steps of a request.
const STEPS: f64 = 20.0;

/// What the limit is on, for every request.
fn served(work: Work, due: &[f64], works: &[f64], speed: f64) -> Vec<f64> {
    let mut free: f64 = 0.0;
    let mut spans = Vec::with_capacity(due.len());
    for (due, work) in due.iter().zip(works) {
        let start = free.max(*due);
        free = start + work / speed;
        spans.push((start, free));
    }
    if work != Work::Decoding {
        return spans.iter().zip(due).map(|((_, done), due)| done - due).collect();
    }
    let decode = STEPS / speed;
    let tpot = |(i, (_, first)): (usize, &(f64, f64))| {
        let during = spans[i + 1..].iter().take_while(|(start, _)| *start < first + decode);
        (decode + during.map(|(start, done)| done - start).sum::<f64>()) / STEPS
    };
    spans.iter().enumerate().map(tpot).collect()
}

/// How arms and attempts share what they are asked.
pub(crate) struct Load {
    pub due: Vec<f64>,
    works: Vec<f64>,
}

impl Scene {
    pub(crate) fn load(&self, dice: &mut Dice, rate: f64, n: usize) -> Load {
        let due = arrivals(dice, rate, n);
        Load { due, works: works(self.work, dice, n) }
    }

    /// Times over the limit, for every request. An arm's own noise on each request's work is 10 %; with `shared` off the
    /// works are its own altogether.
    pub(crate) fn serve(&self, dice: &mut Dice, load: &Load, speed: f64, shared: bool) -> Vec<f64> {
        let works: Vec<f64> = if shared {
            load.works.iter().map(|work| work * (0.1 * dice.normal()).exp()).collect()
        } else {
            works(self.work, dice, load.due.len())
        };
        served(self.work, &load.due, &works, speed).into_iter().map(|time| time / self.limit).collect()
    }

    /// Where the mean attainment of very many runs of `n` requests crosses 90 %: runs start with an empty queue, so that
    /// short ones carry a little more.
    pub(crate) fn truth(&self, n: usize) -> f64 {
        let attained = |multiple: f64| {
            let mut dice = Dice::seeded(77);
            let runs = (LONG / n).max(100);
            let met = |dice: &mut Dice| {
                let load = self.load(dice, multiple * self.load, n);
                let times = self.serve(dice, &load, 1.0, true);
                times.iter().filter(|time| **time <= 1.0).count()
            };
            (0..runs).map(|_| met(&mut dice)).sum::<usize>() as f64 / (runs * n) as f64
        };
        let grid: Vec<(f64, f64)> = (0..15).map(|i| 0.8 + 0.05 * f64::from(i)).map(|m| (m, attained(m))).collect();
        let crossed = grid.windows(2).find(|pair| pair[1].1 < 0.9).expect("90 % is crossed");
        let [(below, met), (above, missed)] = [crossed[0], crossed[1]];
        self.load * (below + (above - below) * (met - 0.9) / (met - missed))
    }
}
