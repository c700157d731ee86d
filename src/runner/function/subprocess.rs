//! One call of a function in a process of its own, from start to answer.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::background::Background;
use super::call::{AnswerPipe, Call};
use super::child::is_entered;
use crate::domain::duration::DURATION_MAX;
use crate::functions::{Exception, with_causes};
use crate::runner::process::{Confinement, Exit, Process, ProcessSpec, Signal, SpawnError, Stdin};
use crate::runner::stream::Stream;

/// Bytes read from a pipe at once.
const READ: usize = 8 * 1024;

/// How a call ended: the value, or what came in its place.
pub type Outcome = Result<Value, Exception>;

/// What a call in a process of its own may take.
#[derive(Clone, Debug)]
pub struct SubProcessSettings {
    /// The largest result, in bytes of JSON; 1 MiB if nothing else is said.
    pub result_bytes_max: usize,
    /// The time between SIGTERM and SIGKILL when the call is terminated; 10 s if nothing else is said.
    pub grace: Duration,
}

impl Default for SubProcessSettings {
    fn default() -> Self {
        Self { result_bytes_max: 1024 * 1024, grace: Duration::from_secs(10) }
    }
}

/// Calls a registered function in a process of its own.
///
/// The process has the environment and the folder of this one, nothing to read, and what it prints
/// is printed here. Answers at once; whatever goes wrong, a process that cannot be started included,
/// comes as the one result. `main` must have called [`run_if_child`] first.
///
/// Needs no tokio runtime, and may be called within one.
///
/// [`run_if_child`]: super::run_if_child
///
/// ```no_run
/// let (process, results) = sutbot::run_function_as_exception_safe_subprocess(
///     "wait_for_tcp",
///     &serde_json::json!({"address": "localhost:5432", "timeout": "5s"}),
///     &sutbot::SubProcessSettings::default(),
/// );
/// match results.wait() {
///     Ok(value) => println!("{value}"),
///     Err(exception) => println!("{exception}"),
/// }
/// assert!(!process.is_alive());
/// ```
pub fn run_function_as_exception_safe_subprocess(
    name: &str,
    arguments: &(impl Serialize + ?Sized),
    settings: &SubProcessSettings,
) -> (FunctionProcess, ResultQueue) {
    let (orders, ordered) = watch::channel(Order::GoOn);
    let results = ResultQueue::default();
    let process = FunctionProcess { orders, results: results.clone() };
    let teller = Teller(results.clone());
    let (name, settings) = (name.to_owned(), settings.clone());
    match (serde_json::to_value(arguments), Background::get()) {
        (Err(error), _) => {
            let message = format!("the arguments cannot be written as JSON: {error}");
            teller.tell(Err(Exception::new(Exception::BAD_ARGUMENTS, message)));
        }
        (_, Err(error)) => teller.tell(Err(not_started(&error))),
        (Ok(arguments), Ok(background)) => {
            background.runtime.spawn(async move {
                teller.tell(run(background, &name, &arguments, &settings, ordered).await);
            });
        }
    }
    (process, results)
}

/// The process of one call. Dropping it kills the process and all that it started.
#[derive(Debug)]
pub struct FunctionProcess {
    /// Closed when this is dropped.
    orders: watch::Sender<Order>,
    results: ResultQueue,
}

impl FunctionProcess {
    /// Whether the process, or anything that it started, may still run. The result is there from the
    /// moment that this is false.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.results.get().is_none()
    }

    /// Waits until the process and all that it started are gone. Blocks this thread, as
    /// [`ResultQueue::wait`] does.
    pub fn join(&self) {
        self.results.wait();
    }

    /// Sends SIGTERM to the process group, and kills everything that is left after the grace time.
    /// Does not wait; without effect once the process has ended.
    pub fn terminate(&self) {
        self.orders.send_replace(Order::Terminate);
    }
}

/// Where the one result of a call comes. Read-only: it can be looked at as often as one likes.
#[derive(Clone, Debug, Default)]
pub struct ResultQueue(Arc<OnceLock<Outcome>>);

impl ResultQueue {
    /// The result, or `None` while the function runs.
    #[must_use]
    pub fn get(&self) -> Option<&Outcome> {
        self.0.get()
    }

