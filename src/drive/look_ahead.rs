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
            let id = request_id(&self.id_prefix, request);
            let wire = self.writer.write(&id, &self.prompts.render(request), request.output_tokens.get());
            let ready = WrittenRequest { request: *request, id, wire };
            if queues[position % queues.len()].blocking_send(ready).is_err() {
                // The load was cut off: nobody needs the rest.
                return;
            }
        }
        signal(&mut primed);
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
