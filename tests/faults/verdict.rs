//! What the database and the steps themselves tell, held against what the clients were told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlx::PgConnection;
use sutbot::domain::{Action, OperationState};
use sutbot::engine::{Engine, EventView, Found};
use uuid::Uuid;

use crate::history;
use crate::journal::{Account, Journal};
use crate::ledger::Ledger;
use crate::support;
use crate::told::{Move, done};

/// What was found, by kind; nothing may be.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Acknowledged, and not there.
    pub(crate) lost: Vec<String>,
    /// There twice, or done twice.
    pub(crate) double: Vec<String>,
    /// Shown otherwise than it was.
    pub(crate) lies: Vec<String>,
    /// Processes that outlived what they belonged to.
    pub(crate) survivors: Vec<String>,
}

/// All operations that are no new runs of others, with the keys of their submissions.
const SUBMITTED: &str = "select labels->>'key', id from operation \
                         where not exists (select from operation_data d \
                                           where d.operation = id and d.forked_from is not null)";

/// Outcomes by a worker that was not given the attempt. Worker 0 has those that never ran; a new run of
/// another operation has what that did.
const STRAY: &str = "select operation, step, attempt from attempt a \
                     where not exists (select from event e where e.operation = a.operation \
                         and e.step = a.step and e.attempt = a.attempt \
                         and e.worker is not distinct from nullif(a.worker, 0)) \
                     and not exists (select from operation_data d \
                         where d.operation = a.operation and d.forked_from is not null)";

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        [&self.lost, &self.double, &self.lies, &self.survivors].iter().all(|found| found.is_empty())
    }

    /// Looks at everything, once nothing runs any more.
    pub(crate) async fn judge(
        &mut self,
        engine: &Engine,
        database: &mut PgConnection,
        ledger: &Ledger,
        journal: &Journal,
    ) -> usize {
        self.lies.extend(ledger.lies.lock().expect("sound").iter().cloned());
        let submitted: Vec<(String, Uuid)> =
            sqlx::query_as(SUBMITTED).fetch_all(&mut *database).await.expect("an answer");
        self.check_keys(&submitted, ledger);
        let stray: Vec<(Uuid, i32, i32)> =
            sqlx::query_as(STRAY).fetch_all(&mut *database).await.expect("an answer");
        self.double.extend(stray.iter().map(|attempt| format!("not its own: {attempt:?}")));
        let all: Vec<Uuid> = sqlx::query_scalar("select id from operation")
            .fetch_all(&mut *database)
            .await
            .expect("an answer");
        let mut accounts = journal.read();
        let mut happened = HashMap::new();
        for id in &all {
            let found = engine.operation(*id).await.expect("an operation");
            let events = support::history(engine, *id).await;
            self.check_history(&found, &events, ledger, &mut happened);
            self.check_steps(&found, &events, &mut accounts);
        }
        let strange =
            accounts.into_keys().map(|step| format!("ran without an operation: {step:?}"));
        self.lies.extend(strange);
        self.check_moves(ledger, &happened);
        all.len()
    }

    /// Each acknowledged submission is there once, and each other one once at the most.
    fn check_keys(&mut self, submitted: &[(String, Uuid)], ledger: &Ledger) {
        let mut by_key: BTreeMap<&str, Vec<Uuid>> = BTreeMap::new();
        for (key, id) in submitted {
            by_key.entry(key).or_default().push(*id);
        }
        for (key, id) in ledger.acknowledged.lock().expect("sound").iter() {
            if !by_key.get(key.as_str()).is_some_and(|ids| ids.contains(id)) {
                self.lost.push(format!("{key} {id}"));
            }
        }
        let twice = by_key.iter().filter(|(_, ids)| ids.len() > 1);
        self.double.extend(twice.map(|(key, ids)| format!("{key} is {ids:?}")));
    }

    fn check_history(
        &mut self,
        found: &Found,
        events: &[EventView],
        ledger: &Ledger,
        happened: &mut HashMap<Move, i64>,
    ) {
        let id = found.view.id;
        if catch_unwind(AssertUnwindSafe(|| history::check(found, events))).is_err() {
            self.lies.push(format!("the history of {id} is against the rules"));
        }
        if !found.view.state.is_final() {
            self.lies.push(format!("{id} has not ended"));
        }
        let seen = ledger.ends.lock().expect("sound").get(&id).cloned();
        let state = format!("{:?}", found.view.state);
        if seen.as_ref().is_some_and(|seen| *seen != state) {
            self.lies.push(format!("{id} ended as {state}, and was shown as {seen:?}"));
        }
        // Its end was asked for, or its time was up before that was.
        let was_stopped = events.iter().any(|event| [2, 3, 8].contains(&event.kind));
        if ledger.cancelled.lock().expect("sound").contains(&id) && !was_stopped {
            self.lost.push(format!("the acknowledged end of {id}"));
        }
        if found.view.state == OperationState::Succeeded && was_stopped {
            self.lies.push(format!("{id} was stopped and succeeded"));
        }
        happened.extend(done(found, events, found.view.forked_from.is_some()));
    }

    /// What a step says of its runs is what the history says.
    fn check_steps(
        &mut self,
        found: &Found,
        events: &[EventView],
        accounts: &mut BTreeMap<(Uuid, String), Account>,
    ) {
        let id = found.view.id;
        let jobset = &found.compiled.jobset;
        for (n, step) in jobset.steps.iter().enumerate() {
            let own = || {
                events
                    .iter()
                    .filter(|event| event.step.is_some_and(|step| usize::try_from(step) == Ok(n)))
            };
            let claimed: BTreeSet<i32> =
                own().filter(|e| e.worker.is_some()).filter_map(|e| e.attempt).collect();
            let succeeded =
                own().filter(|e| e.action == Some(Action::SUCCEED) && e.worker.is_some());
            let succeeded: Vec<i32> = succeeded.filter_map(|event| event.attempt).collect();
            let name = step.definition.name.clone();
            let account = accounts.remove(&(id, name.clone()));
            // A milestone does nothing that it could tell.
            let is_milestone = account.is_none() && name == "s0";
            let account = account.unwrap_or_default();
            for (attempt, times) in &account.starts {
                if *times > 1 {
                    self.double.push(format!("{id} {name}: attempt {attempt} began {times} times"));
                }
                if !claimed.contains(attempt) {
                    self.lies
                        .push(format!("{id} {name}: attempt {attempt} ran and was not claimed"));
                }
            }
            let untrue = succeeded.iter().filter(|a| !is_milestone && !account.ends.contains(*a));
            self.lies.extend(untrue.map(|a| format!("{id} {name}: {a} did not come to its end")));
            let overlaps = account.overlaps.iter().map(|line| format!("{id} {name}: {line}"));
            self.double.extend(overlaps);
        }
    }

    /// What clients were told that they moved has moved. A verb without an answer may have moved more.
    fn check_moves(&mut self, ledger: &Ledger, happened: &HashMap<Move, i64>) {
        for (told, times) in ledger.told.lock().expect("sound").iter() {
            let found = happened.get(told).unwrap_or(&0);
            if found < times {
                self.lost
                    .push(format!("{told:?} was told {times} times and happened {found} times"));
            }
        }
    }
}
