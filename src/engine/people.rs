//! People and steps: prompts, replies and messages.
//!
//! None of this moves a step, so nothing of it goes through a lane: a prompt, a reply or a message is
//! one row that is written once. It is stored first and then told, by the same news as orders to
//! stop; the worker that runs the attempt asks for what it has not passed on yet, also with every
//! heartbeat, so that news may be lost.

use serde_json::Value;
use uuid::Uuid;

use super::error::EngineError;
use super::live::{Span, Spans};
use super::query::Found;
use super::work::WorkerSeat;
use super::{Engine, Shared};
use crate::domain::StepState;
use crate::store::{
    AttemptKey, DueMessage, Known, NewPrompt, PromptKey, PromptView, ReplyView, StepMessage,
};

/// Messages to, and as many from, one attempt, at the most.
pub const MESSAGES_MAX: u32 = 10_000;
/// Messages to one attempt that its worker is given at once.
const DUE_MAX: i64 = 100;

/// What a worker has to pass on to an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Mail {
    /// A reply to one of its prompts.
    Reply(ReplyView),
    /// A message.
    Message(DueMessage),
}

impl Mail {
    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> AttemptKey {
        let (operation, step, attempt) = match self {
            Self::Reply(reply) => (reply.operation, reply.step, reply.attempt),
            Self::Message(message) => (message.operation, message.step, message.attempt),
        };
        let number = |number: i32| u32::try_from(number).unwrap_or(u32::MAX);
        AttemptKey { operation, step: number(step), attempt: number(attempt) }
    }
}

/// What became of a reply.
#[derive(Clone, Debug)]
pub enum Replied {
    /// It is the reply.
    Taken(PromptView),
    /// Somebody else was faster.
    Before(PromptView),
    /// The attempt that asked has ended.
    Closed(PromptView),
}

/// A step that was told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its number.
    pub step: u32,
    /// The attempt.
    pub attempt: u32,
    /// The number of the message in it; 0: the attempt has had as many as it may.
    pub seq: u32,
}

impl Shared {
    /// Tells the workers that there is something to pass on.
    fn tell_workers(&self) {
        self.seats.tell(|_| true);
        self.news.tell(&Spans::new(), false, true);
    }

    /// Tells those who watch an operation that something was asked.
    fn tell_watchers(&self, operation: Uuid) {
        let spans = Spans::from([(operation, Span::NOTHING)]);
        self.watches.tell(&spans);
        self.news.tell(&spans, false, false);
    }
}

impl Engine {
    /// What is known by who has seen event `seq` of an operation. `None`: there is no such event, or
    /// it has no stamp.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn known_at(&self, operation: Uuid, seq: u32) -> Result<Option<Known>, EngineError> {
        let Ok(seq) = i32::try_from(seq) else { return Ok(None) };
        Ok(self.shared.store.known_at(operation, seq).await?)
    }

    /// Replies to a prompt, as one who knew that much. When this answers, the reply is durable, and the only one.
    ///
    /// # Errors
    /// [`EngineError::NotFound`]; otherwise as for any question to the store.
    pub async fn reply(
        &self,
        key: PromptKey,
        reply: &Value,
        known: Option<&Known>,
    ) -> Result<Replied, EngineError> {
        let store = &self.shared.store;
        if let Some(view) = store.reply(key, reply, known).await? {
            self.shared.tell_workers();
            self.shared.tell_watchers(key.operation);
            return Ok(Replied::Taken(view));
        }
        let view = store.prompt(key).await?.ok_or(EngineError::NotFound)?;
        Ok(if view.reply.is_some() { Replied::Before(view) } else { Replied::Closed(view) })
    }

    /// The running steps of an operation among `steps` that read messages, with their attempts.
    ///
    /// # Errors
    /// [`EngineError::Ended`]; otherwise as for any question to the store.
    pub fn listening(
        &self,
        found: &Found,
        steps: impl Fn(u32) -> bool,
    ) -> Result<Vec<Receiver>, EngineError> {
        if found.view.state.is_final() {
            return Err(EngineError::Ended);
        }
        let jobset = &found.compiled.jobset;
        let view = &found.view;
        let listens = |n: u32| {
            view.steps[n as usize].class() == StepState::RUNNING
                && jobset.step(n).definition.takes_messages
                && steps(n)
        };
        let in_hands = view.open.iter().filter(|(_, open)| open.holder.is_some() && !open.leaving);
        Ok(in_hands
            .filter(|(n, _)| listens(**n))
            .map(|(n, open)| Receiver { step: *n, attempt: open.attempt, seq: 0 })
            .collect())
    }

    /// Sends a message of one who knew that much to these steps and numbers it in each. When this
    /// answers, it is durable.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn tell(
        &self,
        operation: Uuid,
        receivers: &mut [Receiver],
        message: &Value,
        known: Option<&Known>,
    ) -> Result<(), EngineError> {
        if receivers.is_empty() {
            return Ok(());
        }
        let to = |to: &Receiver| AttemptKey { operation, step: to.step, attempt: to.attempt };
        let keys: Vec<AttemptKey> = receivers.iter().map(to).collect();
        let told = self.shared.store.tell(operation, &keys, message, known, MESSAGES_MAX).await?;
        for (receiver, seq) in receivers.iter_mut().zip(told) {
            receiver.seq = seq;
        }
        self.shared.tell_workers();
        Ok(())
    }
}

