//! Several claims and one risk.

/// Something that could be claimed.
pub(super) struct Hypothesis<'a> {
    /// Two-sided p-value by itself.
    pub(super) p: f64,
    /// Its part of the risk.
    pub(super) weight: f64,
    pub(super) claimed: &'a mut bool,
}

/// All false claims of a comparison together are to have this risk.
pub(super) const RISK: f64 = 0.05;

/// Holm's procedure with weights (Scandinavian Journal of Statistics 6, 1979): whatever is claimed frees its part of the
/// risk for the rest.
pub(super) fn holm(mut open: Vec<Hypothesis>) {
    open.sort_by(|a, b| (a.p / a.weight).total_cmp(&(b.p / b.weight)));
    let mut left: f64 = open.iter().map(|h| h.weight).sum();
    for hypothesis in open {
        if hypothesis.p > RISK * hypothesis.weight / left {
            break;
        }
        *hypothesis.claimed = true;
        left -= hypothesis.weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(all: &[(f64, f64)]) -> Vec<bool> {
        let mut claimed = vec![false; all.len()];
        holm(all.iter().zip(&mut claimed).map(|(&(p, weight), claimed)| Hypothesis { p, weight, claimed }).collect());
        claimed
    }

    #[test]
    fn equal_weights_are_holms_own_procedure() {
        // 0.01 <= 0.05/3, 0.02 <= 0.05/2, 0.06 > 0.05.
        assert_eq!(claims(&[(0.02, 1.0), (0.06, 1.0), (0.01, 1.0)]), [true, false, true]);
        assert_eq!(claims(&[(0.02, 1.0), (0.02, 1.0), (0.02, 1.0)]), [false; 3], "none is below a third");
    }

    #[test]
    fn a_claim_of_more_weight_has_more_of_the_risk() {
        assert_eq!(claims(&[(0.03, 0.8), (0.03, 0.2)]), [true, true]);
        assert_eq!(claims(&[(0.03, 0.2), (0.045, 0.8)]), [false, false]);
    }
}
