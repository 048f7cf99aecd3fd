//! Keeps the state that the page shows: hears events, reads files, judges what is new.
//!
//! All of it happens on a thread of the lowest priority, and only while somebody watches: a page that nobody has open costs
//! a run nothing but the hearing of its events. Everything a page shows but those events is in the runs' files, so that one
//! who comes late misses nothing.

use super::arms::{self, BusyArm};
use super::curves::CurvesView;
use super::feed::{LiveFeed, Nudge};
use super::logs;
use super::now::{AboutView, NowView};
use super::race;
use super::runs::LiveRuns;
use super::sampled::SampleWatch;
use super::told::{HeardEvent, ToldState};
use crate::analyse::Question;
use crate::record::race::RaceRecord;
use crate::record::{RecordError, RecordedRun};
use crate::session::events::time_left;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::{self, error::TryRecvError};

/// How often is looked.
const TICK: Duration = Duration::from_millis(500);
/// Looking takes at most so large a part of the time, on one core.
const SHARE: u32 = 10;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    pub(super) feed: Arc<LiveFeed>,
    /// `None` where no session of this process is shown.
    pub(super) events: Option<broadcast::Receiver<HeardEvent>>,
    pub(super) runs: LiveRuns,
    told: ToldState,
    samples: Vec<SampleWatch>,
    curves: Option<(CurvesView, Question)>,
    has_judged: bool,
    /// Of a race, what was being done when it was judged last.
    stage: Option<BusyArm>,
    /// Seconds of load that are still to be sent, where a grid says.
    load_left: Option<f64>,
    /// Why something is not shown.
    problem: Option<String>,
    /// Positions of the runs that the curves are of.
    drawn: Vec<usize>,
}

impl Keeper {
    pub(super) fn new(feed: Arc<LiveFeed>, events: Option<broadcast::Receiver<HeardEvent>>, runs: LiveRuns) -> Keeper {
        Keeper {
            feed,
            events,
            runs,
            told: ToldState::default(),
            samples: Vec::new(),
            curves: None,
            has_judged: false,
            stage: None,
            load_left: None,
            problem: None,
            drawn: Vec::new(),
        }
    }

    /// Until it is told that the run is over.
    pub(super) fn run(mut self, nudges: &mpsc::Receiver<Nudge>) {
        let mut due = Instant::now();
        loop {
            let over = match nudges.recv_timeout(TICK) {
                Ok(Nudge::Over) | Err(mpsc::RecvTimeoutError::Disconnected) => true,
                Ok(Nudge::Watched) | Err(mpsc::RecvTimeoutError::Timeout) => false,
            };
            self.hear();
            let is_watched = self.feed.watchers() > 0;
            if is_watched && (over || due <= Instant::now()) {
                let began = cpu_time();
                self.look(over);
                due = Instant::now() + (cpu_time().saturating_sub(began) * SHARE).min(LONGEST_PAUSE);
            } else if is_watched && self.has_judged && self.events.is_some() {
                self.tell(NowView::told(&self.told));
            }
            if over {
                return self.feed.close();
            }
        }
    }

