//! Which flags somebody typed: some mean nothing beside others, and saying so beats ignoring them.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Names of the flags (`--tp`) and positions (`-- ARGS`) on the command line, those that `wanted` picks by id.
pub(super) fn flags(matches: &ArgMatches, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    // Groups of flags are ids too, named as the structs are.
    let is_flag = |id: &str| id.starts_with(|c: char| c.is_ascii_lowercase());
    let ids = matches.ids().map(clap::Id::as_str);
    ids.filter(|id| is_flag(id) && wanted(id) && typed(id)).map(shown).collect()
}

/// The command line as it was typed; what is not UTF-8 shows as U+FFFD.
pub(super) fn command_line() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn shown(id: &str) -> String {
    match id {
        "engine_tail" => "-- ARGS".to_string(),
        "topology" => "the topology".to_string(),
        "arms" => "the arms".to_string(),
        flag => format!("--{}", flag.replace('_', "-")),
    }
}
