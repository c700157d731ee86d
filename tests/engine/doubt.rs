//! Claims that were stored while their answer was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sutbot::domain::OperationState;
use sutbot::domain::decide::Ending;
use sutbot::engine::{Engine, EngineSettings, Store, StoreSettings};
use sutbot::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::support::{database, ended, seat, settings, submit, within};
use crate::{next, report};

/// A statement that stores a batch is longer than any other that is prepared.
const BATCH_BYTES: usize = 1_000;

/// An address in front of a database that can swallow the answer to a commit.
struct Address {
    url: String,
    swallows: Arc<AtomicBool>,
}

impl Address {
    async fn of(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
        let socket = format!("{folder}/.s.PGSQL.5432");
        let name = url.split(['/', '?']).nth(3).unwrap();
        let url = format!("postgres://mother@127.0.0.1:{port}/{name}?sslmode=disable");
        let swallows = Arc::new(AtomicBool::new(false));
        let armed = Arc::clone(&swallows);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let database = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(pass_on(client, database, Arc::clone(&armed)));
            }
        });
        Self { url, swallows }
    }
}

/// Passes on what both say until one ends, or until the answer to the commit of a batch is swallowed.
async fn pass_on(client: TcpStream, database: UnixStream, swallows: Arc<AtomicBool>) {
    let (mut asked, mut to_client) = client.into_split();
    let (mut answered, mut to_database) = database.into_split();
    let commits = AtomicBool::new(false);
    let ask = async {
        let (mut bytes, mut is_open, mut has_batch) = (vec![0; 1 << 16], false, false);
        while let Ok(count @ 1..) = asked.read(&mut bytes).await {
            let says = |word: &[u8]| bytes[..count].windows(word.len()).any(|part| part == word);
            is_open |= says(b"BEGIN");
            has_batch |= is_open && count > BATCH_BYTES;
            let is_end = is_open && says(b"COMMIT");
            commits.store(is_end && has_batch, Ordering::Relaxed);
            (is_open, has_batch) = (is_open && !is_end, has_batch && !is_end);
            if to_database.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    let answer = async {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = answered.read(&mut bytes).await {
            let is_lost =
                commits.load(Ordering::Relaxed) && swallows.swap(false, Ordering::Relaxed);
            if is_lost || to_client.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = ask => {}
        () = answer => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_without_an_answer_is_run() {
    let address = Address::of(&database().await).await;
    let store = Store::new(&StoreSettings::new(&address.url)).unwrap();
    store.migrate().await.unwrap();
    let settings = EngineSettings { lanes: 1, ..settings() };
    let engine = Engine::start(store, settings, wire::decode_definition).await.unwrap();
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    // Nothing else is stored from here on but that it is given to this worker.
    address.swallows.store(true, Ordering::Relaxed);
    let worker = engine.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let assignment = next(&worker).await;
    assert_eq!((assignment.operation, assignment.attempt), (id, 1));
    assert!(!address.swallows.load(Ordering::Relaxed), "no answer was swallowed");
    let settled = within(worker.settle(vec![report(&assignment, Ending::Succeeded)])).await;
    assert!(settled[0].is_ok(), "{settled:?}");
    assert_eq!(ended(&engine, id).await.view.state, OperationState::Succeeded);
}
