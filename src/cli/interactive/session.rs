//! Doing what lines say, one after the other.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::error::CliError;
use super::super::output::Output;
use super::super::signals::Signals;
use super::super::steer::tell;
use super::super::{op, people};
use super::command::{Command, help, parse};
use super::complete::Names;
use super::input::{Input, Marked, Question, Typed};
use super::print::{Live, News, ending, greeting};
use crate::client::{Client, ClientError, SteerOutcome, Verb};
use crate::wire::graph::Format;
use crate::wire::{MessageRequest, Operation, ReplyRequest, SteerRequest, Step};

/// How long the server may hold back the answer to `wait` while nothing changes.
const WAIT: Duration = Duration::from_secs(20);
/// The longest name that a prompt shows.
const PROMPT_CHARS_MAX: usize = 30;
/// What a cancellation gives as its reason.
const CANCEL_REASON: &str = "cancelled at the prompt";

/// Whether another line is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

/// An operation and whoever steers it.
pub(super) struct Session {
    client: Client,
    input: Input,
    output: Output,
    subject: Subject,
    /// Whether a command failed.
    failed: bool,
}

/// The operation that is steered.
struct Subject {
    id: String,
    name: String,
    has_ended: Arc<AtomicBool>,
    names: Arc<Names>,
    live: Live,
}

impl Subject {
    async fn of(client: &Client, id: &str, output: Output) -> Result<(Self, Operation), CliError> {
        // Before the operation: what happens from now on is told.
        let told = client.event_count(id).await?;
        let (operation, jobset, steps) =
            tokio::try_join!(client.operation(id), client.jobset(id), client.steps(id))?;
        let subject = Self {
            id: operation.id.clone(),
            name: operation.name.clone(),
            has_ended: Arc::new(AtomicBool::new(operation.has_ended())),
            names: Arc::new(Names::of(&steps, &jobset.definition)),
            live: Live::of(client, operation.clone(), told, output),
        };
        Ok((subject, operation))
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }
}

impl Session {
    /// Takes an operation up.
    pub(super) async fn of(
        client: Client,
        id: &str,
        input: Input,
        output: Output,
    ) -> Result<Self, CliError> {
        let (subject, operation) = Subject::of(&client, id, output).await?;
        let session = Self { client, input, output, subject, failed: false };
        session.greet(&operation)?;
        Ok(session)
    }

    async fn take_up(&mut self, id: &str) -> Result<(), CliError> {
        let (subject, operation) = Subject::of(&self.client, id, self.output).await?;
        self.subject = subject;
        self.greet(&operation)
    }

    /// Tells a person how it stands. What a script prints is only what it asked for.
    fn greet(&self, operation: &Operation) -> Result<(), CliError> {
        if self.is_script() {
            return Ok(());
        }
        Ok(self.output.line(&greeting(operation, self.output))?)
    }

    const fn is_script(&self) -> bool {
        matches!(self.input, Input::Script(_))
    }

