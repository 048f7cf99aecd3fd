//! `topobench sweep`: a grid of lengths and loads, on one deployment or several. Each deployment is started once.

mod cells;
mod place;
mod progress;
mod results;
mod walk;

use super::args::GridArgs;
use super::exit::{CliError, Exit};
use super::{dry_run, out, preset, slo};
use crate::analyse::Question;
use crate::files;
use crate::plan::combos::{Combos, Overrides};
use crate::plan::environment::Environment;
use crate::plan::options::SloOptions;
use crate::plan::presets::Preset;
use cells::GridCells;
use clap::ArgMatches;
use place::GridPlace;

/// Bytes of a grid's file.
const LARGEST: u64 = 1 << 20;

pub(super) fn run(args: &GridArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let grid = read(args)?;
    let limits = grid_slo(args, &grid.combos)?;
    let cells = GridCells::plan(args, &grid.combos, &limits, matches)?;
    cells.tell_skipped();
    if args.sweep.run.dry_run {
        return show(&cells, args);
    }
    let place = match &args.sweep.run.resume {
        Some(what) => GridPlace::find(&args.sweep.run.result_dir, &grid.name, what)?,
        None => GridPlace::make(&args.sweep.run.result_dir, &grid.name, &grid.text)?,
    };
    out::note(format!("results go to {}", place.dir().display()));
    let walked = walk::walk(&cells, &place, &args.sweep)?;
    let (slo, target) = slo::resolve(&limits, matches, &Environment::of_process()?)?;
    let question = Question { slo, target, ..Question::default() };
    let shown = results::show(&cells, &place, &question, &args.sweep);
    walked.settle(shown)
}

/// A grid as it was named.
struct NamedGrid {
    name: String,
    text: String,
    combos: Combos,
}

fn read(args: &GridArgs) -> Result<NamedGrid, CliError> {
    let load = &args.sweep.load;
    let overrides = Overrides {
        input: args.sweep.workload.dataset.random_input_len,
        output: args.sweep.workload.dataset.random_output_len,
        levels: load.concurrency.as_ref().map(|levels| levels.0.iter().map(|n| n.get()).collect()),
        prompts: load.num_prompts.clone(),
        rates: load.request_rate.as_ref().map(|rates| rates.0.clone()),
    };
    match (&args.combos, &args.sweep.run.preset) {
        (Some(_), Some(_)) => Err(CliError::usage("a grid is a file or a preset\nhint: leave out one of them")),
        (None, Some(name)) => {
            let preset = Preset::named(name)?;
            let combos = preset.combos(&overrides)?;
            Ok(NamedGrid { name: name.clone(), text: preset.text.to_string(), combos })
        }
        (Some(path), None) => {
            let text = files::read_text(path, LARGEST).map_err(|e| {
                CliError::usage(format!("cannot read {}: {e}\nhint: give a YAML file that exists", path.display()))
            })?;
            let name = path.file_stem().map_or_else(|| "grid".to_string(), |stem| stem.to_string_lossy().into_owned());
            let combos = Combos::parse_with(&text, &path.display().to_string(), &overrides)?;
            Ok(NamedGrid { name, text, combos })
        }
        (None, None) => Err(CliError::usage(
            "sweep measures a grid, and none is named\nhint: give a YAML file, e.g. `topobench sweep combos.yaml`, or a preset",
        )),
    }
}

/// Every cell in a line, then the first one's plan whole.
fn show(cells: &GridCells, args: &GridArgs) -> Result<Exit, CliError> {
    for line in cells.lines() {
        out::note(line);
    }
    match cells.first() {
        Some(plan) => dry_run::show(plan, args.sweep.run.json),
        None => Err(CliError::usage("every cell exceeds the model's context: nothing is left to be measured")),
    }
}

/// The grid's own limits, unless flags name some.
fn grid_slo(args: &GridArgs, combos: &Combos) -> Result<SloOptions, CliError> {
    let mut options = preset::slo(&args.sweep)?;
    if !slo::given(&options) {
        options.goodput =
            combos.goodput.iter().map(|word| word.parse()).collect::<Result<_, _>>().map_err(CliError::usage)?;
    }
    Ok(options)
}
