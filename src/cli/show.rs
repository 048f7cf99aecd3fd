//! `topobench show`: everything recorded about one run.

use super::args::ShowArgs;
use super::exit::{CliError, Exit};
use super::{out, plot, present};
use crate::plan::MetricChoice;
use crate::plan::environment::Environment;
use crate::record::{Manifest, RecordedRun, catalog};
use crate::report::{Study, console};
use clap::ArgMatches;
use serde_json::json;
use std::fmt::Write as _;

pub(super) fn run(args: &ShowArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    let dir = catalog::resolve(&args.result_dir, &args.run)?;
    let run = RecordedRun::read_as(&dir, (&args.slo).into())?;
    let question = plot::question(&run, &args.slo, matches, &Environment::of_process()?)?;
    let study = Study::new(vec![run], question);
    let run = &study.runs[0];
    if args.json {
        out::json(&json!({ "dir": dir, "manifest": run.manifest, "analysis": study.comparison }))?;
        return Ok(Exit::Good);
    }
    let mut text = format!("{}\n", dir.display());
    let choice = run.manifest.as_ref().map_or_else(MetricChoice::default, |m| m.sweep.metrics.clone());
    if let Some(manifest) = &run.manifest {
        describe(&mut text, manifest);
    }
    text.push_str(&present::points(&study, &choice));
    text.push_str(&console::sweep(&study, 0, present::style()));
    out::text(&text)?;
    Ok(Exit::Good)
}

/// Writing into a `String` cannot fail.
fn describe(out: &mut String, manifest: &Manifest) {
    let status = manifest.status.word();
    let _ =
        writeln!(out, "status: {status}{}", manifest.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default());
    let _ = writeln!(out, "command: {}", manifest.command.join(" "));
    let _ =
        writeln!(out, "created: {}, finished: {}", manifest.created_at, manifest.finished_at.as_deref().unwrap_or("-"));
    let size = manifest.arm.topology.as_ref().map(|t| t.size_label()).unwrap_or_else(|| "attached".to_string());
    let _ = writeln!(
        out,
        "topology: {} {size}, {} GPUs; model {}",
        manifest.arm.name, manifest.arm.gpus, manifest.sweep.model
    );
    let _ = writeln!(out, "engines: {}", manifest.engine_versions().join(", "));
    for instance in &manifest.instances {
        let end = instance.exit.as_deref().unwrap_or("-");
        let _ = writeln!(
            out,
            "  launch {}: {} on GPUs [{}], {}: {end}",
            instance.launch,
            instance.name,
            instance.gpus.join(","),
            instance.url
        );
    }
    for warning in &manifest.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
}