    /// Asks for lines and does what they say, to the last one.
    pub(super) async fn run(mut self, signals: &mut Signals) -> Result<ExitCode, CliError> {
        loop {
            self.look();
            let next = match self.line(signals).await? {
                Typed::Line(line) => self.attempt(&line, signals).await?,
                Typed::Interrupt => {
                    self.output.line("Ctrl-D leaves; `cancel` stops the operation")?;
                    Next::Line
                }
                Typed::End => Next::Leave,
                Typed::Failed(error) => return Err(error.into()),
            };
            if next == Next::Leave {
                break;
            }
        }
        if !self.is_script() {
            let going = if self.subject.has_ended() { "" } else { "; the operation goes on" };
            let hint = self.output.faint(&format!("mother interactive {}", self.subject.id));
            self.output.line(&format!("leaving{going}; to come back: {hint}"))?;
        }
        Ok(if self.failed && self.is_script() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Looks at what happens, unless that is done or there is nobody to tell.
    fn look(&mut self) {
        if !self.subject.has_ended() && !self.is_script() {
            self.subject.live.look();
        }
    }

    /// The next line; what happens meanwhile is told above it.
    async fn line(&mut self, signals: &mut Signals) -> Result<Typed, CliError> {
        let prompt = self.prompt();
        self.input.ask(Question { prompt, names: Some(Arc::clone(&self.subject.names)) });
        loop {
            tokio::select! {
                typed = self.input.typed() => return Ok(typed),
                news = self.subject.live.next() => self.hear(news),
                () = signals.next() => {
                    let is_script = self.is_script();
                    return if is_script { Err(CliError::Interrupted) } else { Ok(Typed::End) };
                }
            }
        }
    }

    /// `nightly going> `, `nightly ended> `.
    fn prompt(&self) -> Marked {
        let is_plain = |letter: &char| !letter.is_control();
        let name: String =
            self.subject.name.chars().filter(is_plain).take(PROMPT_CHARS_MAX).collect();
        let blank = if name.is_empty() { "" } else { " " };
        let prompt = |state: &str| format!("{name}{blank}{state}> ");
        let has_ended = Arc::clone(&self.subject.has_ended);
        Marked { going: prompt("going"), ended: prompt("ended"), has_ended }
    }

    /// Tells news.
    fn hear(&mut self, news: News) {
        if let News::Ended(_) = &news {
            self.subject.has_ended.store(true, Ordering::Relaxed);
        }
        let (News::Happened(text) | News::Ended(text) | News::Lost(text)) = news;
        if let Input::Terminal(terminal) = &self.input
            && !text.is_empty()
        {
            terminal.print(&text);
        }
    }

    /// Does what a line says; tells why if that is not possible. Only a terminal that cannot be
    /// written to ends the session.
    async fn attempt(&mut self, line: &str, signals: &mut Signals) -> Result<Next, CliError> {
        let command = match parse(line, &self.subject.names) {
            Ok(Some(command)) => command,
            Ok(None) => return Ok(Next::Line),
            Err(mistake) => return self.complain(CliError::BadSetting(mistake)),
        };
        let (output, is_script) = (self.output, self.is_script());
        tokio::select! {
            done = self.carry_out(command) => done.or_else(|error| self.complain(error)),
            () = signals.next() => {
                if is_script {
                    return Err(CliError::Interrupted);
                }
                output.line("not waiting any longer")?;
                Ok(Next::Line)
            }
        }
    }

    fn complain(&mut self, error: CliError) -> Result<Next, CliError> {
        if matches!(error, CliError::Io(_)) {
            return Err(error);
        }
        self.failed = true;
        _ = error.report(self.output);
        Ok(Next::Line)
    }

    async fn carry_out(&mut self, command: Command) -> Result<Next, CliError> {
        let (client, id, output) = (&self.client, &self.subject.id, self.output);
        match command {
            Command::Steer { verb, request } => self.steer(verb, request).await?,
            Command::Status => self.status().await?,
            Command::Steps(chosen) => {
                let mut steps = client.steps(id).await?;
                steps.retain(|step| is_chosen(step, &chosen));
                op::steps(&steps, output)?;
            }
            Command::Explain(step) => {
                op::explain(&self.client, &self.subject.id, step.as_deref(), self.output).await?;
            }
            Command::Waiting => self.waiting().await?,
            Command::Reply { prompt, request } => self.reply(prompt, request).await?,
            Command::Send { step, message } => {
                let steps = Some(vec![step]);
                let request =
                    MessageRequest { message, steps, tags: [].into(), after: None, dry_run: false };
                people::sent(&client.send_message(id, &request).await?, output)?;
            }
            Command::Output { step, attempt } => self.written(&step, attempt).await?,
            Command::Events => op::events(client, id, output).await?,
            Command::Graph(format) => self.graph(format).await?,
            Command::Cancel => self.cancel().await?,
            Command::Wait => self.wait().await?,
            Command::Help => output.line(&help(&self.subject.names))?,
            Command::Quit => return Ok(Next::Leave),
        }
        Ok(Next::Line)
    }

    async fn steer(&mut self, verb: Verb, request: SteerRequest) -> Result<(), CliError> {
        let outcome = self.client.steer(&self.subject.id, &verb, &request).await?;
        let submitted = match outcome {
            SteerOutcome::Steered(steered) => {
                // Whoever named steps wanted at least one of them moved.
                self.failed |= steered.value.is_empty() && !steered.refused.is_empty();
                return tell(&steered, &request, self.output);
            }
            SteerOutcome::Forked(submitted) => submitted,
        };
        if self.output.is_json() {
            self.output.json(&submitted.operation)?;
        } else {
            let id = &submitted.operation.id;
            self.output.line(&format!("a new operation takes over what is not run again: {id}"))?;
        }
        if self.is_script() || self.confirm("go on with the new one", true).await? {
            self.take_up(&submitted.operation.id).await?;
        }
        Ok(())
    }

    /// The operation, and its steps that have not succeeded: those that did are only counted.
    async fn status(&self) -> Result<(), CliError> {
        let (client, id) = (&self.client, &self.subject.id);
        let (operation, mut steps) = tokio::try_join!(client.operation(id), client.steps(id))?;
        if self.output.is_json() {
            return Ok(self.output.json(&json!({"operation": operation, "steps": steps}))?);
        }
        op::show(&operation, self.output)?;
        steps.retain(|step| !["Succeeded", "Skipped"].contains(&step.state.as_str()));
        if steps.is_empty() { Ok(()) } else { op::steps(&steps, self.output) }
    }

    async fn waiting(&mut self) -> Result<(), CliError> {
        let prompts = self.client.waiting(&self.subject.id).await?;
        let ids = prompts.iter().map(|prompt| prompt.id.clone()).collect();
        Arc::make_mut(&mut self.subject.names).prompts = ids;
        people::waiting(&prompts, self.output)
    }

    /// Replies to that prompt, or to the only one.
    async fn reply(&self, prompt: Option<String>, request: ReplyRequest) -> Result<(), CliError> {
        let prompt = match prompt {
            Some(prompt) => prompt,
            None => self.only_prompt().await?,
        };
        let prompt = self.client.reply(&self.subject.id, &prompt, &request).await?;
        if self.output.is_json() {
            return Ok(self.output.json(&prompt)?);
        }
        Ok(self.output.line(&format!("{} has the reply", prompt.step))?)
    }

    async fn only_prompt(&self) -> Result<String, CliError> {
        let mut prompts = self.client.waiting(&self.subject.id).await?;
        let message = match (prompts.pop(), prompts.len()) {
            (Some(prompt), 0) => return Ok(prompt.id),
            (None, _) => "no step waits for a person",
            (Some(_), _) => "several steps ask; name the prompt: `waiting` lists them",
        };
        Err(CliError::BadSetting(message.to_owned()))
    }

    async fn written(&self, step: &str, attempt: Option<u32>) -> Result<(), CliError> {
        if self.output.is_json() {
            let pieces = self.client.output_pieces(&self.subject.id, step, attempt, None).await?;
            return Ok(self.output.json(&json!({"value": pieces}))?);
        }
        let bytes = self.client.output(&self.subject.id, step, attempt, None).await?;
        Ok(write(&bytes, !self.is_script())?)
    }

    async fn graph(&self, format: Format) -> Result<(), CliError> {
        let drawing = self.client.graph(&self.subject.id, format).await?;
        if self.output.is_json() {
            let drawing = Value::String(String::from_utf8_lossy(&drawing).into_owned());
            return Ok(self.output.json(&json!({"graph": drawing}))?);
        }
        Ok(write(&drawing, !self.is_script())?)
    }

    async fn cancel(&mut self) -> Result<(), CliError> {
        let question = format!("cancel {} and its running steps", self.subject.name);
        if !self.is_script() && !self.confirm(&question, false).await? {
            return Ok(self.output.line("not cancelled")?);
        }
        let operation = self.client.cancel(&self.subject.id, Some(CANCEL_REASON)).await?;
        if self.output.is_json() {
            return Ok(self.output.json(&operation)?);
        }
        Ok(self
            .output
            .line(&format!("the operation is {}", self.output.state(&operation.state)))?)
    }

    /// Asks a person; who says nothing means `default`.
    async fn confirm(&mut self, question: &str, default: bool) -> Result<bool, CliError> {
        let prompt = format!("{question}? [{}] ", if default { "Y/n" } else { "y/N" });
        loop {
            self.input.ask(Question { prompt: Marked::fixed(&prompt), names: None });
            match self.input.typed().await {
                Typed::Line(line) => match line.trim().to_lowercase().as_str() {
                    "" => return Ok(default),
                    "y" | "yes" => return Ok(true),
                    "n" | "no" => return Ok(false),
                    _ => self.output.line("say yes or no")?,
                },
                Typed::Interrupt | Typed::End => return Ok(false),
                Typed::Failed(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until the operation has ended or needs a person.
    async fn wait(&mut self) -> Result<(), CliError> {
        let (client, id) = (self.client.clone(), self.subject.id.clone());
        // Of what has ended already no news come.
        let has_news = !self.is_script() && !self.subject.has_ended();
        let mut stop = std::pin::pin!(until_it_stops(&client, &id));
        let operation = loop {
            tokio::select! {
                stopped = &mut stop => break stopped?,
                news = self.subject.live.next() => self.hear(news),
            }
        };
        if self.output.is_json() {
            return Ok(self.output.json(&operation)?);
        }
        match operation.has_ended() {
            true if has_news => Ok(()),
            true => Ok(self.output.line(&ending(&client, &operation, self.output))?),
            false => Ok(self.output.line("steps wait for a person; `status` names them")?),
        }
    }
}

async fn until_it_stops(client: &Client, id: &str) -> Result<Operation, ClientError> {
    let mut etag = None;
    loop {
        let wait = if etag.is_some() { WAIT } else { Duration::ZERO };
        let polled = client.poll(id, etag.as_deref(), wait).await?;
        etag = polled.etag;
        if let Some(operation) = polled.operation
            && (operation.has_ended() || operation.attention)
        {
            return Ok(operation);
        }
    }
}

fn is_chosen(step: &Step, chosen: &SteerRequest) -> bool {
    let is_same = |state: &String| state.eq_ignore_ascii_case(&step.state);
    chosen.steps.as_ref().is_none_or(|names| names.contains(&step.name))
        && chosen.states.as_ref().is_none_or(|states| states.iter().any(is_same))
        && chosen.tags.iter().all(|(key, value)| step.tags.get(key) == Some(value))
}

/// Bytes as they are; a prompt that follows stands on a line of its own.
fn write(bytes: &[u8], prompt_follows: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    if prompt_follows && !bytes.is_empty() && !bytes.ends_with(b"\n") {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}
