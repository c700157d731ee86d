//! What the end of a process means for its attempt.

use serde_json::Value;

use super::attempt::{Forced, Outcome, forced_end};
use super::function::Delivery;
use super::process::{Ended, Exit, Signal, SpawnError};
use crate::domain::decide::{Cause, Ending};
use crate::domain::definition::StepDefinition;
use crate::domain::problem::refuse_nul;
use crate::functions::{Exception, with_causes};

/// What the end of the process means. One that had ended before any signal reached it has ended by
/// itself, whatever the worker had wanted by then.
pub(super) fn judge(ended: Ended, forced: Option<Forced>, definition: &StepDefinition) -> Outcome {
    let forced = forced.filter(|_| ended.signalled);
    let (ending, exception) = match forced {
        Some(forced) => {
            let (ending, exception) = forced_end(forced, definition);
            (ending, Some(exception))
        }
        None => own_end(&ended, definition),
    };
    Outcome { ending, exception, result: None, ended: Some(ended) }
}

/// What it means that a process ended by itself, or by somebody else than its worker.
fn own_end(ended: &Ended, definition: &StepDefinition) -> (Ending, Option<Exception>) {
    let (cause, exception) = match ended.status {
        Exit::Code(0) => return (Ending::Succeeded, None),
        Exit::Code(code) => {
            (Cause::Exit(code), Exception::new("ExitStatus", format!("exit code {code}")))
        }
        Exit::Signal(number) => {
            let name = Signal::try_from(number).map_or("an unknown signal", Signal::as_str);
            let message = format!("ended by signal {number} ({name})");
            (Cause::Signal(number), Exception::new("Signal", message))
        }
        Exit::Lost => {
            let message = "the process that watched over it was killed, so how it ended is unknown; \
                           everything it started was killed";
            (Cause::Exception, Exception::new("MonitorLost", message))
        }
    };
    let exception = if ended.oom_kills > 0 { out_of_memory(ended, definition) } else { exception };
    (Ending::Failed(cause), Some(exception))
}

/// The reason of a failure after the kernel killed processes because their memory was used up.
fn out_of_memory(ended: &Ended, definition: &StepDefinition) -> Exception {
    let limit =
        definition.limits.memory.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
    let count = ended.oom_kills;
    let message =
        format!("used up its limit{limit} of memory; the kernel killed {count} of its processes");
    Exception::new("OutOfMemory", message)
}

/// What the end of a function's process and its answer mean.
pub(super) fn answered(ended: Ended, delivery: Delivery) -> Outcome {
    let storable = |value: Value| match refuse_nul(&value, "the result") {
        Ok(()) => Ok(value),
        Err(problem) => Err(Exception::new(Exception::BAD_RESULT, problem.to_string())),
    };
    match delivery.judge(ended.status).and_then(storable) {
        Ok(value) => {
            let ending = Ending::Succeeded;
            Outcome { ending, exception: None, result: Some(value), ended: Some(ended) }
        }
        Err(exception) => {
            let cause = match ended.status {
                Exit::Signal(number) => Cause::Signal(number),
                // Its own doing, as it would be that of a program.
                Exit::Code(code) if exception.kind == Exception::EXIT && code != 0 => {
                    Cause::Exit(code)
                }
                Exit::Code(_) | Exit::Lost => Cause::Exception,
            };
            Outcome { ended: Some(ended), ..Outcome::failed(cause, exception) }
        }
    }
}

/// Why a process could not be started.
pub(super) fn not_started(error: &SpawnError) -> Exception {
    let kind = match error {
        SpawnError::LimitUnavailable { .. } => "LimitUnavailable",
        SpawnError::ContainmentUnavailable { .. } => "ContainmentUnavailable",
        SpawnError::Supplies(_) => "WorkspaceError",
        _ => "SpawnError",
    };
    Exception::new(kind, with_causes(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timeout;
    use crate::runner::attempt::StopReason;

    fn ended(status: Exit, signalled: bool, oom_kills: u32) -> Ended {
        Ended { status, oom_kills, signalled, ..Ended::lost(0) }
    }

    #[test]
    fn an_end_that_came_first_is_judged_as_its_own() {
        let definition = StepDefinition::default();
        let (stopped, timeout) =
            (Forced::Stopped(StopReason::Ordered), Forced::TimedOut(Timeout::Attempt));
        let term = Exit::Signal(libc::SIGTERM);
        for (ended, forced, ending, kind) in [
            (ended(Exit::Code(0), false, 0), Some(stopped), Ending::Succeeded, None),
            (ended(Exit::Code(0), false, 0), Some(timeout), Ending::Succeeded, None),
            (
                ended(Exit::Code(3), false, 0),
                Some(timeout),
                Ending::Failed(Cause::Exit(3)),
                Some("ExitStatus"),
            ),
            (ended(Exit::Code(0), true, 0), Some(stopped), Ending::Stopped, Some("Cancelled")),
            (ended(term, true, 0), Some(timeout), Ending::Failed(Cause::Timeout), Some("Timeout")),
            (
                ended(Exit::Code(137), false, 1),
                None,
                Ending::Failed(Cause::Exit(137)),
                Some("OutOfMemory"),
            ),
            (ended(Exit::Code(0), false, 1), None, Ending::Succeeded, None),
        ] {
            let outcome = judge(ended, forced, &definition);
            assert_eq!(outcome.ending, ending, "{ended:?}");
            let said = outcome.exception.map(|exception| exception.kind.into_owned());
            assert_eq!(said.as_deref(), kind, "{ended:?}");
        }
    }
}
