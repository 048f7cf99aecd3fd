//! Misbehaviour on demand. Each fault is one line of `HELP`, one variant, one place that obeys it.
//!
//! Names and arguments are checked when the command line is read: a misspelt fault must not turn
//! a fault test into a test of a healthy engine.

use std::str::FromStr;
use std::time::Duration;

/// What `--sim-fault` can ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    DieBeforeReady(i32),
    NeverReady,
    SlowReady(Duration),
    DieAfter(u64),
    DieMidStream(u64),
    HangAfter(u64),
    IgnoreSigterm,
    Grandchild,
    SetsidChild,
    LeaveFiles,
    SplitSse,
    MergeSse,
    Crlf,
    GarbageSse,
    NoDone,
    ErrorAfter(u64),
    NullParams,
    Status { code: u16, every: u64 },
    LateAnswer(Duration),
    HugeLog(u64),
    Reset(u64),
    MultiTokenChunks(u64),
    EmptyText,
    NotJson,
    TruncatedJson,
}

/// The end of `serve --help`.
pub(super) const HELP: &str = "\
Faults (--sim-fault KIND[=ARG], repeatable):
  die-before-ready[=RC]   exit RC (1) instead of becoming ready
  never-ready             start for ever
  slow-ready=SECONDS      become ready that much later
  die-after=N             exit 0, as vLLM does when its engine died, on request N+1
  die-mid-stream=N        kill -9 oneself after N generated tokens
  hang-after=N            generate N tokens, then no more; /health stays 200
  ignore-sigterm          ignore SIGTERM and SIGINT
  grandchild              leave a child process behind
  setsid-child            leave a child process behind, in its own session
  leave-files             keep a file in /dev/shm and a socket in /tmp, and leave them there
  split-sse               write each event in pieces, cut inside UTF-8 characters too
  merge-sse               write several events at once
  crlf                    end lines of the stream with CR LF
  garbage-sse             mix comments, unknown fields and broken JSON into the stream
  no-done                 end streams without [DONE]
  error-after=N           an error event inside the 200 after N tokens of an answer
  null-params             answer prefill requests with kv_transfer_params null
  status=CODE[@N]         answer every (Nth) generation request with CODE
  late-answer=MS          hold back response headers
  huge-log[=MB]           write MB (50) of log without newline and not in UTF-8
  reset[=N]               reset the connection after N (0) tokens
  multi-token-chunks=K    K tokens in each event
  empty-text              every other event without text, its text in the next one
  not-json                answer with HTML where JSON belongs
  truncated-json          answer with the first half of the JSON";

const KINDS: &[&str] = &[
    "die-before-ready",
    "never-ready",
    "slow-ready",
    "die-after",
    "die-mid-stream",
    "hang-after",
    "ignore-sigterm",
    "grandchild",
    "setsid-child",
    "leave-files",
    "split-sse",
    "merge-sse",
    "crlf",
    "garbage-sse",
    "no-done",
    "error-after",
    "null-params",
    "status",
    "late-answer",
    "huge-log",
    "reset",
    "multi-token-chunks",
    "empty-text",
    "not-json",
    "truncated-json",
];

impl Fault {
    /// Reads `KIND[=ARG]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, argument) = match text.split_once('=') {
            Some((kind, argument)) => (kind, Some(argument)),
            None => (text, None),
        };
        let takes_none = |fault: Self| match argument {
            None => Ok(fault),
            Some(_) => Err(format!("{kind} takes no argument")),
        };
        match kind {
            "never-ready" => takes_none(Self::NeverReady),
            "ignore-sigterm" => takes_none(Self::IgnoreSigterm),
            "grandchild" => takes_none(Self::Grandchild),
            "setsid-child" => takes_none(Self::SetsidChild),
            "leave-files" => takes_none(Self::LeaveFiles),
            "split-sse" => takes_none(Self::SplitSse),
            "merge-sse" => takes_none(Self::MergeSse),
            "crlf" => takes_none(Self::Crlf),
            "garbage-sse" => takes_none(Self::GarbageSse),
            "no-done" => takes_none(Self::NoDone),
            "null-params" => takes_none(Self::NullParams),
            "empty-text" => takes_none(Self::EmptyText),
            "not-json" => takes_none(Self::NotJson),
            "truncated-json" => takes_none(Self::TruncatedJson),
            _ => Self::parse_with_argument(kind, argument),
        }
    }

    fn parse_with_argument(kind: &str, argument: Option<&str>) -> Result<Self, String> {
        match kind {
            "die-before-ready" => number(kind, argument, Some(1)).map(Self::DieBeforeReady),
            "slow-ready" => number(kind, argument, None)
                .and_then(|s| Duration::try_from_secs_f64(s).map_err(|e| e.to_string()))
                .map(Self::SlowReady),
            "die-after" => number(kind, argument, None).map(Self::DieAfter),
            "die-mid-stream" => number(kind, argument, None).map(Self::DieMidStream),
            "hang-after" => number(kind, argument, None).map(Self::HangAfter),
            "error-after" => number(kind, argument, None).map(Self::ErrorAfter),
            "late-answer" => number(kind, argument, None).map(|ms| Self::LateAnswer(Duration::from_millis(ms))),
            "huge-log" => number(kind, argument, Some(50)).map(Self::HugeLog),
            "reset" => number(kind, argument, Some(0)).map(Self::Reset),
            "multi-token-chunks" => match number(kind, argument, None)? {
                0 => Err("multi-token-chunks needs at least 1".into()),
                tokens => Ok(Self::MultiTokenChunks(tokens)),
            },
            "status" => parse_status(argument),
            _ => Err(format!("unknown fault; known ones: {}", KINDS.join(", "))),
        }
    }
}

fn number<T: FromStr>(kind: &str, argument: Option<&str>, default: Option<T>) -> Result<T, String> {
    match (argument, default) {
        (Some(text), _) => text.parse().map_err(|_| format!("{kind} needs a number, not {text:?}")),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(format!("{kind} needs a number: {kind}=N")),
    }
}

fn parse_status(argument: Option<&str>) -> Result<Fault, String> {
    let (code, every) = match argument.and_then(|text| text.split_once('@')) {
        Some((code, every)) => (Some(code), number("status", Some(every), None)?),
        None => (argument, 1),
    };
    let code = number("status", code, None)?;
    if !(400..600).contains(&code) || every == 0 {
        return Err("status needs a code from 400 to 599 and, after @, a number from 1".into());
    }
    Ok(Fault::Status { code, every })
}

/// The faults of one instance, by what they ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// Whether this argument-less fault is on.
    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    /// The first value that `pick` finds.
    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_documented_and_reads_with_an_example_argument() {
        for kind in KINDS {
            assert!(HELP.contains(&format!("  {kind}")), "{kind}");
            let with = Fault::parse(&format!("{kind}=500"));
            let without = Fault::parse(kind);
            assert!(with.is_ok() || without.is_ok(), "{kind}: {with:?} {without:?}");
        }
        assert_eq!(HELP.lines().count(), KINDS.len() + 1);
    }

    #[test]
    fn arguments_are_checked() {
        let every = Fault::Status { code: 503, every: 3 };
        assert_eq!(Fault::parse("status=503@3"), Ok(every));
        for bad in [
            "status",
            "status=200",
            "status=503@0",
            "reset=x",
            "die-after",
            "crlf=1",
            "multi-token-chunks=0",
            "slow-ready=-1",
            "",
            "split_sse",
        ] {
            assert!(Fault::parse(bad).is_err(), "{bad}");
        }
    }
}
