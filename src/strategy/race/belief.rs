//! What is believed of several deployments at once: the logarithms of what each carries, as one Gaussian. A measurement
//! of one moves those that are off for the same reasons.

/// Means and covariance.
#[derive(Debug, Clone, PartialEq)]
pub struct Belief {
    pub(super) mean: Vec<f64>,
    covariance: Vec<Vec<f64>>,
}

/// What a launch said of one deployment: the logarithm of what it carried, with its variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word {
    pub(super) of: usize,
    pub(super) mean: f64,
    pub(super) variance: f64,
}

/// The difference of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub(super) mean: f64,
    pub(super) error: f64,
}

impl Belief {
    pub fn new(mean: Vec<f64>, covariance: Vec<Vec<f64>>) -> Belief {
        Belief { mean, covariance }
    }

    pub(super) fn variance(&self, of: usize) -> f64 {
        self.covariance[of][of]
    }

    /// `a` over `b`.
    pub(super) fn difference(&self, a: usize, b: usize) -> Difference {
        let variance = self.covariance[a][a] + self.covariance[b][b] - 2.0 * self.covariance[a][b];
        Difference { mean: self.mean[a] - self.mean[b], error: variance.max(0.0).sqrt() }
    }

    /// After hearing all of `words`.
    pub(super) fn told(&self, words: impl IntoIterator<Item = Word>) -> Belief {
        words.into_iter().fold(self.clone(), |belief, word| belief.updated(word))
    }

    fn updated(mut self, word: Word) -> Belief {
        let column: Vec<f64> = self.covariance.iter().map(|row| row[word.of]).collect();
        let total = column[word.of] + word.variance;
        let surprise = (word.mean - self.mean[word.of]) / total;
        for (mean, shared) in self.mean.iter_mut().zip(&column) {
            *mean += shared * surprise;
        }
        for (row, a) in self.covariance.iter_mut().zip(&column) {
            for (cell, b) in row.iter_mut().zip(&column) {
                *cell -= a * b / total;
            }
        }
        self
    }
}

impl Difference {
    /// By how much it is expected to lie above zero, counting nothing where it lies below.
    pub(super) fn expected_gain(self) -> f64 {
        if self.error <= 0.0 {
            return self.mean.max(0.0);
        }
        let z = self.mean / self.error;
        self.error * ((-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() + z * below(z))
    }

    /// Chance that it lies above zero.
    pub(super) fn chance(self) -> f64 {
        if self.error <= 0.0 { f64::from(u8::from(self.mean > 0.0)) } else { below(self.mean / self.error) }
    }
}

/// Of the normal distribution; Zelen and Severo's polynomial (Abramowitz and Stegun 26.2.17), good to 1e-7.
fn below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_of_one_moves_its_likes_and_leaves_strangers_alone() {
        let prior =
            Belief::new(vec![0.0, 0.0, 0.0], vec![vec![0.16, 0.15, 0.0], vec![0.15, 0.16, 0.0], vec![0.0, 0.0, 0.16]]);
        let after = prior.told([Word { of: 0, mean: 0.5, variance: 0.001 }]);
        assert!((after.mean[0] - 0.5).abs() < 0.01 && (after.mean[1] - 0.47).abs() < 0.02 && after.mean[2] == 0.0);
        assert!(after.variance(1) < 0.025 && after.variance(2) == 0.16);
        let near = after.difference(0, 1);
        assert!(near.error < 0.15 && after.difference(0, 2).error > 0.39, "{near:?}");
    }

    #[test]
    fn the_order_of_words_does_not_matter() {
        let prior = Belief::new(vec![1.0, 2.0], vec![vec![0.2, 0.1], vec![0.1, 0.3]]);
        let words = [Word { of: 0, mean: 1.3, variance: 0.01 }, Word { of: 1, mean: 1.7, variance: 0.02 }];
        let [there, back] = [prior.told(words), prior.told(words.into_iter().rev())];
        assert!(there.mean.iter().zip(&back.mean).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn chances_are_those_of_the_table() {
        for (z, table) in [(0.0, 0.5), (1.0, 0.841_345), (-1.959_964, 0.025)] {
            assert!((Difference { mean: z, error: 1.0 }.chance() - table).abs() < 1e-6, "{z}");
        }
        assert!((Difference { mean: 0.0, error: 1.0 }.expected_gain() - 0.398_942).abs() < 1e-6);
        assert!(Difference { mean: -3.0, error: 1.0 }.expected_gain() < 4e-4);
    }
}
