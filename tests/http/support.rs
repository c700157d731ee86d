//! Services to be asked, and the asking.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use sutbot::cli::{Host, HostSettings};
use sutbot::engine::{Store, StoreSettings};
use sutbot::postgres::{self, Cluster};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Services of their own that may run at once: each has its connections to the database.
const OWN_SERVICES_MAX: usize = 4;

/// What all tests of this program share.
struct Ground {
    runtime: Runtime,
    folder: String,
    cluster: OnceCell<Cluster>,
    shared: OnceCell<String>,
    places: Arc<Semaphore>,
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        // As root, the account of postgres has to get through.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("chmod");
        let folder = folder.to_str().expect("a path of ASCII").to_owned();
        remove_at_the_end(&folder);
        Ground {
            runtime: Runtime::new().expect("a runtime"),
            folder,
            cluster: OnceCell::new(),
            shared: OnceCell::new(),
            places: Arc::new(Semaphore::new(OWN_SERVICES_MAX)),
        }
    })
}

/// What is shared is never dropped, so another process sees to it: one whose input ends when this
/// one does.
fn remove_at_the_end(folder: &str) {
    let script = "cat; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf \"$1\" && exit; sleep 1; done";
    let broom = Command::new("/bin/sh")
        .args(["-c", script, "sh", folder])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    std::mem::forget(broom.expect("a shell"));
}

impl Ground {
    /// Runs where it outlives the test that asks for it.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.spawn(work).await.expect("no panic")
    }

    async fn database(&self, name: &str) -> String {
        let start = || {
            let settings =
                postgres::Settings { durable: false, ..postgres::Settings::new(&self.folder) };
            self.run(async move { postgres::start(&settings).await.expect("a cluster") })
        };
        let url = self.cluster.get_or_init(start).await.url();
        let mut connection = PgConnection::connect(&url).await.expect("the cluster serves");
        let query = format!("create database {name} template template0");
        sqlx::raw_sql(sqlx::AssertSqlSafe(query)).execute(&mut connection).await.expect("a name");
        url.replacen("///mother?", &format!("///{name}?"), 1)
    }

    /// On an empty database.
    async fn own_settings(&self) -> HostSettings {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        self.settings(&format!("own_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await
    }

    async fn settings(&self, database: &str) -> HostSettings {
        HostSettings {
            listen: Some("127.0.0.1:0".parse().expect("an address")),
            database_url: Some(self.database(database).await),
            slots: 32,
            zygote_exe: Some(env!("CARGO_BIN_EXE_mother").into()),
            ..HostSettings::new(format!("{}/{database}", self.folder))
        }
    }
}

async fn start(settings: HostSettings) -> (Host, String) {
    let host = Host::start(settings).await.expect("a service");
    let base = format!("http://{}", host.address().expect("it listens"));
    (host, base)
}

/// A service and a client of it.
#[derive(Clone)]
pub(crate) struct Service {
    /// `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    client: Client,
}

/// A service that only one test uses; ends with it.
pub(crate) struct OwnService {
    service: Service,
    database_url: String,
    end: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl OwnService {
    /// Its database.
    pub(crate) fn store(&self) -> Store {
        Store::new(&StoreSettings::new(self.database_url.clone())).expect("a URL")
    }

    /// A connection to its database.
    pub(crate) async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.database_url).await.expect("the cluster serves")
    }

    /// Ends the service; its database stays.
    pub(crate) async fn end(self) {
        drop(self.end);
        self.ended.await.expect("an orderly end");
    }
}

impl Deref for OwnService {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// The service that most tests share.
pub(crate) async fn service() -> Service {
    let ground = ground();
    let start = || async {
        let settings = ground.settings("shared").await;
        ground
            .run(async {
                let (host, base) = start(settings).await;
                tokio::spawn(host.run_until(std::future::pending()));
                base
            })
            .await
    };
    Service::at(ground.shared.get_or_init(start).await.clone())
}

/// A service on an empty database, with settings of its own.
pub(crate) async fn own_service(adapt: impl FnOnce(&mut HostSettings)) -> OwnService {
    let ground = ground();
    let place = Arc::clone(&ground.places).acquire_owned().await.expect("never closed");
    let mut settings = ground.own_settings().await;
    adapt(&mut settings);
    own_service_of(settings, place).await
}

/// Two services on one empty database.
pub(crate) async fn two_services(adapt: impl Fn(&mut HostSettings)) -> [OwnService; 2] {
    let ground = ground();
    let mut places = Arc::clone(&ground.places).acquire_many_owned(2).await.expect("never closed");
    let other_place = places.split(1).expect("two places");
    let mut settings = ground.own_settings().await;
    adapt(&mut settings);
    let mut other = settings.clone();
    other.data_dir.push("other");
    [own_service_of(settings, places).await, own_service_of(other, other_place).await]
}

async fn own_service_of(settings: HostSettings, place: OwnedSemaphorePermit) -> OwnService {
    let ground = ground();
    let database_url = settings.database_url.clone().expect("a database");
    let (end, asked) = oneshot::channel::<()>();
    let (told, ended) = oneshot::channel();
    let base = ground.run(async {
        let (host, base) = start(settings).await;
        tokio::spawn(async {
            let gone = async { _ = asked.await };
            host.run_until(gone).await.expect("an orderly end");
            drop(place);
            let _nobody = told.send(());
        });
        base
    });
    OwnService { service: Service::at(base.await), database_url, end, ended }
}

/// An answer, with its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The header, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("UTF-8")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text()))
    }

    /// The answer, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// The error of an answer that is not a success, after a look at everything that all of them
    /// have in common.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        assert_eq!(self.header("content-type"), "application/json");
        let error = self.json()["error"].clone();
        let code = error["code"].as_str().expect("a code");
        assert_eq!(self.header("x-ms-error-code"), code);
        assert!(!code.is_empty() && !error["message"].as_str().expect("a message").is_empty());
        for detail in error["details"].as_array().into_iter().flatten() {
            assert!(detail["code"].is_string() && detail["message"].is_string(), "{detail}");
        }
        assert!(self.has("x-ms-request-id"));
        assert_eq!(self.has("retry-after"), [408, 429, 503].contains(&status));
        error
    }
}

