use super::*;
use crate::analyse::{PointInput, Samples, VllmColumns};
use crate::outcome::{PointFacts, PointKey, PointStatus};
use crate::plan::slo::Slo;
use crate::strategy::PointOrder;
use crate::units::{RequestRate, Tpot, Ttft};
use std::time::Duration;

/// Arms that miss 10 % of their requests at `carries`, fewer below and more above, scattered alike in all points.
struct Arms {
    carries: Vec<f64>,
    launches: Vec<u32>,
    up: Vec<bool>,
    facts: Vec<Vec<PointFacts>>,
    judged: Vec<ArmInput>,
    engine_secs: f64,
    walked: Vec<String>,
}

impl Arms {
    fn new(carries: &[f64]) -> Arms {
        let n = carries.len();
        let judged = (0..n).map(|i| ArmInput { label: name(i), ..ArmInput::default() });
        Arms {
            carries: carries.to_vec(),
            launches: vec![0; n],
            up: vec![false; n],
            facts: vec![Vec::new(); n],
            judged: judged.collect(),
            engine_secs: 0.0,
            walked: Vec::new(),
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&SessionProgress<'_>) -> T) -> T {
        let one = |i: usize| ArmProgress {
            points: &self.facts[i],
            launch: self.up[i].then_some(self.launches[i]),
            judged: &self.judged[i],
            launch_secs: Some(10.0),
            is_out: false,
        };
        let arms: Vec<ArmProgress<'_>> = (0..self.carries.len()).map(one).collect();
        ask(&SessionProgress { arms: &arms, engine_secs: self.engine_secs })
    }

    /// Follows the search until it ends, or for this many steps.
    fn walk(&mut self, search: &Search, steps: usize) {
        for _ in 0..steps {
            match self.with(|progress| search.next(progress)) {
                None => return self.walked.push("end".to_string()),
                Some(Step::Launch(arms)) => {
                    self.up.fill(false);
                    for &arm in &arms {
                        self.up[arm] = true;
                        self.launches[arm] += 1;
                        self.engine_secs += 10.0;
                    }
                    self.walked.push(format!("launch {}", arms.into_iter().map(name).collect::<String>()));
                }
                Some(Step::Measure { arm, point }) => self.measure(arm, point),
            }
        }
    }

    fn measure(&mut self, arm: usize, order: PointOrder) {
        let Extent::Requests(n) = order.extent else { panic!("points count requests") };
        let rate = order.key.rate.per_second();
        let missed = (1.0 + 9.0 * (-8.0 * (rate / self.carries[arm]).ln()).exp()).recip();
        let due: Vec<f64> = (0..n).map(|i| f64::from(i) / rate).collect();
        let scattered = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24) < missed;
        let ttfts: Vec<f64> = (0..n).map(|i| if scattered(i) { 2.0 } else { 0.5 }).collect();
        let tpots = vec![Some(0.1); n as usize];
        let columns =
            VllmColumns { ttfts: &ttfts, tpots: Some(&tpots), start_times: Some(&due), ..VllmColumns::default() };
        let facts = facts(order, self.launches[arm], n, format!("{:08.1}", self.engine_secs));
        self.engine_secs += f64::from(n) / rate + 1.0;
        self.judged[arm].add(PointInput {
            rate: order.key.rate,
            attempt: order.key.attempt,
            launch: self.launches[arm],
            host: None,
            facts: Some(facts.clone()),
            duration_secs: None,
            samples: Samples::from_vllm(&columns).expect("columns fit").into(),
        });
        let kind = if order.pilot { "pilot " } else { "" };
        self.walked.push(format!("{kind}{}{}#{}", name(arm), order.key.rate, order.key.attempt));
        self.facts[arm].push(facts);
    }
}

fn name(arm: usize) -> String {
    ["A", "B", "C"][arm].to_string()
}

fn facts(order: PointOrder, launch: u32, offered: u32, started_at: String) -> PointFacts {
    PointFacts {
        key: order.key,
        launch,
        host: None,
        status: PointStatus::Measured,
        why: Vec::new(),
        offered,
        repeated_prompts: 0,
        repeated_tokens: None,
        duration_secs: 1.0,
        started_at,
        engine_restarts: 0,
        ranks: Vec::new(),
        engines: None,
        gpus: None,
        hand_over: None,
        profiled: false,
        pilot: order.pilot,
        stopped: None,
    }
}

fn search(arms: usize, order: Order, launches: u32, precision: f64, budget: u64) -> Search {
    let goal = SearchPlan {
        precision,
        budget: Duration::from_secs(budget),
        first_rate: RequestRate::new(1.0).expect("a rate"),
        pilot: Duration::from_secs(15),
    };
    let slo = Slo { ttft: Ttft::from_secs(1.0), tpot: Tpot::from_secs(1.0), e2el: None };
    let question = Question { slo, ..Question::default() };
    Search::new(
        (0..arms).map(name).collect(),
        (order, launches),
        goal,
        Extent::Duration(Duration::from_secs(60)),
        question,
    )
}

