use super::*;
use crate::plan::candidates::LayoutKind;

/// Deployments that carry what nobody told the race, each launch a little more or less.
struct World {
    truth: Vec<f64>,
    drift: f64,
    noise: u64,
    launch_secs: f64,
    point_secs: f64,
}

/// What a race did in it.
#[derive(Default)]
struct Course {
    points: Vec<Vec<Seen>>,
    launched: Vec<Vec<f64>>,
    steps: Vec<String>,
    spent: f64,
}

impl World {
    /// Between -1 and 1, from a counter.
    fn dice(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn run(&mut self, race: &Race) -> Course {
        let arms = self.truth.len();
        let mut course =
            Course { points: vec![Vec::new(); arms], launched: vec![Vec::new(); arms], ..Course::default() };
        let mut up = None;
        while let Some(step) = race.next(&racers(&course, up), Duration::from_secs_f64(course.spent)) {
            assert!(course.steps.len() < 300, "it ends: {:?}", course.steps);
            match step {
                Move::Launch(arm) => {
                    up = Some(arm);
                    let carried = self.truth[arm] * (1.0 + self.drift * self.dice());
                    course.launched[arm].push(carried);
                    course.spent += self.launch_secs;
                    course.steps.push(format!("launch {arm}"));
                }
                Move::Measure { arm, key } => {
                    let rate = key.rate.per_second();
                    let carried = *course.launched[arm].last().expect("launched");
                    let odds = (race.target / (1.0 - race.target)).ln() - 18.0 * (rate / carried).ln();
                    let met = 1.0 / (1.0 + (-odds - 0.5 * self.dice()).exp());
                    let launch = course.launched[arm].len() as u32;
                    course.points[arm].push(Seen {
                        rate,
                        offered: rate,
                        attempt: key.attempt,
                        launch,
                        met,
                        weight: 80.0,
                    });
                    course.spent += self.point_secs;
                    course.steps.push(format!("{arm} at {rate}"));
                }
            }
        }
        course
    }
}

fn racers(course: &Course, up: Option<usize>) -> Vec<Racer<'_>> {
    let racer = |arm: usize| Racer {
        points: &course.points[arm],
        launches: course.launched[arm].len() as u32,
        is_up: up == Some(arm),
        is_out: false,
        launch_secs: None,
    };
    (0..course.points.len()).map(racer).collect()
}

/// Three simple deployments and three others; kinds are off together.
fn race(predicted: &[f64], budget: u64) -> Race {
    let kind = |i: usize| if i >= predicted.len() / 2 { LayoutKind::Nixl } else { LayoutKind::Simple };
    let kinds: Vec<LayoutKind> = (0..predicted.len()).map(kind).collect();
    let cell = |i: usize, j: usize| {
        let (kind, own) = (f64::from(u8::from(kinds[i] == kinds[j])), f64::from(u8::from(i == j)));
        0.09 + 0.12 * kind + 0.02 * own
    };
    let covariance = (0..predicted.len()).map(|i| (0..predicted.len()).map(|j| cell(i, j)).collect()).collect();
    Race {
        prior: Belief::new(predicted.iter().map(|p| p.ln()).collect(), covariance),
        kinds,
        target: 0.9,
        budget: Duration::from_secs(budget),
        launch_takes: Duration::from_secs(120),
        point_takes: Duration::from_secs(33),
    }
}

fn world(truth: &[f64], seed: u64) -> World {
    World { truth: truth.to_vec(), drift: 0.05, noise: seed, launch_secs: 120.0, point_secs: 33.0 }
}

fn winner(race: &Race, course: &Course) -> usize {
    race.standing(&racers(course, None)).order[0]
}

#[test]
fn it_finds_the_best_although_the_prediction_had_the_kinds_the_wrong_way_round() {
    let race = race(&[20.0, 16.0, 18.0, 14.0, 12.0, 15.0], 3600);
    for seed in 1..=10 {
        let truth = [12.0, 10.0, 13.0, 21.0, 19.0, 24.0];
        let course = world(&truth, seed).run(&race);
        assert_eq!(winner(&race, &course), 5, "{:?}", course.steps);
        assert!(course.spent <= 3600.0, "{}", course.spent);
    }
}

