//! Rates, extent and arrivals, from flags and the topology's defaults.

use crate::plan::dataset::{DatasetName, DatasetOptions};
use crate::plan::error::PlanError;
use crate::plan::load::{Arrivals, Causal, Extent, Load, RampUp};
use crate::plan::options::LoadOptions;
use crate::plan::strategy::StrategyPlan;
use crate::plan::topology::Defaults;
use crate::plan::typed::{Levels, MOST_IN_FLIGHT, Prompts, Rates};
use crate::plan::workload::recorded_rate;
use crate::units::RequestRate;
use std::path::Path;
use std::time::Duration;

/// Launches and attempts of a run at most: beyond any measurement, and small enough to list.
const MOST_REPEATS: u32 = 1000;

/// Requests of a point by default.
const DEFAULT_REQUESTS: u32 = 100;
/// Seconds of a point at most: some four months.
const LONGEST_POINT_SECS: f64 = 1e7;
/// How long a point of a search lasts by default: a queue near its limit forgets slowly, and bursts have to come and
/// go.
const DEFAULT_POINT_SECS: f64 = 60.0;
/// Points of a run at most: rates times attempts times launches.
const MOST_POINTS: u64 = 10_000;
/// Unmeasured requests at most: all of them are sent at once.
const MOST_WARM_UPS: u32 = 10_000;
/// What a fleet may take until its hand-over is steady, seconds: on an H100 an 8B model's KV memory is used once in half
/// of it.
const DEFAULT_MAX_WARMUP_SECS: f64 = 60.0;
/// Shapes of the gaps between arrivals that still are arrivals: below, nearly all requests come at once; above, gaps are
/// equal to a few percent.
const BURSTINESS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
/// Requests of a point at most: a schedule lies in memory as a whole, some forty bytes a request.
const MOST_REQUESTS: f64 = 2e7;

pub(super) fn build(
    o: &LoadOptions,
    dataset: &DatasetOptions,
    defaults: &Defaults,
    strategy: &StrategyPlan,
) -> Result<Load, PlanError> {
    let searching = matches!(strategy, StrategyPlan::Search(_));
    let extent = extent(o, defaults, searching)?;
    let ramp_up = ramp_up(o)?;
    let rates = if searching {
        Vec::new()
    } else if o.trace_arrivals {
        vec![rate_of_trace(dataset, extent)?]
    } else if let Some(Levels(levels)) = &o.concurrency {
        levels.iter().copied().map(RequestRate::closed).collect()
    } else if let Some(Rates(rates)) = &o.request_rate {
        rates.clone()
    } else if let Some(ramp) = ramp_up {
        // One point, named by where it leads.
        RequestRate::new(ramp.end).into_iter().collect()
    } else {
        defaults.request_rate.clone().unwrap_or_default()
    };
    if rates.is_empty() && !searching {
        return Err(PlanError::Missing {
            what: "--request-rate".to_string(),
            remedy: "give the rates to measure, e.g. --request-rate 0.5,1,2,4".to_string(),
        });
    }
    for (i, rate) in rates.iter().enumerate() {
        if rates[..i].contains(rate) {
            return Err(match rate.in_flight() {
                Some(n) => {
                    PlanError::value("--concurrency", n, "a level stands once in the list; --attempts repeats it")
                }
                None => {
                    PlanError::value("--request-rate", rate, "a rate stands once in the list; --attempts repeats it")
                }
            });
        }
    }
    if matches!(extent, Extent::Duration(_)) && rates.iter().any(|r| r.is_infinite()) {
        return Err(PlanError::value("--request-rate", "inf", "an infinite rate has no duration: give --num-prompts"));
    }
    if matches!(strategy, StrategyPlan::Threshold(_)) && !rates.is_sorted_by(|a, b| a.total_cmp(b).is_lt()) {
        let told = rates.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        return Err(PlanError::value(
            "--threshold",
            told,
            "loads must rise, so that it can end at the first that misses",
        ));
    }
    let requests = requests(o, &rates)?;
    check_size(extent, &rates)?;
    for (rate, n) in rates.iter().zip(&requests) {
        check_size(Extent::Requests(*n), &[*rate])?;
    }
    let launches = o.launches.unwrap_or(1);
    for (flag, n) in [("--attempts", o.attempts), ("--launches", launches)] {
        if n == 0 || n > MOST_REPEATS {
            return Err(PlanError::value(flag, n, &format!("give 1 to {MOST_REPEATS}")));
        }
    }
    if rates.len() as u64 * u64::from(o.attempts) * u64::from(launches) > MOST_POINTS {
        let remedy =
            format!("{} rates and {launches} launches make more than {MOST_POINTS} points: give fewer", rates.len());
        return Err(PlanError::value("--attempts", o.attempts, &remedy));
    }
    let warmups = o.num_warmups.or(defaults.num_warmups).unwrap_or(4);
    if warmups > MOST_WARM_UPS {
        return Err(PlanError::value("--num-warmups", warmups, &format!("give at most {MOST_WARM_UPS}")));
    }
    let max_warmup = o.max_warmup.or(defaults.max_warmup).unwrap_or(DEFAULT_MAX_WARMUP_SECS);
    let max_warmup = Duration::try_from_secs_f64(max_warmup)
        .map_err(|_| PlanError::value("--max-warmup", max_warmup, "give seconds, 0 or more"))?;
    if o.max_concurrency == Some(0) {
        return Err(PlanError::value("--max-concurrency", 0, "give at least 1, or leave it out for no limit"));
    }
    if let Some(n) = o.max_concurrency.filter(|n| *n > MOST_IN_FLIGHT) {
        let remedy = format!("give at most {MOST_IN_FLIGHT}, or leave it out for no limit");
        return Err(PlanError::value("--max-concurrency", n, &remedy));
    }
    Ok(Load {
        rates,
        extent,
        requests,
        arrivals: arrivals(o, dataset)?,
        ramp_up,
        max_concurrency: o.max_concurrency,
        warmups,
        max_warmup,
        launches,
        attempts: o.attempts,
        seed: o.seed,
        causal: causal(o, dataset)?,
    })
}

