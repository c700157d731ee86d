//! The protocol between servers, workers and the database as a machine that a checker can walk:
//! every order of deliveries, decisions, commits, crashes and stops, up to small bounds.
//!
//! What stands here and where it is carried out:
//!
//! | here | there |
//! |---|---|
//! | [`Row`], `End`, `Forget` | `store/worker.rs`, `engine/maintain.rs` |
//! | [`Decision`], `Decide`, `Commit` | `engine/lane.rs`, `engine/turn.rs`, `domain/decide` |
//! | [`Incarnation`], `Send`, `Receive`, `Obey`, `Fence` | `runner/worker.rs` |
//! | `Kill` | `runner/process/fence.rs`: by the kernel's timer, whoever stands still |
//! | [`LEASE`], [`REQUEUE`], [`FENCE`], [`MARGIN`] | `domain/lease.rs` |
//!
//! *Time* is counted in ticks that pass for everybody at once, at any moment. Clocks are never
//! compared. The only promise is that of the margin: the kernel has killed what is behind the fence
//! before `MARGIN` ticks are over.
//!
//! *Messages* wait as long as they like, are lost, and (because whoever has no answer asks again, and
//! any server may be asked) are repeated. A *worker* that is stopped or slow is one for which nothing
//! happens but ticks and what others do. A *server* that stands still is a decision that waits to be
//! stored; one that crashes drops it; besides there is always a server that is quick. (Two that are slow
//! show nothing more: of two decisions on one version the second is refused.) A store and its guards
//! are one transaction.

use stateright::{Model, Property};

/// How long a lease lasts, how long the incarnation may yet come back, when the processes are killed,
/// and how long that takes; in ticks.
pub(crate) const LEASE: u8 = 1;
pub(crate) const REQUEUE: u8 = 3;
pub(crate) const FENCE: u8 = 3;
pub(crate) const MARGIN: u8 = 1;
/// Ages are not told apart beyond this.
const OLD: u8 = LEASE + REQUEUE;
/// Attempts of a step that may be lost before it fails.
const BUDGET: u8 = 1;
/// Rounds without faults in which everything ends: far more than any way takes.
const ROUNDS_MAX: usize = 40;
pub(crate) const WORKERS: usize = 2;

/// What is left out of the protocol, to see that the checker misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The processes are killed when others may begin, not before.
    NoMargin,
    /// Only the worker itself ends its processes, so nobody does while it is stopped.
    FenceOnlyInWorker,
    /// The fence is counted from the answer of a heartbeat, not from before it was sent.
    FenceFromAnswer,
    /// The database waits for less time than the worker was told.
    OtherTerms,
    /// Others get the attempts before the incarnation is marked as over.
    RequeueBeforeMark,
    /// A heartbeat renews the lease of an incarnation that is over.
    RenewalAfterTheEnd,
    /// A late outcome counts whether or not the incarnation is over.
    LateWordUnasked,
    /// Attempts are claimed for whoever asks.
    ClaimUnguarded,
    /// Decisions are stored whatever was stored since they were made.
    NoVersionCheck,
    /// Who reports an outcome is not asked whether the attempt is still its own.
    OutcomeUnchecked,
    /// A client is answered before its wish is stored.
    AnswerBeforeCommit,
    /// A cancelled step is Cancelled at once, not when its process is gone.
    CancelWithoutWaiting,
}

/// How large the world is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) steps: u8,
    pub(crate) incarnations: u8,
    /// How many workers may crash.
    pub(crate) crashes: u8,
    pub(crate) without: Option<Mutation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Waiting,
    Running { by: u8 },
    Unresponsive { by: u8 },
    Succeeded,
    Failed,
    Cancelled,
}

impl Step {
    fn held_by(self) -> Option<u8> {
        match self {
            Self::Running { by } | Self::Unresponsive { by } => Some(by),
            Self::Waiting | Self::Succeeded | Self::Failed | Self::Cancelled => None,
        }
    }

    fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The row of the operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Operation {
    /// Each with the number of its latest attempt.
    pub(crate) steps: Vec<(Step, u8)>,
    is_stopped: bool,
}

/// The row of an incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    /// Ticks since a heartbeat was stored.
    renewed: u8,
    is_over: bool,
    is_forgotten: bool,
    /// Remembered by the model alone.
    was_over: bool,
}

impl Row {
    fn is_lost(&self) -> bool {
        self.renewed >= LEASE
    }

