//! What the end of a process means for its attempt.

use super::attempt::{Exception, Forced, Outcome, forced_end};
use super::process::{Ended, Exit, Signal};
use crate::domain::decide::{Cause, Ending};
use crate::domain::definition::StepDefinition;

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
            assert_eq!(outcome.exception.map(|exception| exception.kind), kind, "{ended:?}");
        }
    }
}