/// The place of every problem that an error tells of.
pub(crate) fn targets(error: &Value) -> Vec<&str> {
    let details = error["details"].as_array().into_iter().flatten();
    details.map(|detail| detail["target"].as_str().expect("a place")).collect()
}

/// An operation that was submitted.
pub(crate) struct Submitted {
    pub(crate) answer: Answer,
    /// Its `Operation-Location`.
    pub(crate) url: String,
}

impl Submitted {
    pub(crate) fn id(&self) -> String {
        self.url.rsplit('/').next().expect("a last segment").to_owned()
    }
}

/// A jobset of one step that runs a shell text.
pub(crate) fn shell(text: &str) -> Value {
    json!({"steps": [{"name": "only", "run": {"shell": text}}]})
}

impl Service {
    pub(crate) fn at(base: String) -> Self {
        // There is no TLS here, but the client wants to be able to.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
        Self { base, client: builder.no_proxy().build().expect("a client") }
    }

    /// `url` may be absolute, or a path of this service.
    pub(crate) async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        self.try_send(method, url, headers, body).await.expect("an answer")
    }

    pub(crate) async fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let url = if url.starts_with('/') { format!("{}{url}", self.base) } else { url.to_owned() };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, url).timeout(PATIENCE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, bytes: response.bytes().await?.into() })
    }

    /// An answer whose body is read as it comes. `url` is a path of this service.
    pub(crate) async fn open(&self, url: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{url}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.send("GET", url, &[], None).await
    }

    pub(crate) async fn get_with(&self, url: &str, name: &str, value: &str) -> Answer {
        self.send("GET", url, &[(name, value)], None).await
    }

    pub(crate) async fn delete(&self, url: &str) -> Answer {
        self.send("DELETE", url, &[], None).await
    }

    pub(crate) async fn post(&self, body: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> Answer {
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            all.push(("content-type", "application/json"));
        }
        self.send("POST", "/v1.0/jobsets", &all, Some(body.into())).await
    }

    pub(crate) async fn submit_with(&self, job: &Value, headers: &[(&str, &str)]) -> Submitted {
        let answer = self.post(job.to_string(), headers).await.expect(202);
        let url = answer.header("operation-location").to_owned();
        Submitted { answer, url }
    }

    pub(crate) async fn submit(&self, job: &Value) -> Submitted {
        self.submit_with(job, &[]).await
    }

    /// Polls until `enough` holds; answers the last answer.
    pub(crate) async fn until(&self, url: &str, enough: impl Fn(&Value) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        let mut known = String::new();
        loop {
            let wait = [("prefer", "wait=5"), ("if-none-match", known.as_str())];
            let asked = if known.is_empty() { &wait[..0] } else { &wait[..] };
            let answer = self.send("GET", url, asked, None).await;
            if answer.status == 200 {
                let operation = answer.json();
                if enough(&operation) {
                    return answer;
                }
                assert!(Instant::now() < deadline, "{operation}");
                answer.header("etag").clone_into(&mut known);
            } else {
                answer.expect(304);
                assert!(Instant::now() < deadline, "{url} does not change any more");
            }
        }
    }

    /// The operation once it has ended.
    pub(crate) async fn ended(&self, url: &str) -> Value {
        let is_final = |operation: &Value| {
            ["succeeded", "failed", "canceled"]
                .contains(&operation["status"].as_str().unwrap_or(""))
        };
        self.until(url, is_final).await.json()
    }

    /// The operation once it runs.
    pub(crate) async fn running(&self, url: &str) -> Value {
        self.until(url, |operation| operation["stepCounts"]["Running"] == 1).await.json()
    }

    pub(crate) async fn count(&self) -> u64 {
        let answer = self.get("/v1.0/operations/$count").await.expect(200);
        answer.text().parse().expect("a number")
    }

    /// What a bare socket gets for these bytes until the service closes it.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let address = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("a service that reads");
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut bytes));
        read.await.expect("an end in time").expect("an orderly end");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
