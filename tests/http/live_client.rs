//! Our own client of streams, and the commands made of it.

use futures_util::StreamExt as _;
use serde_json::json;
use sutbot::client::{Client, ClientError};
use sutbot::wire::{Event, OutputPiece};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{PATIENCE, Service, own_service, service, shell};

/// A way to the service on which every answer breaks off after so many bytes.
async fn cut_after(service: &Service, bytes: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let target = service.base.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await.expect("the service");
                let (mut asked, mut answer) = near.into_split();
                let (from, mut to) = far.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut asked, &mut to).await });
                let _cut = tokio::io::copy(&mut from.take(bytes), &mut answer).await;
                let _cut = answer.shutdown().await;
            });
        }
    });
    format!("http://{address}")
}

async fn listed(service: &Service, id: &str) -> Vec<Event> {
    let url = format!("/v1.0/operations/{id}/events?$top=1000");
    serde_json::from_value(service.get(&url).await.expect(200).json()["value"].clone())
        .expect("events")
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up() {
    let service = service().await;
    let steps: Vec<_> =
        (0..20).map(|n| json!({"name": format!("s{n}"), "run": {"shell": "true"}})).collect();
    let id = service.submit(&json!({"steps": steps})).await.id();
    let client = Client::new(&cut_after(&service, 3_000).await, None).expect("a client");
    let events = timeout(PATIENCE, client.follow_events(&id, 0).collect::<Vec<_>>()).await;
    let events: Vec<Event> = events.expect("in time").into_iter().map(Result::unwrap).collect();
    assert_eq!(events, listed(&service, &id).await);
    let after: Vec<_> = client.follow_events(&id, 30).map(Result::unwrap).collect().await;
    assert_eq!(after, events[30..]);
}

#[tokio::test]
async fn a_refusal_is_told() {
    let service = service().await;
    let client = Client::new(&service.base, None).expect("a client");
    let mut events = Box::pin(client.follow_events("01900000-0000-7000-8000-000000000000", 0));
    let error = events.next().await.expect("an answer").unwrap_err();
    assert!(matches!(error, ClientError::Refused(status, _) if status == 404), "{error:?}");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn all_operations_are_followed() {
    let service = own_service(|_| {}).await;
    let client = Client::new(&service.base, None).expect("a client");
    let mut ended = Box::pin(client.follow_all(Some("state eq 'Succeeded'")));
    // It follows from when its request came, and only it knows when that was.
    let mut ids = Vec::new();
    let told = loop {
        ids.push(service.submit(&shell("true")).await.id());
        service.ended(&format!("/v1.0/operations/{}", ids[ids.len() - 1])).await;
        if let Some(Some(event)) = futures_util::FutureExt::now_or_never(ended.next()) {
            break event.expect("an event");
        }
    };
    assert!(ids.contains(&told.operation), "{told:?}");
}

async fn mother(service: &Service, arguments: String) -> Vec<u8> {
    let command = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(arguments.split(' '))
        .args(["--server", &service.base])
        .output();
    let output = timeout(PATIENCE, command).await.expect("in time").expect("it was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn documents<T: serde::de::DeserializeOwned>(lines: &[u8]) -> Vec<T> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
}

#[tokio::test]
async fn the_commands_follow_to_the_end() {
    let service = service().await;
    let id = service.submit(&shell(r"printf 'one\n\377\n'; echo two")).await.id();
    let (events, pieces, lines, bytes) = tokio::join!(
        mother(&service, format!("--json op events {id} --follow")),
        mother(&service, format!("--json op output {id} only --follow")),
        mother(&service, format!("op events {id} -f")),
        mother(&service, format!("op output {id} only -f")),
    );
    let events: Vec<Event> = documents(&events);
    assert_eq!(events, listed(&service, &id).await);
    let pieces: Vec<OutputPiece> = documents(&pieces);
    assert!(pieces.iter().zip(1..).all(|(piece, seq)| piece.seq == seq), "{pieces:?}");
    assert_eq!(bytes, b"one\n\xff\ntwo\n");
    for (part, expected) in [("--tail 4", "two\n"), ("--from 6", "two\n"), ("--from 99", "")] {
        let shown = mother(&service, format!("op output {id} only {part}")).await;
        assert_eq!(String::from_utf8(shown).expect("UTF-8"), expected, "{part}");
    }
    let lines = String::from_utf8(lines).expect("UTF-8");
    assert_eq!(lines.lines().count(), events.len());
    assert!(lines.contains("only #1  succeed  Running -> Succeeded"), "{lines}");
}
