//! A page that shows a run while it is measured, or any time after.
//!
//! ```text
//! session's events --bounded broadcast--+
//!                                        +--> keeper --> feed --> watchers (server-sent events)
//! files of the runs --tails, judged------+
//! ```
//!
//! An attainment point goes this way: a request ends, and its line is in the journal; the keeper reads it into the columns
//! that a report is judged from, `analyse` judges them as it does for a report, and the page draws what it is sent.
//!
//! The load knows nothing of all this. Events are broadcast to a buffer that drops the oldest when it is full; everything
//! else is read from files that are written anyway, on two threads of the lowest priority, and only while a page is open.
//!
//! Deliberately absent: ways to change a run, other resources than the one page, names and texts as markup.

mod access;
mod arms;
mod curves;
mod feed;
mod http;
mod keeper;
mod logs;
mod now;
mod page;
mod race;
mod run;
mod runs;
mod sampled;
mod tail;
mod told;

pub use runs::Watched;

use crate::session::events::{EventSink, SessionEvent};
use access::PageToken;
use feed::{LiveFeed, Nudge};
use http::LiveSite;
use keeper::Keeper;
use page::LivePage;
use runs::LiveRuns;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use told::HeardEvent;

/// Events that may wait to be heard: some minutes of them.
const MOST_WAITING: usize = 1024;
/// How long open pages may take to read the last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("cannot serve the live page on 127.0.0.1:{port}: {source}\nhint: --live alone takes a free port")]
    Port { port: u16, source: std::io::Error },
    #[error("cannot start the threads of the live page: {0}")]
    Threads(std::io::Error),
}

/// The page, served until this is dropped.
pub struct LiveServer {
    url: String,
    events: broadcast::Sender<HeardEvent>,
    feed: Arc<LiveFeed>,
    nudges: mpsc::Sender<Nudge>,
    over: CancellationToken,
    keeper: Option<JoinHandle<()>>,
    server: Option<JoinHandle<()>>,
}

impl LiveServer {
    /// On loopback; port 0 takes a free one. `hears`: whether the events of a session are shown, which [`LiveServer::sink`]
    /// passes on.
    pub fn start(port: u16, watched: Watched, hears: bool) -> Result<LiveServer, LiveError> {
        let at_port = |source| LiveError::Port { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(at_port)?;
        listener.set_nonblocking(true).map_err(at_port)?;
        let address = listener.local_addr().map_err(at_port)?;
        let token = PageToken::random();
        let url = format!("http://{address}/{}/", token.text());
        let (events, heard) = broadcast::channel(MOST_WAITING);
        let (nudges, nudged) = mpsc::channel();
        let feed = LiveFeed::new(nudges.clone());
        let over = CancellationToken::new();
        let keeper = Keeper::new(Arc::clone(&feed), hears.then_some(heard), LiveRuns::new(watched));
        let keeper = in_background("live-files", move || keeper.run(&nudged))?;
        let site = Arc::new(LiveSite { token, page: LivePage::new(), feed: Arc::clone(&feed) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LiveError::Threads)?;
        let until = over.clone();
        let server = in_background("live-page", move || {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    http::serve(listener, site, until).await;
                }
            });
        })?;
        Ok(LiveServer { url, events, feed, nudges, over, keeper: Some(keeper), server: Some(server) })
    }

    /// The page's address: who has it can read the page.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A sink that tells the page of every event and passes it on to `shown`.
    pub fn sink(&self, shown: EventSink) -> EventSink {
        let events = self.events.clone();
        Arc::new(move |event: SessionEvent| {
            // Where the page's thread is gone, nobody hears.
            let _ = events.send(HeardEvent::now(event.clone()));
            shown(event);
        })
    }
}

impl Drop for LiveServer {
    /// Open pages are sent the last before their connections end.
    fn drop(&mut self) {
        let _ = self.nudges.send(Nudge::Over);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        let told = Instant::now();
        while self.feed.watchers() > 0 && told.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.over.cancel();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// A thread that yields to every other: the load comes first.
fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LiveError> {
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || {
        // On Linux this is the thread's own. To be nicer is always allowed.
        let _ = rustix::process::setpriority_process(None, 19);
        work();
    });
    thread.map_err(LiveError::Threads)
}
