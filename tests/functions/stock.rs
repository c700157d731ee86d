//! The functions that `mother` has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use libtest_mimic::Trial;
use serde_json::json;

use crate::support::call;
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("sleep_ends", sleep_ends),
        trial("a_listener_is_waited_for", a_listener_is_waited_for),
        trial("an_answer_is_checked", an_answer_is_checked),
    ]
}

fn sleep_ends() {
    assert_eq!(call("sleep", &json!({"duration": "1ms"})).unwrap(), json!(null));
    let exception = call("sleep", &json!({"duration": "soon"})).unwrap_err();
    assert_eq!(exception.kind, "BadArguments");
    assert!(exception.message.starts_with("duration: `soon` is not a duration"), "{exception}");
}

fn a_listener_is_waited_for() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let reached = call("wait_for_tcp", &json!({"address": address})).unwrap();
    assert_eq!((&reached["address"], &reached["tries"]), (&json!(address), &json!(1)));
    drop(listener);
    let asked = json!({"address": address, "timeout": "200ms"});
    let exception = call("wait_for_tcp", &asked).unwrap_err();
    assert_eq!(exception.kind, "NotReached");
    let begin = format!("nobody accepts connections at {address}: Connection refused");
    assert!(exception.message.starts_with(&begin), "{exception}");
    assert!(exception.message.ends_with("times within 200ms)"), "{exception}");
}

/// A server that answers once with each of these.
fn serve(answers: &'static [&str]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            write!(stream, "HTTP/1.1 {answer}").unwrap();
        }
    });
    url
}

fn an_answer_is_checked() {
    const BUSY: &str = "503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const FINE: &str = "200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nall is up\n";
    const MOVED: &str =
        "301 Moved\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    let url = serve(&[BUSY, BUSY, FINE]);
    let reached = call("http_check", &json!({"url": url, "contains": "is up"})).unwrap();
    assert_eq!((&reached["status"], &reached["tries"]), (&json!(200), &json!(3)));

    let url = serve(&[MOVED]);
    let reached = call("http_check", &json!({"url": url, "expectStatus": 301})).unwrap();
    assert_eq!(reached["status"], 301);

    let url = serve(&[FINE]);
    let asked = json!({"url": url, "contains": "is down", "timeout": "1ms"});
    let exception = call("http_check", &asked).unwrap_err();
    assert_eq!(exception.kind, "NotReached");
    assert!(exception.message.contains("expected a body with \"is down\""), "{exception}");
}
