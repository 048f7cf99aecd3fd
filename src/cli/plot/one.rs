//! All of one run.

use crate::analyse::Question;
use crate::cli::args::PlotArgs;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{out, present, slo};
use crate::plan::environment::{self, Environment};
use crate::plan::options::SloOptions;
use crate::record::RecordedRun;
use crate::report::Study;
use clap::ArgMatches;
use std::path::Path;

/// All figures of one run, its table and its page.
pub(super) fn write_all(
    args: &PlotArgs,
    dir: &Path,
    output: &Path,
    matches: &ArgMatches,
    env: &Environment,
) -> Result<Exit, CliError> {
    let run = RecordedRun::read_as(dir, (&args.slo).into())?;
    if run.points.is_empty() {
        return Err(CliError::usage(format!(
            "{} has no measured point, so there is nothing to plot\nhint: `topobench show {}` tells what became of it",
            dir.display(),
            args.run.as_deref().unwrap_or("RUN")
        )));
    }
    let question = question(&run, &args.slo, matches, env)?;
    let study = Study::new(vec![run], question);
    let written = present::write_run(output, &study)?;
    for path in &written.files {
        out::line(path.display())?;
    }
    if args.parquet {
        out::line(present::write_requests(output, &study)?.display())?;
    }
    Ok(if written.failed.is_empty() { Exit::Good } else { Exit::Internal })
}

/// The run's own question where nobody asks another.
pub(crate) fn question(
    run: &RecordedRun,
    options: &SloOptions,
    matches: &ArgMatches,
    env: &Environment,
) -> Result<Question, CliError> {
    let (slo, target) = slo::resolve(options, matches, env)?;
    let own = run.manifest.as_ref().map(|m| (m.sweep.slo, m.sweep.target));
    let asked_slo =
        slo::given(options) || env.get(environment::TTFT_SLO).is_some() || env.get(environment::TPOT_SLO).is_some();
    let asked_target = options.target.is_some() || env.get(environment::TARGET_ATTAINMENT).is_some();
    Ok(Question {
        slo: own.filter(|_| !asked_slo).map_or(slo, |(slo, _)| slo),
        target: own.filter(|_| !asked_target).map_or(target, |(_, target)| target),
        gpu_hour_price: options.gpu_hour_price,
        ..Question::default()
    })
}
