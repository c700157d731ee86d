//! Asks a PostgreSQL whether it serves, the way a client does.
//!
//! A socket that accepts is not enough: postgres accepts while it still recovers, and says so only
//! in reply to a startup packet. So one is sent, and the reply decides.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::home::{DATABASE, SUPERUSER};

/// How long a server may take for one reply before it counts as not ready.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Protocol 3.0, which every supported version speaks.
const PROTOCOL: u32 = 3 << 16;
/// The message that ends a session.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];
/// More than any error reply of a starting server.
const REPLY_BYTES_MAX: u64 = 8 * 1024;

/// What a socket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody listens.
    Silent,
    /// A server is there, but it starts, recovers or shuts down.
    Busy,
    /// A server takes connections.
    Ready,
}

/// Asks once.
pub(super) async fn probe(socket: &Path) -> Answer {
    let Ok(stream) = UnixStream::connect(socket).await else { return Answer::Silent };
    match timeout(REPLY_TIMEOUT, greet(stream)).await {
        Ok(Ok(reply)) => judge(&reply),
        // The server took the connection and ended, or hangs: somebody is there.
        Ok(Err(_)) | Err(_) => Answer::Busy,
    }
}

/// Sends the startup packet and hands back the first message that comes back: kind, then body.
async fn greet(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    stream.write_all(&startup_packet()).await?;
    let kind = stream.read_u8().await?;
    let rest = stream.read_u32().await?.saturating_sub(4);
    let mut reply = vec![kind];
    let body = u64::from(rest).min(REPLY_BYTES_MAX);
    (&mut stream).take(body).read_to_end(&mut reply).await?;
    // Says good-bye and hears the server out: hanging up on it would fill its log with complaints.
    // Whatever goes wrong now, the reply is there.
    let _ = stream.write_all(&TERMINATE).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    Ok(reply)
}

fn startup_packet() -> Vec<u8> {
    let body = format!("user\0{SUPERUSER}\0database\0{DATABASE}\0\0");
    let len = u32::try_from(body.len() + 8).expect("a few words are shorter than 4 GiB");
    [&len.to_be_bytes(), &PROTOCOL.to_be_bytes(), body.as_bytes()].concat()
}

/// Busy is an error of class 57P ("operator intervention": starting up, shutting down). With any
/// other error the server is up, and the real connection will tell the error better.
fn judge(reply: &[u8]) -> Answer {
    let Some((b'E', fields)) = reply.split_first() else { return Answer::Ready };
    let busy = fields.split(|&byte| byte == 0).any(|field| field.starts_with(b"C57P"));
    if busy { Answer::Busy } else { Answer::Ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_judged_by_their_error_code() {
        assert_eq!(judge(b"R\0\0\0\0"), Answer::Ready);
        assert_eq!(
            judge(b"ESFATAL\0C57P03\0Mthe database system is starting up\0\0"),
            Answer::Busy
        );
        assert_eq!(judge(b"ESFATAL\0C53300\0Mtoo many clients already\0\0"), Answer::Ready);
    }

    #[tokio::test]
    async fn no_socket_is_silence() {
        assert_eq!(probe(Path::new("/nonexistent/.s.PGSQL.5432")).await, Answer::Silent);
    }
}