    fn may_speak(&self) -> bool {
        !self.is_over && !self.is_forgotten
    }
}

/// An attempt, on its way through a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Its process runs.
    Running,
    /// Its process is gone. `true`: it had done its work.
    Reporting(bool),
}

/// A worker process from its registration to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incarnation {
    worker: u8,
    /// Whether anybody speaks for it.
    is_up: bool,
    /// Ticks since the last heartbeat that was answered was sent.
    heard: u8,
    /// The answer to a heartbeat that is under way: whether the lease was renewed, and the ticks since
    /// the heartbeat was sent.
    heartbeat: Option<(bool, u8)>,
    /// Step, attempt.
    work: Option<(u8, u8, Work)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Decision {
    Submit,
    Cancel,
    Claim { by: u8, step: u8 },
    Settle { by: u8, step: u8, attempt: u8, succeeded: bool },
    Lose { by: u8 },
    Recover { by: u8 },
    Rescue { by: u8 },
}

/// A decision that waits to be stored, with the row as it will be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    decision: Decision,
    /// Whether something else was stored since it was made: its version is not the expected one.
    is_overtaken: bool,
    row: Operation,
    /// Whether it holds only for an incarnation that is not over.
    is_late: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) operation: Option<Operation>,
    rows: Vec<Row>,
    pub(crate) incarnations: Vec<Incarnation>,
    pending: Option<Pending>,
    crashes: u8,
    /// The client was answered: to its submission, to its cancellation.
    answered: [bool; 2],
    /// By step and attempt: outcomes that were recorded.
    outcomes: Vec<(u8, u8)>,
    /// Whether an incarnation that was over has changed something.
    was_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Register(u8),
    /// By a server that stores it at once.
    Do(Decision),
    /// By a server that is slow, or stops.
    Decide(Decision),
    Commit,
    Drop,
    Send(u8),
    Receive(u8),
    Finish(u8),
    Obey(u8),
    Fence(u8),
    Kill(u8),
    End(u8),
    Forget(u8),
    Tick,
    Crash(u8),
}

impl World {
    fn standing(&self, by: u8) -> &Row {
        &self.rows[usize::from(by)]
    }

    /// What can make no difference any more is the same in all worlds.
    fn forget_what_is_past(&mut self) {
        for (row, incarnation) in self.rows.iter_mut().zip(&mut self.incarnations) {
            if row.is_over {
                row.renewed = OLD;
            }
            if !incarnation.is_up && incarnation.work.is_none() {
                (incarnation.heard, incarnation.heartbeat) = (0, None);
            }
        }
    }

    /// The processes that are alive: step, attempt, incarnation.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (u8, u8)> {
        let running = |incarnation: &Incarnation| match incarnation.work {
            Some((step, attempt, Work::Running)) => Some((step, attempt)),
            _ => None,
        };
        self.incarnations.iter().filter_map(running)
    }

    fn has_ended(&self) -> bool {
        let all = |operation: &Operation| operation.steps.iter().all(|(step, _)| step.has_ended());
        self.operation.as_ref().is_some_and(all)
    }
}

impl Protocol {
    fn lacks(&self, mutation: Mutation) -> bool {
        self.without == Some(mutation)
    }

    fn fence(&self) -> u8 {
        if self.lacks(Mutation::NoMargin) { FENCE + MARGIN } else { FENCE }
    }

    /// Whether something of an incarnation must be killed before time passes.
    fn is_urgent(&self, incarnation: &Incarnation) -> bool {
        let is_running = matches!(incarnation.work, Some((_, _, Work::Running)));
        let is_kept = !self.lacks(Mutation::FenceOnlyInWorker);
        is_running && is_kept && incarnation.heard + 1 >= self.fence() + MARGIN
    }

