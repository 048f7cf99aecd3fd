//! `--attach`, `--prefill-url` and `--decode-url`: which servers to measure instead of starting some.

use super::args::AttachArgs;
use super::exit::CliError;
use super::given;
use crate::plan::build::{AttachRequest, Servers};
use crate::plan::topology::Role;
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
        if args.attach_gpus.is_some() {
            return Err(CliError::usage(
                "--attach-gpus counts the GPUs of servers that run already, and none is named\nhint: add --attach URL or --prefill-url URL.. --decode-url URL..; engines that are started know their GPUs",
            ));
        }
        return match args.metrics_url.is_empty() {
            true => Ok(None),
            false => Err(CliError::usage(
                "--metrics-url is for engines that run already, and no server is named\nhint: add --attach URL, the front that requests go to; engines that are started tell their own counters",
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
    check_roles(command, args)?;
    Ok(Some(match &args.attach {
        Some(url) => Servers::Endpoint { url: url.clone(), hands_over: command == "nixl" },
        None => Servers::PrefillDecode { prefill: args.prefill_url.clone(), decode: args.decode_url.clone() },
    }))
}

/// The roles that counters are read of must be those of the deployment.
fn check_roles(command: &str, args: &AttachArgs) -> Result<(), CliError> {
    let handing_over = args.metrics_url.iter().filter(|url| url.role != Role::Replica).count();
    let wrong = match command {
        "simple" if handing_over > 0 => {
            "prefill and decode engines are not a simple deployment\nhint: `topobench nixl --attach URL --metrics-url ..`"
        }
        "nixl" if handing_over < args.metrics_url.len() => {
            "which engines --metrics-url names is not said\nhint: --metrics-url prefill=URL --metrics-url decode=URL"
        }
        _ if args.attach.is_none() && !args.metrics_url.is_empty() && handing_over == 0 => {
            "which engines --metrics-url names is not said\nhint: --metrics-url prefill=URL --metrics-url decode=URL"
        }
        _ => return Ok(()),
    };
    Err(CliError::usage(wrong))
}

/// What a plan is made from.
pub(super) fn request(servers: Servers, name: &str, args: &AttachArgs) -> AttachRequest {
    AttachRequest {
        servers,
        name: name.to_string(),
        gpus: args.attach_gpus,
        headers: args.header.clone(),
        insecure: args.insecure,
        metrics: args.metrics_url.clone(),
        metrics_lag: args.metrics_lag,
    }
}