#[test]
fn pilots_double_the_rate_until_it_is_missed_and_halve_the_bracket_once() {
    let mut arms = Arms::new(&[6.0]);
    arms.walk(&search(1, Order::Ab, 1, 0.01, 100_000), 6);
    assert_eq!(
        arms.walked,
        ["launch A", "pilot A1.0#1", "pilot A2.0#1", "pilot A4.0#1", "pilot A8.0#1", "pilot A5.7#1"]
    );
}

#[test]
fn points_lie_on_both_sides_of_the_crossing_and_find_it() {
    let mut arms = Arms::new(&[6.0]);
    arms.walk(&search(1, Order::Ab, 1, 0.1, 100_000), 50);
    assert_eq!(arms.walked.last().map(String::as_str), Some("end"));
    let rates: Vec<f64> = arms.judged[0].points.iter().map(|p| p.rate.per_second()).collect();
    assert!(rates.iter().any(|r| *r < 6.0) && rates.iter().any(|r| *r > 6.0), "{rates:?}");
    assert!(rates.iter().all(|r| *r > 3.0 && *r < 10.0), "{rates:?}");
    let known = arms.with(|progress| search(1, Order::Ab, 1, 0.1, 100_000).known(progress)).expect("points");
    assert!(known.starts_with("A 5."), "{known}");
}

#[test]
fn arms_meet_at_common_rates_and_answer_the_same_requests() {
    let mut arms = Arms::new(&[6.0, 7.0]);
    arms.walk(&search(2, Order::Interleaved, 1, 0.05, 1200), 100);
    let keys = |arm: usize| arms.facts[arm].iter().filter(|p| !p.pilot).map(|p| p.key).collect::<Vec<PointKey>>();
    let (a, b) = (keys(0), keys(1));
    let shared = a.iter().filter(|key| b.contains(key)).count();
    assert!(shared >= 2 && shared * 2 >= a.len().min(b.len()), "{:?}", arms.walked);
}

#[test]
fn the_budget_ends_it_before_it_is_overdrawn() {
    let mut arms = Arms::new(&[6.0, 7.0]);
    arms.walk(&search(2, Order::Interleaved, 1, 0.001, 600), 100);
    assert_eq!(arms.walked.last().map(String::as_str), Some("end"));
    assert!(arms.engine_secs <= 600.0 && arms.engine_secs > 450.0, "{}", arms.engine_secs);
}

#[test]
fn in_turn_it_goes_there_and_back() {
    let mut arms = Arms::new(&[6.0, 7.0]);
    arms.walk(&search(2, Order::Abba, 2, 0.001, 1600), 100);
    let launches: Vec<&str> = arms.walked.iter().filter(|w| w.starts_with("launch")).map(String::as_str).collect();
    assert_eq!(launches[..4], ["launch A", "launch B", "launch B", "launch A"], "{:?}", arms.walked);
    assert!(arms.facts.iter().all(|points| points.iter().any(|p| p.launch == 2 && !p.pilot)), "{:?}", arms.walked);
}

#[test]
fn nobody_is_launched_for_a_budget_that_is_used_up() {
    let mut arms = Arms::new(&[6.0, 7.0]);
    arms.walk(&search(2, Order::Abba, 2, 0.001, 9), 20);
    assert_eq!(arms.walked, ["launch A", "end"]);
}

#[test]
fn interrupted_it_goes_on_with_the_arm_whose_turn_it_was() {
    let goal = search(2, Order::Abba, 2, 0.001, 1600);
    let mut arms = Arms::new(&[6.0, 7.0]);
    arms.walk(&goal, 8);
    let up = arms.up.iter().position(|up| *up).expect("an arm is up");
    arms.up.fill(false);
    arms.walk(&goal, 1);
    assert_eq!(arms.walked.last(), Some(&format!("launch {}", name(up))));
}

#[test]
fn an_arm_that_never_meets_the_target_is_given_up() {
    let mut arms = Arms::new(&[1e-4]);
    arms.walk(&search(1, Order::Ab, 1, 0.1, 1_000_000), 50);
    assert_eq!(arms.walked.last().map(String::as_str), Some("end"));
    assert!(arms.walked.len() < 15, "{:?}", arms.walked);
}

#[test]
fn rates_have_two_digits() {
    let shown = |rate: f64| rates::two_digits(rate).map(|r| r.per_second());
    assert_eq!([shown(17.34), shown(0.0234), shown(123.0)], [Some(17.0), Some(0.023), Some(120.0)]);
    assert_eq!(shown(0.0), None);
}