/// Seconds that somebody thinks between an answer and the next turn, unless they say otherwise.
const DEFAULT_THINK_SECS: f64 = 5.0;
/// A day.
const LONGEST_THINK_SECS: f64 = 86_400.0;

fn causal(o: &LoadOptions, dataset: &DatasetOptions) -> Result<Option<Causal>, PlanError> {
    if !o.causal {
        return Ok(None);
    }
    if !matches!(dataset.dataset_name, DatasetName::Sharegpt | DatasetName::TimedTrace) {
        let remedy = "sessions come from --dataset-name sharegpt, or from a timed_trace whose lines name them";
        return Err(PlanError::value("--causal", true, remedy));
    }
    let think_secs = o.think_time.unwrap_or(DEFAULT_THINK_SECS);
    if !(0.0..=LONGEST_THINK_SECS).contains(&think_secs) {
        return Err(PlanError::value("--think-time", think_secs, "give seconds, 0 or more, a day at most"));
    }
    Ok(Some(Causal { think_secs }))
}

fn check_size(extent: Extent, rates: &[RequestRate]) -> Result<(), PlanError> {
    match extent {
        Extent::Requests(n) if f64::from(n) > MOST_REQUESTS => {
            Err(PlanError::value("--num-prompts", n, &format!("give at most {MOST_REQUESTS}")))
        }
        Extent::Duration(secs) => match rates.iter().find(|r| r.per_second() * secs.as_secs_f64() > MOST_REQUESTS) {
            Some(rate) => {
                let remedy = format!(
                    "over {} s that makes more than {MOST_REQUESTS} requests: shorten --duration",
                    secs.as_secs()
                );
                Err(PlanError::value("--request-rate", rate, &remedy))
            }
            None => Ok(()),
        },
        Extent::Requests(n) => match rates.iter().find(|r| f64::from(n) / r.per_second() > LONGEST_POINT_SECS) {
            Some(rate) => {
                let remedy = format!(
                    "{n} requests would take {:.0} days: give a higher rate",
                    f64::from(n) / rate.per_second() / 86_400.0
                );
                Err(PlanError::value("--request-rate", rate, &remedy))
            }
            None => Ok(()),
        },
    }
}

