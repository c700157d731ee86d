//! The service that all tests of this program share: on a port and on a Unix socket.

use std::path::PathBuf;
use std::time::Duration;

use sutbot::client::{ApiClient, make_api_client};
use tokio::sync::OnceCell;

use crate::support::{OwnService, PATIENCE, Service, own_service};

struct Place {
    service: OwnService,
    socket: PathBuf,
}

async fn place() -> &'static Place {
    static PLACE: OnceCell<Place> = OnceCell::const_new();
    PLACE
        .get_or_init(|| async {
            let mut socket = PathBuf::new();
            let service = own_service(|settings| {
                // In the folder that goes with the program.
                socket = settings.data_dir.with_extension("socket");
                settings.socket = Some(socket.clone());
            });
            Place { service: service.await, socket }
        })
        .await
}

/// A client of the service, of this test's own: connections belong to the runtime of a test.
pub(crate) async fn service() -> Service {
    Service::at(place().await.service.base.clone())
}

/// The socket of the service.
pub(crate) async fn socket() -> PathBuf {
    place().await.socket.clone()
}

/// The handler API, over the socket.
pub(crate) async fn handlers() -> ApiClient {
    make_api_client(socket().await, PATIENCE).expect("a client")
}

/// How long is long enough for a step to have run, had it been allowed to: the time of another
/// operation from its submission to its end.
pub(crate) async fn while_others_run(service: &Service) {
    for _ in 0..2 {
        let url = service.submit(&crate::support::shell("true")).await.url;
        service.ended(&url).await;
    }
}

/// The grace time of steps that are killed here.
pub(crate) const GRACE: Duration = Duration::from_millis(400);