    fn hear(&mut self) {
        let Some(events) = &mut self.events else { return };
        loop {
            match events.try_recv() {
                Ok(event) => self.told.hear(&event),
                Err(TryRecvError::Lagged(n)) => self.told.unheard += n,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn look(&mut self, over: bool) {
        if !self.has_judged {
            // To judge takes long where much was measured: what is known without it comes first.
            self.tell(NowView::begins(&self.told));
            let found = self.runs.find(&self.told.dirs);
            self.problem = found.err().map(|error| error.to_string());
            self.introduce(over);
        }
        self.problem = self.read(over).err().map(|error| error.to_string());
        self.introduce(over);
    }

    /// Tells what needs no judging.
    fn introduce(&mut self, over: bool) {
        let names = self.runs.names();
        let mut now = match self.events {
            Some(_) => NowView::told(&self.told),
            None => NowView::seen(&self.runs.runs, &names),
        };
        self.load_left = arms::load_left(&self.runs.runs);
        if over {
            now.ended = true;
            now.doing = self
                .told
                .lines
                .back()
                .map_or_else(|| "The page is closed".to_string(), |_| NowView::seen(&self.runs.runs, &names).doing);
        }
        if now.ended && self.runs.race().is_some() {
            let launched = self.runs.runs.iter().filter(|run| run.was_launched()).count();
            now.doing = format!("The race has ended: {launched} of {} deployments were launched", names.len());
        }
        let title = match self.runs.race().map(RaceRecord::read) {
            Some(Ok(race)) => format!("The best deployment of {} GPUs", race.question.gpus),
            _ => title(&names),
        };
        self.feed.put("about", &AboutView::of(&self.runs.runs, title));
        self.feed.put("logs", &logs::last(&self.runs.runs, &names));
        if self.runs.race().is_none() {
            let ended = over || now.ended;
            self.feed.put("arms", &arms::view(&self.runs.runs, &names, self.told.busy.as_ref(), ended));
        }
        self.tell(now);
    }

    /// What is being done, which changes oftener than files have to be read.
    fn tell(&self, mut now: NowView) {
        now.problem.clone_from(&self.problem);
        let gone = self.told.point.as_ref().map_or(0.0, |point| point.elapsed_secs);
        let load_left = self.load_left.map(|secs| secs - gone).filter(|secs| *secs > 0.0 && !now.ended);
        if let (None, Some(secs)) = (&now.left, load_left) {
            now.left = Some(format!("{} of load, and what engines take to start", time_left(secs)));
        }
        self.feed.put("now", &now);
        self.feed.put("told", &self.told.lines);
        self.feed.put("starting", &self.told.starting);
        self.feed.publish();
    }

    fn read(&mut self, over: bool) -> Result<(), RecordError> {
        let known = self.runs.runs.len();
        self.runs.find(&self.told.dirs)?;
        let first = !std::mem::replace(&mut self.has_judged, true);
        let (mut points, mut under_way) = (first || over || self.runs.runs.len() != known, false);
        for watch in &mut self.runs.runs {
            let changed = watch.look()?;
            points |= changed.points;
            under_way |= changed.under_way;
        }
        self.read_samples()?;
        if first {
            self.feed.publish();
        }
        // A race's table says of each candidate what is being done with it.
        let stage = self.told.busy.clone().filter(|_| self.runs.race().is_some());
        points |= stage != std::mem::replace(&mut self.stage, stage.clone());
        if points {
            self.judge(over)?;
        }
        if let Some((curves, question)) = self.curves.as_mut().filter(|_| points || under_way) {
            curves.under_way(self.drawn.iter().filter_map(|at| self.runs.runs.get(*at)), question);
            self.feed.put("curves", curves);
        }
        Ok(())
    }

    fn read_samples(&mut self) -> Result<(), RecordError> {
        let names = self.runs.names();
        let one = self.runs.runs.len() == 1;
        for (watch, name) in self.runs.runs.iter().zip(&names) {
            let dir = &watch.run.dir;
            let at = self.samples.iter().position(|samples| samples.is_of(dir)).unwrap_or_else(|| {
                self.samples.push(SampleWatch::of(dir));
                self.samples.len() - 1
            });
            let name = if one { "" } else { name };
            self.samples[at].look(watch, name, &self.feed).map_err(RecordError::read(dir))?;
        }
        Ok(())
    }

    /// Judges the finished points anew.
    fn judge(&mut self, over: bool) -> Result<(), RecordError> {
        let watches = &self.runs.runs;
        let asked =
            match self.runs.race() {
                Some(place) => {
                    let record = RaceRecord::read(place)?;
                    let busy = self.runs.busy();
                    let now = race::now(place, &record, watches, (busy, self.told.busy.as_ref()), over);
                    self.feed.put("race", &now.view);
                    let mut drawn = now.leaders;
                    drawn.extend(busy.filter(|busy| !drawn.contains(busy)));
                    drawn.sort_unstable();
                    self.drawn = drawn;
                    race::question(&record)
                }
                None => {
                    self.drawn = (0..watches.len()).collect();
                    watches.iter().find_map(|watch| watch.manifest()).map_or_else(Question::default, |manifest| {
                        Question { slo: manifest.sweep.slo, target: manifest.sweep.target, ..Question::default() }
                    })
                }
            };
        let drawn: Vec<RecordedRun> = self.drawn.iter().map(|at| watches[*at].run.clone()).collect();
        if !drawn.is_empty() {
            self.curves = Some((CurvesView::new(&drawn, &asked, self.runs.race().is_some()), asked));
        }
        Ok(())
    }
}

/// What this thread has used of a core: what it waited for others is no cost of its.
fn cpu_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// `simple against nixl`.
fn title(names: &[String]) -> String {
    match names {
        [] => "A run that is about to begin".to_string(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} against {}", crate::words::listed(others)),
    }
}
