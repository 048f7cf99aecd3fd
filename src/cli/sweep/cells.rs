//! The grid's runs as plans, one for each pair of lengths, with all arms in each.

use crate::cli::args::GridArgs;
use crate::cli::exit::CliError;
use crate::cli::{attach, given, measure, out};
use crate::plan::arm::ArmSpec;
use crate::plan::build::{Arms, Servers};
use crate::plan::combos::{Combos, GridRun};
use crate::plan::options::SloOptions;
use crate::plan::strategy::Order;
use crate::plan::topology::Role;
use crate::plan::{Plan, PlanError};
use clap::ArgMatches;

/// A grid that can be measured.
pub(super) struct GridCells {
    pub(super) runs: Vec<PlannedRun>,
    /// Runs that exceed the model's context, as far as it is known beforehand.
    skipped: Vec<String>,
}

pub(super) struct PlannedRun {
    pub(super) grid: GridRun,
    /// All arms, on the same workload.
    pub(super) plan: Plan,
}

impl GridCells {
    pub(super) fn plan(
        args: &GridArgs,
        combos: &Combos,
        slo: &SloOptions,
        matches: &ArgMatches,
    ) -> Result<GridCells, CliError> {
        refuse_flags(matches)?;
        let mut cells = GridCells { runs: Vec::new(), skipped: Vec::new() };
        for (number, grid) in (0u64..).zip(&combos.runs) {
            let sweep = &args.sweep;
            let (mut workload, mut load) = (sweep.workload.clone(), sweep.load.clone());
            // Flags that the grid took over are in it.
            (load.concurrency, load.request_rate, load.num_prompts) = (None, None, None);
            grid.apply(&mut workload, &mut load);
            workload.model = workload.model.or_else(|| combos.model.clone());
            workload.tokenizer = workload.tokenizer.or_else(|| combos.tokenizer.clone());
            // Prompts of one cell must not begin like those of another: a prefix cache would know them.
            load.seed = load.seed.wrapping_add(number);
            let asked = (workload, load, slo.clone());
            let planned = measure::plan_of(arms(args, combos, matches)?, Some(Order::Ab), asked, sweep, matches);
            match planned {
                Ok(plan) => cells.runs.push(PlannedRun { grid: grid.clone(), plan }),
                Err(measure::Unplanned::Plan(error @ PlanError::ContextOverflow { .. })) => {
                    let told = error.to_string();
                    let why = told.lines().next().unwrap_or_default().to_string();
                    cells.skipped.push(format!("skipped {grid}: {why}"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(cells)
    }

    pub(super) fn tell_skipped(&self) {
        self.skipped.iter().for_each(out::note);
    }

    pub(super) fn first(&self) -> Option<&Plan> {
        self.runs.first().map(|run| &run.plan)
    }

    /// How many arms there are.
    pub(super) fn arms(&self) -> usize {
        self.first().map_or(0, |plan| plan.arms.len())
    }

    /// One line a run.
    pub(super) fn lines(&self) -> Vec<String> {
        let labels: Vec<&str> =
            self.first().map_or_else(Vec::new, |plan| plan.arms.iter().map(|arm| arm.label.as_str()).collect());
        let line = |run: &PlannedRun| {
            let points = run.grid.points().map_or("searched".to_string(), |n| format!("{n} points"));
            format!("{}: {points} on {}", run.grid, labels.join(", "))
        };
        self.runs.iter().map(line).collect()
    }
}

/// Servers that run already, or deployments to start.
fn arms(args: &GridArgs, combos: &Combos, matches: &ArgMatches) -> Result<Arms, CliError> {
    let attached = attach::servers("sweep", &args.sweep.attach, matches)?;
    let of_grid = |url| Servers::Endpoint { url, hands_over: false };
    let servers = attached.or_else(|| combos.base_url.clone().map(of_grid));
    if let Some(servers) = servers {
        if !args.arms.is_empty() {
            return Err(CliError::usage(
                "--arms starts deployments, and the grid names a server that runs already\nhint: leave out base_url (--attach), or --arms",
            ));
        }
        let watched = args.sweep.attach.metrics_url.iter().any(|url| url.role != Role::Replica);
        let simple = matches!(servers, Servers::Endpoint { .. }) && !watched;
        let name = if simple { "simple" } else { "nixl" };
        return Ok(Arms::Attach(attach::request(servers, name, &args.sweep.attach)));
    }
    let sizes = args.engine.sizes();
    let specs = match args.arms.as_slice() {
        [] => vec![ArmSpec::named("simple", sizes)],
        arms => arms.iter().map(|a| ArmSpec::parse(a)).collect::<Result<Vec<_>, _>>()?,
    };
    Ok(Arms::Spawn { specs, engine: args.sweep.run.engine.clone() })
}

/// Flags that the grid itself decides; beside it they would say nothing.
fn refuse_flags(matches: &ArgMatches) -> Result<(), CliError> {
    const OF_THE_GRID: [&str; 4] = ["max_concurrency", "duration", "burstiness", "trace_arrivals"];
    let typed = given::flags(matches, |id| OF_THE_GRID.contains(&id));
    if typed.is_empty() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{} beside a grid, which names lengths and loads itself\nhint: put them into the YAML file",
        typed.join(", ")
    )))
}
