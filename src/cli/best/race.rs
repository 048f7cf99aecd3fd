//! The race itself: its directory and best.json first, then one session over all candidates.

use super::answer;
use super::field::Preparation;
use crate::cli::args::BestArgs;
use crate::cli::exit::{CliError, Exit};
use crate::cli::live::Showing;
use crate::cli::measure::measure;
use crate::cli::{given, out, resume};
use crate::live::Watched;
use crate::plan::Plan;
use crate::plan::secrecy::masked_words;
use crate::plan::slo::Target;
use crate::plan::strategy::StrategyPlan;
use crate::predict::field::Fate;
use crate::record::dir;
use crate::record::race::{self, CandidateRecord, DroppedRecord, RaceQuestion, RaceRecord};
use crate::words;
use chrono::Local;
use std::path::PathBuf;
use std::time::Duration;

/// Races anew.
pub(super) fn run(args: &BestArgs, prepared: Preparation) -> Result<Exit, CliError> {
    let place = race::create(&args.race.result_dir, Local::now()).map_err(CliError::usage)?;
    record(args, &prepared).write(&place)?;
    let mut plan = prepared.plan;
    plan.result_dir = place.join(race::CANDIDATES);
    out::note(format!("the race goes to {}", place.display()));
    raced(args, plan, None, place)
}

/// Goes on with one that was interrupted, on the GPUs that are there now. A budget that is typed is further time.
pub(super) fn resume(args: &BestArgs, word: &str, typed_budget: bool) -> Result<Exit, CliError> {
    let place = race::find(&args.race.result_dir, word)?;
    let record = RaceRecord::read(&place)?;
    let runs: Vec<PathBuf> = record.runs(&place).map(|(_, dir)| dir).collect();
    let (mut plan, runs) = resume::plan_of(runs, place.join(race::CANDIDATES))?;
    if let (StrategyPlan::Race(race), true) = (&mut plan.sweep.strategy, typed_budget) {
        race.budget = args.race.budget + Duration::from_secs_f64(record.budget.spent.max(0.0));
    }
    raced(args, plan, Some(runs), place)
}

fn raced(args: &BestArgs, plan: Plan, resumed: Option<Vec<PathBuf>>, place: PathBuf) -> Result<Exit, CliError> {
    let asked = answer::Judging { slo: plan.sweep.slo, target: plan.sweep.target, need: args.race.need };
    let showing = Showing { json: args.race.json, live: args.race.live, watched: Watched::Race(place.clone()) };
    let measured = measure(plan, resumed, showing)?;
    let shown = answer::tell(&place, &asked, args.race.json);
    measured.settle(shown)
}

fn record(args: &BestArgs, prepared: &Preparation) -> RaceRecord {
    let sweep = &prepared.plan.sweep;
    let question = RaceQuestion {
        gpus: prepared.gpus,
        model: sweep.model.clone(),
        slo: sweep.slo,
        target: sweep.target,
        engine: args.race.engine.clone(),
        preset: prepared.preset.as_ref().ok().map(|gpu| gpu.name.to_string()),
        command: masked_words(&given::command_line()),
    };
    let raced: Vec<usize> = prepared.field.raced().collect();
    let candidate = |(at, entrant): (usize, &crate::predict::field::Entrant)| {
        let arm = raced.iter().position(|raced| *raced == at).map(|position| &prepared.plan.arms[position]);
        let fate = &prepared.field.fates[at];
        let why = match fate {
            Fate::Raced => None,
            Fate::DoesNotFit => Some("does not fit the GPUs".to_string()),
            Fate::NeverMeets => Some("predicted to miss the target at any rate".to_string()),
            Fate::Behind(other) => Some(format!("predicted behind {}", prepared.entrants[*other].candidate)),
            Fate::Crowded => Some("others were likelier to carry the most".to_string()),
        };
        CandidateRecord {
            label: entrant.candidate.to_string(),
            arm: entrant.candidate.arm(),
            kind: entrant.candidate.layout.kind().name().to_string(),
            command: command(prepared, &entrant.candidate.arm()),
            predicted: prepared.field.carried[at].map(|c| c.rate),
            dir: arm.map(|arm| dir::plain_name(&arm.label)),
            measured: None,
            dropped: why.map(|why| DroppedRecord { at_secs: 0.0, why }),
        }
    };
    let candidates = prepared.entrants.iter().enumerate().map(candidate).collect();
    RaceRecord::new(question, prepared.race.budget.as_secs_f64(), candidates)
}

/// Flags of the race alone that take a value, and those that don't.
const OF_THE_RACE: [&str; 9] =
    ["--gpus", "--budget", "--shapes", "--tune", "--preset", "--point", "--need", "--result-dir", "--resume"];
/// Its port may be left out.
const LIVE: &str = "--live";
const SWITCHES: [&str; 3] = ["--allow-other-answers", "--dry-run", "--json"];

/// What measures a candidate by itself, as a shell takes it: what was typed, less what is the race's.
fn command(prepared: &Preparation, arm: &str) -> String {
    let mut words = vec!["topobench".to_string(), "run".to_string(), arm.to_string()];
    let mut typed = given::command_line().into_iter().skip_while(|word| word != "best").skip(1).peekable();
    let mut of_engines = Vec::new();
    while let Some(word) = typed.next() {
        if word == "--" {
            of_engines.push(word);
            of_engines.extend(typed);
            break;
        }
        let flag = word.split('=').next().unwrap_or_default();
        if OF_THE_RACE.contains(&flag) {
            if !word.contains('=') {
                typed.next();
            }
        } else if flag == LIVE {
            typed.next_if(|port| port.parse::<u16>().is_ok());
        } else if !SWITCHES.contains(&flag) {
            words.push(word);
        }
    }
    let sweep = &prepared.plan.sweep;
    let typed = |flags: &[&str]| words.iter().any(|word| flags.iter().any(|flag| word.starts_with(flag)));
    let has_target = typed(&["--target"]);
    // What came from the environment stands in the command, so that it says the same elsewhere.
    if !typed(&["--goodput", "--ttft-slo", "--tpot-slo", "--e2el-slo"]) {
        let limits = [("--ttft-slo", sweep.slo.ttft.as_millis()), ("--tpot-slo", sweep.slo.tpot.as_millis())];
        // A flag that takes several words would swallow what follows it.
        words.splice(3..3, limits.iter().flat_map(|(flag, ms)| [(*flag).to_string(), ms.to_string()]));
    }
    if !has_target && sweep.target != Target::default() {
        let percent = sweep.target.percent().get().to_string();
        words.splice(3..3, ["--target".to_string(), percent]);
    }
    words.extend(of_engines);
    words::shell(&masked_words(&words))
}
