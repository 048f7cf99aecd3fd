//! The Prometheus text format, as far as engines write it: names with `:`, labels with escapes, `+Inf`, `NaN`,
//! exponents, timestamps. A line that is no sample is passed over, so that one odd line costs no other metric.

use crate::words;

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, (name, value): (&str, &str)) -> bool {
        self.label(name) == Some(value)
    }
}

/// All samples of one scrape.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    samples: Vec<Sample>,
}

impl Snapshot {
    pub fn parse(text: &str) -> Self {
        Snapshot { samples: text.lines().filter_map(parse_line).collect() }
    }

    /// Sum over all samples of this name that carry every given label; `None` where there is none, or where one of
    /// them is NaN.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let matches = |s: &&Sample| s.name == name && labels.iter().all(|label| s.has(*label));
        let sum = self.samples.iter().filter(matches).map(|s| s.value).reduce(|a, b| a + b)?;
        (!sum.is_nan()).then_some(sum)
    }

    /// Mean over all samples of this name; `None` where there is none, or where one of them is NaN.
    pub fn mean(&self, name: &str) -> Option<f64> {
        let count = self.samples.iter().filter(|s| s.name == name).count();
        Some(self.sum(name, &[])? / count as f64)
    }

    /// The first of several names that occurs: vLLM renamed some metrics.
    pub fn sum_of_any(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.sum(name, &[]))
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }

    pub(super) fn from_samples(samples: Vec<Sample>) -> Self {
        Snapshot { samples }
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let line = line.trim_start();
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (Vec::new(), rest),
    };
    // A timestamp may follow the value.
    let value = parse_value(rest.split_whitespace().next()?)?;
    Some(Sample { name: name.to_string(), labels, value })
}

/// `a="x",b="y",}` and what follows the brace.
fn parse_labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = words::unquoted(after.trim_start().strip_prefix('"')?, "\\")?;
        labels.push((name.trim().to_string(), value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn parse_value(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust alone would also take "infinity" and the like.
        number if number.ends_with(|c: char| c.is_ascii_digit() || c == '.') => number.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_real_dump_is_read_whole() {
        let text = include_str!("../../tests/fixtures/observe/metrics_decode_h100_0.22.txt");
        let snapshot = Snapshot::parse(text);
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).count();
        assert_eq!(snapshot.samples().len(), lines);
        assert_eq!(snapshot.sum("vllm:nixl_bytes_transferred_sum", &[]), Some(3.3688387584e10));
        assert_eq!(
            snapshot.sum("vllm:prompt_tokens_by_source_total", &[("source", "local_cache_hit")]),
            Some(320_784.0)
        );
        assert_eq!(snapshot.sum("vllm:no_such_metric", &[]), None);
        assert_eq!(snapshot.sum("vllm:prompt_tokens_by_source_total", &[("source", "nowhere")]), None);
    }

    #[test]
    fn values_labels_and_timestamps_of_every_kind() {
        let snapshot = Snapshot::parse(concat!(
            "# HELP a b\n",
            "a{le=\"+Inf\",} 3e2 1795293761000\n",
            "a{le=\"1\\\\2\\\"\\n\"} +4.5\n",
            "b +Inf\n",
            "c{x=\"}, y=\\\"\"}NaN\n",
            "  d  1.5e-3\n",
        ));
        assert_eq!(snapshot.sum("a", &[]), Some(304.5));
        assert_eq!(snapshot.sum("a", &[("le", "1\\2\"\n")]), Some(4.5));
        assert_eq!(snapshot.sum("b", &[]), Some(f64::INFINITY));
        assert_eq!(snapshot.sum("c", &[]), None, "NaN is no number");
        assert_eq!(snapshot.samples()[3].labels, [("x".to_string(), "}, y=\"".to_string())]);
        assert_eq!(snapshot.sum("d", &[]), Some(0.0015));
    }

    #[test]
    fn broken_lines_cost_only_themselves() {
        let snapshot = Snapshot::parse("good 1\nbroken{a=\"x 2\nno_value\n9name 1\nx y\n<html>\ngood 2");
        assert_eq!(snapshot.samples().len(), 2);
        assert_eq!(snapshot.sum("good", &[]), Some(3.0));
    }

    fn written(sample: &Sample) -> String {
        let escape = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        format!("{}{{{}}} {:e}\n", sample.name, labels.join(","), sample.value)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,20}",
            labels in prop::collection::vec(("[a-z_]{1,8}", "[^\r]{0,12}"), 0..4),
            value in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        ) {
            // `lines()` ends a line at \r\n too, which no escape of the format covers.
            let sample = Sample { name, labels, value };
            let read = Snapshot::parse(&written(&sample));
            prop_assert_eq!(read.samples(), &[sample]);
        }

        #[test]
        fn no_text_breaks_the_parser(text in "(?s).{0,200}") {
            let _ = Snapshot::parse(&text);
        }
    }
}
