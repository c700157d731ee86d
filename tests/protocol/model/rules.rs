//! What servers decide, what is stored of it, and what happens on the hosts of workers.

use super::*;

/// What a server makes of a question.
pub(super) enum Heard {
    /// It is answered at once; nothing is to be stored.
    Answered,
    /// This is to be stored.
    Decided(Pending),
}

impl Protocol {
    pub(super) fn lacks(&self, mutation: Mutation) -> bool {
        self.without == Some(mutation)
    }

    pub(super) fn fence(&self) -> u8 {
        if self.lacks(Mutation::NoMargin) { FENCE + MARGIN } else { FENCE }
    }

    /// Whether something of an incarnation must be killed before time passes.
    pub(super) fn is_urgent(&self, incarnation: &Incarnation) -> bool {
        let is_running = matches!(incarnation.work, Some((_, _, Work::Running)));
        let is_kept = !self.lacks(Mutation::FenceOnlyInWorker);
        is_running && is_kept && incarnation.heard + 1 >= self.fence() + MARGIN
    }

    /// The row after a decision; `None`: there is nothing to decide.
    pub(super) fn decided(&self, world: &World, decision: Decision) -> Option<Pending> {
        if decision == Decision::Submit {
            let steps = vec![(Step::Waiting, 0); usize::from(self.steps)];
            let row = Operation { steps, is_stopped: false };
            let is_new = world.operation.is_none();
            return is_new.then_some(Pending {
                decision,
                is_overtaken: false,
                row,
                is_late: false,
            });
        }
        let before = world.operation.as_ref()?;
        let mut row = before.clone();
        let mut is_late = false;
        match decision {
            Decision::Submit => return None,
            Decision::Cancel if world.has_ended() => return None,
            Decision::Cancel => {
                row.is_stopped = true;
                for (step, _) in &mut row.steps {
                    let waits =
                        step.held_by().is_some() && !self.lacks(Mutation::CancelWithoutWaiting);
                    if !waits && !step.has_ended() {
                        *step = Step::Cancelled;
                    }
                }
            }
            Decision::Claim { by, step } => {
                let (state, attempt) = &mut row.steps[usize::from(step)];
                if *state != Step::Waiting || before.is_stopped {
                    return None;
                }
                (*state, *attempt) = (Step::Running { by }, *attempt + 1);
            }
            Decision::Settle { by, step, attempt, succeeded } => {
                let (state, number) = &mut row.steps[usize::from(step)];
                let is_own = state.held_by() == Some(by) && *number == attempt;
                if !is_own && !self.lacks(Mutation::OutcomeUnchecked) {
                    return None;
                }
                is_late = matches!(state, Step::Unresponsive { .. });
                if is_late
                    && !world.standing(by).may_speak()
                    && !self.lacks(Mutation::LateWordUnasked)
                {
                    return None;
                }
                *state = if succeeded { Step::Succeeded } else { Step::Cancelled };
            }
            Decision::Lose { by } => {
                replace(&mut row, Step::Running { by }, Step::Unresponsive { by })?;
            }
            Decision::Recover { by } => {
                replace(&mut row, Step::Unresponsive { by }, Step::Running { by })?;
            }
            Decision::Rescue { by } => {
                let lost = row.steps.iter_mut().filter(|(step, _)| step.held_by() == Some(by));
                for (step, attempt) in lost {
                    *step = match before.is_stopped {
                        true => Step::Cancelled,
                        false if *attempt <= BUDGET => Step::Waiting,
                        false => Step::Failed,
                    };
                }
            }
        }
        let is_news = row != *before;
        is_news.then_some(Pending { decision, is_overtaken: false, row, is_late })
    }

    /// Whether the guards of a store hold in its transaction.
    pub(super) fn is_stored(&self, world: &World, pending: &Pending) -> bool {
        if pending.is_overtaken && !self.lacks(Mutation::NoVersionCheck) {
            return false;
        }
        match pending.decision {
            Decision::Claim { by, .. } => {
                let row = world.standing(by);
                self.lacks(Mutation::ClaimUnguarded) || row.may_speak() && !row.is_lost()
            }
            Decision::Settle { by, .. } if pending.is_late => {
                self.lacks(Mutation::LateWordUnasked) || world.standing(by).may_speak()
            }
            Decision::Lose { by } => world.standing(by).is_lost(),
            Decision::Recover { by } => !world.standing(by).is_lost(),
            Decision::Submit
            | Decision::Cancel
            | Decision::Settle { .. }
            | Decision::Rescue { .. } => true,
        }
    }

