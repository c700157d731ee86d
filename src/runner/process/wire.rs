//! What worker, zygote and monitors say to each other: packets of JSON over pairs of Unix sockets, with
//! descriptors where something is to be started.
//!
//! The zygote's socket starts monitors. Everything else goes over the monitor's own channel to the
//! worker.

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
pub(super) const MONITOR_DESCRIPTORS: usize = 5;

/// How many start a step, at the least: the worker's ends of its 1 and 2, and its 0, 1 and 2.
pub(super) const STEP_DESCRIPTORS: usize = 5;

/// How many there are with those that the caller passes.
pub(super) const DESCRIPTORS_MAX: usize = STEP_DESCRIPTORS + super::PASSED_MAX;

/// The longest JSON packet; all of them are a line of numbers.
const PACKET_BYTES_MAX: usize = 1024;

/// What the worker asks of the zygote, and of a monitor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Start a monitor, or a step whose specification is in memory. With it come so many descriptors;
    /// fewer arrive where the receiver has no room for them.
    Start { descriptors: usize },
    /// Send this signal to the step's process group.
    Signal(i32),
    /// Kill the step and all its descendants.
    KillTree,
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
    send_with(socket.as_fd(), message, &[])
}

/// Asks for a start, without waiting.
pub(super) fn send_start(socket: BorrowedFd<'_>, with: &[BorrowedFd<'_>]) -> nix::Result<()> {
    send_with(socket, &Request::Start { descriptors: with.len() }, with)
}

fn send_with(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> nix::Result<()> {
    let packet = serde_json::to_vec(message).map_err(|_| Errno::EBADMSG)?;
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[_] = if numbers.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&packet)], control, flags, None).map(drop)
}

/// Receives one message without waiting; `None`: the other end is closed.
pub(super) fn receive_message<T: DeserializeOwned>(socket: impl AsFd) -> nix::Result<Option<T>> {
    Ok(receive_with(socket)?.map(|(message, _)| message))
}

/// Receives one message and the descriptors that have arrived with it.
pub(super) fn receive_with<T: DeserializeOwned>(
    socket: impl AsFd,
) -> nix::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = [0_u8; PACKET_BYTES_MAX];
    loop {
        match sys::receive(socket.as_fd(), &mut packet) {
            Ok((0, _)) => return Ok(None),
            Ok((length, descriptors)) => {
                let message = serde_json::from_slice(&packet[..length]);
                return message.map(|m| Some((m, descriptors))).map_err(|_| Errno::EBADMSG);
            }
            // Told once, when the other end closed before it had read all; what it had sent
            // before is still to be received.
            Err(Errno::ECONNRESET | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
