//! `--preset NAME`: what no flag names comes from a preset.

use super::args::SweepArgs;
use super::exit::CliError;
use super::slo;
use crate::plan::combos::Overrides;
use crate::plan::options::{LoadOptions, SloOptions, WorkloadOptions};
use crate::plan::presets::Preset;

/// Lengths and load of a preset that names one pair of lengths.
pub(super) fn apply(name: &str, workload: &mut WorkloadOptions, load: &mut LoadOptions) -> Result<(), CliError> {
    let combos = Preset::named(name)?.combos(&Overrides::default())?;
    let [run] = combos.runs.as_slice() else {
        return Err(CliError::usage(format!(
            "preset {name} has {} pairs of lengths, and this command measures one\nhint: `topobench sweep --preset {name}` measures them all",
            combos.pairs()
        )));
    };
    let typed = (workload.clone(), load.clone());
    run.apply(workload, load);
    let (typed_workload, typed_load) = typed;
    workload.dataset.random_input_len = typed_workload.dataset.random_input_len.or(workload.dataset.random_input_len);
    workload.dataset.random_output_len =
        typed_workload.dataset.random_output_len.or(workload.dataset.random_output_len);
    let other_load = typed_load.request_rate.is_some() || typed_load.concurrency.is_some() || typed_load.trace_arrivals;
    if other_load {
        (load.request_rate, load.concurrency) = (typed_load.request_rate.clone(), typed_load.concurrency.clone());
        load.max_concurrency = typed_load.max_concurrency;
    }
    load.max_concurrency = typed_load.max_concurrency.or(load.max_concurrency);
    // Numbers of prompts belong to the preset's own points.
    if other_load || typed_load.num_prompts.is_some() || typed_load.duration.is_some() {
        load.num_prompts = typed_load.num_prompts;
    }
    Ok(())
}

/// The SLO of the preset, unless flags name one.
pub(super) fn slo(sweep: &SweepArgs) -> Result<SloOptions, CliError> {
    let mut options = sweep.slo.clone();
    if let Some(name) = sweep.run.preset.as_ref().filter(|_| !slo::given(&options)) {
        let combos = Preset::named(name)?.combos(&Overrides::default())?;
        options.goodput =
            combos.goodput.iter().map(|word| word.parse()).collect::<Result<_, _>>().map_err(CliError::usage)?;
    }
    Ok(options)
}
