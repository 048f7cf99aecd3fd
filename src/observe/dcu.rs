//! Hygon's DCUs, read through `hy-smi`: their driver offers no documented files. One call a sample, so they are sampled as
//! often as the others and no more.

use super::gpu::{GpuInfo, GpuSample};
use crate::units::Offset;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The DCUs of this machine.
#[derive(Debug)]
pub struct DcuGpus {
    program: PathBuf,
}

impl DcuGpus {
    /// `None` without `hy-smi`, or where it lists no card.
    pub fn find() -> Option<DcuGpus> {
        let gpus = DcuGpus { program: which::which("hy-smi").ok()? };
        (!gpus.rows().is_empty()).then_some(gpus)
    }

    pub fn list(&self) -> Vec<GpuInfo> {
        let info = |row: Card| GpuInfo {
            index: row.index,
            name: "Hygon DCU".to_string(),
            power_limit_watts: row.power_limit,
            ..GpuInfo::default()
        };
        self.rows().into_iter().map(info).collect()
    }

    pub fn sample(&self, at: Offset) -> Vec<GpuSample> {
        self.rows().into_iter().map(|row| row.sample(at)).collect()
    }

    fn rows(&self) -> Vec<Card> {
        let output = Command::new(&self.program).stdin(Stdio::null()).stderr(Stdio::null()).output();
        output.map(|output| cards(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
    }
}

/// One line of `hy-smi`'s table.
#[derive(Debug, Clone, Default, PartialEq)]
struct Card {
    index: u32,
    celsius: Option<f64>,
    watts: Option<f64>,
    power_limit: Option<f64>,
    utilization: Option<f64>,
}

impl Card {
    fn sample(self, at: Offset) -> GpuSample {
        GpuSample {
            utilization_percent: self.utilization.map(|u| u.round() as u32),
            temperature_celsius: self.celsius,
            power_watts: self.watts,
            power_limit_watts: self.power_limit,
            ..GpuSample::empty(at, self.index)
        }
    }
}

/// The table's lines, by the names of its columns: versions differ in which they have.
fn cards(text: &str) -> Vec<Card> {
    let mut columns: Vec<&str> = Vec::new();
    let mut cards = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["HCU" | "DCU", ..] => columns = words,
            [index, ..] if !columns.is_empty() && words.len() == columns.len() => {
                let Ok(index) = index.parse() else { continue };
                let number = |names: &[&str]| {
                    let at = columns.iter().position(|column| names.contains(column))?;
                    words[at].trim_end_matches(['C', 'W', '%']).parse().ok()
                };
                cards.push(Card {
                    index,
                    celsius: number(&["Temp"]),
                    watts: number(&["AvgPwr"]),
                    power_limit: number(&["PwrCap"]),
                    utilization: number(&["HCU%", "DCU%"]),
                });
            }
            _ => {}
        }
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNDER_LOAD: &str = include_str!("../../tests/fixtures/observe/hy-smi_two_cards.txt");

    #[test]
    fn cards_are_read_by_the_names_of_the_columns() {
        let found = cards(UNDER_LOAD);
        assert_eq!(found.len(), 2);
        let sample = found[1].clone().sample(Offset::ZERO);
        assert_eq!((sample.gpu, sample.utilization_percent, sample.power_watts), (1, Some(82), Some(254.0)));
        assert_eq!((sample.temperature_celsius, sample.power_limit_watts), (Some(58.0), Some(300.0)));
        assert_eq!((sample.energy_joules, sample.memory_used_bytes), (None, None), "not told, and not zero");
        // An older one calls them by another name, and has fewer columns.
        let older = "DCU     Temp     AvgPwr     DCU%\n0       38.0C    158.0W     97.5%\n";
        assert_eq!(cards(older)[0].utilization, Some(97.5));
    }

    #[test]
    fn what_is_no_table_holds_no_card() {
        assert!(cards("").is_empty() && cards("0 1.0C 2.0W").is_empty());
        assert!(cards("HCU Temp\nnone found\n").is_empty());
    }
}
