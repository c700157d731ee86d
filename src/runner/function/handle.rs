//! The handle of a function that can be started again and again.

use serde::Serialize;
use thiserror::Error;

use super::subprocess::{
    FunctionProcess, Outcome, ResultQueue, SubProcessSettings,
    run_function_as_exception_safe_subprocess,
};

/// Why a handle cannot do what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandleError {
    /// It was never started.
    #[error("the function was not started")]
    NotStarted,
    /// It still runs, so it cannot be started again.
    #[error("the function still runs: wait for it, or terminate it, before it is started again")]
    StillRuns,
}

/// A registered function that is called in a process of its own: started, waited for, looked at and
/// terminated. One call at a time. Dropping it kills what runs.
///
/// ```no_run
/// use sutbot::ExceptionSafeSubProcessFunction;
///
/// let mut wait = ExceptionSafeSubProcessFunction::new("wait_for_tcp");
/// assert!(!wait.is_alive() && wait.get_result().is_none());
/// wait.start(&serde_json::json!({"address": "localhost:5432"}))?;
/// wait.join()?;
/// println!("{:?}", wait.get_result());
/// # Ok::<(), sutbot::HandleError>(())
/// ```
#[derive(Debug)]
pub struct ExceptionSafeSubProcessFunction {
    name: String,
    settings: SubProcessSettings,
    call: Option<(FunctionProcess, ResultQueue)>,
}

impl ExceptionSafeSubProcessFunction {
    /// The function that is registered by this name. That there is one shows when it is called.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), settings: SubProcessSettings::default(), call: None }
    }

    /// Sets what the calls that follow may take.
    #[must_use]
    pub fn with_settings(self, settings: SubProcessSettings) -> Self {
        Self { settings, ..self }
    }

    /// Starts a call. The result of the one before is gone from here on.
    ///
    /// # Errors
    /// [`HandleError::StillRuns`]. Whatever else goes wrong is the result of the call.
    pub fn start(&mut self, arguments: &(impl Serialize + ?Sized)) -> Result<(), HandleError> {
        if self.is_alive() {
            return Err(HandleError::StillRuns);
        }
        let call = run_function_as_exception_safe_subprocess(&self.name, arguments, &self.settings);
        self.call = Some(call);
        Ok(())
    }

    /// Waits until the call has ended; see [`ResultQueue::wait`] for its use within a tokio runtime.
    ///
    /// # Errors
    /// [`HandleError::NotStarted`].
    pub fn join(&self) -> Result<(), HandleError> {
        self.started().map(|(process, _)| process.join())
    }

    /// Whether the process of the call, or anything that it started, may still run; false before the
    /// first start. Once it is false after a start, the result is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.call.as_ref().is_some_and(|(process, _)| process.is_alive())
    }

    /// The result of the last call, the same each time; `None` before the first start and while the
    /// function runs.
    #[must_use]
    pub fn get_result(&self) -> Option<&Outcome> {
        self.call.as_ref().and_then(|(_, results)| results.get())
    }

    /// Ends the call: SIGTERM to its process group, SIGKILL to all that is left after the grace time.
    /// Does not wait; without effect on a call that has ended.
    ///
    /// # Errors
    /// [`HandleError::NotStarted`].
    pub fn terminate(&self) -> Result<(), HandleError> {
        self.started().map(|(process, _)| process.terminate())
    }

    fn started(&self) -> Result<&(FunctionProcess, ResultQueue), HandleError> {
        self.call.as_ref().ok_or(HandleError::NotStarted)
    }
}
