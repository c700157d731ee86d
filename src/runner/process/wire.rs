//! What worker, zygote and monitors say to each other: packets over pairs of Unix sockets.
//!
//! The zygote's socket carries parcels of descriptors, one parcel per step. Everything else goes
//! over the step's own channel, between worker and monitor, as small JSON packets.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Ended;
use super::limits::Limit;
use crate::domain::definition::Wall;

/// How many descriptors start a step, at the least: its channel, its specification, the fence, what
/// the worker takes from its 1 and 2, and its 0, 1 and 2.
pub(super) const PARCEL_MIN: usize = 8;

/// How many there are with those that the caller passes.
pub(super) const PARCEL_MAX: usize = PARCEL_MIN + super::PASSED_MAX;

/// The longest JSON packet; all of them are a line of numbers.
const PACKET_BYTES_MAX: usize = 1024;

/// What the worker asks of a monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send this signal to the step's process group.
    Signal(i32),
    /// Kill the step and all its descendants.
    KillTree,
    /// The worker has all that the step wrote: nothing is to be saved.
    Release,
}

/// What a monitor tells the worker, or the zygote in the place of a monitor that was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The step runs. (From the zygote itself, over its own socket: it serves.)
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
    let packet = serde_json::to_vec(message).map_err(|_| Errno::EBADMSG)?;
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    send(socket.as_fd().as_raw_fd(), &packet, flags).map(drop)
}

/// Receives one message without waiting; `None`: the other end is closed.
pub(super) fn receive_message<T: DeserializeOwned>(socket: impl AsFd) -> nix::Result<Option<T>> {
    let mut packet = [0_u8; PACKET_BYTES_MAX];
    loop {
        match recv(socket.as_fd().as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                let message = serde_json::from_slice(&packet[..length]);
                return message.map(Some).map_err(|_| Errno::EBADMSG);
            }
            // Told once, when the other end closed before it had read all; what it had sent
            // before is still to be received.
            Err(Errno::ECONNRESET | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends the descriptors that start one step, without waiting. The packet itself is their number,
/// because fewer may arrive.
pub(super) fn send_parcel(socket: BorrowedFd<'_>, parcel: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let count = u8::try_from(parcel.len()).map_err(|_| Errno::E2BIG)?;
    let numbers: Vec<_> = parcel.iter().map(AsRawFd::as_raw_fd).collect();
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let control = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[count])], &control, flags, None).map(drop)
}

/// The descriptors of one parcel as they arrived.
#[derive(Debug)]
pub(super) struct Parcel {
    /// How many were sent.
    pub(super) sent: usize,
    /// Those that arrived: fewer where the receiver is out of descriptors.
    pub(super) arrived: Vec<OwnedFd>,
}
