//! Round numbers for axes, and how they are written.

/// A round step: `mantissa` (1, 2, 5 or 25) times ten to the `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TickStep {
    mantissa: i64,
    exponent: i32,
}

impl TickStep {
    /// The smallest round step that divides `span` (positive) into at most `intervals` parts. Quarters are used for
    /// whole numbers only (25, 250), where they cost no digit.
    pub(super) fn dividing(span: f64, intervals: usize) -> Self {
        let raw = span / intervals.max(1) as f64;
        let mut exponent = raw.log10().floor() as i32 - 1;
        loop {
            let quarter = (25, exponent - 1);
            for (mantissa, exponent) in [(1, exponent), (2, exponent), quarter, (5, exponent)] {
                let step = Self { mantissa, exponent };
                if (mantissa != 25 || exponent >= 0) && step.size() >= raw * (1.0 - 1e-9) {
                    return step;
                }
            }
            exponent += 1;
        }
    }

    pub(super) fn size(self) -> f64 {
        self.times(1)
    }

    /// `count` steps, as the decimal number that one would write: 3 x 0.1 is 0.3.
    fn times(self, count: i64) -> f64 {
        let whole = (count * self.mantissa) as f64;
        let power = 10f64.powi(self.exponent.abs());
        if self.exponent < 0 { whole / power } else { whole * power }
    }

    /// All multiples within `low..=high`, with a little tolerance at the ends.
    pub(super) fn ticks(self, low: f64, high: f64) -> Vec<f64> {
        let slack = 1e-6;
        let first = (low / self.size() - slack).ceil() as i64;
        let last = (high / self.size() + slack).floor() as i64;
        (first..=last).map(|count| self.times(count)).collect()
    }

    /// The tightest multiples that enclose `low..=high`.
    pub(super) fn enclose(self, low: f64, high: f64) -> (f64, f64) {
        let slack = 1e-6;
        let first = (low / self.size() + slack).floor() as i64;
        let last = (high / self.size() - slack).ceil() as i64;
        (self.times(first), self.times(last.max(first + 1)))
    }

    /// Multiples of this step, all with the same number of decimals; very large and very small ones as powers of ten.
    pub(super) fn write(self, values: &[f64]) -> Vec<String> {
        let largest = values.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        let decimals = usize::try_from(-self.exponent).unwrap_or(0);
        if plain(largest) {
            return values.iter().map(|&v| decimal(v, decimals)).collect();
        }
        values.iter().map(|&v| power(v)).collect()
    }
}

/// Numbers on a logarithmic axis: if one needs a power of ten, all that are not near 1 are written so.
pub(super) fn write_decades(values: &[f64]) -> Vec<String> {
    let all_plain = values.iter().all(|&value| plain(value));
    let near_one = |value: f64| (0.99e-2..0.99e3).contains(&value);
    values.iter().map(|&v| if all_plain || near_one(v) { write_number(v) } else { power(v) }).collect()
}

/// Values on a logarithmic axis: 1-2-5 in every decade if `crowded` is false, else powers of ten, every `every`-th.
pub(super) fn log_ticks(low: f64, high: f64, mantissas: &[i64], every: i32) -> Vec<f64> {
    let (first, last) = (magnitude(low) - 1, magnitude(high) + 1);
    let decade = |exponent: i32| mantissas.iter().map(move |&m| TickStep { mantissa: m, exponent }.size());
    (first..=last)
        .filter(|exponent| exponent.rem_euclid(every) == 0)
        .flat_map(decade)
        .filter(|&value| value >= low * (1.0 - 1e-9) && value <= high * (1.0 + 1e-9))
        .collect()
}

/// The shortest way to write a number of up to nine digits, free of binary noise.
pub(super) fn write_number(value: f64) -> String {
    if !plain(value) {
        return power(value);
    }
    let decimals = (0..12).find(|&decimals| {
        let short: f64 = format!("{value:.decimals$}").parse().unwrap_or(value);
        (short - value).abs() <= value.abs() * 1e-9
    });
    decimal(value, decimals.unwrap_or(12))
}

