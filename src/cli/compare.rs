//! `topobench compare`: runs on disk, ours or others', put to one question.

use super::args::CompareArgs;
use super::exit::{CliError, Exit};
use super::{out, present, slo};
use crate::analyse::Question;
use crate::plan::environment::{self, Environment};
use crate::record::{JudgedPart, RecordedRun, catalog, dir};
use crate::report::Study;
use crate::units::Percent;
use chrono::Local;
use clap::ArgMatches;
use std::path::PathBuf;

pub(super) fn run(args: &CompareArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    present::check_parquet(args.parquet)?;
    let env = Environment::of_process()?;
    let (slo, target) = slo::resolve(&args.slo, matches, &env)?;
    let names: Vec<&String> = match (&args.simple_dir, &args.nixl_dir) {
        (Some(simple), Some(nixl)) => vec![simple, nixl],
        _ => args.dirs.iter().collect(),
    };
    if names.len() < 2 {
        return Err(CliError::usage(
            "compare takes two runs or more: directories, unique prefixes of their names, or `latest`\nhint: `topobench list` shows the runs there are",
        ));
    }
    if !args.gpus.is_empty() && args.gpus.len() != names.len() {
        return Err(CliError::usage(format!(
            "--gpus has {} numbers for {} runs\nhint: give one for each, in their order",
            args.gpus.len(),
            names.len()
        )));
    }
    if args.gpus.contains(&0) {
        return Err(CliError::usage(
            "invalid value `0` for --gpus\nhint: an arm has at least one GPU; leave --gpus out where the number is not known",
        ));
    }
    let gate = args.gate.map(|g| {
        Percent::new(g).ok_or_else(|| {
            CliError::usage(format!("invalid value `{g}` for --gate\nhint: give a percentage from 0 to 100"))
        })
    });
    let gate = gate.transpose()?;
    let runs =
        names.iter().map(|name| read(&args.result_dir, name, (&args.slo).into())).collect::<Result<Vec<_>, _>>()?;
    for skipped in runs.iter().flat_map(|r| &r.skipped) {
        out::warn(format!("skipped {skipped}"));
    }
    let study = Study::new(
        runs,
        Question {
            slo,
            target,
            scale_rate: args.scale_rate,
            gpus: args.gpus.clone(),
            gpu_hour_price: args.slo.gpu_hour_price,
        },
    );
    let output = args.output.clone().or_else(|| env.get(environment::PLOT_OUTPUT_DIR).map(PathBuf::from));
    let output = match output {
        Some(output) => present::make_output(&output).map(|()| output)?,
        None => dir::create_comparison(&args.result_dir, Local::now())?,
    };
    present::comparison(&study, &output, args.json)?;
    if args.parquet {
        let path = present::write_requests(&output, &study)?;
        if !args.json {
            out::line(format!("requests: {}", path.display()))?;
        }
    }
    Ok(present::judge(&study.comparison, gate))
}

fn read(root: &std::path::Path, name: &str, judged: JudgedPart) -> Result<RecordedRun, CliError> {
    Ok(RecordedRun::read_as(&catalog::resolve(root, name)?, judged)?)
}