#[test]
fn a_short_budget_still_measures_one_of_each_kind() {
    let race = race(&[20.0, 16.0, 18.0, 14.0, 12.0, 15.0], 500);
    let course = world(&[12.0, 10.0, 13.0, 21.0, 19.0, 24.0], 3).run(&race);
    let measured: Vec<usize> = (0..6).filter(|arm| !course.points[*arm].is_empty()).collect();
    assert!(measured.iter().any(|arm| *arm < 3) && measured.iter().any(|arm| *arm >= 3), "{:?}", course.steps);
    assert!(course.spent <= 500.0 + 33.0, "{}", course.spent);
}

#[test]
fn who_falls_behind_costs_one_launch_and_few_points() {
    let race = race(&[20.0, 19.0, 18.0, 19.0, 18.0, 17.0], 7200);
    let course = world(&[20.0, 9.0, 8.0, 9.0, 8.0, 7.0], 5).run(&race);
    for arm in [1, 2, 4, 5] {
        assert!(course.launched[arm].len() <= 1 && course.points[arm].len() <= 3, "{arm}: {:?}", course.steps);
    }
    let challenger = course.steps.iter().position(|s| s == "launch 3").expect("the other kind is measured");
    assert_eq!(winner(&race, &course), 0, "{:?} {challenger}", course.steps);
}

#[test]
fn finalists_take_turns_until_one_is_known_to_carry_more() {
    let race = race(&[20.0, 10.0, 10.0, 20.0, 10.0, 10.0], 7200);
    let course = world(&[20.0, 10.0, 10.0, 24.0, 10.0, 10.0], 7).run(&race);
    let launches: Vec<usize> = course.launched.iter().map(Vec::len).collect();
    assert!(launches[0] >= 2 && launches[3] >= 2 && launches[0].abs_diff(launches[3]) <= 1, "{launches:?}");
    assert!(course.spent < 7200.0 * 0.8, "it ends with its claim: {}", course.spent);
    assert_eq!(winner(&race, &course), 3);
}

#[test]
fn the_same_points_give_the_same_step_wherever_it_was_cut_off() {
    let race = race(&[20.0, 16.0, 18.0, 14.0, 12.0, 15.0], 2400);
    let whole = world(&[12.0, 10.0, 13.0, 21.0, 19.0, 24.0], 11).run(&race);
    let again = world(&[12.0, 10.0, 13.0, 21.0, 19.0, 24.0], 11).run(&race);
    assert_eq!(whole.steps, again.steps);
    let racers = racers(&whole, None);
    assert_eq!(race.next(&racers, Duration::from_secs_f64(whole.spent)), None, "over stays over");
}

#[test]
fn what_did_not_start_is_out_and_the_race_goes_on() {
    let race = race(&[20.0, 16.0, 18.0, 14.0, 12.0, 15.0], 3600);
    let out =
        |arm: usize| Racer { points: &[], launches: 1, is_up: false, is_out: arm == 0 || arm == 5, launch_secs: None };
    let racers: Vec<Racer<'_>> = (0..6).map(|arm| Racer { launches: u32::from(out(arm).is_out), ..out(arm) }).collect();
    assert_eq!(race.next(&racers, Duration::ZERO), Some(Move::Launch(2)));
    let all_out: Vec<Racer<'_>> = (0..6).map(|arm| Racer { is_out: true, ..out(arm) }).collect();
    assert_eq!(race.next(&all_out, Duration::ZERO), None);
}

#[test]
fn a_rehearsal_keeps_to_the_budget_and_measures_both_kinds() {
    for budget in [600, 1800, 7200] {
        let race = race(&[20.0, 16.0, 18.0, 14.0, 12.0, 15.0], budget);
        let rehearsal = race.rehearsed();
        assert!(rehearsal.takes <= race.budget + race.point_takes, "{rehearsal:?}");
        let visited = |side: bool| rehearsal.visits.iter().any(|v| (v.arm >= 3) == side && v.points > 0);
        assert!(visited(false) && visited(true), "{rehearsal:?}");
    }
}
