//! `topobench best`: which deployment of these GPUs carries the most at an SLO, each at its best?

mod answer;
mod dry_run;
mod field;
mod question;
mod race;

use super::args::BestArgs;
use super::exit::{CliError, Exit};
use super::given;
use clap::ArgMatches;
use field::Preparation;
use question::BestQuestion;

/// Flags that mean something beside --resume.
const OF_A_RESUME: [&str; 6] = ["resume", "result_dir", "budget", "json", "need", "live"];

pub(super) fn run(args: &BestArgs, matches: &ArgMatches) -> Result<Exit, CliError> {
    if let Some(word) = &args.race.judge {
        return answer::judge(args, matches, word);
    }
    if let Some(word) = &args.race.resume {
        let extra = given::flags(matches, |id| !OF_A_RESUME.contains(&id));
        if !extra.is_empty() {
            return Err(CliError::usage(format!(
                "{} beside --resume: a race goes on as it was planned\nhint: leave that out, or start a new race",
                extra.join(", ")
            )));
        }
        let budget = given::flags(matches, |id| id == "budget");
        return race::resume(args, word, !budget.is_empty());
    }
    let prepared = Preparation::prepare(args, &BestQuestion::of(args, matches)?)?;
    match args.race.dry_run {
        true => dry_run::show(&prepared, args.race.json),
        false => race::run(args, prepared),
    }
}
