//! A TCP stream that knows when its bytes reached this machine, which is before anyone read them.
//!
//! A client that stamps what it reads adds its own delay to the server's: the wake-up, the streams that were served
//! first, the slice of time that the host gave to somebody else. On a busy machine these are milliseconds. The kernel
//! stamps every packet as it comes in (`SO_TIMESTAMPNS`, socket(7)); a read returns the stamp of the last of its bytes.
//! Bytes that came apart and are read together share that stamp.
//!
//! Deliberately absent: stamps of network cards (`SO_TIMESTAMPING`), whose clocks are not the host's.

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSliceMut, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A stamp this old, or of the future, makes the clocks be compared again: more likely one of them was set.
const DOUBTFUL: Duration = Duration::from_millis(1);

thread_local! {
    static WALL: Cell<WallClock> = Cell::new(WallClock::compared());
    /// For the one control message that is asked for. On the heap, for its alignment.
    static CONTROL: RefCell<Vec<u8>> = RefCell::new(nix::cmsg_space!(TimeSpec));
}

/// Watches a descriptor for readiness within the current runtime.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for owners that hand out foreign descriptors; those here own the one they hand out"
)]
pub(super) fn watched<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

pub(super) struct StampedTcp {
    stream: AsyncFd<std::net::TcpStream>,
    /// When the last byte read had arrived, or the stream begun: what comes later hasn't arrived before.
    arrived: Instant,
}

impl StampedTcp {
    /// Takes over a stream of the current runtime.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        let stream = stream.into_std()?;
        // A kernel that won't stamp leaves the times of the reads.
        let _ = setsockopt(&stream, ReceiveTimestampns, &true);
        let stream = watched(stream, Interest::READABLE | Interest::WRITABLE)?;
        Ok(StampedTcp { stream, arrived: Instant::now() })
    }

    /// When the last byte read had arrived.
    pub(super) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Until bytes lie there, or the end of the stream.
    #[cfg(test)]
    pub(super) async fn readable(&self) {
        let _ = self.stream.readable().await;
    }

    /// Notes when the bytes of a read had arrived.
    fn note(&mut self, stamp: Option<TimeSpec>) {
        let now = Instant::now();
        let plausible = |at: &Instant| (self.arrived..=now).contains(at);
        let arrived = stamp.map(|stamp| UNIX_EPOCH + Duration::from(stamp)).map(|stamp| {
            let at = WALL.get().instant(stamp);
            if plausible(&at) && now - at < DOUBTFUL {
                return at;
            }
            WALL.set(WallClock::compared());
            WALL.get().instant(stamp)
        });
        self.arrived = arrived.filter(plausible).unwrap_or(now);
    }
}

impl AsyncRead for StampedTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let mut guard = ready!(this.stream.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            let wanted = room.len();
            match receive(guard.get_inner(), room) {
                Ok((bytes, stamp)) => {
                    // Fewer than there was room for: the next read would find nothing. The end of the stream stays.
                    if 0 < bytes && bytes < wanted {
                        guard.clear_ready();
                    }
                    buffer.advance(bytes);
                    this.note(stamp);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
        }
    }
}

/// One read, and the stamp of its last byte.
fn receive(stream: &std::net::TcpStream, room: &mut [u8]) -> nix::Result<(usize, Option<TimeSpec>)> {
    CONTROL.with_borrow_mut(|control| {
        let mut room = [IoSliceMut::new(room)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut room, Some(control), MsgFlags::empty())?;
        let stamp = |message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        };
        Ok((message.bytes, message.cmsgs()?.find_map(stamp)))
    })
}

impl AsyncWrite for StampedTcp {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.stream.poll_write_ready(cx))?;
            match guard.get_inner().write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

/// The wall clock, which stamps packets, beside the clock that nobody sets, which measures. Both run at the same rate
/// (adjtimex(2)): they only drift apart when somebody sets the wall clock.
#[derive(Debug, Clone, Copy)]
struct WallClock {
    wall: SystemTime,
    instant: Instant,
}

impl WallClock {
    /// Both read in one breath: of a few tries, the one least disturbed.
    fn compared() -> Self {
        let compare = |_| {
            let (before, wall, after) = (Instant::now(), SystemTime::now(), Instant::now());
            (after - before, WallClock { wall, instant: before + (after - before) / 2 })
        };
        let (took, first) = compare(0);
        (1..4).map(compare).fold((took, first), |best, next| if next.0 < best.0 { next } else { best }).1
    }

    fn instant(self, wall: SystemTime) -> Instant {
        match wall.duration_since(self.wall) {
            Ok(later) => self.instant + later,
            Err(earlier) => self.instant.checked_sub(earlier.duration()).unwrap_or(self.instant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (StampedTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
        let (server, _) = listener.accept().await.expect("accepts");
        (StampedTcp::new(client).expect("taken over"), server)
    }

    #[tokio::test]
    async fn bytes_have_the_time_of_their_arrival_however_late_they_are_read() {
        let (mut client, mut server) = pair().await;
        // The first packet after stamping was switched on anywhere may come without a stamp.
        server.write_all(b"first").await.expect("writes");
        client.read_exact(&mut [0; 5]).await.expect("reads");
        let before = Instant::now();
        server.write_all(b"second").await.expect("writes");
        client.readable().await;
        let lay_there = Instant::now();
        let busy = lay_there + 20 * DOUBTFUL;
        while Instant::now() < busy {}
        let mut six = [0; 6];
        client.read_exact(&mut six).await.expect("reads");
        assert_eq!(&six, b"second");
        let slack = Duration::from_micros(50);
        assert!(before - slack <= client.arrived() && client.arrived() <= lay_there + slack);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_moves_no_arrival() {
        for wrong in [Duration::from_secs(3600), Duration::from_millis(30)] {
            for ahead in [true, false] {
                let (mut client, mut server) = pair().await;
                server.write_all(b"first").await.expect("writes");
                client.read_exact(&mut [0; 5]).await.expect("reads");
                let right = WALL.get();
                let wall = if ahead { right.wall + wrong } else { right.wall - wrong };
                WALL.set(WallClock { wall, ..right });
                let before = Instant::now();
                server.write_all(b"second").await.expect("writes");
                client.read_exact(&mut [0; 6]).await.expect("reads");
                let slack = Duration::from_micros(50);
                assert!(before - slack <= client.arrived() && client.arrived() <= Instant::now(), "{wrong:?} {ahead}");
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_read_as_often_as_asked() {
        let (mut client, mut server) = pair().await;
        server.write_all(b"all").await.expect("writes");
        drop(server);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("reads");
        assert_eq!(bytes, b"all");
        assert_eq!(client.read(&mut [0; 8]).await.expect("reads"), 0);
    }

    #[tokio::test]
    async fn a_full_socket_makes_the_writer_wait() {
        let (mut client, mut server) = pair().await;
        let sent = vec![7; 8 << 20];
        let (wrote, received) = tokio::join!(
            async {
                client.write_all(&sent).await.expect("writes");
                client.shutdown().await.expect("shuts down");
            },
            async {
                let mut bytes = Vec::new();
                server.read_to_end(&mut bytes).await.expect("reads");
                bytes
            }
        );
        assert_eq!((wrote, received.len()), ((), sent.len()));
    }
}