/// Whether digits read better than a power of ten.
fn plain(value: f64) -> bool {
    value == 0.0 || (1e-4..1e6).contains(&value.abs())
}

/// The power of ten of the first digit.
fn magnitude(value: f64) -> i32 {
    if value == 0.0 { 0 } else { (value.abs().log10() + 1e-12).floor() as i32 }
}

/// Digits with a true minus sign, and commas between thousands from 10,000 on.
fn decimal(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut text = String::new();
    if value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        text.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && whole.len() > 4 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

/// `value` as the shortest mantissa, of nine digits at most, times a power of ten.
fn power(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let rounded: f64 = format!("{:.8e}", value.abs()).parse().unwrap_or(value);
    let scientific = format!("{rounded:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let raised: String = exponent
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
        })
        .collect();
    let sign = if value < 0.0 { "−" } else { "" };
    if mantissa == "1" { format!("{sign}10{raised}") } else { format!("{sign}{mantissa}×10{raised}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(low: f64, high: f64, intervals: usize) -> Vec<String> {
        let step = TickStep::dividing(high - low, intervals);
        step.write(&step.ticks(low, high))
    }

    #[test]
    fn ticks_carry_no_binary_noise() {
        assert_eq!(written(0.0, 0.5, 5), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(written(-1.0, 1.0, 4), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(write_number(0.1 + 0.2), "0.3");
        assert_eq!(write_number(1.133), "1.133");
    }

    #[test]
    fn large_and_tiny_values_read_as_powers() {
        assert_eq!(written(0.0, 4e6, 4), ["0", "10⁶", "2×10⁶", "3×10⁶", "4×10⁶"]);
        assert_eq!(written(0.0, 5e-5, 3), ["0", "2×10⁻⁵", "4×10⁻⁵"]);
        assert_eq!(written(0.0, 40_000.0, 2), ["0", "20,000", "40,000"]);
        assert_eq!(write_number(2.5e-7), "2.5×10⁻⁷");
    }

    #[test]
    fn quarters_are_used_for_whole_numbers_only() {
        assert_eq!(written(0.0, 100.0, 4), ["0", "25", "50", "75", "100"]);
        assert_eq!(TickStep::dividing(1.0, 4).size(), 0.5);
    }

    #[test]
    fn a_decade_has_one_two_five() {
        assert_eq!(log_ticks(0.9, 120.0, &[1, 2, 5], 1), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(log_ticks(1e-9, 1e9, &[1], 6), [1e-6, 1.0, 1e6]);
    }

    proptest! {
        #[test]
        fn ticks_lie_in_the_range_and_leave_less_than_a_step_at_each_end(
            low in -1e12..1e12f64, span in 1e-3..1e12f64, intervals in 1usize..12,
        ) {
            let high = low + span;
            let step = TickStep::dividing(span, intervals);
            let ticks = step.ticks(low, high);
            let slack = step.size() * 1e-5;
            prop_assert!(ticks.len() <= intervals + 1);
            if let (Some(first), Some(last)) = (ticks.first(), ticks.last()) {
                prop_assert!(*first >= low - slack && first - low < step.size() + slack);
                prop_assert!(*last <= high + slack && high - last < step.size() + slack);
            }
        }

        #[test]
        fn enclosing_multiples_cover_the_data(low in -1e9..1e9f64, span in 1e-3..1e9f64, intervals in 1usize..12) {
            let step = TickStep::dividing(span, intervals);
            let (first, last) = step.enclose(low, low + span);
            let slack = step.size() * 1e-5;
            prop_assert!(first <= low + slack && last >= low + span - slack);
        }

        #[test]
        fn written_numbers_read_back(value in -1e5..1e5f64) {
            let text = write_number(value).replace('−', "-").replace(',', "");
            if !text.contains('×') && !text.contains("10⁻") {
                let back: f64 = text.parse().unwrap();
                prop_assert!((back - value).abs() <= value.abs() * 1e-8 + 1e-12, "{}", text);
            }
        }
    }
}
