//! The talk of a running program with people: its prompts and messages come as lines on `SUT_EVENTS`
//! ([`lines`](super::lines)), replies and messages go to its standard input, one line of JSON each:
//!
//! ```text
//! {"reply": {"prompt": "lamp", "status": "done", "value": true, "comment": "..."}}
//! {"message": any JSON, "seq": 1}
//! ```
//!
//! `SUT_EVENTS` is a FIFO that the worker holds open for reading and writing: nobody who opens it
//! waits, it never ends while the attempt goes on, and one that is never used costs nothing. Reading,
//! storing and writing go on beside each other and beside the output, so a program that does not read
//! its input delays only what it is told.
//!
//! What the program tells and asks carries what its attempt knows of the operation, and the outcome
//! of the attempt follows from what it was told ([`knowledge`](super::knowledge)). It is told when all
//! of the line is written: whatever it says next comes later.
//!
//! Rejected: a further inherited descriptor (a shell needs to know its number, and many languages
//! close what they do not know), and a plain file (it would have to be polled).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::{Bench, ask};
use super::knowledge::Knowledge;
use super::lines::{Found, Line, Lines, PromptLine};
use super::mask::Mask;
use super::source::WorkSource;
use super::stream::Stream;
use crate::engine::{Assignment, AttemptKey, MESSAGES_MAX, Mail, NewPrompt, StepMessage};

/// Bytes read from the FIFO at once.
const READ: usize = 8 * 1024;
/// Prompts of one attempt, at the most.
const PROMPTS_MAX: u32 = 1_000;
/// After so many lines it is looked whether there is more mail: a look gives no more at once.
const LOOK_EVERY: u64 = 50;

/// The worker's ends.
pub(super) struct Ends {
    /// What the program writes to `SUT_EVENTS`.
    pub(super) events: Option<pipe::Receiver>,
    /// Its standard input, if it takes messages.
    pub(super) stdin: Option<pipe::Sender>,
    /// What it is told.
    pub(super) mail: mpsc::UnboundedReceiver<Mail>,
    /// What the worker has to remark.
    pub(super) remarks: mpsc::Sender<Vec<u8>>,
    /// What nobody may be told.
    pub(super) mask: Arc<Mask>,
}

/// Talks until `over` is cancelled and everything that was said before is stored.
pub(super) async fn talk<S: WorkSource>(
    bench: &Bench<S>,
    assignment: &Assignment,
    knowledge: &Knowledge<'_>,
    ends: Ends,
    over: &CancellationToken,
) {
    let Ends { events, stdin, mail, remarks, mask } = ends;
    let answers = stdin.is_some();
    let heard = Heard::default();
    let mut listener = Listener { bench, assignment, knowledge, remarks, mask, answers, heard };
    let listen = async {
        match &events {
            Some(events) => listener.listen(events, over).await,
            None => over.cancelled().await,
        }
    };
    tokio::select! {
        () = listen => {}
        () = pass_on(bench, knowledge, stdin, mail) => {}
    }
    if listener.heard.prompts > 0 {
        let _told = ask(|| bench.source.close_prompts(key(assignment))).await;
    }
}

/// Names the attempt.
pub(super) fn key(assignment: &Assignment) -> AttemptKey {
    assignment.key()
}

/// What was heard of an attempt.
#[derive(Default)]
struct Heard {
    messages: u32,
    /// Bytes of the messages.
    bytes: u64,
    prompts: u32,
    ids: HashSet<String>,
}

struct Listener<'a, S> {
    bench: &'a Bench<S>,
    assignment: &'a Assignment,
    knowledge: &'a Knowledge<'a>,
    remarks: mpsc::Sender<Vec<u8>>,
    mask: Arc<Mask>,
    /// Whether the program can be given replies.
    answers: bool,
    heard: Heard,
}

