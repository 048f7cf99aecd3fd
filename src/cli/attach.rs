//! `--attach`, `--prefill-url` and `--decode-url`: which servers to measure instead of starting some.

use super::args::AttachArgs;
use super::exit::CliError;
use super::given;
use crate::plan::build::Servers;
use clap::ArgMatches;

/// Flags that size or start engines.
const OF_ENGINES: [&str; 21] = [
    "tp",
    "dp",
    "pp",
    "ep",
    "replicas",
    "prefill",
    "decode",
    "prefill_tp",
    "prefill_dp",
    "prefill_pp",
    "prefill_ep",
    "decode_tp",
    "decode_dp",
    "decode_pp",
    "decode_ep",
    "topology",
    "engine",
    "engine_arg",
    "engine_tail",
    "on_failure",
    "ready_timeout",
];

pub(super) fn is_asked(args: &AttachArgs) -> bool {
    args.attach.is_some() || !args.prefill_url.is_empty()
}

/// The servers that `command` is to measure; `None` where it starts its own.
pub(super) fn servers(command: &str, args: &AttachArgs, matches: &ArgMatches) -> Result<Option<Servers>, CliError> {
    if !is_asked(args) {
        if !args.header.is_empty() || args.insecure {
            let flag = if args.insecure { "--insecure" } else { "--header" };
            return Err(CliError::usage(format!(
                "{flag} is for servers that run already, and none is named\nhint: add --attach URL or --prefill-url URL.. --decode-url URL..",
            )));
        }
        return match args.attach_gpus {
            None => Ok(None),
            Some(_) => Err(CliError::usage(
                "--attach-gpus counts the GPUs of servers that run already, and none is named\nhint: add --attach URL or --prefill-url URL.. --decode-url URL..; engines that are started know their GPUs",
            )),
        };
    }
    if command == "run" {
        return Err(CliError::usage(
            "run starts the engines of a topology, and those of --attach run already\nhint: `topobench simple --attach URL`, `topobench nixl --attach URL` or `topobench nixl --prefill-url URL --decode-url URL`",
        ));
    }
    if command == "simple" && args.attach.is_none() {
        return Err(CliError::usage(
            "prefill and decode engines are not a simple deployment\nhint: `topobench nixl --prefill-url URL.. --decode-url URL..`",
        ));
    }
    let useless = given::flags(matches, |id| OF_ENGINES.contains(&id));
    if !useless.is_empty() {
        return Err(CliError::usage(format!(
            "nothing is started beside servers that run already, so there is no use for {}\nhint: leave that out, or leave out --attach, --prefill-url and --decode-url to start engines",
            useless.join(", ")
        )));
    }
    Ok(Some(match &args.attach {
        Some(url) => Servers::Endpoint(url.clone()),
        None => Servers::PrefillDecode { prefill: args.prefill_url.clone(), decode: args.decode_url.clone() },
    }))
}
