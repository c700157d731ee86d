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

mod rules;

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
