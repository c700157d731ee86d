//! Functions that every test and every repair needs, and that `mother` has.

use std::convert::Infallible;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};

use super::Functions;
use super::exception::{Exception, with_causes};
use crate::domain::duration;

/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest a single try may take.
const TRY_MAX: Duration = Duration::from_secs(5);
/// How long is tried where the arguments do not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest body that is looked at.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The functions that `mother` has:
///
/// | name | arguments | result |
/// |---|---|---|
/// | `sleep` | `{"duration": "5s"}` | `null` |
/// | `wait_for_tcp` | `{"address": "host:port", "timeout": "30s"}` | `{"address", "tries", "seconds"}` once somebody accepts connections there |
/// | `http_check` | `{"url": "...", "expectStatus": 200, "contains": "text", "timeout": "30s"}` | `{"status", "tries", "seconds"}` once a GET is answered so |
///
/// `timeout`, `expectStatus` and `contains` may be left out. Both checks are tried again until the
/// timeout is over, and then fail with the exception `NotReached` and what the last try found.
#[must_use]
pub fn stock() -> Functions {
    Functions::new()
        .register("sleep", |Sleep { duration }| {
            sleep(duration);
            Ok::<_, Infallible>(())
        })
        .register("wait_for_tcp", wait_for_tcp)
        .register("http_check", http_check)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    #[serde(deserialize_with = "read_duration")]
    duration: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcp {
    address: String,
    #[serde(default = "timeout", deserialize_with = "read_duration")]
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Http {
    url: String,
    #[serde(default = "ok")]
    expect_status: u16,
    contains: Option<String>,
    #[serde(default = "timeout", deserialize_with = "read_duration")]
    timeout: Duration,
}

/// What was reached, and what it took.
#[derive(Serialize)]
struct Reached<T> {
    #[serde(flatten)]
    what: T,
    tries: u32,
    seconds: f64,
}

#[derive(Serialize)]
struct Accepted {
    address: String,
}

#[derive(Serialize)]
struct Answered {
    status: u16,
}

const fn timeout() -> Duration {
    TIMEOUT
}

const fn ok() -> u16 {
    StatusCode::OK.as_u16()
}

fn read_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map_err(serde::de::Error::custom)
}

/// Tries until it works or the time is over. At least one try is made, and each is told how long it
/// may take.
fn until<T>(
    timeout: Duration,
    attempt: impl Fn(Duration) -> Result<T, String>,
) -> Result<Reached<T>, Exception> {
    let begun = Instant::now();
    for tries in 1.. {
        let left = timeout.saturating_sub(begun.elapsed());
        match attempt(left.clamp(PAUSE, TRY_MAX)) {
            Ok(what) => {
                return Ok(Reached { what, tries, seconds: begun.elapsed().as_secs_f64() });
            }
            Err(reason) if begun.elapsed() + PAUSE >= timeout => {
                let within = duration::print(timeout);
                let message = format!("{reason} (tried {tries} times within {within})");
                return Err(Exception::new("NotReached", message));
            }
            Err(_) => sleep(PAUSE),
        }
    }
    unreachable!("the timeout ends the loop")
}

fn wait_for_tcp(Tcp { address, timeout }: Tcp) -> Result<Reached<Accepted>, Exception> {
    until(timeout, |patience| {
        connect(&address, patience)
            .map(|_| Accepted { address: address.clone() })
            .map_err(|error| format!("nobody accepts connections at {address}: {error}"))
    })
}

/// Connects to the first of the address's places that accepts.
fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut reason = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for place in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

fn http_check(asked: Http) -> Result<Reached<Answered>, Exception> {
    // A process may do this once; whoever was first has done the same.
    _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exception::of_error(error.into()))?;
    // What a redirection answers with is an answer too.
    let client = Client::builder().redirect(Policy::none()).build();
    let client = client.map_err(|error| Exception::of_error(error.into()))?;
    let Http { url, expect_status, contains, timeout } = asked;
    until(timeout, |patience| {
        let request = client.get(&url).timeout(patience);
        let answered = runtime.block_on(check(request, expect_status, contains.as_deref()));
        answered.map_err(|reason| format!("GET {url}: {reason}"))
    })
}

/// One request, and whether it is answered as it should be.
async fn check(
    request: RequestBuilder,
    expected: u16,
    contains: Option<&str>,
) -> Result<Answered, String> {
    let mut response = request.send().await.map_err(|error| with_causes(&error))?;
    let status = response.status().as_u16();
    if status != expected {
        return Err(format!("expected {expected}, got {status}"));
    }
    let Some(text) = contains else { return Ok(Answered { status }) };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| with_causes(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            return Err(format!("the body has more than {BODY_BYTES_MAX} bytes"));
        }
    }
    if String::from_utf8_lossy(&body).contains(text) {
        Ok(Answered { status })
    } else {
        Err(format!("expected a body with {text:?}, got another one"))
    }
}