fn extent(o: &LoadOptions, defaults: &Defaults, searching: bool) -> Result<Extent, PlanError> {
    match (&o.num_prompts, o.duration) {
        (Some(Prompts::Each(0)), _) => Err(PlanError::value("--num-prompts", 0, "give at least 1")),
        (Some(Prompts::Each(n)), _) => Ok(Extent::Requests(*n)),
        // Each point has a number of its own.
        (Some(Prompts::List(_) | Prompts::PerSlot(_)), _) => Ok(Extent::Requests(DEFAULT_REQUESTS)),
        (None, _) if o.concurrency.is_some() => Ok(Extent::Requests(DEFAULT_REQUESTS)),
        (None, Some(secs)) if secs > 0.0 && secs <= LONGEST_POINT_SECS => {
            Ok(Extent::Duration(Duration::from_secs_f64(secs)))
        }
        (None, Some(secs)) => Err(PlanError::value("--duration", secs, "give seconds above 0")),
        (None, None) if searching => {
            let secs = defaults.search.point.unwrap_or(DEFAULT_POINT_SECS);
            let length = Duration::try_from_secs_f64(secs)
                .map_err(|e| PlanError::value("point in [defaults.search]", secs, &e.to_string()))?;
            Ok(Extent::Duration(length))
        }
        (None, None) => Ok(match (defaults.num_prompts, defaults.duration) {
            (None, Some(secs)) => Extent::Duration(
                Duration::try_from_secs_f64(secs)
                    .map_err(|e| PlanError::value("duration in [defaults]", secs, &e.to_string()))?,
            ),
            (n, _) => Extent::Requests(n.unwrap_or(DEFAULT_REQUESTS)),
        }),
    }
}

/// The number of each point, where the points have numbers of their own.
fn requests(o: &LoadOptions, rates: &[RequestRate]) -> Result<Vec<u32>, PlanError> {
    let refused = |value: &str, remedy: &str| Err(PlanError::value("--num-prompts", value, remedy));
    let per_slot = |times: u32| rates.iter().map(|r| r.in_flight()?.checked_mul(times)).collect::<Option<Vec<u32>>>();
    match &o.num_prompts {
        Some(Prompts::List(list)) if list.contains(&0) => refused("0", "give at least 1"),
        Some(Prompts::List(list)) if list.len() != rates.len() => {
            let told = list.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            refused(&told, &format!("the list needs one number for each of the {} points", rates.len()))
        }
        Some(Prompts::List(list)) => Ok(list.clone()),
        Some(Prompts::PerSlot(0)) => refused("0x", "give at least 1x"),
        Some(Prompts::PerSlot(times)) => match per_slot(*times) {
            Some(numbers) => Ok(numbers),
            None => refused(&format!("{times}x"), "a multiple is of the requests in flight: it needs --concurrency"),
        },
        Some(Prompts::Each(_)) => Ok(Vec::new()),
        None => Ok(o.concurrency.as_ref().and_then(|_| per_slot(Levels::PROMPTS_EACH)).unwrap_or_default()),
    }
}

/// The rate that names the one point of a trace sent as it was recorded.
fn rate_of_trace(dataset: &DatasetOptions, extent: Extent) -> Result<RequestRate, PlanError> {
    let (DatasetName::TimedTrace, Some(trace)) = (dataset.dataset_name, &dataset.dataset_path) else {
        let remedy = "it needs --dataset-name timed_trace and --dataset-path; other datasets hold no times";
        return Err(PlanError::value("--trace-arrivals", true, remedy));
    };
    let rate = recorded_rate(Path::new(trace), extent)?;
    // It names files and rows: a thousandth of a request is enough.
    Ok(RequestRate::new((rate.per_second() * 1e3).round() / 1e3).unwrap_or(rate))
}

fn arrivals(o: &LoadOptions, dataset: &DatasetOptions) -> Result<Arrivals, PlanError> {
    if dataset.dataset_name == DatasetName::TimedTrace {
        return Ok(if o.trace_arrivals { Arrivals::Recorded } else { Arrivals::Trace });
    }
    match o.burstiness {
        b if b.is_infinite() && b > 0.0 => Ok(Arrivals::Constant),
        b if BURSTINESS.contains(&b) => Ok(Arrivals::Gamma { burstiness: b }),
        b => {
            let (least, most) = (BURSTINESS.start(), BURSTINESS.end());
            let remedy =
                format!("give a gamma shape from {least} to {most} (1 is Poisson), or `inf` for constant gaps");
            Err(PlanError::value("--burstiness", b, &remedy))
        }
    }
}

fn ramp_up(o: &LoadOptions) -> Result<Option<RampUp>, PlanError> {
    let (Some(shape), Some(start), Some(end)) = (o.ramp_up_strategy, o.ramp_up_start_rps, o.ramp_up_end_rps) else {
        return Ok(None);
    };
    for (flag, rps) in [("--ramp-up-start-rps", start), ("--ramp-up-end-rps", end)] {
        if !(rps.is_finite() && rps > 0.0) {
            return Err(PlanError::value(flag, rps, "give requests per second above 0"));
        }
    }
    Ok(Some(RampUp { shape, start, end }))
}
