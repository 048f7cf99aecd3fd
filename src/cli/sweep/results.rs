//! What a grid came to: a table of all points, and of two arms the decision map.

use super::cells::GridCells;
use super::place::GridPlace;
use crate::analyse::Question;
use crate::cli::args::SweepArgs;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{aggregate, out, present};
use crate::record::{RecordedRun, dir};
use crate::report::aggregate::{AggregateRow, markdown, of_run};
use crate::report::decision::{DecisionMap, GridPair};
use crate::report::figures::{self, Named};
use crate::report::inputs;
use crate::report::kept::kept;
use serde_json::json;

const MAP: &str = "decision_map";

pub(super) fn show(
    cells: &GridCells,
    place: &GridPlace,
    question: &Question,
    sweep: &SweepArgs,
) -> Result<Exit, CliError> {
    let measured = read(cells, place)?;
    measured.iter().flatten().flatten().try_for_each(|run| present::write_gpus(&run.dir, run))?;
    let rows: Vec<AggregateRow> = measured.iter().flatten().flatten().flat_map(|run| of_run(run, question)).collect();
    if rows.is_empty() {
        return Ok(Exit::Good);
    }
    aggregate::write(&rows, &place.dir().join(aggregate::TABLE))?;
    let map = DecisionMap::new(&pairs(cells, &measured), question);
    if let Some(map) = &map {
        write_map(map, place)?;
    }
    if sweep.run.json {
        out::json(&json!({ "dir": place.dir(), "rows": rows, "map": map }))?;
    } else {
        out::text(&markdown(&rows, None, "Grid"))?;
        measured.iter().flatten().flatten().filter_map(kept).try_for_each(out::line)?;
        if let Some(map) = &map {
            out::line(format!("\n{}.", map.sentence()))?;
            out::line(format!("map: {}", place.dir().join(format!("{MAP}.svg")).display()))?;
        }
        out::line(format!("table: {}", place.dir().join(aggregate::TABLE).display()))?;
    }
    Ok(judge(&rows, sweep.run.gate))
}

/// By cell, then by arm; `None` where a run was not begun.
type MeasuredCells = Vec<Vec<Option<RecordedRun>>>;

fn read(cells: &GridCells, place: &GridPlace) -> Result<MeasuredCells, CliError> {
    let run = |plan, arm| {
        let Some((dir, _)) = place.run_of(plan, arm)? else { return Ok(None) };
        Ok::<_, CliError>(Some(RecordedRun::read(&dir)?).filter(|run| !run.points.is_empty()))
    };
    cells.runs.iter().map(|cell| (0..cells.arms()).map(|arm| run(&cell.plan, arm)).collect()).collect()
}

/// GridCells that both of two arms have measured.
fn pairs(cells: &GridCells, measured: &MeasuredCells) -> Vec<GridPair> {
    let pair = |(cell, arms): (&super::cells::PlannedRun, &Vec<Option<RecordedRun>>)| {
        let [Some(a), Some(b)] = arms.as_slice() else { return None };
        let label = |arm: usize| Some(cell.plan.arms[arm].label.clone());
        let arms = [inputs::arm(a, label(0)), inputs::arm(b, label(1))];
        Some(GridPair { input: cell.grid.input, output: cell.grid.output, arms })
    };
    cells.runs.iter().zip(measured).filter_map(pair).collect()
}

fn write_map(map: &DecisionMap, place: &GridPlace) -> Result<(), CliError> {
    let (drawn, undrawn) = figures::draw(vec![Named { name: MAP.to_string(), figure: map.figure() }]);
    let written = figures::write(place.dir(), &drawn)?;
    undrawn.iter().chain(&written.failed).for_each(out::warn);
    let table = map.table().map_err(|e| CliError::new(Exit::Internal, e))?;
    Ok(dir::write_atomically(&place.dir().join(format!("{MAP}.csv")), &table)?)
}

/// 4 for any point that can't be trusted, 5 for any below the gate.
fn judge(rows: &[AggregateRow], gate: Option<f64>) -> Exit {
    let doubtful =
        |row: &AggregateRow| row.valid == Some(false) || row.status.as_deref().is_some_and(|s| s != "measured");
    let missed = |row: &AggregateRow| gate.zip(row.attainment_percent).is_some_and(|(gate, found)| found < gate);
    let of = |condition: bool, exit: Exit| if condition { exit } else { Exit::Good };
    of(rows.iter().any(doubtful), Exit::PointDoubtful).and(of(rows.iter().any(missed), Exit::GateMissed))
}
