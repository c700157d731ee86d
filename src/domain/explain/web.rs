//! Who waits for whom, from some steps down to the root causes.

use std::collections::{HashSet, VecDeque};

use chrono::{DateTime, Utc};

use super::terms::{for_each_alive, for_each_dead};
use crate::domain::action::Action;
use crate::domain::run::{OpenAttempt, Run};
use crate::domain::state::{Phase, StepState};

/// What keeps a step where it is, other than other steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It has ended, in a state that does not serve those who wait.
    Ended,
    /// It was closed although its guards are not dead: nothing else was left to move.
    Closed,
    /// It was cancelled with the operation.
    Cancelled,
    /// A person holds it; these actions move it on.
    Person(Vec<Action>),
    /// A worker runs this attempt of it.
    Running(OpenAttempt),
    /// A worker ends this attempt, which the step has left.
    Leaving(OpenAttempt),
    /// Its back-off lasts until then.
    Timer(DateTime<Utc>),
    /// It waits for a worker.
    NoSlot,
    /// As many steps run as may.
    AtMost(u32),
    /// The operation is paused.
    Paused,
    /// The operation has not been admitted yet.
    Gated,
    /// The operation is being stopped.
    Stopping,
    /// Its turn comes at the end of the operation.
    AtEnd,
    /// The engine has not come to it yet.
    Engine,
    /// These steps wait for each other.
    Circle(Vec<u32>),
}

impl Reason {
    /// Whether steps that have it are told together.
    const fn is_shared(&self) -> bool {
        match self {
            Self::NoSlot
            | Self::AtMost(_)
            | Self::Paused
            | Self::Gated
            | Self::Stopping
            | Self::Cancelled => true,
            Self::Ended
            | Self::Closed
            | Self::Person(_)
            | Self::Running(_)
            | Self::Leaving(_)
            | Self::Timer(_)
            | Self::AtEnd
            | Self::Engine
            | Self::Circle(_) => false,
        }
    }
}

/// A root cause and the nodes that have it.
#[derive(Clone, Debug)]
pub(super) struct Grouped {
    pub(super) reason: Reason,
    /// Their places in the web, the nearest first.
    pub(super) places: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Node {
    step: u32,
    /// The place of the node from which it was found first.
    from: Option<u32>,
    reasons: Vec<Reason>,
    /// The steps that it waits for, or waited for in vain.
    waits: Vec<u32>,
}

/// The steps that were asked about and all that they wait for, directly or not.
#[derive(Debug)]
pub(super) struct Web<'a> {
    pub(super) run: &'a Run,
    /// By distance from the start.
    nodes: Vec<Node>,
    /// The place of each step; `NOWHERE` for one that is not in the web.
    place: Vec<u32>,
    /// For each node the next place on a shortest way to a root cause; its own where it has one.
    toward: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;

/// Of more root causes it is not counted how many steps they keep.
const COUNTED_MAX: usize = 256;
/// How often counts are passed on along cycles before they are taken as they are.
const SWEEPS_MAX: usize = 32;

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a jobset has fewer than 2^32 steps by its limits")
}

impl<'a> Web<'a> {
    /// Walks from `starts` along what is waited for.
    pub(super) fn spin(
        run: &'a Run,
        now: DateTime<Utc>,
        starts: impl IntoIterator<Item = u32>,
    ) -> Self {
        let place = vec![NOWHERE; run.steps.len()];
        let mut web = Self { run, nodes: Vec::new(), place, toward: Vec::new() };
        for step in starts {
            web.add(step, None);
        }
        let mut at = 0;
        while at < web.nodes.len() {
            let (reasons, waits) = look(run, web.nodes[at].step, now);
            for step in &waits {
                web.add(*step, Some(position(at)));
            }
            web.nodes[at].reasons = reasons;
            web.nodes[at].waits = waits;
            at += 1;
        }
        web.find_ways();
        web
    }

    fn add(&mut self, step: u32, from: Option<u32>) {
        if self.place[step as usize] == NOWHERE {
            self.place[step as usize] = position(self.nodes.len());
            self.nodes.push(Node { step, from, reasons: Vec::new(), waits: Vec::new() });
        }
    }

    /// Finds the way of each node to a root cause. Those that have none wait in a circle, which is
    /// their root cause.
    fn find_ways(&mut self) {
        self.toward = vec![NOWHERE; self.nodes.len()];
        let dependents = self.dependents();
        let roots = (0_u32..).zip(&self.nodes).filter(|(_, node)| !node.reasons.is_empty());
        let roots = roots.map(|(at, _)| at).collect();
        self.reach(&dependents, roots);
        // The walk of this number came past a node.
        let mut walked = vec![NOWHERE; self.nodes.len()];
        for start in 0..position(self.nodes.len()) {
            let mut at = start;
            while self.toward[at as usize] == NOWHERE && walked[at as usize] == NOWHERE {
                walked[at as usize] = start;
                at = self.next_in_vain(at);
            }
            if self.toward[at as usize] == NOWHERE && walked[at as usize] == start {
                let circle = self.circle(at);
                self.nodes[at as usize].reasons.push(Reason::Circle(circle));
                self.reach(&dependents, VecDeque::from([at]));
            }
        }
    }

