//! A new run of a jobset, and what clients change beside its steps.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::changes::Fact;
use crate::domain::jobset::Jobset;
use crate::domain::operation::OperationState;
use crate::domain::run::Run;

impl Run {
    /// A run of `jobset` in which nothing has happened yet but its submission. Steps that wait for
    /// each other from the start are closed at once: no claim would ever find out.
    #[must_use]
    pub fn submit(id: Uuid, jobset: Arc<Jobset>, now: DateTime<Utc>) -> Self {
        let mut run = Self::fresh(id, jobset, now);
        run.record(Fact::Submitted, now);
        run.note_state(OperationState::NotStarted);
        run.conclude(now);
        run
    }

    /// Takes note that a client changed the context.
    pub fn change_context(&mut self, now: DateTime<Utc>) {
        self.record(Fact::ContextChanged, now);
        self.stamps.context = Some(self.stamps.trunk.peek());
    }
}