    pub(super) fn commit(&self, world: &mut World, pending: Pending) {
        if !self.is_stored(world, &pending) {
            return; // Whoever asked asks again.
        }
        match pending.decision {
            Decision::Claim { by, step } => {
                world.was_late |= world.standing(by).was_over;
                let attempt = pending.row.steps[usize::from(step)].1;
                let incarnation = &mut world.incarnations[usize::from(by)];
                // A monitor begins nothing behind the fence.
                if incarnation.is_up && incarnation.heard < self.fence() {
                    incarnation.work = Some((step, attempt, Work::Running));
                }
            }
            Decision::Settle { by, step, attempt, .. } => {
                world.was_late |= world.standing(by).was_over;
                world.outcomes.push((step, attempt));
                world.outcomes.sort_unstable();
                // The answer is lost: the worker asks again, and is told that it is stale.
            }
            Decision::Submit => world.answered[0] = true,
            Decision::Cancel => world.answered[1] = true,
            Decision::Lose { .. } | Decision::Recover { .. } | Decision::Rescue { .. } => {}
        }
        world.operation = Some(pending.row);
        if let Some(other) = &mut world.pending {
            other.is_overtaken = true;
        }
        if !self.lacks(Mutation::NoVersionCheck) {
            world.pending = None; // It has another version than expected.
        }
    }

    pub(super) fn receive(&self, world: &mut World, by: u8) -> Option<()> {
        let fence = self.fence();
        let incarnation = &mut world.incarnations[usize::from(by)];
        match incarnation.heartbeat? {
            (true, sent) if incarnation.heard < fence => {
                incarnation.heard = if self.lacks(Mutation::FenceFromAnswer) { 0 } else { sent };
            }
            (true | false, _) => fence_off(incarnation),
        }
        incarnation.heartbeat = None;
        Some(())
    }

    pub(super) fn tick(&self, world: &mut World) -> Option<()> {
        if world.incarnations.iter().any(|incarnation| self.is_urgent(incarnation)) {
            return None;
        }
        for row in &mut world.rows {
            row.renewed = (row.renewed + 1).min(OLD);
        }
        for incarnation in &mut world.incarnations {
            incarnation.heard = (incarnation.heard + 1).min(OLD);
            if let Some((_, age)) = &mut incarnation.heartbeat {
                *age = (*age + 1).min(OLD);
            }
        }
        Some(())
    }

    /// The decisions that a server may be asked for.
    pub(super) fn decisions(&self, world: &World) -> Vec<Decision> {
        if world.operation.is_none() {
            return vec![Decision::Submit];
        }
        let mut asked = vec![Decision::Cancel];
        for (by, incarnation) in (0..).zip(&world.incarnations) {
            let row = world.standing(by);
            asked.push(if row.is_lost() {
                Decision::Lose { by }
            } else {
                Decision::Recover { by }
            });
            let is_over = row.is_over || self.lacks(Mutation::RequeueBeforeMark) && row.is_lost();
            if is_over && !row.is_forgotten {
                asked.push(Decision::Rescue { by });
            }
            match incarnation.work {
                None if incarnation.is_up && incarnation.heard < LEASE => {
                    asked.extend((0..self.steps).map(|step| Decision::Claim { by, step }));
                }
                Some((step, attempt, Work::Reporting(succeeded))) if incarnation.is_up => {
                    asked.push(Decision::Settle { by, step, attempt, succeeded });
                }
                None | Some(_) => {}
            }
        }
        asked
    }
}

fn replace(row: &mut Operation, from: Step, to: Step) -> Option<()> {
    let mut found = row.steps.iter_mut().filter(|(step, _)| *step == from).peekable();
    found.peek()?;
    found.for_each(|(step, _)| *step = to);
    Some(())
}

/// A report was answered: its worker forgets it.
fn answer(world: &mut World, by: u8, step: u8, attempt: u8) {
    let work = &mut world.incarnations[usize::from(by)].work;
    if matches!(*work, Some((s, a, Work::Reporting(_))) if (s, a) == (step, attempt)) {
        *work = None;
    }
}

/// Nobody speaks for it any more. Its process is killed, which takes its time; its heartbeat may be
/// on its way.
fn fence_off(incarnation: &mut Incarnation) {
    incarnation.is_up = false;
    incarnation.work = incarnation.work.filter(|(_, _, work)| *work == Work::Running);
}