    /// The first of those that a node waits for.
    fn next_in_vain(&self, at: u32) -> u32 {
        self.nodes[at as usize].waits.first().map_or(at, |step| self.place[*step as usize])
    }

    fn circle(&self, start: u32) -> Vec<u32> {
        let mut steps = vec![self.nodes[start as usize].step];
        let mut at = self.next_in_vain(start);
        while at != start {
            steps.push(self.nodes[at as usize].step);
            at = self.next_in_vain(at);
        }
        steps
    }

    /// The places of the nodes that wait for each node.
    fn dependents(&self) -> Vec<Vec<u32>> {
        let mut dependents = vec![Vec::new(); self.nodes.len()];
        for (at, node) in (0_u32..).zip(&self.nodes) {
            for step in &node.waits {
                dependents[self.place[*step as usize] as usize].push(at);
            }
        }
        dependents
    }

    fn reach(&mut self, dependents: &[Vec<u32>], mut queue: VecDeque<u32>) {
        for root in &queue {
            self.toward[*root as usize] = *root;
        }
        while let Some(at) = queue.pop_front() {
            for dependent in &dependents[at as usize] {
                if self.toward[*dependent as usize] == NOWHERE {
                    self.toward[*dependent as usize] = at;
                    queue.push_back(*dependent);
                }
            }
        }
    }

    /// All root causes, the nearest first.
    pub(super) fn groups(&self) -> Vec<Grouped> {
        let mut groups: Vec<Grouped> = Vec::new();
        let mut shared: Vec<usize> = Vec::new();
        for (at, node) in (0_u32..).zip(&self.nodes) {
            for reason in &node.reasons {
                let known = shared.iter().copied().find(|index| groups[*index].reason == *reason);
                if let Some(known) = known {
                    groups[known].places.push(at);
                    continue;
                }
                if reason.is_shared() {
                    shared.push(groups.len());
                }
                groups.push(Grouped { reason: reason.clone(), places: vec![at] });
            }
        }
        groups
    }

    /// Counts for each root cause the steps among the first `starts` that it keeps; sorted by that,
    /// the most first. Of many root causes only those with most steps directly behind them are
    /// counted; the others come after them, each with the steps that it is about.
    pub(super) fn count(&self, mut groups: Vec<Grouped>, starts: usize) -> Vec<(Grouped, u32)> {
        let dependents = self.dependents();
        let direct = |group: &Grouped| -> usize {
            group.places.iter().map(|at| 1 + dependents[*at as usize].len()).sum()
        };
        groups.sort_by_cached_key(|group| std::cmp::Reverse(direct(group)));
        let own = |group: &Grouped| {
            position(group.places.iter().filter(|at| (**at as usize) < starts).count())
        };
        let mut counts: Vec<u32> = groups.iter().map(own).collect();
        for chunk in (0..groups.len().min(COUNTED_MAX)).step_by(64) {
            let end = groups.len().min(chunk + 64);
            let found = self.count_64(&groups[chunk..end], starts);
            counts[chunk..end].copy_from_slice(&found[..end - chunk]);
        }
        let mut counted: Vec<(Grouped, u32)> = groups.into_iter().zip(counts).collect();
        counted.sort_by_key(|(_, steps)| std::cmp::Reverse(*steps));
        counted
    }

    /// One bit per root cause is passed on to whoever waits. Sources mostly have lower numbers, so
    /// one sweep in the order of the steps is enough but for cycles.
    fn count_64(&self, groups: &[Grouped], starts: usize) -> [u32; 64] {
        let mut masks = vec![0_u64; self.nodes.len()];
        for (bit, group) in groups.iter().enumerate() {
            for at in &group.places {
                masks[*at as usize] |= 1 << bit;
            }
        }
        let in_order = || self.place.iter().filter(|at| **at != NOWHERE).map(|at| *at as usize);
        for _ in 0..SWEEPS_MAX {
            let mut is_settled = true;
            for at in in_order() {
                let waits = self.nodes[at].waits.iter();
                let behind = waits.map(|step| masks[self.place[*step as usize] as usize]);
                let mask = behind.fold(masks[at], |all, mask| all | mask);
                is_settled &= mask == masks[at];
                masks[at] = mask;
            }
            if is_settled {
                break;
            }
        }
        let mut counts = [0; 64];
        for mask in masks.iter().take(starts) {
            let mut left = *mask;
            while left != 0 {
                counts[left.trailing_zeros() as usize] += 1;
                left &= left - 1;
            }
        }
        counts
    }

    /// The step at a place.
    pub(super) fn step(&self, at: u32) -> u32 {
        self.nodes[at as usize].step
    }

    /// The steps on the way by which the node was found.
    pub(super) fn way_from_start(&self, at: u32) -> Vec<u32> {
        let mut way = vec![self.step(at)];
        let mut last = at;
        while let Some(from) = self.nodes[last as usize].from {
            way.push(self.step(from));
            last = from;
        }
        way.reverse();
        way
    }

