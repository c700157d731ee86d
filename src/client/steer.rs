//! Steering: pausing, skipping, running again and the other verbs.

use reqwest::StatusCode;

use super::{Client, ClientError, Submitted};
use crate::wire::{MovedStep, SteerRequest, Steered, SteeredOperations};

/// What can be done with steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Let steps begin that wait for an order.
    Start,
    /// Hold steps, or the operation, before they run.
    Pause,
    /// Let go on what was paused, interrupted or held after an error.
    Resume,
    /// Stop running steps.
    Interrupt,
    /// Leave steps out; those after them go on.
    Skip,
    /// Take a skip back that has not come about.
    Unskip,
    /// Run steps again, as a new attempt; those that went wrong, unless some are chosen.
    Rerun,
    /// Close steps, and with them what comes after.
    Block,
    /// Take a block back.
    Unblock,
    /// Release the next paused steps.
    Next,
    /// Have steps held for a person when they fail.
    Hold,
    /// Take a hold back.
    Unhold,
    /// Run steps without waiting for the time of their next attempt.
    RunNow,
    /// An action that a machine of the jobset names itself.
    Own(String),
}

impl Verb {
    /// Its name in URLs.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Interrupt => "interrupt",
            Self::Skip => "skip",
            Self::Unskip => "unskip",
            Self::Rerun => "rerun",
            Self::Block => "block",
            Self::Unblock => "unblock",
            Self::Next => "next",
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::RunNow => "run-now",
            Self::Own(name) => name,
        }
    }
}

/// What a verb led to.
#[derive(Clone, Debug)]
pub enum SteerOutcome {
    /// Steps of the operation were (would be) moved.
    Steered(Steered),
    /// The operation has ended and never changes again, so a new one was started that keeps the
    /// results of the steps that were not chosen. Only `rerun` does this.
    Forked(Box<Submitted>),
}

impl SteerOutcome {
    /// The steps that were moved; none when a new operation was started.
    #[must_use]
    pub fn moved(&self) -> &[MovedStep] {
        match self {
            Self::Steered(steered) => &steered.value,
            Self::Forked(_) => &[],
        }
    }
}

impl Client {
    /// Does something with the steps that `request` chooses. Of those, the ones that cannot be moved
    /// are left as they are.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 when there is no such operation or no step of a name that
    /// was given, and with 409 when the operation cannot be steered any more.
    pub async fn steer(
        &self,
        id: &str,
        verb: &Verb,
        request: &SteerRequest,
    ) -> Result<SteerOutcome, ClientError> {
        let answer = self.post(&self.url(&["operations", id, verb.name()]), request).await?;
        if answer.status == StatusCode::ACCEPTED {
            return Ok(SteerOutcome::Forked(Box::new(answer.submitted()?)));
        }
        answer.document().map(SteerOutcome::Steered)
    }

    /// Does the same with all operations that `filter` chooses, in the query language of the
    /// collection of operations.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 when the filter cannot be understood. What an operation
    /// refuses stands in its entry.
    pub async fn steer_all(
        &self,
        filter: &str,
        verb: &Verb,
        request: &SteerRequest,
    ) -> Result<SteeredOperations, ClientError> {
        let mut url = self.url(&["operations", verb.name()]);
        url.query_pairs_mut().append_pair("$filter", filter);
        self.post(&url, request).await?.document()
    }
}
