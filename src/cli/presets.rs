//! `topobench presets`: what there is for `--preset`.

use super::args::PresetsArgs;
use super::exit::{CliError, Exit};
use super::out;
use crate::plan::combos::Overrides;
use crate::plan::presets::Preset;

pub(super) fn run(args: &PresetsArgs) -> Result<Exit, CliError> {
    if let Some(name) = &args.name {
        out::text(Preset::named(name)?.text)?;
        return Ok(Exit::Good);
    }
    for preset in Preset::all() {
        let combos = preset.combos(&Overrides::default())?;
        let points: usize = combos.runs.iter().filter_map(|run| run.points()).sum();
        let s = if points == 1 { "" } else { "s" };
        out::line(format!("{:12} {} ({points} point{s})", preset.name, combos.description.unwrap_or_default()))?;
    }
    Ok(Exit::Good)
}
