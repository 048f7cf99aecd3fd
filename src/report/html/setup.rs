//! How the arms were set up, side by side with the differences marked; how to do it again; where the files lie.

use super::input::{ArmPage, PageInput};
use super::rows::{self, SetupRow};
use super::words;
use crate::outcome::PointKey;
use crate::record::dir;
use crate::words::{distinct, shell};

/// One line below the title.
pub(super) struct Fact {
    pub name: &'static str,
    pub value: String,
}

pub(super) struct SetupGroup {
    pub title: &'static str,
    pub lines: Vec<SetupLine>,
    /// How many of them differ.
    pub differences: usize,
}

pub(super) struct SetupLine {
    pub name: &'static str,
    /// One an arm.
    pub values: Vec<String>,
    pub differs: bool,
}

/// Whether the arms were sent the same requests at one point.
pub(super) struct TraceRow {
    pub rate: String,
    pub attempt: u32,
    /// The first digits of each arm's hash.
    pub hashes: Vec<String>,
    pub verdict: &'static str,
}

pub(super) struct ShellCommand {
    pub title: String,
    pub line: String,
}

pub(super) struct FileRow {
    pub path: String,
    pub what: String,
}

/// What a reader asks first: which model, which engines, which machine.
pub(super) fn facts(arms: &[ArmPage<'_>]) -> Vec<Fact> {
    let fact = |name, value: fn(&ArmPage<'_>) -> Option<String>| {
        let all = distinct(arms.iter().filter_map(value).filter(|v| !v.is_empty()));
        (!all.is_empty()).then(|| Fact { name, value: all.join("; ") })
    };
    let find = |rows: &[SetupRow], name: &str| rows.iter().find(|(n, _)| *n == name).map(|(_, get)| *get);
    [
        ("Model", find(&rows::WORKLOAD, "Model")),
        ("Engines", Some(engine as fn(&ArmPage<'_>) -> Option<String>)),
        ("Workload", find(&rows::WORKLOAD, "Dataset")),
        ("A point lasts", find(&rows::WORKLOAD, "A point lasts")),
        ("Arrivals", find(&rows::WORKLOAD, "Arrivals")),
        ("GPUs", find(&rows::MACHINE, "GPUs")),
    ]
    .into_iter()
    .filter_map(|(name, get)| fact(name, get?))
    .collect()
}

fn engine(arm: &ArmPage<'_>) -> Option<String> {
    arm.input.identity.engine.clone()
}

pub(super) fn groups(arms: &[ArmPage<'_>]) -> Vec<SetupGroup> {
    let groups: [(&'static str, &[SetupRow]); 4] = [
        ("Deployment", &rows::DEPLOYMENT),
        ("Workload", &rows::WORKLOAD),
        ("Run", &rows::RUN),
        ("Environment", &rows::MACHINE),
    ];
    let group = |(title, rows): (&'static str, &[SetupRow])| {
        let lines: Vec<SetupLine> = rows.iter().filter_map(|row| line(row, arms)).collect();
        let differences = lines.iter().filter(|l| l.differs).count();
        SetupGroup { title, lines, differences }
    };
    groups.into_iter().map(group).filter(|g| !g.lines.is_empty()).collect()
}

/// `None` where no arm has the value.
fn line((name, get): &SetupRow, arms: &[ArmPage<'_>]) -> Option<SetupLine> {
    let values: Vec<Option<String>> = arms.iter().map(|arm| get(arm).filter(|v| !v.is_empty())).collect();
    if values.iter().all(Option::is_none) {
        return None;
    }
    let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
    let shown = |v: Option<String>| v.unwrap_or_else(|| words::UNKNOWN.to_string());
    Some(SetupLine { name, values: values.into_iter().map(shown).collect(), differs })
}

/// Empty where no arm recorded its trace.
pub(super) fn traces(arms: &[ArmPage<'_>]) -> Vec<TraceRow> {
    let keys = distinct(arms.iter().flat_map(|arm| arm.run.points.iter().map(|p| p.key)));
    let mut keys: Vec<PointKey> =
        keys.into_iter().filter(|key| arms.iter().any(|arm| arm.input.trace(*key).is_some())).collect();
    keys.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.attempt.cmp(&b.attempt)));
    keys.into_iter().map(|key| trace(key, arms)).collect()
}

fn trace(key: PointKey, arms: &[ArmPage<'_>]) -> TraceRow {
    let hashes: Vec<Option<&str>> = arms.iter().map(|arm| arm.input.trace(key)).collect();
    let verdict = match hashes.first() {
        _ if hashes.len() == 1 => "",
        // A search sends some points to one arm alone.
        _ if hashes.iter().any(Option::is_none) => match arms.iter().all(|arm| !arm.input.identity.traces.is_empty()) {
            true => "not to all arms",
            false => "not known",
        },
        Some(first) if hashes.iter().all(|h| h == first) => "same",
        _ => "different",
    };
    let short = |h: Option<&str>| h.map_or(words::UNKNOWN.to_string(), |h| h.chars().take(12).collect());
    TraceRow {
        rate: crate::words::rate(key.rate),
        attempt: key.attempt,
        hashes: hashes.into_iter().map(short).collect(),
        verdict,
    }
}

/// Every engine's own command line, as it was started.
pub(super) fn engine_commands(input: &PageInput<'_>) -> Vec<ShellCommand> {
    let of = |(name, arm): (&str, &ArmPage<'_>)| -> Vec<ShellCommand> {
        let instances = rows::manifest(arm).into_iter().flat_map(rows::launched_once);
        let command =
            |(of, argv): (&str, &[String])| ShellCommand { title: format!("{name}, {of}"), line: shell(argv) };
        let parts = |i: &'_ crate::record::manifest::InstanceRecord| {
            let more = i.more_parts.iter().map(|part| (part.name.as_str(), part.argv.as_slice()));
            std::iter::once((i.name.as_str(), i.argv.as_slice())).chain(more).map(command).collect::<Vec<_>>()
        };
        instances.filter(|i| !i.argv.is_empty()).flat_map(parts).collect()
    };
    named(input).flat_map(of).collect()
}

/// The command lines that made the runs, and this report from them.
pub(super) fn reproduce(input: &PageInput<'_>) -> Vec<ShellCommand> {
    let mut all: Vec<ShellCommand> = Vec::new();
    for (name, arm) in named(input) {
        let Some(manifest) = rows::manifest(arm).filter(|m| !m.command.is_empty()) else { continue };
        let line = shell(&manifest.command);
        match all.iter_mut().find(|c| c.line == line) {
            // Arms that were measured by one command.
            Some(known) => known.title += &format!(" and {name}"),
            None => all.push(ShellCommand { title: format!("Measure {name}"), line }),
        }
    }
    if !input.command.is_empty() {
        let made = shell(input.command);
        // What measured would measure again.
        let line = if all.iter().any(|command| command.line == made) { again(input) } else { made };
        all.push(ShellCommand { title: "This report from the recorded runs".to_string(), line });
    }
    all
}

/// What makes a report of runs that are there.
fn again(input: &PageInput<'_>) -> String {
    let command = if input.arms.len() > 1 { "compare" } else { "plot" };
    let dirs = input.arms.iter().map(|arm| arm.run.dir.display().to_string());
    shell(&["topobench".to_string(), command.to_string()].into_iter().chain(dirs).collect::<Vec<_>>())
}

pub(super) fn files(input: &PageInput<'_>) -> Vec<FileRow> {
    let given = input.files.iter().map(|f| FileRow { path: f.path.to_string(), what: f.what.to_string() });
    let of = |(name, arm): (&str, &ArmPage<'_>)| -> Vec<FileRow> {
        let root = &arm.run.dir;
        let mut rows = vec![FileRow { path: root.display().to_string(), what: format!("the run of {name}") }];
        if arm.run.manifest.is_some() {
            rows.extend(OWN_FILES.iter().map(|(file, what)| FileRow {
                path: root.join(file).display().to_string(),
                what: (*what).to_string(),
            }));
        }
        rows
    };
    given.chain(named(input).flat_map(of)).collect()
}

const OWN_FILES: [(&str, &str); 5] = [
    (dir::MANIFEST, "plan, command lines, versions, machine, facts of every point"),
    (dir::JOURNAL, "every request with its times and its end: the source of all numbers here"),
    (dir::TRACE, "the workload as it was sent"),
    (dir::ENGINE_METRICS, "the engines' gauges and counters, once a second"),
    (dir::LOGS, "what the engines said"),
];

fn named<'a>(input: &PageInput<'a>) -> impl Iterator<Item = (&'a str, &'a ArmPage<'a>)> {
    input.comparison.arms.iter().map(|arm| arm.name.as_str()).zip(input.arms)
}