    /// Waits for the result. Blocks this thread: the call goes on in threads of its own, so it ends
    /// within a tokio runtime too, but nothing else on this thread does meanwhile. Use
    /// `spawn_blocking` where that matters.
    pub fn wait(&self) -> &Outcome {
        self.0.wait()
    }
}

/// Tells the result; if it never comes to that, its drop tells that.
struct Teller(ResultQueue);

impl Teller {
    fn tell(self, outcome: Outcome) {
        let _first = self.0.0.set(outcome);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // Without effect where a result was told.
        let message = "the thread that watched over the function's process ended";
        let _told = self.0.0.set(Err(Exception::new(Exception::LOST, message)));
    }
}

/// What the holder of a process wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    GoOn,
    Terminate,
}

fn not_started(error: &(dyn std::error::Error + 'static)) -> Exception {
    Exception::new(Exception::NOT_STARTED, with_causes(error))
}

async fn run(
    background: &Background,
    name: &str,
    arguments: &Value,
    settings: &SubProcessSettings,
    ordered: watch::Receiver<Order>,
) -> Outcome {
    if !is_entered() {
        // Executed again, this program would do once more what it does now.
        let message = "the main function of this program must call run_if_child first";
        return Err(Exception::new(Exception::NOT_STARTED, message));
    }
    let zygote = background.zygote().await.map_err(|error| not_started(&error))?;
    let call = Call::new(name, arguments, settings.result_bytes_max);
    let Call { argv, passed, answer } = call.map_err(|error| not_started(&error))?;
    let cwd = std::env::current_dir().map_err(|error| not_started(&error))?;
    let env = std::env::vars_os().collect();
    let spec = ProcessSpec {
        argv,
        env,
        cwd,
        stdin: Stdin::Null,
        confinement: Confinement::default(),
        rescue: None,
        supplies: None,
    };
    let process = zygote.spawn_passing(spec, passed).await.map_err(|error| match error {
        // The process may have begun: it may even be the one that killed what watched over it.
        SpawnError::ZygoteDied => Exception::new(Exception::LOST, error.to_string()),
        error => not_started(&error),
    })?;
    follow(process, answer, settings.grace, ordered).await
}

/// Follows the process to its end; ends it as ordered.
async fn follow(
    process: Process,
    answer: AnswerPipe,
    grace: Duration,
    mut ordered: watch::Receiver<Order>,
) -> Outcome {
    let never = || Instant::now() + DURATION_MAX;
    let mut kill_at = never();
    let (mut is_printed, mut is_terminated, mut is_dropped) = (false, false, false);
    let mut printing = pin!(print(&process));
    let mut ending = pin!(async { tokio::join!(process.wait(), answer.read()) });
    let (ended, delivery) = loop {
        tokio::select! {
            done = &mut ending => break done,
            () = &mut printing, if !is_printed => is_printed = true,
            order = ordered.changed(), if !is_dropped => {
                is_dropped = order.is_err();
                if is_dropped {
                    process.kill_tree();
                } else if !is_terminated {
                    process.signal_group(Signal::SIGTERM);
                    kill_at = Instant::now() + grace;
                }
                is_terminated = true;
            }
            () = sleep_until(kill_at) => {
                process.kill_tree();
                kill_at = never();
            }
        }
    };
    if !is_printed {
        // What was printed before the end is seen before the result, unless nobody takes it.
        let _given_up = timeout(grace, printing).await;
    }
    if is_terminated && matches!(ended.status, Exit::Signal(_)) {
        return Err(Exception::new(Exception::TERMINATED, "the function's process was terminated"));
    }
    delivery.judge(ended.status)
}

/// Prints here what the process prints.
async fn print(process: &Process) {
    tokio::join!(
        copy(&process.stdout, tokio::io::stdout()),
        copy(&process.stderr, tokio::io::stderr())
    );
}

async fn copy(pipe: &pipe::Receiver, mut to: impl AsyncWrite + Unpin) {
    let mut stream = Stream::new(READ);
    while !stream.is_closed {
        let piece = stream.read(pipe).await;
        // Where nobody can be told any more, the function goes on without being heard.
        let _ = to.write_all(piece).await;
        let _ = to.flush().await;
    }
}
