//! Operations that many ask for at once, and those who wait for one.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use sutbot::domain::Stop;
use sutbot::domain::decide::Ending;
use sutbot::engine::EngineError;
use uuid::Uuid;

use crate::support::{database, engine, seat, submit, within};
use crate::{next, report, stop};

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_get_each_their_own() {
    let url = database().await;
    let engine = engine(&url).await;
    let wide: Vec<_> = (0..300).map(|n| json!({"name": format!("s{n}")})).collect();
    let mut ids = Vec::new();
    for n in 0..20 {
        // Of some more is kept than their row.
        let (steps, context) = match n % 3 {
            0 => (json!([{"name": "a"}]), json!(null)),
            1 => (json!([{"name": "a"}, {"name": "b"}]), json!({"n": n})),
            _ => (json!(wide), json!(null)),
        };
        let mut job = json!({"labels": {"n": n.to_string()}, "steps": steps});
        if n % 3 == 1 {
            job["context"] = context;
        }
        ids.push(submit(&engine, &job).await);
    }
    engine.stop(stop(ids[1], Stop::Cancel)).await.unwrap();
    let corrupt = ids[3];
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let spoil = sqlx::query("update operation set state = 99 where id = $1");
    spoil.bind(corrupt).execute(&mut connection).await.unwrap();
    // Everybody several times, and one that there is not.
    let unknown = engine.new_id();
    let asked: Vec<Uuid> = ids.iter().copied().chain([unknown]).cycle().take(200).collect();
    let answers = join_all(asked.iter().map(|id| engine.operation(*id))).await;
    for (id, answer) in asked.into_iter().zip(answers) {
        match answer {
            Err(EngineError::NotFound) => assert_eq!(id, unknown),
            Err(EngineError::Store(error)) => assert_eq!(id, corrupt, "{error}"),
            Err(error) => panic!("{error}"),
            Ok(found) => {
                let n = ids.iter().position(|known| *known == id).expect("it was asked for");
                assert_eq!(found.view.id, id);
                assert_eq!(found.view.labels, Some(json!({"n": n.to_string()})));
                assert_eq!(found.view.steps.len(), [1, 2, 300][n % 3]);
                assert_eq!(found.view.stop.is_some(), n == 1);
            }
        }
    }
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_what_another_process_committed() {
    let url = database().await;
    let (here, there) = (engine(&url).await, engine(&url).await);
    // Without a slot, but there is somebody to tell.
    let _listener = here.open_seat(seat(0, Duration::from_mins(1))).await.unwrap();
    let worker = there.open_seat(seat(1, Duration::from_mins(1))).await.unwrap();
    let id = submit(&there, &json!({"steps": [{"name": "a"}]})).await;
    let claimed = next(&worker).await;
    let mut watch = here.watch(id);
    let version = here.operation(id).await.unwrap().view.version;
    worker.settle(vec![report(&claimed, Ending::Succeeded)]).await.remove(0).unwrap();
    within(watch.past(version)).await;
    within(watch.ended()).await;
    assert!(here.operation(id).await.unwrap().view.state.is_final());
    here.shut_down().await;
    there.shut_down().await;
}
