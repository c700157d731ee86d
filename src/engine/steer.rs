//! Steering single steps, and forking an operation that has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Engine;
use super::admission::terms;
use super::command::{Ask, Command, Edit, Fork, SteerAnswer, SteerAsked, SteerOrder, Submit};
use super::error::EngineError;
use super::lane::Cached;
use super::turn::{Turn, merge};
use crate::domain::decide::{Selection, Steer, Steered, Verb};
use crate::domain::{Jobset, Run};
use crate::store::{HAS_DATA, HAS_EDITS, Store};

impl Engine {
    /// Does something to the steps of an operation. When this answers, it is durable.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Ended`], [`EngineError::VersionMismatch`],
    /// [`EngineError::Unavailable`].
    pub async fn steer(&self, asked: SteerAsked) -> Result<SteerAnswer, EngineError> {
        let (ask, answer) = Ask::new(asked);
        self.shared.send(Command::Steer(ask)).await?;
        answer.await.map_err(|_| EngineError::ShuttingDown)?
    }

    /// Makes a new operation that runs some steps of `source`, which has ended, again and takes
    /// over the others as they are. `None`: no step would be run again.
    ///
    /// # Errors
    /// As for [`submit_once`](Self::submit_once); [`EngineError::NotFound`].
    pub async fn fork(
        &self,
        source: Uuid,
        selection: &Selection,
        cascade: bool,
        edit: &Edit,
    ) -> Result<Option<(Uuid, DateTime<Utc>)>, EngineError> {
        let found = self.whole_operation(source).await?;
        let run = found.run();
        let again = run.to_run_again(selection, cascade);
        if again.is_empty() {
            return Ok(None);
        }
        let store = &self.shared.store;
        let last = last_attempts(store, source, &run).await?;
        let id = self.shared.clock.new_id();
        let chosen: BTreeSet<u32> = run.select(selection).into_iter().collect();
        let edits: Map<String, Value> = again
            .iter()
            .filter(|n| chosen.contains(n))
            .filter_map(|n| Some((n.to_string(), edit.stored(1)?)))
            .collect();
        let mut context = store.context(source).await?.map(|view| view.context);
        if let Some(patch) = &edit.context {
            merge(context.get_or_insert_with(|| Value::Object(Map::new())), patch);
        }
        let fork = Box::new(Fork {
            source,
            source_alias: found.view.alias.clone(),
            run: run.fork(id, &again, &last, self.now()),
            again: again.into_iter().collect(),
            edits: (!edits.is_empty()).then_some(Value::Object(edits)),
            flags: crate::store::HAS_RESULT,
        });
        let (jobset, labels) = (Arc::clone(&found.compiled), found.view.labels.clone());
        let fork = Some(fork);
        let terms = terms(&jobset, labels.as_ref(), context.as_ref())?;
        let submit = Submit { id, jobset, labels, context, fork, terms, identity: None };
        let (ask, answer) = Ask::new(submit);
        self.shared.send(Command::Submit(ask)).await?;
        let made = answer.await.map_err(|_| EngineError::ShuttingDown)??;
        Ok(Some((made.id, made.at)))
    }
}

/// The numbers of the last attempts of all steps that had one.
async fn last_attempts(
    store: &Store,
    operation: Uuid,
    run: &Run,
) -> Result<BTreeMap<u32, u32>, EngineError> {
    let all = i32::try_from(run.steps().len()).unwrap_or(i32::MAX);
    let moves = store.last_moves(operation, 0..all, run.steps().len()).await?;
    let number = |number: i32| u32::try_from(number).unwrap_or(0);
    Ok(moves.into_iter().map(|(step, _, attempt)| (number(step), number(attempt))).collect())
}

impl Turn {
    pub(super) async fn steer(
        &mut self,
        ask: &mut Ask<SteerAsked, SteerAnswer>,
        runs: &mut HashMap<Uuid, Cached>,
    ) -> Result<(), EngineError> {
        let asked = &ask.input;
        let Some(cached) = runs.get_mut(&asked.operation) else {
            ask.answer(Err(EngineError::NotFound));
            return Ok(());
        };
        if asked.expected.is_some_and(|version| version != cached.run.version()) {
            let version = cached.run.version();
            ask.answer(Err(EngineError::VersionMismatch(version)));
            return Ok(());
        }
        if cached.run.state().is_final() {
            ask.answer(Err(EngineError::Ended));
            return Ok(());
        }
        let answer = self.steered(asked, cached).await?;
        ask.answer(Ok(answer));
        Ok(())
    }

    async fn steered(
        &mut self,
        asked: &SteerAsked,
        cached: &mut Cached,
    ) -> Result<SteerAnswer, EngineError> {
        let id = asked.operation;
        let jobset: Arc<Jobset> = Arc::clone(cached.run.jobset());
        let before = cached.run.version();
        let mut trial;
        let run = if asked.dry_run {
            trial = cached.run.clone();
            &mut trial
        } else {
            &mut cached.run
        };
        let (steered, last) = match asked.order {
            SteerOrder::Pause(paused) => {
                run.pause(paused, self.now);
                (Steered::default(), BTreeMap::new())
            }
            SteerOrder::Steps(verb) => {
                let last = self.attempts_before(id, run, verb).await?;
                let steer = Steer { verb, selection: &asked.selection, last_attempts: &last };
                (run.steer(&steer, self.now), last)
            }
        };
        let paused = run.is_paused();
        if asked.dry_run {
            return Ok(SteerAnswer { jobset, steered, paused });
        }
        if cached.run.version() != before {
            self.touched.insert(id);
        }
        if !steered.moved.is_empty() {
            self.edit(asked, cached, &steered, &last).await?;
        }
        Ok(SteerAnswer { jobset, steered, paused })
    }

    /// The last attempts of steps that have ended: only the history knows them.
    async fn attempts_before(
        &self,
        id: Uuid,
        run: &Run,
        verb: Verb,
    ) -> Result<BTreeMap<u32, u32>, EngineError> {
        if run.revived_by(verb).is_empty() {
            return Ok(BTreeMap::new());
        }
        // Read beside the version of the run: had it changed, all this is decided again.
        last_attempts(&self.shared.store, id, run).await
    }

    /// Keeps what is changed for the attempts that follow.
    async fn edit(
        &mut self,
        asked: &SteerAsked,
        cached: &mut Cached,
        steered: &Steered,
        last: &BTreeMap<u32, u32>,
    ) -> Result<(), EngineError> {
        if let Some(patch) = &asked.edit.context {
            let (context, version) = self.context(asked.operation).await?;
            self.change_context(cached, context, version, patch);
        }
        let next = |n: u32| {
            let open = cached.run.open().get(&n);
            let begun = open.map(|open| open.attempt + u32::from(open.holder.is_some()));
            begun.unwrap_or_else(|| last.get(&n).map_or(1, |last| last + 1))
        };
        let edits: Map<String, Value> = steered
            .moved
            .iter()
            .filter_map(|moved| {
                Some((moved.step.to_string(), asked.edit.stored(next(moved.step))?))
            })
            .collect();
        if !edits.is_empty() {
            cached.flags |= HAS_DATA | HAS_EDITS;
            let data = self.data.entry(asked.operation).or_default();
            match &mut data.stored.edits {
                Some(Value::Object(known)) => known.extend(edits),
                none => *none = Some(Value::Object(edits)),
            }
        }
        Ok(())
    }
}
