//! What is being done now, and what is being measured: from the session's events where this process measures, from the
//! files of the runs where another one does or did.

use super::arms;
use super::run::RunWatch;
use super::told::{ToldPoint, ToldState};
use crate::outcome::RunStatus;
use crate::plan::Sweep;
use crate::record::{Manifest, dir};
use crate::session::events::{point_words, time_left};
use crate::words;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// A run that nothing was written to for this long may have been left by whoever measured it.
const SILENT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct NowView {
    /// Whether nothing more comes.
    pub(super) ended: bool,
    pub(super) doing: String,
    point: Option<PointView>,
    /// How long the rest takes, in words.
    pub(super) left: Option<String>,
    known: Option<String>,
    /// Why something is not shown.
    pub(super) problem: Option<String>,
    unheard: u64,
}

#[derive(Debug, Clone, Serialize)]
struct PointView {
    arm: String,
    load: String,
    number: usize,
    of: Option<usize>,
    offered: u32,
    /// `None` where only the files tell.
    sent: Option<u32>,
    done: u32,
    failed: Option<u32>,
    /// Seconds until the last request is due.
    due_left: Option<f64>,
}

impl NowView {
    pub(super) fn told(told: &ToldState) -> NowView {
        let view = |point: &ToldPoint| PointView {
            arm: point.arm.clone(),
            load: point_words(point.key),
            number: point.number,
            of: point.of,
            offered: point.offered,
            sent: Some(point.sent),
            done: point.done,
            failed: Some(point.failed),
            due_left: Some(point.eta_secs),
        };
        let doing = if told.doing.is_empty() { "Getting ready" } else { &told.doing };
        NowView {
            doing: doing.to_string(),
            point: told.point.as_ref().map(view),
            left: told.left_secs().map(|secs| format!("about {}", time_left(secs))),
            known: told.known.clone(),
            unheard: told.unheard,
            ..NowView::default()
        }
    }

    /// Before a file was read.
    pub(super) fn begins(told: &ToldState) -> NowView {
        match told.doing.is_empty() {
            true => NowView { doing: "Reading what was measured so far".to_string(), ..NowView::default() },
            false => NowView::told(told),
        }
    }

    /// `names` of the runs, in their order.
    pub(super) fn seen(runs: &[RunWatch], names: &[String]) -> NowView {
        let named = || runs.iter().zip(names);
        let open: Vec<(&RunWatch, &String)> = named().filter(|(run, _)| run.is_unfinished()).collect();
        if open.is_empty() {
            let each = named().map(|(run, name)| match run.manifest() {
                Some(m) => format!("{name}: {}", ended(m)),
                None => format!("{name}: result files of others"),
            });
            let doing = each.collect::<Vec<_>>().join("; ");
            return NowView { ended: true, doing, ..NowView::default() };
        }
        let begun = open.iter().find_map(|(run, name)| Some((run, name, run.begun()?)));
        let silent = open.iter().filter_map(|(run, _)| silence(run)).min();
        let doing = match (begun, silent) {
            (_, Some(silent)) if silent > SILENT => format!(
                "Nothing has been written for {}: the run may have been interrupted, and --resume goes on with it",
                time_left(silent.as_secs_f64())
            ),
            (Some((_, name, (key, ..))), _) => format!("Measuring {name} at {}", point_words(key)),
            (None, _) => "Between two points: engines are being started or stopped".to_string(),
        };
        let done: usize = runs.iter().map(|run| run.run.points.len()).sum();
        let of = named().map(|(run, _)| arms::planned(run.manifest()?)).sum::<Option<usize>>();
        let point = begun.map(|(_, name, (key, offered, ended))| PointView {
            arm: name.to_string(),
            load: point_words(key),
            number: done + 1,
            of,
            offered,
            sent: None,
            done: ended,
            failed: None,
            due_left: None,
        });
        let left = open.iter().find_map(|(run, _)| {
            let manifest = run.manifest()?;
            let budget = manifest.sweep.strategy.budget()?.as_secs_f64();
            Some(format!(
                "{} of its time, at the most",
                time_left((budget - manifest.engine_secs.unwrap_or(0.0)).max(0.0))
            ))
        });
        NowView { doing, point, left, ..NowView::default() }
    }
}

fn ended(manifest: &Manifest) -> String {
    let why = manifest.reason.as_deref().and_then(|reason| reason.lines().next());
    let why = why.filter(|_| manifest.status != RunStatus::Completed).map(|why| format!(" ({why})"));
    format!("{}{}", manifest.status.word(), why.unwrap_or_default())
}

/// How long ago the last file of a run was written.
fn silence(run: &RunWatch) -> Option<Duration> {
    let files = [dir::MANIFEST, dir::JOURNAL, dir::ENGINE_METRICS, dir::TRACE, dir::LOGS];
    let written = |name: &&str| std::fs::metadata(run.run.dir.join(name)).and_then(|facts| facts.modified()).ok();
    let last = files.iter().filter_map(written).max()?;
    SystemTime::now().duration_since(last).ok()
}

/// What the page is about: a heading, and facts that stay.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AboutView {
    title: String,
    facts: Vec<[String; 2]>,
    /// `--metadata`.
    labels: Vec<[String; 2]>,
}

impl AboutView {
    pub(super) fn of(runs: &[RunWatch], title: String) -> AboutView {
        use crate::report::inputs;
        let all = |value: &dyn Fn(&RunWatch) -> Option<String>| {
            words::distinct(runs.iter().filter_map(value).filter(|v| !v.is_empty())).join("; ")
        };
        let sweep = |run: &RunWatch| Some(run.manifest()?.sweep.clone());
        let facts = [
            ("Model", all(&|run| run.run.model().map(|m| words::short_model(m).to_string()))),
            ("Engines", all(&|run| inputs::engine(&run.run))),
            ("Workload", all(&|run| inputs::dataset(&run.run))),
            ("Load", all(&|run| Some(inputs::load_words(&run.run).join(", ")))),
            (
                "Limits",
                all(&|run| {
                    let Sweep { slo, target, goodput_per, .. } = sweep(run)?;
                    Some(format!("{slo} for {} of the {}", target.percent(), goodput_per.words()))
                }),
            ),
            ("GPUs", all(&|run| inputs::hardware(&run.run))),
            (
                "Begun",
                all(&|run| run.manifest().map(|m| m.created_at.chars().take(19).collect::<String>().replace('T', " "))),
            ),
        ];
        let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
        let labels = runs.iter().filter_map(|run| run.manifest()).flat_map(|m| m.sweep.metadata.clone());
        AboutView {
            title,
            facts: facts.map(|(name, value)| [name.to_string(), value]).collect(),
            labels: words::distinct(labels.map(|(key, value)| [key, value])),
        }
    }
}
