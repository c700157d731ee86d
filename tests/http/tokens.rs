//! Bearer tokens: who is let in, what each role may do, and what is said to the others.

use std::time::Duration;

use sutbot::cli::TokenRule;
use sutbot::domain::access::Role;
use sutbot::engine::create_token;
use tokio::time::{Instant, timeout};

use crate::support::{Answer, OwnService, PATIENCE, own_service, shell, two_services};

/// The id of a new token, and the header that shows it.
async fn token(service: &OwnService, role: Role, lifetime: Option<Duration>) -> (i64, String) {
    let made = create_token(&service.store(), role, "of a test".to_owned(), lifetime).await;
    let (id, token) = made.expect("a database").expect("few tokens");
    (id, format!("Bearer {}", token.reveal()))
}

async fn get(service: &OwnService, url: &str, authorization: &str) -> Answer {
    service.get_with(url, "authorization", authorization).await
}

fn asking(settings: &mut sutbot::cli::HostSettings) {
    settings.tokens = TokenRule::Always;
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in() {
    let service = own_service(asking).await;
    for url in ["/v1.0/operations", "/beta/operations", "/metrics", "/v1.0/nothing"] {
        let answer = service.get(url).await;
        assert_eq!(answer.error(401)["code"], "MissingToken", "{url}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"mother\"");
    }
    let answer = service.post(shell("true").to_string(), &[]).await;
    assert_eq!(answer.error(401)["target"], "Authorization");
    let wrong = ["Bearer nonsense", "Bearer ", "Bearer", "Basic bW90aGVyOg==", "", "sut_client_x"];
    for authorization in wrong {
        let answer = get(&service, "/v1.0/operations", authorization).await;
        assert_eq!(answer.error(401)["code"], "InvalidToken", "{authorization}");
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    }
    let (_, client) = token(&service, Role::Client, None).await;
    get(&service, "/v1.0/operations", &format!("{client}x")).await.error(401);
    get(&service, "/v1.0/operations", &client[..client.len() - 1]).await.error(401);
    for url in ["/livez", "/readyz", "/openapi.json", "/docs/"] {
        service.get(url).await.expect(200);
    }
}

#[tokio::test]
async fn each_role_may_do_its_own() {
    let service = own_service(asking).await;
    let (_, client) = token(&service, Role::Client, None).await;
    let (_, worker) = token(&service, Role::Worker, None).await;
    let (_, admin) = token(&service, Role::Admin, None).await;
    for authorization in [&client, &admin, &client.replace("Bearer", "bEARER")] {
        let headers = [("authorization", authorization.as_str())];
        let made = service.submit_with(&shell("true"), &headers).await;
        get(&service, &made.url, authorization).await.expect(200);
        get(&service, "/metrics", authorization).await.expect(200);
    }
    let refused = get(&service, "/v1.0/operations", &worker).await;
    assert_eq!(refused.error(403)["code"], "InsufficientRole");
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"client\""));
    let post = [("authorization", worker.as_str())];
    service.post(shell("true").to_string(), &post).await.error(403);
}

#[tokio::test]
async fn a_token_is_good_for_its_time() {
    let service = own_service(asking).await;
    let (_, short) = token(&service, Role::Client, Some(Duration::from_millis(1))).await;
    get(&service, "/v1.0/operations", &short).await.error(401);
    let (_, long) = token(&service, Role::Client, Some(Duration::from_hours(1))).await;
    get(&service, "/v1.0/operations", &long).await.expect(200);
    let mut database = service.database().await;
    let expire = "update token set expires = clock_timestamp() where revoked is null";
    sqlx::query(expire).execute(&mut database).await.expect("a table");
    until_refused(&service, &long).await;
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_all_servers_and_its_streams_end() {
    let services = two_services(asking).await;
    let (id, client) = token(&services[0], Role::Client, None).await;
    let headers = [("authorization", client.as_str()), ("accept", "text/event-stream")];
    let made = services[0].submit_with(&shell("sleep 600"), &headers[..1]).await;
    let path = format!("/v1.0/operations/{}", made.id());
    let mut streams = Vec::new();
    for service in &services {
        get(service, &path, &client).await.expect(200);
        let stream = service.open(&format!("{path}/events"), &headers).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    assert!(services[0].store().revoke_token(id).await.expect("a database"));
    for service in &services {
        until_refused(service, &client).await;
    }
    for mut stream in streams {
        let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
        timeout(PATIENCE, end).await.expect("the stream ends");
    }
    assert!(!services[0].store().revoke_token(id + 1_000).await.expect("a database"));
}

/// Ends when the token is refused, which takes some seconds.
async fn until_refused(service: &OwnService, authorization: &str) {
    let deadline = Instant::now() + PATIENCE;
    while get(service, "/v1.0/operations", authorization).await.status != 401 {
        assert!(Instant::now() < deadline, "it is still good");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn only_hashes_are_stored_and_use_is_noted() {
    let service = own_service(asking).await;
    let (id, client) = token(&service, Role::Client, None).await;
    get(&service, "/v1.0/operations", &client).await.expect(200);
    let deadline = Instant::now() + PATIENCE;
    let used = loop {
        let tokens = service.store().tokens().await.expect("a database");
        let token = tokens.into_iter().find(|token| token.id == id).expect("it is listed");
        if token.last_used.is_some() {
            break token;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!format!("{used:?}").contains(&client["Bearer ".len()..]));
    assert_eq!((used.role(), used.name.as_str()), (Some(Role::Client), "of a test"));
}

#[tokio::test]
async fn a_server_on_loopback_asks_for_no_token_and_minds_none() {
    let service = crate::support::service().await;
    service.get("/v1.0/operations").await.expect(200);
    service.get_with("/v1.0/operations", "authorization", "Bearer nonsense").await.expect(200);
}
