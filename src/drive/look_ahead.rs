//! Requests written ahead of need by a thread of their own, so that a million of them fit in memory.

use super::target::RequestWriter;
use crate::outcome::Request;
use crate::plan::workload::{PreparedWorkload, Schedule};
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// How many requests are written ahead, if they aren't large: a third of a second at 1,500 requests a second.
const MOST_AHEAD: usize = 512;
/// What may be written ahead in total.
const BYTES_AHEAD: usize = 64 << 20;

/// A request ready for the socket.
pub(super) struct WrittenRequest {
    pub(super) request: Request,
    pub(super) id: String,
    pub(super) wire: Vec<u8>,
}

/// What the writing thread works from.
pub(super) struct Writing {
    pub(super) schedule: Arc<Schedule>,
    pub(super) prompts: Arc<PreparedWorkload>,
    pub(super) writer: RequestWriter,
    pub(super) id_prefix: String,
}

impl Writing {
    /// Queues of ready requests, one a worker, filled in turn; and a signal that they are filled for the first time.
    pub(super) fn start(
        self,
        workers: usize,
    ) -> io::Result<(Vec<mpsc::Receiver<WrittenRequest>>, oneshot::Receiver<()>)> {
        let ahead = self.ahead(workers);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(ahead)).unzip();
        let (primed, when_primed) = oneshot::channel();
        let filled = (ahead * workers).min(self.schedule.requests.len());
        std::thread::Builder::new().name("write-ahead".into()).spawn(move || self.run(&senders, filled, primed))?;
        Ok((receivers, when_primed))
    }

    /// The same where nobody knows the order: requests are written as they are asked for, `first` ones ahead of all.
    pub(super) fn start_asked(self, first: &[usize]) -> io::Result<(AskedWriting, oneshot::Receiver<()>)> {
        let ahead = self.ahead(1);
        let (asked, asks) = std::sync::mpsc::channel();
        let (sender, ready) = mpsc::channel(ahead);
        let given = ahead.min(first.len());
        for position in &first[..given] {
            // The receiver is right here.
            let _ = asked.send(*position);
        }
        let (primed, when_primed) = oneshot::channel();
        let run = move || {
            let mut primed = Some(primed);
            for (written, position) in asks.iter().enumerate() {
                if sender.blocking_send(self.write(&self.schedule.requests[position])).is_err() {
                    return;
                }
                if written + 1 == given {
                    signal(&mut primed);
                }
            }
        };
        std::thread::Builder::new().name("write-ahead".into()).spawn(run)?;
        Ok((AskedWriting { ready, asked, given }, when_primed))
    }

    fn write(&self, request: &Request) -> WrittenRequest {
        let id = request_id(&self.id_prefix, request);
        let wire = self.writer.write(&id, &self.prompts.render(request), request.output_tokens.get());
        WrittenRequest { request: *request, id, wire }
    }

    fn ahead(&self, workers: usize) -> usize {
        let largest = self.prompts.largest_prompt_bytes(&self.schedule);
        (BYTES_AHEAD / largest.max(1)).clamp(2, MOST_AHEAD).div_ceil(workers)
    }

    fn run(&self, queues: &[mpsc::Sender<WrittenRequest>], filled: usize, primed: oneshot::Sender<()>) {
        let mut primed = Some(primed);
        for (position, request) in self.schedule.requests.iter().enumerate() {
            if position == filled {
                signal(&mut primed);
            }
            if queues[position % queues.len()].blocking_send(self.write(request)).is_err() {
                // The load was cut off: nobody needs the rest.
                return;
            }
        }
        signal(&mut primed);
    }
}

/// Requests written in the order in which they are asked for.
pub(super) struct AskedWriting {
    pub(super) ready: mpsc::Receiver<WrittenRequest>,
    asked: std::sync::mpsc::Sender<usize>,
    /// How many of the first ones were asked for.
    given: usize,
}

impl AskedWriting {
    pub(super) fn ask(&self, position: usize) {
        // The thread is there as long as somebody may ask.
        let _ = self.asked.send(position);
    }

    /// The next of the first ones, if there are more.
    pub(super) fn next_first(&mut self, first: &[usize]) -> Option<usize> {
        let next = first.get(self.given).copied();
        self.given += usize::from(next.is_some());
        next
    }
}

pub(super) fn request_id(prefix: &str, request: &Request) -> String {
    format!("{prefix}-{}", request.index)
}

fn signal(primed: &mut Option<oneshot::Sender<()>>) {
    if let Some(primed) = primed.take() {
        // Nobody waits where the point was given up before it began.
        let _ = primed.send(());
    }
}