    /// The row after a decision; `None`: there is nothing to decide.
    fn decided(&self, world: &World, decision: Decision) -> Option<Pending> {
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
                replace(&mut row, Step::Running { by }, Step::Unresponsive { by })?
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
    fn is_stored(&self, world: &World, pending: &Pending) -> bool {
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

    fn commit(&self, world: &mut World, pending: Pending) {
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

    fn receive(&self, world: &mut World, by: u8) -> Option<()> {
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

    fn tick(&self, world: &mut World) -> Option<()> {
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
    fn decisions(&self, world: &World) -> Vec<Decision> {
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
    fn take(&self, world: &mut World, action: Action) -> Option<()> {
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
                if let Some(pending) = self.decide(world, decision)? {
                    self.commit(world, pending);
                }
            }
            Action::Decide(decision) => {
                only_if(world.pending.is_none())?;
                world.pending = self.decide(world, decision)?;
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
                self.work(world, by, action)?
            }
        }
        Some(())
    }

    /// What a server makes of a question: nothing more if it is answered at once; `None`: no question.
    fn decide(&self, world: &mut World, decision: Decision) -> Option<Option<Pending>> {
        let pending = self.decided(world, decision);
        match (&pending, decision) {
            (None, Decision::Settle { by, step, attempt, .. }) => answer(world, by, step, attempt),
            (None, _) => return None,
            (Some(_), Decision::Submit | Decision::Cancel)
                if self.lacks(Mutation::AnswerBeforeCommit) =>
            {
                world.answered[usize::from(decision == Decision::Cancel)] = true;
            }
            (Some(_), _) => {}
        }
        Some(pending)
    }

    /// What happens on the host of an incarnation.
    fn work(&self, world: &mut World, by: u8, action: Action) -> Option<()> {
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
    fn ends(&self, world: &World) -> bool {
        let mut world = world.clone();
        for _ in 0..ROUNDS_MAX {
            if world.has_ended() && world.processes().next().is_none() {
                return true;
            }
            self.round(&mut world);
        }
        false
    }

    fn round(&self, world: &mut World) {
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

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let world = World { crashes: self.crashes, ..World::default() };
        let worlds = (0..WORKERS).try_fold(world, |world, worker| {
            self.next_state(&world, Action::Register(u8::try_from(worker).ok()?))
        });
        worlds.into_iter().collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let asked = self.decisions(world);
        actions.extend(asked.iter().map(|asked| Action::Do(*asked)));
        match world.pending {
            Some(_) => actions.extend([Action::Commit, Action::Drop]),
            None => actions.extend(asked.into_iter().map(Action::Decide)),
        }
        if world.operation.is_none() {
            return;
        }
        for (by, incarnation) in (0..).zip(&world.incarnations) {
            let of_others = [Action::Finish, Action::Kill, Action::End, Action::Forget];
            actions.extend(of_others.map(|action| action(by)));
            if incarnation.is_up {
                let own = [Action::Send, Action::Receive, Action::Obey, Action::Fence];
                actions.extend(own.map(|action| action(by)));
            }
        }
        for worker in 0..WORKERS as u8 {
            if world.incarnations.len() < usize::from(self.incarnations) {
                actions.push(Action::Register(worker));
            }
            if world.crashes > 0 {
                actions.push(Action::Crash(worker));
            }
        }
        actions.push(Action::Tick);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        self.take(&mut world, action)?;
        world.forget_what_is_past();
        (world != *before).then_some(world)
    }

    fn within_boundary(&self, world: &World) -> bool {
        let is_working = world.incarnations.iter().any(|incarnation| incarnation.work.is_some());
        !world.has_ended() || is_working || world.pending.is_some()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("what was answered is stored", |_, world: &World| {
                let [submitted, cancelled] = world.answered;
                let is_stopped = |operation: &Operation| operation.is_stopped;
                (!submitted || world.operation.is_some())
                    && (!cancelled || world.operation.as_ref().is_some_and(is_stopped))
            }),
            Property::always("an attempt has one outcome", |_, world: &World| {
                world.outcomes.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("one process per step", |_, world: &World| {
                let mut steps: Vec<u8> = world.processes().map(|(step, _)| step).collect();
                steps.sort_unstable();
                steps.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("who is over changes nothing", |_, world: &World| !world.was_late),
            Property::always("no process outlives its step", |_, world: &World| {
                let has_ended = |step: u8| {
                    let operation = world.operation.as_ref();
                    operation.is_some_and(|o| o.steps[usize::from(step)].0.has_ended())
                };
                world.processes().all(|(step, _)| !has_ended(step))
            }),
            Property::sometimes("a worker comes back", |_, world: &World| {
                let pending = world.pending.as_ref();
                pending.is_some_and(|pending| matches!(pending.decision, Decision::Recover { .. }))
            }),
            Property::sometimes("another worker has it done", |_, world: &World| {
                world.outcomes.iter().any(|(_, attempt)| *attempt == 2)
            }),
        ];
        // This one costs more than all others; of what is left out, only one thing touches it.
        if self.without.is_none_or(|without| without == Mutation::ClaimUnguarded) {
            properties.push(Property::always("it ends when the faults do", Self::ends));
        }
        properties
    }
}
