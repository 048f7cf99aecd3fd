//! When bytes reached this machine, by the kernel's stamp, so that benches don't count their own delay as somebody
//! else's.

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

pub fn monotonic_nanos() -> u64 {
    nanos(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock exists"))
}

fn nanos(time: TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Has the kernel stamp what comes in.
pub fn stamp(stream: &TcpStream) -> io::Result<()> {
    Ok(setsockopt(stream, ReceiveTimestampns, &true)?)
}

/// What one read brought, and when the last of it had come in, in monotonic ns; `None` at the end of the stream.
pub async fn read<'a>(stream: &TcpStream, room: &'a mut [u8]) -> io::Result<Option<(&'a [u8], u64)>> {
    let mut control = nix::cmsg_space!(TimeSpec);
    let (read, stamp) = stream
        .async_io(Interest::READABLE, || {
            let mut room = [IoSliceMut::new(room)];
            let message = recvmsg::<()>(stream.as_raw_fd(), &mut room, Some(&mut control), MsgFlags::empty())?;
            let stamp = message.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
                _ => None,
            });
            Ok((message.bytes, stamp))
        })
        .await?;
    let wall = nanos(clock_gettime(ClockId::CLOCK_REALTIME).expect("the clock exists"));
    let age = stamp.map_or(0, |stamp| wall.saturating_sub(nanos(stamp)));
    Ok((read > 0).then(|| (&room[..read], monotonic_nanos() - age)))
}
