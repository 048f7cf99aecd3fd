//! The open streams of one worker, polled by the worker itself: those that wait for their first token before the others.
//!
//! A runtime serves tasks in the order of their wake-ups. When a client falls behind (a slice of time that the host gave
//! to somebody else, a burst) a thousand streams are ready at once, and a first token waits until all are served: by
//! then the second one has joined it in the socket, and the time of the first is lost. Later tokens only lose the time
//! between two that joined.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

/// Streams that are served before the loop looks whether a send is due: 0.2 ms of work at most.
const SERVED_BETWEEN_SENDS: usize = 20;

/// A stream's own mark: whether it still waits for its first token. The default is that of a stream on its own.
#[derive(Default)]
pub(super) struct FirstTokenFlag(Option<Arc<Member>>);

impl FirstTokenFlag {
    pub(super) fn came(&self) {
        if let Some(member) = &self.0 {
            member.urgent.store(false, Ordering::Relaxed);
        }
    }
}

type Stream = Pin<Box<dyn Future<Output = ()>>>;

/// Shared between the loop that sends and the poll that serves, which take turns on one thread.
#[derive(Default, Clone)]
pub(super) struct StreamQueue(Rc<RefCell<Streams>>);

#[derive(Default)]
struct Streams {
    ready: Arc<Ready>,
    streams: Vec<Option<QueuedStream>>,
    /// Places in `streams` that are free.
    free: Vec<usize>,
}

struct QueuedStream {
    stream: Stream,
    member: Arc<Member>,
    /// Of the member.
    waker: Waker,
}

/// Whoever can be served, first come first served within its queue.
#[derive(Default)]
struct Ready(Mutex<Queues>);

#[derive(Default)]
struct Queues {
    urgent: VecDeque<usize>,
    steady: VecDeque<usize>,
    worker: Option<Waker>,
}

/// A stream as its wakers know it.
struct Member {
    place: usize,
    urgent: AtomicBool,
    /// It stands in a queue already.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    /// A panic while the lock is held leaves queues, which are as good as any.
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Member {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut queues = self.ready.queues();
        let urgent = self.urgent.load(Ordering::Relaxed);
        let queue = if urgent { &mut queues.urgent } else { &mut queues.steady };
        queue.push_back(self.place);
        if let Some(worker) = queues.worker.take() {
            worker.wake();
        }
    }
}

impl StreamQueue {
    /// Takes in the stream that `start` makes, and polls it once on the spot: its request leaves now.
    pub(super) fn add<F: Future<Output = ()> + 'static>(&self, start: impl FnOnce(FirstTokenFlag) -> F) {
        let mut streams = self.0.borrow_mut();
        let place = streams.free.pop().unwrap_or(streams.streams.len());
        let (urgent, queued) = (AtomicBool::new(true), AtomicBool::new(false));
        let member = Arc::new(Member { place, urgent, queued, ready: Arc::clone(&streams.ready) });
        let stream = Box::pin(start(FirstTokenFlag(Some(Arc::clone(&member)))));
        let waker = Waker::from(Arc::clone(&member));
        let mut entry = QueuedStream { stream, member, waker };
        if entry.poll() {
            streams.free.push(place);
        } else if place < streams.streams.len() {
            streams.streams[place] = Some(entry);
        } else {
            streams.streams.push(Some(entry));
        }
    }

    /// Serves some of the streams that are ready; whether there are more.
    pub(super) fn serve(&self, cx: &mut Context<'_>) -> bool {
        let mut streams = self.0.borrow_mut();
        for _ in 0..SERVED_BETWEEN_SENDS {
            let next = {
                let mut queues = streams.ready.queues();
                let next = queues.urgent.pop_front().or_else(|| queues.steady.pop_front());
                if next.is_none() && !queues.worker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    queues.worker = Some(cx.waker().clone());
                }
                next
            };
            let Some(place) = next else { return false };
            streams.poll(place);
        }
        true
    }
}

impl Streams {
    fn poll(&mut self, place: usize) {
        // What a stream left in a queue when it ended.
        let Some(Some(entry)) = self.streams.get_mut(place) else { return };
        if entry.poll() {
            self.streams[place] = None;
            self.free.push(place);
        }
    }
}

impl QueuedStream {
    /// Whether it ended.
    fn poll(&mut self) -> bool {
        self.member.queued.store(false, Ordering::Release);
        self.stream.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    /// Streams that say their name each time their bell rings, and have their first token from then on.
    struct Ringing {
        queue: StreamQueue,
        bells: Vec<UnboundedSender<()>>,
        say: UnboundedSender<usize>,
        heard: UnboundedReceiver<usize>,
    }

    impl Ringing {
        fn new() -> Self {
            let (say, heard) = unbounded_channel();
            Ringing { queue: StreamQueue::default(), bells: Vec::new(), say, heard }
        }

        fn add(&mut self) {
            let (bell, mut rung) = unbounded_channel();
            let (name, say) = (self.bells.len(), self.say.clone());
            self.bells.push(bell);
            self.queue.add(|first_token| async move {
                while rung.recv().await.is_some() {
                    let _ = say.send(name);
                    first_token.came();
                }
            });
        }

        fn ring(&self) {
            self.bells.iter().for_each(|bell| bell.send(()).expect("a stream listens"));
        }

        /// Whether there is more to do.
        async fn serve(&self) -> bool {
            poll_fn(|cx| Poll::Ready(self.queue.serve(cx))).await
        }

        fn heard(&mut self) -> Vec<usize> {
            std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
        }
    }

    #[tokio::test]
    async fn streams_without_a_first_token_are_served_first() {
        let mut streams = Ringing::new();
        streams.add();
        streams.add();
        streams.ring();
        assert!(!streams.serve().await);
        assert_eq!(streams.heard(), [0, 1]);
        streams.add();
        streams.ring();
        assert!(!streams.serve().await);
        assert_eq!(streams.heard(), [2, 0, 1], "the new one first, the others as they were woken");
    }

    #[tokio::test]
    async fn it_stops_after_some_and_goes_on_with_the_rest() {
        let mut streams = Ringing::new();
        (0..SERVED_BETWEEN_SENDS + 5).for_each(|_| streams.add());
        streams.ring();
        assert!(streams.serve().await);
        assert_eq!(streams.heard(), (0..SERVED_BETWEEN_SENDS).collect::<Vec<_>>());
        assert!(!streams.serve().await);
        assert_eq!(streams.heard().len(), 5);
    }

    #[tokio::test]
    async fn work_wakes_whoever_waits_for_it_and_places_are_used_again() {
        let mut streams = Ringing::new();
        streams.queue.add(|_| std::future::ready(()));
        streams.add();
        assert_eq!(streams.queue.0.borrow().streams.len(), 1);
        let waited = poll_fn(|cx| {
            streams.queue.serve(cx);
            if streams.heard.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::join!(waited, async { streams.bells[0].send(()).expect("a stream listens") });
        streams.bells.clear();
        assert!(!streams.serve().await);
        assert!(streams.queue.0.borrow().streams.iter().all(Option::is_none));
    }
}
