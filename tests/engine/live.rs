//! Following: nothing is lost or told twice, whoever is slow and whoever committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, PgConnection};
use sutbot::domain::{OperationState, Stop};
use sutbot::engine::{
    ContextPatch, Engine, EventFollower, Followed, LiveEvent, RingFollowed, RingFollower,
};
use uuid::Uuid;

use crate::stop;
use crate::support::{database, engine, history, host, seat, submit, within};

async fn patch(engine: &Engine, operation: Uuid, n: usize) {
    let patch = ContextPatch { operation, patch: json!({"n": n}), expected: None };
    engine.patch_context(patch).await.unwrap();
}

/// The numbers of all events up to the end, and the state in which it ended.
async fn to_the_end(follower: &mut EventFollower) -> (Vec<i32>, OperationState) {
    let mut told = Vec::new();
    loop {
        match within(follower.next()).await.unwrap() {
            Followed::Events(events) => told.extend(events.iter().map(|event| event.view.seq)),
            Followed::Ended(state) => return (told, state),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_slow_reads_on_from_the_store() {
    let engine = engine(&database().await).await;
    let id = submit(&engine, &json!({"steps": [{"name": "a"}]})).await;
    let found = engine.operation(id).await.unwrap();
    let mut slow = engine.follow_events(&found, 0);
    let Followed::Events(events) = within(slow.next()).await.unwrap() else { panic!("events") };
    assert_eq!(events.len(), 1);
    let mut quick = engine.follow_events(&found, 1);
    // One after the other, so that each is told by itself: far more than a channel holds.
    for n in 0..300 {
        patch(&engine, id, n).await;
        let Followed::Events(events) = within(quick.next()).await.unwrap() else {
            panic!("an event")
        };
        assert_eq!(events[0].view.seq, i32::try_from(n).unwrap() + 2);
    }
    engine.stop(stop(id, Stop::Cancel)).await.unwrap();
    let (told, state) = to_the_end(&mut slow).await;
    let version = engine.operation(id).await.unwrap().view.version;
    assert_eq!(told, (2..=version).collect::<Vec<_>>());
    assert_eq!(state, OperationState::Cancelled);
    assert_eq!(to_the_end(&mut quick).await.0, (302..=version).collect::<Vec<_>>());
    engine.shut_down().await;
}

/// Reads what happened to all operations into `seen` until `enough`.
async fn read(
    ring: &mut RingFollower,
    seen: &mut BTreeMap<Uuid, Vec<Arc<LiveEvent>>>,
    enough: impl Fn(&BTreeMap<Uuid, Vec<Arc<LiveEvent>>>) -> bool,
) {
    while !enough(seen) {
        match within(ring.next()).await {
            RingFollowed::Events(events) => {
                for (_, event) in events {
                    seen.entry(event.operation).or_default().push(event);
                }
            }
            // When its listener stands it cannot know what was told before.
            RingFollowed::Lost(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_servers_commit_is_told_once_and_in_order() {
    let url = database().await;
    let (first, second) = tokio::join!(host(&url, 4), host(&url, 4));
    let engines = [first.engine().clone(), second.engine().clone()];
    let mut ring = engines[0].follow_all(None);
    let mut seen = BTreeMap::new();
    // They tell each other once they know of each other.
    within(async {
        loop {
            let id = submit(&engines[1], &json!({"steps": [{"name": "a"}]})).await;
            let heard = read(&mut ring, &mut seen, |seen| seen.contains_key(&id));
            if tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok() {
                break;
            }
        }
    })
    .await;
    seen.clear();
    let steps: Vec<_> =
        (0..20).map(|n| json!({"name": format!("s{n}"), "run": {"command": ["true"]}})).collect();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(submit(&engines[n % 2], &json!({"steps": steps})).await);
    }
    let is_over = |events: &Vec<Arc<LiveEvent>>| {
        events.iter().any(|event| event.view.state.is_some_and(OperationState::is_final))
    };
    read(&mut ring, &mut seen, |seen| ids.iter().all(|id| seen.get(id).is_some_and(is_over))).await;
    let mut workers = std::collections::BTreeSet::new();
    for id in &ids {
        let told: Vec<i32> = seen[id].iter().map(|event| event.view.seq).collect();
        let events = history(&engines[1], *id).await;
        assert_eq!(told, events.iter().map(|event| event.seq).collect::<Vec<_>>());
        workers.extend(events.iter().filter_map(|event| event.worker));
    }
    assert_eq!(workers.len(), 2, "one of the servers did nothing");
    for host in [first, second] {
        host.run_until(async {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_tells_is_found_by_looking() {
    let url = database().await;
    // Without a seat it believes itself alone and tells nothing.
    let (listening, silent) = tokio::join!(engine(&url), engine(&url));
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let other = "insert into worker (name, host, pid, slots, lease_until)
        values ('other', 'there', 2, 1, now() + interval '1 hour')";
    sqlx::raw_sql(other).execute(&mut connection).await.unwrap();
    let _seat = listening.open_seat(seat(0, Duration::from_mins(1))).await.unwrap();
    let id = submit(&silent, &json!({"steps": [{"name": "a"}]})).await;
    let found = listening.operation(id).await.unwrap();
    let mut follower = listening.follow_events(&found, found.view.version);
    for n in 0..2 {
        patch(&silent, id, n).await;
        let Followed::Events(events) = within(follower.next()).await.unwrap() else {
            panic!("an event")
        };
        assert_eq!(events.len(), 1);
    }
    silent.stop(stop(id, Stop::Cancel)).await.unwrap();
    assert_eq!(to_the_end(&mut follower).await.1, OperationState::Cancelled);
    for engine in [listening, silent] {
        engine.shut_down().await;
    }
}
