//! Grids and workloads that many people want, as data files. A preset is a grid like any other.

use super::combos::{Combos, Overrides};
use super::error::PlanError;

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Name and text.
        const ALL: &[(&str, &str)] = &[$(($name, include_str!(concat!("presets/", $name, ".yaml")))),+];
    };
}

presets!(
    "smoke",
    "functional",
    "performance",
    "stress",
    "stability",
    "production",
    "scaling",
    "scaling-200",
    "support",
    "content",
    "code",
);

/// A preset as it stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    pub text: &'static str,
}

impl Preset {
    pub fn all() -> impl Iterator<Item = Preset> {
        ALL.iter().map(|&(name, text)| Preset { name, text })
    }

    /// # Errors
    /// Where there is none of this name.
    pub fn named(name: &str) -> Result<Preset, PlanError> {
        let known = || Preset::all().map(|p| p.name).collect::<Vec<_>>().join(", ");
        Preset::all()
            .find(|preset| preset.name == name)
            .ok_or_else(|| PlanError::value("--preset", name, &format!("there are {}", known())))
    }

    /// # Errors
    /// Where the overrides make no sense beside it.
    pub fn combos(self, overrides: &Overrides) -> Result<Combos, PlanError> {
        Combos::parse_with(self.text, &format!("preset {}", self.name), overrides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::slo_words::GoodputWord;

    #[test]
    fn every_preset_is_a_grid_that_describes_itself() {
        for preset in Preset::all() {
            let combos = preset.combos(&Overrides::default()).expect(preset.name);
            assert!(combos.description.is_some_and(|d| !d.is_empty()), "{}", preset.name);
            assert!(!combos.runs.is_empty() && combos.runs.iter().all(|run| run.points().is_some()), "{}", preset.name);
            assert!(combos.goodput.iter().all(|word| word.parse::<GoodputWord>().is_ok()), "{}", preset.name);
        }
        assert!(Preset::named("smok").expect_err("none").to_string().contains("smoke"));
    }

    #[test]
    fn production_goes_from_1k_to_96k_and_from_1_to_20() {
        let combos = Preset::named("production").and_then(|p| p.combos(&Overrides::default())).expect("there");
        let inputs: Vec<u32> = combos.runs.iter().map(|run| run.input).collect();
        assert_eq!((inputs.first(), inputs.last()), (Some(&1024), Some(&(96 * 1024))));
        assert!(combos.runs.iter().all(|run| run.output == 500 && run.points() == Some(5)));
    }
}
