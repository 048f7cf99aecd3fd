//! The worker of a load whose turns wait for each other: it sends each turn when the end of the one before, and the
//! schedule's think time, make it due.
//!
//! Requests are written in the order in which they are asked for, since nobody knows in which order they fall due: first
//! turns some time ahead, every other one when the turn before it is sent.

use super::connection::Pool;
use super::due_timer::DueTimer;
use super::look_ahead::{AskedWriting, WrittenRequest};
use super::stream_queue::StreamQueue;
use super::turns::Turns;
use super::worker::{
    CONNECT_AHEAD, Common, RequestJob, Slot, Slots, TurnEnd, drain, drive, report_unsent, serve, spares,
};
use crate::units::Offset;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) struct SessionWorker {
    pub(super) common: Arc<Common>,
    pub(super) writing: AskedWriting,
    pub(super) slots: Option<Slots>,
}

impl SessionWorker {
    /// Returns when every request has its record.
    pub(super) async fn run(self) -> io::Result<()> {
        let queue = StreamQueue::default();
        drive(self.send(queue.clone()), &queue).await
    }

    async fn send(mut self, queue: StreamQueue) -> io::Result<()> {
        let common = Arc::clone(&self.common);
        let timer = DueTimer::new()?;
        let pool = Arc::new(Pool::new(common.connector.clone(), spares(&common, 1, self.slots.is_some())));
        let (in_flight, mut all_ended) = mpsc::channel(1);
        let (end, mut ends) = mpsc::unbounded_channel();
        pool.top_up();
        let mut turns = Turns::of(&common.schedule);
        let mut written = WrittenTurns { writing: self.writing, waiting: HashMap::new() };
        let mut unsent: Vec<bool> = vec![true; common.schedule.requests.len()];
        let mut left = unsent.len();
        while left > 0 {
            let next = turns.peek().map(|(due, _)| due);
            tokio::select! {
                biased;
                () = common.cancel.cancelled() => break,
                Some((position, at)) = ends.recv() => {
                    turns.ended(position, at);
                    continue;
                }
                woken = wait_for(next, &common, &timer, &pool) => woken?,
            }
            let Some((due, position)) = turns.pop() else { continue };
            let ready = tokio::select! {
                biased;
                () = common.cancel.cancelled() => None,
                ready = ready(position, due, &mut written, self.slots.as_mut(), &common) => ready,
            };
            let Some((ready, slot, held)) = ready else { break };
            (unsent[position], left) = (false, left - 1);
            let after = turns.after(position);
            let then = after.map(|_| TurnEnd { position, tell: end.clone() });
            let job = RequestJob { ready, due, slot, held, then, _in_flight: in_flight.clone() };
            queue.add(|first_token| serve(Arc::clone(&common), Arc::clone(&pool), job, first_token));
            pool.top_up();
            written.ask(after);
            if common.schedule.turns[position].turn == 0 {
                let first = written.writing.next_first(turns.first());
                written.ask(first);
            }
        }
        drop((in_flight, written));
        report_unsent(&common, (0..unsent.len()).filter(|&position| unsent[position])).await;
        drain(&common, &mut all_ended).await;
        Ok(())
    }
}

/// Returns when the next turn is due; never where none is known.
async fn wait_for(due: Option<Offset>, common: &Common, timer: &DueTimer, pool: &Arc<Pool>) -> io::Result<()> {
    let Some(due) = due else { return pending().await };
    let due = common.clock.zero + due.as_duration();
    if let Some(ahead) = due.checked_sub(CONNECT_AHEAD) {
        timer.sleep_until(ahead).await?;
        pool.top_up();
    }
    timer.sleep_until(due).await
}

/// The bytes of a request that is due, and its slot.
async fn ready(
    position: usize,
    due: Offset,
    written: &mut WrittenTurns,
    slots: Option<&mut Slots>,
    common: &Common,
) -> Option<(WrittenRequest, Offset, Option<Slot>)> {
    let ready = written.take(position).await?;
    common.progress.backlog.room().await;
    let Some(slots) = slots else { return Some((ready, due, None)) };
    let (free_since, held) = slots.take(common.clock).await?;
    Some((ready, due.max(free_since), Some(held)))
}

/// Requests that were written before they were due.
struct WrittenTurns {
    writing: AskedWriting,
    waiting: HashMap<usize, WrittenRequest>,
}

impl WrittenTurns {
    fn ask(&mut self, position: Option<usize>) {
        position.into_iter().for_each(|position| self.writing.ask(position));
        // What has come makes room for what was asked for.
        while let Ok(ready) = self.writing.ready.try_recv() {
            self.waiting.insert(ready.request.index as usize, ready);
        }
    }

    /// `None` if the writing thread is gone.
    async fn take(&mut self, position: usize) -> Option<WrittenRequest> {
        loop {
            if let Some(ready) = self.waiting.remove(&position) {
                return Some(ready);
            }
            let ready = self.writing.ready.recv().await?;
            self.waiting.insert(ready.request.index as usize, ready);
        }
    }
}