impl WorkerSeat {
    /// Gives the slot of an attempt back before its end, because it only waits for a person. It is
    /// not given back again when the attempt is settled.
    pub fn rest(&self, attempt: AttemptKey) {
        if self.seat.rest(attempt) {
            self.shared.look();
        }
    }

    /// Puts a question to people. `false`: the lease ran out. Asking again changes nothing.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn ask(&self, prompt: &NewPrompt) -> Result<bool, EngineError> {
        let is_held = self.shared.store.ask(prompt).await?;
        self.shared.tell_watchers(prompt.operation);
        Ok(is_held)
    }

    /// The reply to an instruction that an earlier attempt was given after its worker was lost.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn reply_before(&self, of: AttemptKey) -> Result<Option<ReplyView>, EngineError> {
        Ok(self.shared.store.reply_before(of.operation, of.step, of.attempt).await?)
    }

    /// Closes the prompts of an attempt that ends; answers the replies that came before.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn close_prompts(&self, of: AttemptKey) -> Result<Vec<ReplyView>, EngineError> {
        Ok(self.shared.store.close_prompts(of.operation, of.step, of.attempt).await?)
    }

    /// Stores what steps told. Storing it again changes nothing.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn append_messages(&self, messages: &[StepMessage]) -> Result<(), EngineError> {
        Ok(self.shared.store.append_messages(messages).await?)
    }

    /// What was not passed on yet: all replies to prompts of this worker, and the next messages to
    /// the attempts of `listening`.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn mail(&self, listening: &[AttemptKey]) -> Result<Vec<Mail>, EngineError> {
        let store = &self.shared.store;
        let replies = store.replies(self.seat.incarnation).await?;
        let mut mail: Vec<Mail> = replies.into_iter().map(Mail::Reply).collect();
        if !listening.is_empty() {
            let messages = store.due_messages(listening, DUE_MAX).await?;
            mail.extend(messages.into_iter().map(Mail::Message));
        }
        Ok(mail)
    }

    /// Notes that mail was passed on: this one and, of messages, those before it.
    ///
    /// # Errors
    /// As for any question to the store.
    pub async fn passed_on(&self, mail: &Mail) -> Result<(), EngineError> {
        let store = &self.shared.store;
        match mail {
            Mail::Reply(ReplyView { operation, step, attempt, seq, .. }) => {
                let (operation, step, attempt, seq) = (*operation, *step, *attempt, *seq);
                store.heard(PromptKey { operation, step, attempt, seq }).await?;
            }
            Mail::Message(message) => store.acknowledge(mail.to(), message.seq).await?,
        }
        Ok(())
    }
}