impl Protocol {
    /// Does what an action says; `None`: it cannot be done.
    pub(super) fn take(&self, world: &mut World, action: Action) -> Option<()> {
        let only_if = |is_so: bool| is_so.then_some(());
        match action {
            Action::Register(worker) => {
                let is_up = |i: &Incarnation| i.worker == worker && i.is_up;
                only_if(!world.incarnations.iter().any(is_up))?;
                let (heard, heartbeat, work) = (0, None, None);
                world.incarnations.push(Incarnation {
                    worker,
                    is_up: true,
                    heard,
                    heartbeat,
                    work,
                });
                world.rows.push(Row::default());
            }
            Action::Do(decision) => {
                if let Heard::Decided(pending) = self.decide(world, decision)? {
                    self.commit(world, pending);
                }
            }
            Action::Decide(decision) => {
                only_if(world.pending.is_none())?;
                if let Heard::Decided(pending) = self.decide(world, decision)? {
                    world.pending = Some(pending);
                }
            }
            Action::Commit => {
                let pending = world.pending.take()?;
                self.commit(world, pending);
            }
            Action::Drop => world.pending = None,
            // A heartbeat is stored as soon as it is sent: were it stored later, the database would only
            // wait for longer.
            Action::Send(by) => {
                let incarnation = &mut world.incarnations[usize::from(by)];
                let row = &mut world.rows[usize::from(by)];
                // One that is sent at once tells nothing new. The answer to the one before is lost.
                only_if(incarnation.is_up && incarnation.heard > 0)?;
                let is_renewed = row.may_speak() || self.lacks(Mutation::RenewalAfterTheEnd);
                incarnation.heartbeat = Some((is_renewed, 0));
                if is_renewed {
                    (row.renewed, row.is_over) = (0, false);
                }
            }
            Action::Receive(by) => self.receive(world, by)?,
            Action::End(by) => {
                // Not before all that it has is Unresponsive.
                let mut steps = world.operation.iter().flat_map(|operation| &operation.steps);
                only_if(steps.all(|(step, _)| *step != Step::Running { by }))?;
                let needed = LEASE + REQUEUE - u8::from(self.lacks(Mutation::OtherTerms));
                let row = &mut world.rows[usize::from(by)];
                only_if(row.renewed >= needed)?;
                (row.is_over, row.was_over) = (true, true);
            }
            Action::Forget(by) => {
                let mut steps = world.operation.iter().flat_map(|operation| &operation.steps);
                only_if(steps.all(|(step, _)| step.held_by() != Some(by)))?;
                let row = &mut world.rows[usize::from(by)];
                only_if(row.is_over)?;
                row.is_forgotten = true;
            }
            Action::Tick => self.tick(world)?,
            Action::Crash(worker) => {
                world.crashes -= 1;
                let mut all = world.incarnations.iter_mut();
                fence_off(all.find(|i| i.worker == worker && i.is_up)?);
            }
            Action::Finish(by) | Action::Obey(by) | Action::Fence(by) | Action::Kill(by) => {
                self.work(world, by, action)?;
            }
        }
        Some(())
    }

    /// What a server makes of a question; `None`: there is no question.
    pub(super) fn decide(&self, world: &mut World, decision: Decision) -> Option<Heard> {
        let pending = self.decided(world, decision);
        match (&pending, decision) {
            (None, Decision::Settle { by, step, attempt, .. }) => {
                answer(world, by, step, attempt);
                return Some(Heard::Answered);
            }
            (None, _) => return None,
            (Some(_), Decision::Submit | Decision::Cancel)
                if self.lacks(Mutation::AnswerBeforeCommit) =>
            {
                world.answered[usize::from(decision == Decision::Cancel)] = true;
            }
            (Some(_), _) => {}
        }
        pending.map(Heard::Decided)
    }

    /// What happens on the host of an incarnation.
    pub(super) fn work(&self, world: &mut World, by: u8, action: Action) -> Option<()> {
        let is_ordered = |step: u8, attempt: u8| {
            let operation = world.operation.as_ref().filter(|operation| operation.is_stopped);
            let known = operation.map(|operation| operation.steps[usize::from(step)]);
            known.is_some_and(|(state, number)| state.held_by() == Some(by) && number == attempt)
        };
        let incarnation = &world.incarnations[usize::from(by)];
        let mut next = incarnation.clone();
        let has_passed = incarnation.heard >= self.fence();
        match (action, incarnation.work) {
            (Action::Finish(_), Some((step, attempt, Work::Running))) => {
                let is_told = incarnation.is_up && !has_passed;
                next.work = is_told.then_some((step, attempt, Work::Reporting(true)));
            }
            (Action::Obey(_), Some((step, attempt, Work::Running)))
                if is_ordered(step, attempt) =>
            {
                next.work = Some((step, attempt, Work::Reporting(false)));
            }
            (Action::Fence(_), _) if has_passed => fence_off(&mut next),
            (Action::Kill(_), Some((_, _, Work::Running)))
                if has_passed && !self.lacks(Mutation::FenceOnlyInWorker) || !incarnation.is_up =>
            {
                next.work = None;
            }
            _ => return None,
        }
        world.incarnations[usize::from(by)] = next;
        Some(())
    }

    /// Whether everything ends within a bounded time when no fault happens from here on: everybody
    /// does all that can be done, and then time passes.
    pub(super) fn ends(&self, world: &World) -> bool {
        let mut world = world.clone();
        for _ in 0..ROUNDS_MAX {
            if world.has_ended() && world.processes().next().is_none() {
                return true;
            }
            self.round(&mut world);
        }
        false
    }

    pub(super) fn round(&self, world: &mut World) {
        for worker in 0..WORKERS as u8 {
            self.take(world, Action::Register(worker));
        }
        self.take(world, Action::Commit);
        for by in 0..world.incarnations.len() as u8 {
            if world.incarnations[usize::from(by)].is_up {
                for action in [Action::Receive, Action::Send, Action::Receive] {
                    self.take(world, action(by));
                }
                for action in [Action::Fence, Action::Obey] {
                    self.take(world, action(by));
                }
            }
            for action in [Action::Finish, Action::Kill, Action::End, Action::Forget] {
                self.take(world, action(by));
            }
        }
        for asked in self.decisions(world).into_iter().filter(|asked| *asked != Decision::Cancel) {
            self.take(world, Action::Do(asked));
        }
        self.take(world, Action::Tick);
    }
}