    /// The steps from `step` to the nearest root cause, and that.
    pub(super) fn way_to_root(&self, step: u32) -> (Vec<u32>, Option<&Reason>) {
        let mut at = self.place[step as usize];
        let mut way = vec![step];
        while self.toward[at as usize] != at {
            at = self.toward[at as usize];
            way.push(self.step(at));
        }
        (way, self.nodes[at as usize].reasons.first())
    }
}

/// What keeps step `n`, and the steps that it waits for.
fn look(run: &Run, n: u32, now: DateTime<Utc>) -> (Vec<Reason>, Vec<u32>) {
    let state = run.steps[n as usize];
    let mut reasons = Vec::new();
    if let Some(open) = run.open.get(&n).filter(|open| open.holder.is_some()) {
        reasons.push(if open.leaving { Reason::Leaving(*open) } else { Reason::Running(*open) });
        if run.stop.is_some() {
            reasons.push(Reason::Stopping);
        }
        if !open.leaving || state.is_ended() || run.stop.is_some() {
            return (reasons, Vec::new());
        }
    }
    match state.phase() {
        Phase::Ended => ended(run, n, state),
        Phase::Held => held(run, n, reasons),
        Phase::Pending | Phase::Active => pending(run, n, reasons, now),
    }
}

/// Steps that are waited for, each once: every clause of a guard names those of the pairs again.
#[derive(Default)]
struct Waits {
    steps: Vec<u32>,
    known: HashSet<u32>,
}

impl Waits {
    fn add(&mut self, step: u32) {
        if self.known.insert(step) {
            self.steps.push(step);
        }
    }
}

fn ended(run: &Run, n: u32, state: StepState) -> (Vec<Reason>, Vec<u32>) {
    if state.class() == StepState::CANCELLED {
        return (vec![Reason::Cancelled], Vec::new());
    }
    if state.class() != StepState::UNREACHABLE {
        return (vec![Reason::Ended], Vec::new());
    }
    let mut waits = Waits::default();
    for_each_dead(run, n, |_, term| waits.add(term.step));
    let waits = waits.steps;
    (if waits.is_empty() { vec![Reason::Closed] } else { Vec::new() }, waits)
}

fn held(run: &Run, n: u32, mut reasons: Vec<Reason>) -> (Vec<Reason>, Vec<u32>) {
    let verbs = moving_verbs(run, n);
    let is_free = !verbs.is_empty();
    if is_free {
        reasons.push(Reason::Person(verbs));
    }
    let mut waits = Waits::default();
    for_each_alive(run, n, !is_free, |_, term| waits.add(term.step));
    let waits = waits.steps;
    if reasons.is_empty() && waits.is_empty() {
        reasons.push(Reason::Person(Vec::new()));
    }
    (reasons, waits)
}

fn pending(
    run: &Run,
    n: u32,
    mut reasons: Vec<Reason>,
    now: DateTime<Utc>,
) -> (Vec<Reason>, Vec<u32>) {
    let mut waits = Waits::default();
    match waiting_for(run, n, now) {
        Some(found) => reasons.extend(found),
        None if has_turn_at_end(run, n) => reasons.push(Reason::AtEnd),
        None => for_each_alive(run, n, false, |_, term| waits.add(term.step)),
    }
    let waits = waits.steps;
    if reasons.is_empty() && waits.is_empty() {
        reasons.push(Reason::Engine);
    }
    (reasons, waits)
}

/// Whether only the end of the operation can still let step `n` run.
fn has_turn_at_end(run: &Run, n: u32) -> bool {
    let jobset = &*run.jobset;
    let is_shut = || run.is_dead(jobset, n, run.steps[n as usize]);
    jobset.is_for_end(n) && (run.stop.is_some() || jobset.waits_for_end(n) || is_shut())
}

/// What a step that passed its guards still waits for; `None`: it has not passed them.
pub(super) fn waiting_for(run: &Run, n: u32, now: DateTime<Utc>) -> Option<Vec<Reason>> {
    if !run.queue.has(n) {
        return None;
    }
    let due = run.queue.due(n);
    let mut reasons: Vec<Reason> =
        due.filter(|due| *due > now).map(Reason::Timer).into_iter().collect();
    if run.gated {
        reasons.push(Reason::Gated);
    }
    if run.paused && run.stop.is_none() {
        reasons.push(Reason::Paused);
    }
    if reasons.is_empty() {
        let most = run.jobset.max_concurrency.filter(|most| run.in_hands >= *most);
        reasons.push(most.map_or(Reason::NoSlot, Reason::AtMost));
    }
    Some(reasons)
}

/// What an operator may do with step `n` that moves it on.
pub(super) fn moving_verbs(run: &Run, n: u32) -> Vec<Action> {
    let stays = [Action::HOLD, Action::UNHOLD, Action::PAUSE, Action::CANCEL];
    let verbs = run.actions(n).into_iter();
    verbs.filter(|action| !stays.contains(action)).collect()
}
