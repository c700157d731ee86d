//! The functions that `mother` has, as steps.

use serde_json::{Value, json};

use crate::support::{database, ended, host, submit};

#[tokio::test(flavor = "multi_thread")]
async fn mother_has_functions_of_its_own() {
    let url = database().await;
    let host = host(&url, 4).await;
    let call = |name: &str, arguments: Value| json!({"name": name, "run": {"function": {"name": name, "arguments": arguments}}});
    let document = json!({"steps": [
        call("sleep", json!({"duration": "1ms"})),
        call("wait_for_tcp", json!({"adress": "localhost:1"})),
        call("http_chek", json!(null)),
    ]});
    let id = submit(host.engine(), &document).await;
    ended(host.engine(), id).await;
    let attempts = host.engine().store().last_attempts(id, 0..3).await.unwrap();
    let mut told: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.step, attempt.result.clone(), attempt.exception.clone()))
        .collect();
    told.sort_by_key(|(step, ..)| *step);
    let message = |step: usize| told[step].2.as_ref().unwrap()["message"].as_str().unwrap();
    assert_eq!((&told[0].1, &told[0].2), (&Some(Value::Null), &None));
    assert!(message(1).starts_with("adress: unknown field `adress`, expected `address`"));
    assert!(
        message(2).ends_with(
            "(known: `http_check`, `sleep`, `wait_for_tcp`); did you mean `http_check`?"
        )
    );
    host.run_until(async {}).await.unwrap();
}
