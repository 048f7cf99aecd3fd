//! The answer of a race: console, best.json, figure and report; again at another SLO with `--judge`.

use crate::analyse::Question;
use crate::cli::args::BestArgs;
use crate::cli::exit::{CliError, Exit};
use crate::cli::{given, out, slo};
use crate::outcome::RunStatus;
use crate::plan::environment::Environment;
use crate::plan::secrecy::masked_words;
use crate::plan::slo::{Slo, Target};
use crate::record::dir::{self, write_atomically};
use crate::record::race::{self, DroppedRecord, RaceRecord, SameAnswers, WinnerRecord};
use crate::record::{Manifest, RecordedRun};
use crate::report::figures::{self, Named};
use crate::report::page;
use crate::report::race::{Answer, figure, table};
use crate::words;
use chrono::{DateTime, Local};
use clap::ArgMatches;
use std::path::Path;

/// By what the runs are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judging {
    pub(super) slo: Slo,
    pub(super) target: Target,
    pub(super) need: Option<f64>,
}

/// `--judge RACE`: nothing is measured, and best.json stays the answer to the question that the race was run for.
pub(super) fn judge(args: &BestArgs, matches: &ArgMatches, word: &str) -> Result<Exit, CliError> {
    let place = race::find(&args.race.result_dir, word)?;
    let mut record = RaceRecord::read(&place)?;
    let (slo, target) = slo::resolve(&args.slo, matches, &Environment::of_process()?)?;
    let own = &record.question;
    let asked = Judging {
        slo: if slo::given(&args.slo) { slo } else { own.slo },
        target: if args.slo.target.is_some() { target } else { own.target },
        need: args.race.need,
    };
    let anew = (asked.slo, asked.target) != (own.slo, own.target);
    let (answer, _) = answered(&place, &mut record, &asked)?;
    if anew {
        // Predicted and dropped for another question.
        record.candidates.iter_mut().for_each(|c| (c.predicted, c.dropped) = (None, None));
        record.question.slo = asked.slo;
        record.question.target = asked.target;
    }
    show(&record, &answer, &asked, args.race.json)?;
    Ok(Exit::Good)
}

/// After a race, or what there is of it.
pub(super) fn tell(place: &Path, asked: &Judging, json: bool) -> Result<Exit, CliError> {
    let mut record = RaceRecord::read(place)?;
    let (answer, raced) = answered(place, &mut record, asked)?;
    record.write(place)?;
    let written = write(place, &record, &answer)?;
    show(&record, &answer, asked, json)?;
    if !json {
        describe_engines(&raced, &answer)?;
        out::line(written)?;
    }
    Ok(Exit::Good)
}

/// What became of a candidate, by its position in the record.
struct Raced {
    at: usize,
    manifest: Manifest,
}

/// Judges the runs, and puts into the record what they say.
fn answered(place: &Path, record: &mut RaceRecord, asked: &Judging) -> Result<(Answer, Vec<Raced>), CliError> {
    let (mut raced, mut runs) = (Vec::new(), Vec::new());
    for (at, candidate) in record.candidates.iter().enumerate() {
        let Some(name) = &candidate.dir else { continue };
        let run = place.join(race::CANDIDATES).join(name);
        // A kill may come before the first manifest.
        if !run.join(dir::MANIFEST).is_file() {
            if candidate.measured.is_some() {
                return Err(lost(&run, &candidate.label));
            }
            continue;
        }
        let manifest = Manifest::read(&run)?;
        if manifest.points.is_empty() && candidate.measured.is_some() {
            return Err(lost(&run, &candidate.label));
        }
        if !manifest.points.is_empty() {
            runs.push((at, RecordedRun::read(&run)?));
        }
        raced.push(Raced { at, manifest });
    }
    let question = Question { slo: asked.slo, target: asked.target, ..Question::default() };
    let answer = Answer::of(record, &runs, &question);
    let spent = raced.iter().filter_map(|raced| raced.manifest.engine_secs).fold(0.0, f64::max);
    let began = raced.iter().filter_map(|raced| moment(&raced.manifest.created_at)).reduce(f64::min);
    record.budget.spent = spent;
    record.budget.gpu_minutes = spent / 60.0 * f64::from(record.question.gpus);
    for (at, candidate) in record.candidates.iter_mut().enumerate().filter(|(_, c)| c.dir.is_some()) {
        candidate.measured = answer.measured[at].clone();
        let manifest = raced.iter().find(|raced| raced.at == at).map(|raced| &raced.manifest);
        let last = manifest.and_then(last_seen).zip(began).map_or(0.0, |(last, began)| last - began);
        candidate.dropped =
            (answer.winner != Some(at)).then(|| DroppedRecord { at_secs: last, why: why(manifest, &answer, at) });
    }
    record.winner = answer.winner.map(|winner| WinnerRecord {
        label: record.candidates[winner].label.clone(),
        command: record.candidates[winner].command.clone(),
        sentence: answer.sentence.clone(),
        same_answers: same_answers(winner, record, &raced),
    });
    Ok((answer, raced))
}

/// Without it the race would have another answer, or say that nobody measured this candidate.
fn lost(run: &Path, label: &str) -> CliError {
    let place = run.display();
    CliError::usage(format!(
        "{label} was measured in this race, and its points are no longer in {place}\nhint: restore that directory; best.json still tells the answer as it was"
    ))
}