impl<S: WorkSource> Listener<'_, S> {
    async fn listen(&mut self, events: &pipe::Receiver, over: &CancellationToken) {
        let mut stream = Stream::new(READ);
        let mut lines = Lines::default();
        loop {
            let bytes = tokio::select! {
                bytes = stream.read(events) => bytes,
                () = over.cancelled() => break,
            };
            let found = lines.take(bytes);
            self.take(found).await;
        }
        // No process is left that could write, so this is all.
        loop {
            let bytes = stream.rest(events);
            let is_last = bytes.is_empty();
            let mut found = lines.take(bytes);
            if is_last {
                found.extend(lines.end());
            }
            self.take(found).await;
            if is_last {
                return;
            }
        }
    }

    async fn take(&mut self, found: Vec<Found>) {
        let mut messages = Vec::new();
        for mut found in found {
            found.mask(&self.mask);
            match found {
                Found::Line(Line::Message(body)) => messages.extend(self.message(body).await),
                Found::Line(Line::Prompt(prompt)) => self.prompt(prompt).await,
                Found::Unknown(bytes, why) => self.remark(&bytes, &why).await,
            }
        }
        if messages.is_empty() {
            return;
        }
        if let Err(error) = ask(|| self.bench.source.append_messages(&messages)).await {
            for message in &messages {
                self.remark(message.body.to_string().as_bytes(), &error.message).await;
            }
        }
    }

    /// Numbers a message, if the attempt may send one more.
    async fn message(&mut self, body: Value) -> Option<StepMessage> {
        let text = body.to_string();
        let cap = self.bench.settings.output_cap_bytes;
        let bytes = self.heard.bytes.saturating_add(text.len() as u64);
        let why = if self.heard.messages >= MESSAGES_MAX {
            format!("the attempt has sent {MESSAGES_MAX} messages already")
        } else if bytes > cap {
            format!("the messages of the attempt have more than {cap} bytes")
        } else {
            self.heard.messages += 1;
            self.heard.bytes = bytes;
            let (from, seq) = (key(self.assignment), self.heard.messages);
            return Some(StepMessage { from, seq, body, stamp: self.knowledge.now() });
        };
        self.remark(text.as_bytes(), &why).await;
        None
    }

    async fn prompt(&mut self, prompt: PromptLine) {
        let PromptLine { text, id, who, schema } = prompt;
        let refused = if !self.answers {
            Some("no reply can reach a step without `\"stdin\": \"messages\"`".to_owned())
        } else if self.heard.prompts >= PROMPTS_MAX {
            Some(format!("the attempt has asked {PROMPTS_MAX} times already"))
        } else {
            let is_used = id.as_ref().is_some_and(|id| self.heard.ids.contains(id));
            is_used.then(|| "another prompt of this attempt has that id".to_owned())
        };
        if let Some(why) = refused {
            return self.remark(text.as_bytes(), &why).await;
        }
        self.heard.ids.extend(id.clone());
        self.heard.prompts += 1;
        let Assignment { operation, step, attempt, worker, .. } = *self.assignment;
        let stored = NewPrompt {
            operation,
            step,
            attempt,
            seq: self.heard.prompts,
            worker,
            step_name: self.assignment.jobset.step(step).definition.name.clone(),
            is_instruction: false,
            own_id: id,
            text,
            who,
            schema: schema.map(Value::Object),
            stamp: self.knowledge.now(),
        };
        match ask(|| self.bench.source.ask(&stored)).await {
            Ok(true) => {}
            Ok(false) => self.remark(stored.text.as_bytes(), "the worker lost its lease").await,
            Err(error) => self.remark(stored.text.as_bytes(), &error.message).await,
        }
    }

    /// Shows what could not be taken.
    async fn remark(&self, bytes: &[u8], why: &str) {
        let text = format!("[SUT_EVENTS: {why}: {}]\n", String::from_utf8_lossy(bytes));
        // Who reads them is there as long as this is.
        let _read = self.remarks.send(text.into_bytes()).await;
    }
}

/// Writes what the program is told to its standard input, each once and in order. Never ends.
async fn pass_on<S: WorkSource>(
    bench: &Bench<S>,
    knowledge: &Knowledge<'_>,
    stdin: Option<pipe::Sender>,
    mut inbox: mpsc::UnboundedReceiver<Mail>,
) {
    if let Some(mut stdin) = stdin {
        bench.wake.notify_one(); // There may be something already.
        let (mut last, mut replies, mut written) = (0, HashSet::new(), 0_u64);
        while let Some(mail) = inbox.recv().await {
            let is_known = match &mail {
                Mail::Message(message) => message.seq <= last,
                Mail::Reply(reply) => !replies.insert(reply.seq),
            };
            if is_known {
                continue;
            }
            // The program has closed its input: what is left is never acknowledged.
            if stdin.write_all(line(&mail).as_bytes()).await.is_err() {
                break;
            }
            match &mail {
                Mail::Message(message) => {
                    last = message.seq;
                    knowledge.hear(message.stamp.as_ref());
                }
                Mail::Reply(reply) => knowledge.hear(reply.reply_stamp.as_ref()),
            }
            let _told = ask(|| bench.source.passed_on(&mail)).await;
            written += 1;
            if written.is_multiple_of(LOOK_EVERY) {
                bench.wake.notify_one();
            }
        }
    }
    std::future::pending::<()>().await;
}

fn line(mail: &Mail) -> String {
    let line = match mail {
        Mail::Message(message) => json!({"message": message.body, "seq": message.seq}),
        Mail::Reply(reply) => {
            let own = reply.own_id.clone().unwrap_or_else(|| reply.seq.to_string());
            let mut told = reply.reply.clone();
            told["prompt"] = own.into();
            json!({"reply": told})
        }
    };
    format!("{line}\n")
}
