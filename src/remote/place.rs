//! Where a remote worker registers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::convert::refusal;
use super::source::{RemoteSource, Shared};
use crate::client::{Client, ClientError, WorkerClient};
use crate::domain::LeaseTerms;
use crate::engine::{EngineError, SeatSpec};
use crate::runner::WorkPlace;
use crate::wire::WorkerRegistration;

/// What a remote worker tells whoever runs it.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// It is registered as the incarnation with this id.
    Registered(&'a str),
    /// No server answers; what runs goes on as long as it may.
    Away(&'a ClientError),
    /// A server answers again.
    Back,
    /// It was told to take nothing new.
    Draining,
}

/// How a remote worker tells.
pub(super) type Tell = dyn Fn(Told<'_>) + Send + Sync;

/// A server on another machine, as the place where a worker registers.
pub struct RemotePlace {
    client: Client,
    shared: Arc<Shared>,
    /// Cancelled when the server does not want this worker.
    unwanted: CancellationToken,
    why: Mutex<Option<ClientError>>,
}

impl fmt::Debug for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemotePlace").field("client", &self.client).finish_non_exhaustive()
    }
}

impl RemotePlace {
    /// The server of `client`. `unwanted` is cancelled when it refuses a registration for good.
    #[must_use]
    pub fn new(
        client: Client,
        unwanted: CancellationToken,
        tell: impl Fn(Told<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            client,
            shared: Arc::new(Shared::new(Box::new(tell))),
            unwanted,
            why: Mutex::default(),
        }
    }

    /// Why the server refused a registration for good, if it did.
    pub fn refusal(&self) -> Option<ClientError> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A registration that was not taken: whether it is tried again depends on why.
    fn refused(&self, error: ClientError) -> EngineError {
        self.shared.away(&error);
        let is_for_good = matches!(
            &error,
            ClientError::Refused(status, _) if matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405)
        ) || matches!(error, ClientError::Malformed { .. });
        let answer = refusal(&error);
        if is_for_good {
            *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.unwanted.cancel();
        }
        answer
    }
}

impl WorkPlace for RemotePlace {
    type Source = RemoteSource;

    async fn register(&self, spec: SeatSpec) -> Result<Arc<RemoteSource>, EngineError> {
        let registration = WorkerRegistration {
            name: spec.name,
            host: spec.host,
            pid: spec.pid,
            slots: spec.slots,
            labels: spec.profile.labels,
            lanes: spec.profile.lanes,
            lease_seconds: Some(spec.lease.as_secs_f64()),
            draining: self.shared.is_draining(),
        };
        let registered = self.client.register_worker(&registration).await;
        let registered = registered.map_err(|error| self.refused(error))?;
        let Ok(incarnation) = registered.id.parse() else {
            return Err(EngineError::Refused("the id of the worker is no number".to_owned()));
        };
        let seconds = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let terms = LeaseTerms {
            lease: seconds(registered.lease_seconds),
            requeue_after: seconds(registered.requeue_after_seconds),
        };
        self.shared.back();
        self.shared.tell(Told::Registered(&registered.id));
        let client = WorkerClient::new(self.client.clone(), &registered);
        Ok(Arc::new(RemoteSource::start(
            incarnation,
            terms,
            client,
            registered.now,
            Arc::clone(&self.shared),
        )))
    }
}
