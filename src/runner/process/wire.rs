//! What worker, zygote and monitors say to each other: packets over pairs of Unix sockets.
//!
//! The zygote's socket carries parcels of descriptors, one per monitor. Everything else goes over the
//! monitor's own channel to the worker: a parcel that begins a step, and small JSON packets.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::Limit;
use super::{Ended, sys};
use crate::domain::definition::Wall;

/// How many descriptors start a monitor: its channel, the fence, the file of its specifications, and
/// those of what the worker takes from its steps' 1 and 2.
pub(super) const MONITOR_PARCEL: usize = 5;

/// How many start a step, at the least: the worker's ends of its 1 and 2, and its 0, 1 and 2.
pub(super) const STEP_PARCEL: usize = 5;

/// How many there are with those that the caller passes.
pub(super) const PARCEL_MAX: usize = STEP_PARCEL + super::PASSED_MAX;

/// The longest JSON packet; all of them are a line of numbers.
const PACKET_BYTES_MAX: usize = 1024;

/// What the worker asks of a monitor about its step.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send this signal to the step's process group.
    Signal(i32),
    /// Kill the step and all its descendants.
    KillTree,
    /// The worker has all that the step wrote: nothing is to be saved. It is the last word on the step,
    /// after its end; what follows is the parcel of another one.
    Release,
}

/// What a monitor tells the worker, or the zygote in the place of a monitor that was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The step runs; with it comes a descriptor of its FIFO, if it has one. (From the zygote itself,
    /// over its own socket: it serves.)
    Started { pid: i32 },
    /// The step could not be started.
    Refused(Refusal),
    /// The step and all its descendants are gone.
    Ended(Ended),
}

/// A start that failed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) stage: Stage,
    pub(super) errno: i32,
    /// What the operating system did not do, or why nobody asked it.
    pub(super) action: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(stage: Stage, errno: Errno, action: &'static str) -> Self {
        Self { stage, errno: errno as i32, action: action.into() }
    }

    /// Of an error that has a number of the operating system, or should.
    pub(super) fn of_io(stage: Stage, error: &io::Error, action: &'static str) -> Self {
        Self { stage, errno: error.raw_os_error().unwrap_or(libc::EIO), action: action.into() }
    }
}

/// Where the start of a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Preparing the process: memory, descriptors, process ids.
    Host,
    /// Making what it finds in the file system.
    Supplies,
    /// Entering the working folder.
    Cwd,
    /// Finding and executing the program.
    Program,
    /// Holding a limit.
    Limit(Limit),
    /// Putting up a wall.
    Wall(Wall),
}

/// Two connected sockets that keep packets apart and are closed on exec.
pub(super) fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Sends one message without waiting.
pub(super) fn send_message(socket: impl AsFd, message: &impl Serialize) -> nix::Result<()> {
    send_with(socket, message, None)
}

/// Sends one message with a descriptor, if there is one.
pub(super) fn send_with(
    socket: impl AsFd,
    message: &impl Serialize,
    fd: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let packet = serde_json::to_vec(message).map_err(|_| Errno::EBADMSG)?;
    send_packet(socket.as_fd(), &packet, fd.as_slice())
}

/// Receives one message without waiting; `None`: the other end is closed.
pub(super) fn receive_message<T: DeserializeOwned>(socket: impl AsFd) -> nix::Result<Option<T>> {
    Ok(receive_with(socket)?.map(|(message, _)| message))
}

/// Receives one message, and the descriptor that came with it.
pub(super) fn receive_with<T: DeserializeOwned>(
    socket: impl AsFd,
) -> nix::Result<Option<(T, Option<OwnedFd>)>> {
    let mut packet = [0_u8; PACKET_BYTES_MAX];
    loop {
        match sys::receive(socket.as_fd(), &mut packet) {
            Ok((0, _)) => return Ok(None),
            Ok((length, descriptors)) => {
                let message = serde_json::from_slice(&packet[..length]);
                let message = message.map_err(|_| Errno::EBADMSG)?;
                return Ok(Some((message, descriptors.into_iter().next())));
            }
            // Told once, when the other end closed before it had read all; what it had sent
            // before is still to be received.
            Err(Errno::ECONNRESET | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends descriptors that start something, without waiting. The packet itself is their number,
/// because fewer may arrive.
pub(super) fn send_parcel(socket: BorrowedFd<'_>, parcel: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let count = u8::try_from(parcel.len()).map_err(|_| Errno::E2BIG)?;
    send_packet(socket, &[count], parcel)
}

fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> nix::Result<()> {
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[_] = if numbers.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(packet)], control, flags, None).map(drop)
}

/// Receives one parcel without waiting; `None`: the other end is closed.
pub(super) fn receive_parcel(socket: BorrowedFd<'_>) -> nix::Result<Option<Parcel>> {
    let mut count = [0];
    let (length, arrived) = sys::receive(socket, &mut count)?;
    Ok((length > 0).then(|| Parcel { sent: usize::from(count[0]), arrived }))
}

/// The descriptors of one parcel as they arrived.
#[derive(Debug)]
pub(super) struct Parcel {
    /// How many were sent.
    pub(super) sent: usize,
    /// Those that arrived: fewer where the receiver is out of descriptors.
    pub(super) arrived: Vec<OwnedFd>,
}

impl Parcel {
    /// Whether all of them arrived, and at least so many.
    pub(super) fn is_whole(&self, least: usize) -> bool {
        self.arrived.len() == self.sent && self.sent >= least
    }
}