/// The winner's answers beside those of a deployment without settings of its own, of the winner's kind if there is one.
fn same_answers(winner: usize, record: &RaceRecord, raced: &[Raced]) -> Option<SameAnswers> {
    let own = raced.iter().find(|r| r.at == winner).map(|r| &r.manifest.greedy_answers)?;
    let plain = |r: &&Raced| r.manifest.arm.topology.as_ref().is_some_and(|topology| topology.settings.is_empty());
    let compared = raced.iter().filter(|r| r.at != winner && !r.manifest.greedy_answers.is_empty()).filter(plain);
    let defaults = compared.max_by_key(|r| record.candidates[r.at].kind == record.candidates[winner].kind)?;
    let pairs = || own.iter().zip(&defaults.manifest.greedy_answers);
    (!own.is_empty()).then(|| SameAnswers {
        defaults: record.candidates[defaults.at].label.clone(),
        same: pairs().filter(|(a, b)| a == b).count(),
        of: pairs().count(),
    })
}

fn answers_told(winner: &WinnerRecord) -> String {
    match &winner.same_answers {
        None => "answers: not compared, since no other deployment was launched at the engine's defaults".to_string(),
        Some(SameAnswers { defaults, same, of }) if same == of => {
            format!(
                "answers: the same as {defaults}'s, at the engine's defaults, to {of} of {of} prompts without sampling"
            )
        }
        Some(SameAnswers { defaults, same, of }) => format!(
            "answers: the same as {defaults}'s, at the engine's defaults, to only {same} of {of} prompts without sampling. \
             Rounding differs with tensor parallelism and batch size; if it shouldn't here, a setting changes what the model says"
        ),
    }
}

/// Seconds since the epoch.
fn moment(text: &str) -> Option<f64> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_millis() as f64 / 1e3)
}

/// When the candidate's last point ended.
fn last_seen(manifest: &Manifest) -> Option<f64> {
    let ends = manifest.points.iter().filter_map(|p| Some(moment(&p.started_at)? + p.duration_secs));
    ends.reduce(f64::max)
}

fn why(manifest: Option<&Manifest>, answer: &Answer, at: usize) -> String {
    if let Some(manifest) = manifest.filter(|m| m.status == RunStatus::Failed) {
        let reason = manifest.reason.as_deref().unwrap_or("its engines failed");
        return format!("out: {}", reason.lines().next().unwrap_or_default());
    }
    match answer.measured[at] {
        None => "not launched: others were likelier to carry more".to_string(),
        Some(_) if answer.second == Some(at) => "reached the final".to_string(),
        Some(_) if is_as_good(answer, at) => "as good as the answer, as far as was measured".to_string(),
        Some(_) => "fell behind".to_string(),
    }
}

/// Whether what is known of a candidate does not set it apart from the winner.
fn is_as_good(answer: &Answer, at: usize) -> bool {
    let rate = |i: usize| answer.measured[i].as_ref()?.max_rate;
    let most = answer.measured[at].as_ref().and_then(|m| m.max_rate.and(m.ci95[1]));
    most.zip(answer.winner.and_then(rate)).is_some_and(|(most, winner)| most >= winner)
}

/// The figure and the report.
fn write(place: &Path, record: &RaceRecord, answer: &Answer) -> Result<String, CliError> {
    let Some(study) = &answer.study else { return Ok(format!("answer: {}", place.join(race::RACE).display())) };
    let race = figure(record, answer).map(|figure| Named { name: "race".to_string(), figure });
    let mut all: Vec<Named> = race.into_iter().collect();
    all.extend(if study.runs.len() > 1 { figures::of_comparison(study) } else { Vec::new() });
    let (drawn, undrawn) = figures::draw(all);
    let written = figures::write(place, &drawn)?;
    undrawn.iter().chain(&written.failed).for_each(out::warn);
    let now = Local::now().format("%Y-%m-%d %H:%M:%S %z").to_string();
    let command = masked_words(&given::command_line());
    let html = page::page(study, &drawn, &command, &now).map_err(|e| CliError::new(Exit::Internal, e))?;
    let report = place.join("report.html");
    write_atomically(&report, html.as_bytes())?;
    Ok(format!("answer: {}\nreport: {}", place.join(race::RACE).display(), report.display()))
}

fn show(record: &RaceRecord, answer: &Answer, asked: &Judging, json: bool) -> Result<(), CliError> {
    if json {
        return out::json(record);
    }
    out::line(&answer.sentence)?;
    out::text(&format!("\n{}", table(record, answer)))?;
    for unknown in &answer.unknown {
        out::line(format!("not known: {unknown}"))?;
    }
    if let Some(needed) = asked.need.and_then(|need| answer.needed(record, need)) {
        out::line(needed)?;
    }
    let budget = &record.budget;
    out::line(format!(
        "\nspent: {} of {} min with engines up, {} GPU-minutes",
        words::number(budget.spent / 60.0),
        words::number(budget.engine_secs / 60.0),
        words::number(budget.gpu_minutes)
    ))?;
    if let Some(winner) = &record.winner {
        out::line(answers_told(winner))?;
        out::line(format!("to measure it again: {}", winner.command))?;
    }
    Ok(())
}

/// What serves as the winner did.
fn describe_engines(raced: &[Raced], answer: &Answer) -> Result<(), CliError> {
    let winner = raced.iter().find(|raced| answer.winner == Some(raced.at));
    let Some(Raced { manifest, .. }) = winner else { return Ok(()) };
    let last = manifest.instances.iter().map(|i| i.launch).max().unwrap_or(0);
    for instance in manifest.instances.iter().filter(|i| i.launch == last) {
        out::line(format!("{}: {}", instance.name, words::shell(&instance.argv)))?;
    }
    Ok(())
}
