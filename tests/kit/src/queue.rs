//! A queue that knows the truth: prefills one at a time in order of arrival, decoding slowed by every prefill that
//! runs meanwhile. Misses come in clusters, as they do in engines.

/// Marsaglia's xorshift64*.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn seeded(seed: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| {
            dice.next();
        });
        dice
    }

    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    pub fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// One way a deployment can meet its limits, in units of the mean prefill time.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub name: &'static str,
    pub ttft: f64,
    pub tpot: f64,
    /// Spread of prefill times (sigma of their logarithm).
    pub spread: f64,
    /// How much faster an arm must be to carry 1.3 times the rate at 90 %.
    pub speed_for_1_3: f64,
    /// Rate at which 90 % of long runs of the plain arm meet the limits.
    pub crossing: f64,
}

/// Arrivals and prefill times that both arms get.
pub struct Trace {
    pub due: Vec<f64>,
    work: Vec<f64>,
}

pub fn trace(dice: &mut Dice, rate: f64, n: usize, spread: f64) -> Trace {
    let mut now = 0.0;
    let mut trace = Trace { due: Vec::with_capacity(n), work: Vec::with_capacity(n) };
    for _ in 0..n {
        now += dice.exponential() / rate;
        trace.due.push(now);
        trace.work.push((spread * dice.normal() - spread * spread / 2.0).exp());
    }
    trace
}

/// Decode steps of a request, and the time they take when nothing interferes.
const STEPS: f64 = 20.0;

/// TTFT and TPOT of every request in an arm of the given speed, with noise of its own.
pub fn serve(dice: &mut Dice, trace: &Trace, speed: f64) -> (Vec<f64>, Vec<f64>) {
    let n = trace.due.len();
    let (mut start, mut work, mut first) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let mut free: f64 = 0.0;
    for i in 0..n {
        work[i] = trace.work[i] * (0.1 * dice.normal()).exp() / speed;
        start[i] = free.max(trace.due[i]);
        free = start[i] + work[i];
        first[i] = free;
    }
    let decode = STEPS / speed;
    let tpot = |i: usize| {
        let during = (i + 1..n).take_while(|&j| start[j] < first[i] + decode).map(|j| work[j]).sum::<f64>();
        (decode + during) / STEPS
    };
    ((0..n).map(|i| first[i] - trace.due[i]).collect(), (0..n).map(tpot).collect())
}

/// TTFT that binds early, TTFT that binds near saturation, TPOT, and all of it with a wide spread of lengths.
pub const SCENES: [Scene; 4] = [
    Scene { name: "tight TTFT", ttft: 2.5, tpot: 1e9, spread: 0.5, speed_for_1_3: 1.100, crossing: 0.343 },
    Scene { name: "TTFT near saturation", ttft: 8.0, tpot: 1e9, spread: 0.5, speed_for_1_3: 1.243, crossing: 0.808 },
    Scene { name: "TPOT", ttft: 1e9, tpot: 1.7, spread: 0.5, speed_for_1_3: 1.071, crossing: 0.454 },
    Scene { name: "both, wide lengths", ttft: 4.0, tpot: 1.8, spread: 0.8, speed_for_1_3: 1.083, crossing: 0.380 },
];

/// Rates of a sweep, as multiples of the scene's crossing.
pub const SWEEP: [f64; 8] = [0.4, 0.6, 0.8, 0.95, 1.1, 1.3, 1.5, 1.8];
