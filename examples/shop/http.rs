//! Just enough HTTP/1.1 for a shop on the loopback interface: one request per connection.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Fallible;
use crate::stock::Stock;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request head that is read.
const HEAD_BYTES_MAX: u64 = 8192;

/// Serves until someone POSTs to `/shutdown`.
pub(crate) fn serve(stock: &Stock) -> Fallible<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    stock.publish_address(&address.to_string())?;
    println!("serving on http://{address}");
    let stopping = AtomicBool::new(false);
    thread::scope(|scope| {
        for stream in listener.incoming() {
            if stopping.load(Ordering::SeqCst) {
                break;
            }
            let stopping = &stopping;
            scope.spawn(move || {
                let asked_to_stop = stream.and_then(|stream| exchange(stream, stock));
                match asked_to_stop {
                    Ok(false) => {}
                    Ok(true) => stop(stopping, address),
                    Err(error) => eprintln!("a connection was lost: {error}"),
                }
            });
        }
    });
    println!("stopped");
    Ok(())
}

/// Makes the accept loop end: it sees the flag at the next connection, which is this one.
fn stop(stopping: &AtomicBool, address: SocketAddr) {
    stopping.store(true, Ordering::SeqCst);
    if let Err(error) = TcpStream::connect_timeout(&address, PATIENCE) {
        eprintln!("the accept loop could not be woken: {error}");
    }
}

/// Answers one request, and says whether it was the last one.
fn exchange(stream: TcpStream, stock: &Stock) -> Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new((&stream).take(HEAD_BYTES_MAX)).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}

    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (status, body) = route(stock, method, target)
        .unwrap_or_else(|error| (500, json!({ "error": error.to_string() })));
    println!("{status} {method} {target}");
    respond(stream, status, &body)?;
    Ok(status == 200 && target == "/shutdown")
}

/// The shop's whole interface.
fn route(stock: &Stock, method: &str, target: &str) -> Result<(u16, Value)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    Ok(match (method, segments.as_slice()) {
        ("POST", ["shutdown"]) => (200, json!({ "status": "stopping" })),
        ("GET", ["health"]) => (200, json!({ "status": "ok", "items": stock.items()?.len() })),
        ("GET", ["items", id]) => {
            match stock.items()?.into_iter().find(|item| item.id.to_string() == *id) {
                Some(item) => (200, json!(item)),
                None => (404, json!({ "error": format!("there is no item {id}") })),
            }
        }
        ("GET", ["total"]) => {
            let items = stock.items()?;
            let total: u32 = items.iter().map(|item| item.price_cents * item.in_stock).sum();
            (200, json!({ "total_cents": total }))
        }
        ("GET", ["search"]) => {
            let items = stock.search(query.strip_prefix("q=").unwrap_or(""))?;
            (200, json!({ "count": items.len(), "items": items }))
        }
        _ => (404, json!({ "error": format!("there is no {method} {path}") })),
    })
}

fn respond(mut stream: TcpStream, status: u16, body: &Value) -> Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        _ => "Internal Server Error",
    };
    let body = body.to_string();
    let length = body.len();
    stream.write_all(
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .as_bytes(),
    )
}

/// Sends a request without a body to the shop and returns the status and the body of the answer.
pub(crate) fn request(stock: &Stock, method: &str, target: &str) -> Fallible<(u16, String)> {
    let address: SocketAddr = stock.address()?.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).ok_or("the answer has no status")?.parse()?;
    Ok((status, body.to_owned()))
}
