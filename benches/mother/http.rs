//! The barest client of HTTP/1.1: one connection, one request at a time, no allocation per request.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

const ID_LENGTH: usize = 36;

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the last answer's body begins.
    body: usize,
    /// Where the last answer ends.
    end: usize,
}

/// The bytes of a request without a body.
pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{headers}\r\n").into_bytes()
}

/// The bytes of a request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    post_with(path, "", body)
}

/// The same with further headers.
pub(crate) fn post_with(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// The request that submits a jobset and is answered when its operation has ended.
pub(crate) fn submit_and_wait(body: &str) -> Vec<u8> {
    post_with("/v1.0/jobsets", "prefer: wait=30\r\n", body)
}

/// The request that waits for an operation to change.
pub(crate) fn wait(id: &str) -> Vec<u8> {
    get(&format!("/v1.0/operations/{id}"), "prefer: wait=30\r\n")
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // Thousands of them may idle.
        Ok(Self { stream, buffer: Vec::with_capacity(4 * 1024), body: 0, end: 0 })
    }

    /// Sends a request and takes the answer; answers its status.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                self.body = at + 4;
                break;
            }
        }
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        self.end = self.body + length.unwrap_or(0);
        while self.buffer.len() < self.end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = self.buffer.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Sends a request whose answer has no end; takes the head of the answer.
    pub(crate) async fn open(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.read_until(b"\r\n\r\n").await
    }

    /// Reads on until `mark` has come, and drops all that came.
    pub(crate) async fn read_until(&mut self, mark: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        while find(&self.buffer, mark).is_none() {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// A header of the last answer; its name in lower case, as the servers here write it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.buffer[..self.body]).ok()?;
        head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body..self.end]
    }

    /// Submits; answers the id of the operation.
    pub(crate) async fn submit(&mut self, request: &[u8]) -> Result<String, Failure> {
        let status = self.ask(request).await?;
        let location = self.header("operation-location");
        let id = location.and_then(|url| url.get(url.len().checked_sub(ID_LENGTH)?..));
        match (status, id) {
            (202, Some(id)) => Ok(id.to_owned()),
            _ => Err(self.failure(status)),
        }
    }

    /// Submits by a request that waits for the end, and sees that the operation succeeded.
    pub(crate) async fn run(&mut self, request: &[u8]) -> Result<(), Failure> {
        let id = self.submit(request).await?;
        let status = self.ask(&get(&format!("/v1.0/operations/{id}"), "")).await?;
        // The wait was over, and the operation was not.
        if self.has_succeeded(status)? { Ok(()) } else { self.follow(&id).await }
    }

    /// Waits until the operation succeeded.
    pub(crate) async fn follow(&mut self, id: &str) -> Result<(), Failure> {
        let request = wait(id);
        loop {
            let status = self.ask(&request).await?;
            if self.has_succeeded(status)? {
                return Ok(());
            }
        }
    }

    /// What the last answer says of an operation; one that failed is an error.
    fn has_succeeded(&self, status: u16) -> Result<bool, Failure> {
        if status != 200 || find(self.body(), br#""status":"failed""#).is_some() {
            return Err(self.failure(status));
        }
        Ok(find(self.body(), br#""status":"succeeded""#).is_some())
    }

    /// Asks for JSON.
    pub(crate) async fn json(&mut self, path: &str) -> Result<serde_json::Value, Failure> {
        match self.ask(&get(path, "")).await? {
            200 => Ok(serde_json::from_slice(self.body())?),
            status => Err(self.failure(status)),
        }
    }

    pub(crate) fn failure(&self, status: u16) -> Failure {
        format!("{status}: {}", String::from_utf8_lossy(self.body())).into()
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
