//! The causal order of a run: which of its events could have known of which.
//!
//! Every event gets an interval tree clock stamp ([`crate::itc`]). The participants are the steps and
//! the service itself, whose events are those that are no step's: the submission, a pause, a stop, a
//! change of the context. What one learns from another is what the rules say:
//!
//! - A step that a guard lets through knows what made the guard hold, and one that is closed what
//!   made its guard impossible. An outcome, a retry, a loss follow from the step's own past.
//! - A step that begins work knows the last change of the context; one that is cancelled, that the
//!   operation is being stopped.
//! - The outcome of an attempt knows what those knew whose messages and replies it was given.
//! - A step that a client brings back after its stamp was handed on knows all that has happened:
//!   who brings it back has seen it.
//!
//! Stamps stay small because what is owned moves with the work. A step that ends has its part ready
//! for its followers: each takes a share when it begins, from one of those that it follows, and the
//! last follower of a step takes all that is left; so a step behind several puts their parts together
//! again. A chain passes one part on, a fan-out splits it and the fan-in behind it joins it, and there
//! are about as many parts as there are live branches.
//!
//! A part is only ever taken by who knows all that was done with it, which is what keeps stamps true
//! (the paper, section 4: ids are disjoint and a fork copies the events).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::guard::Term;
use super::jobset::Jobset;
use super::machine::{Condition, Rule};
use super::run::Run;
use super::state::{Phase, StepState};
use crate::itc::{Error, Event, Id, Stamp, Twig};

/// What a step owns and knows, or left behind for those that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The stamp of its last event, less what followers have taken.
    pub stamp: Twig,
    /// How many followers have yet to take their share; `None` until the first one asks.
    pub waiting: Option<u32>,
}

/// What the stamps of further events are made from.
///
/// It follows from the stamps of the events so far ([`Stamps::rebuild`]): the last stamp of a step says
/// what it owns, less what later stamps own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The number of the last event when all this was last stored; 0 for never.
    pub stored: i32,
    /// What the service owns, and what it knows of its own events.
    pub trunk: Twig,
    /// What was known when the context was last changed.
    pub context: Option<Stamp>,
    /// What steps own and know. A step that has not begun has none, nor one that handed all on.
    pub branches: BTreeMap<u32, Branch>,
    /// How many steps without a guard have yet to begin.
    roots: u32,
    /// All that has happened, with a part that is free.
    gathered: Option<Gathered>,
}

/// An event, as far as the stamps of further ones depend on it.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// The step concerned; `None` for an event of the service itself.
    pub step: Option<u32>,
    /// Whether it changed the context.
    pub changes_context: bool,
    /// Its stamp.
    pub stamp: Option<Stamp>,
}

/// Serves the steps that clients bring back by one command.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gathered {
    rest: Twig,
    /// The step that took a share last.
    last: u32,
    /// The number of that step's event. It knows nothing that came later.
    version: i32,
}

impl Branch {
    /// That of a step whose last event had this stamp.
    #[must_use]
    pub const fn new(stamp: Twig) -> Self {
        Self { stamp, waiting: None }
    }
}

impl Stamps {
    /// Those of a run to which nothing has happened yet but what `trunk` knows.
    pub(super) fn fresh(trunk: Stamp) -> Self {
        Self::stored_with(0, trunk, None, BTreeMap::new())
    }

    /// Those that were stored with event `stored`.
    #[must_use]
    pub fn stored_with(
        stored: i32,
        trunk: Stamp,
        context: Option<Stamp>,
        branches: BTreeMap<u32, Branch>,
    ) -> Self {
        Self { stored, trunk: trunk.into(), context, branches, roots: 0, gathered: None }
    }

    /// Those of a run that keeps no causal order.
    fn none() -> Self {
        Self::fresh(Stamp::seed().peek())
    }

    /// Whether the run keeps a causal order: the service always owns a part of it then.
    const fn are_kept(&self) -> bool {
        !self.trunk.is_anonymous()
    }

    /// Those that were stored and what the events since, in order, made of them. Without a stamp of
    /// each event there is no order to be continued.
    ///
    /// Each place of the interval belongs to who had the last event with it, and is safe there: who
    /// has got it since without an event has done nothing with it.
    #[must_use]
    pub fn rebuild(stored: Option<Self>, events: Vec<Stamped>) -> Self {
        let stored = stored.unwrap_or_else(|| Self::fresh(Stamp::seed()));
        // By step, or `None` for the service: what is owned, and what is known.
        let mut owners: BTreeMap<Option<u32>, (Id, Event)> = BTreeMap::new();
        let mut taken = Id::ZERO;
        let mut context = None;
        let mut own = |owner: Option<u32>, stamp: &Stamp| {
            let left = stamp.id().without(&taken);
            let last = owners.entry(owner).or_insert_with(|| (Id::ZERO, stamp.events().clone()));
            taken.add(left.clone()).expect("without what is taken");
            last.0.add(left).expect("without what is taken");
        };
        for Stamped { step, changes_context, stamp } in events.into_iter().rev() {
            let Some(stamp) = stamp else { return Self::none() };
            if changes_context && context.is_none() {
                context = Some(stamp.peek());
            }
            own(step, &stamp);
        }
        for (step, branch) in &stored.branches {
            own(Some(*step), &branch.stamp.stamp());
        }
        own(None, &stored.trunk.stamp());
        let mut stamps =
            owners.into_iter().map(|(owner, (id, known))| (owner, Stamp::new(id, known)));
        // The service is the first one, before all steps.
        let trunk = stamps.next().map_or_else(Stamp::seed, |(_, trunk)| trunk);
        let branches = stamps.filter_map(|(step, stamp)| Some((step?, Branch::new(stamp.into()))));
        let context = context.or(stored.context);
        Self::stored_with(stored.stored, trunk, context, branches.collect())
    }

    /// An event of the service itself.
    pub(super) fn of_service(&mut self) -> Result<Vec<u8>, Error> {
        self.trunk.tick()?;
        Ok(self.trunk.encode())
    }

    /// What is left of the part that served a command goes to the last step that it served.
    fn close_gathered(&mut self) {
        let Some(Gathered { rest, last, .. }) = self.gathered.take() else { return };
        if let Some(branch) = self.branches.get_mut(&last) {
            branch.stamp.absorb(rest.into_stamp()).expect("what was gathered is owned once");
        }
    }
}

impl Run {
    /// What the stamps of further events are made from.
    #[must_use]
    pub const fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Finds out what follows from the states of the steps: how many roots have yet to begin, and which
    /// branches nobody will ask for any more.
    pub(super) fn complete_stamps(&mut self) {
        let has_begun = |run: &Self, n: u32| {
            run.stamps.branches.contains_key(&n) || run.steps[n as usize].is_ended()
        };
        let is_root = |n: &u32| self.jobset.guards.is_open(*n) && !has_begun(self, *n);
        let roots = (0..self.jobset.len()).filter(is_root).count();
        self.stamps.roots = u32::try_from(roots).unwrap_or(u32::MAX);
        // A step that goes on needs what it knows, whatever it owns.
        let is_over = |(n, branch): &(&u32, &Branch)| {
            branch.stamp.is_anonymous() && self.steps[**n as usize].is_ended()
        };
        let over = self.stamps.branches.iter().filter(is_over);
        let empty: Vec<u32> = over.map(|(n, _)| *n).collect();
        for n in empty {
            let Some(branch) = self.stamps.branches.remove(&n) else { continue };
            if self
                .followers(n)
                .any(|f| !has_begun(self, f) || self.is_behind(f, &branch.stamp.stamp()))
            {
                self.stamps.branches.insert(n, branch);
            }
        }
    }

    /// Keeps no causal order of the run: its events, those not yet stored included, get no stamps.
    pub fn forget_stamps(&mut self) {
        self.stamps = Stamps::none();
        for event in &mut self.changes.events {
            event.stamp = None;
        }
    }

    /// The stamp of an event of step `n` that follows from nothing but its own past.
    pub(super) fn stamp_own(&mut self, n: u32) -> Result<Vec<u8>, Error> {
        self.stamp(n, Vec::new(), Vec::new())
    }

    /// The stamp of the event by which `rule` moves step `n`, which has not moved yet.
    pub(super) fn stamp_move(&mut self, n: u32, rule: &Rule) -> Result<Vec<u8>, Error> {
        if !self.stamps.are_kept() {
            return self.stamp_own(n);
        }
        let jobset = Arc::clone(&self.jobset);
        let causes = self.causes(&jobset, n, rule);
        let mut known: Vec<Twig> = Vec::new();
        if self.stop.is_some() && rule.action == super::Action::CANCEL {
            known.push(self.stamps.trunk.peek().into());
        }
        // Who recovers has read the context before.
        if let Some(context) = &self.stamps.context
            && self.target(n, rule).class() == StepState::RUNNING
            && rule.action != super::Action::RECOVER
        {
            known.push(context.clone().into());
        }
        if self.begins_at_end(n, rule) {
            known.push(self.gather(n)?);
        }
        self.stamp(n, causes, known)
    }

    /// Whether `rule` is the first claim of a step that waited until nothing else was left: it knows
    /// of all that it waited for.
    fn begins_at_end(&self, n: u32, rule: &Rule) -> bool {
        rule.action == super::Action::RUN
            && self.jobset.is_for_end(n)
            && self.open.get(&n).is_some_and(|open| open.attempt == 1)
            && (self.stop.is_some()
                || self.jobset.waits_for_end(n)
                || !self.jobset.guards.holds(&self.counters, n))
    }

    /// Step `n` was told something by who knew what `told` knows: its next event knows it as well.
    /// A step that has handed all on knows all by its next event anyway.
    pub(super) fn hear(&mut self, n: u32, told: &Stamp) {
        if let Some(branch) = self.stamps.branches.get_mut(&n) {
            branch.stamp.absorb(told.peek()).expect("a stamp that owns nothing overlaps nothing");
        }
    }

    /// Nothing happens any more: nothing is kept for it.
    pub(super) fn close_stamps(&mut self) {
        self.stamps.branches.clear();
    }

    /// What served a command serves no other one.
    pub(super) fn close_gathered(&mut self) {
        self.stamps.close_gathered();
    }

    /// The steps whose states are the reason why `rule` moves step `n`.
    fn causes(&self, jobset: &Jobset, n: u32, rule: &Rule) -> Vec<u32> {
        let state = |term: &Term| self.steps[term.step as usize];
        let is_met = |term: &Term| term.states.has(state(term));
        let is_dead = |term: &Term| state(term).is_ended() && !is_met(term);
        let extras = jobset.extras_of(n).iter();
        let mut causes = Vec::new();
        for (_, guard) in extras.clone().filter(|(on, _)| on.is_on(rule)) {
            self.add_held(jobset, *guard, &mut causes);
        }
        match rule.condition {
            Condition::Entry => self.add_held(jobset, n, &mut causes),
            Condition::Dead | Condition::Alive => {
                let is_reason = |term: &&Term| is_dead(term) == (rule.condition == Condition::Dead);
                for guard in std::iter::once(n).chain(extras.map(|(_, guard)| *guard)) {
                    let terms = jobset.guards.clauses(guard).flatten().flat_map(|(_, terms)| terms);
                    causes.extend(terms.filter(is_reason).map(|term| term.step));
                }
            }
            Condition::Always
            | Condition::Admitted
            | Condition::BackingOff
            | Condition::Overdue => {}
        }
        causes.retain(|cause| *cause != n);
        causes.sort_unstable();
        causes.dedup();
        causes
    }

    /// Adds the steps that make a guard hold: of each clause that holds, all that contribute.
    fn add_held(&self, jobset: &Jobset, guard: u32, causes: &mut Vec<u32>) {
        let is_met = |term: &&Term| term.states.has(self.steps[term.step as usize]);
        for clause in jobset.guards.clauses(guard) {
            let before_clause = causes.len();
            let mut holds = true;
            for (need, terms) in clause {
                let before = causes.len();
                causes.extend(terms.iter().filter(is_met).map(|term| term.step));
                holds &= causes.len() - before >= need as usize;
            }
            if !holds {
                causes.truncate(before_clause);
            }
        }
    }

    /// The next event of step `n`, which knows of `causes` and what is `known`.
    fn stamp(&mut self, n: u32, causes: Vec<u32>, mut known: Vec<Twig>) -> Result<Vec<u8>, Error> {
        if !self.stamps.are_kept() {
            return Err(Error::Anonymous);
        }
        // Most events follow from nothing but what the step itself did before.
        if causes.is_empty()
            && known.is_empty()
            && let Some(Branch { stamp, waiting }) = self.stamps.branches.get_mut(&n)
            && !stamp.is_anonymous()
        {
            *waiting = None;
            stamp.tick()?;
            return Ok(stamp.encode());
        }
        let own = self.stamps.branches.remove(&n).map(|branch| branch.stamp);
        let has_begun = own.is_some() || self.steps[n as usize].is_ended();
        if !has_begun && self.jobset.guards.is_open(n) {
            self.stamps.roots = self.stamps.roots.saturating_sub(1);
        }
        match own {
            Some(own) => known.push(own),
            None if has_begun => known.push(self.gather(n)?),
            None => {}
        }
        let mut has_part = has_begun;
        for cause in causes {
            if let Some(learnt) = self.learn(n, cause, has_begun, has_part)? {
                has_part |= !learnt.is_anonymous();
                known.push(learnt);
            }
        }
        if known.iter().all(Twig::is_anonymous) {
            // Whoever takes from the trunk knows what the trunk knows, so that the part is unused.
            known.push(self.stamps.trunk.share(self.waiting_for_trunk(n))?);
        }
        let mut stamp = Twig::join_many(known)?.expect("there is one at least");
        stamp.tick()?;
        let encoded = stamp.encode();
        self.stamps.branches.insert(n, Branch::new(stamp));
        Ok(encoded)
    }

    /// Among how many the trunk is to be shared: itself, step `n` and those that may yet begin from
    /// it. Most that are no roots will not.
    fn waiting_for_trunk(&self, n: u32) -> usize {
        let is_root = self.jobset.guards.is_open(n) && self.stop.is_none();
        let others = if is_root {
            self.stamps.roots
        } else {
            self.jobset.len() - self.count_phase(Phase::Ended)
        };
        others as usize + 2
    }

    /// What step `n` learns from `cause`: what that one knows, with all that it owns if nobody else
    /// waits for it, or with a share if step `n` has no part yet.
    fn learn(
        &mut self,
        n: u32,
        cause: u32,
        has_begun: bool,
        has_part: bool,
    ) -> Result<Option<Twig>, Error> {
        let Some(branch) = self.stamps.branches.get(&cause) else {
            return Ok(None); // All was handed on, to who handed it on to this one.
        };
        let is_over = self.steps[cause as usize].is_ended();
        let waiting = branch.waiting.unwrap_or_else(|| self.waiting_for(cause));
        let left = if has_begun { waiting } else { waiting.saturating_sub(1) };
        let Some(branch) = self.stamps.branches.get_mut(&cause) else { return Ok(None) };
        branch.waiting = Some(left);
        if branch.stamp.is_anonymous() {
            return Ok(Some(branch.stamp.clone()));
        }
        if is_over && left == 0 {
            return Ok(self.hand_over(n, cause));
        }
        if has_part {
            return Ok(Some(branch.stamp.peek().into()));
        }
        // One that has not ended keeps a share for itself.
        branch.stamp.share(left as usize + 1 + usize::from(!is_over)).map(Some)
    }

    /// How many steps that watch step `n` have not begun.
    fn waiting_for(&self, n: u32) -> u32 {
        let to_come = |follower: &u32| {
            !self.stamps.branches.contains_key(follower)
                && !self.steps[*follower as usize].is_ended()
        };
        let mut followers: Vec<u32> = self.followers(n).filter(to_come).collect();
        followers.sort_unstable();
        followers.dedup();
        u32::try_from(followers.len()).unwrap_or(u32::MAX)
    }

    fn followers(&self, n: u32) -> impl Iterator<Item = u32> {
        self.jobset.guards.watchers(n).map(|guard| self.jobset.owner(guard))
    }

    /// All that step `cause`, which has ended, owns and knows, for step `n`. What it knows stays
    /// behind as long as a follower that has begun without it may yet ask.
    fn hand_over(&mut self, n: u32, cause: u32) -> Option<Twig> {
        let branch = self.stamps.branches.remove(&cause)?;
        let has_branch = |follower: &u32| self.stamps.branches.contains_key(follower);
        if self.followers(cause).filter(|f| *f != n).any(|f| has_branch(&f)) {
            let known = branch.stamp.peek();
            if self.followers(cause).any(|f| f != n && self.is_behind(f, &known)) {
                let left = Branch { stamp: known.into(), waiting: Some(0) };
                self.stamps.branches.insert(cause, left);
            }
        }
        Some(branch.stamp)
    }

    /// Whether step `n` has begun and does not know what `stamp` knows.
    fn is_behind(&self, n: u32, stamp: &Stamp) -> bool {
        self.stamps.branches.get(&n).is_some_and(|branch| !branch.stamp.knows(stamp))
    }

    /// All that has happened, with a part for step `n`, whose own stamp was handed on.
    fn gather(&mut self, n: u32) -> Result<Twig, Error> {
        // Since its last share only the event of who took it has happened: that one's own affair.
        if self.stamps.gathered.as_ref().is_none_or(|all| all.version + 1 != self.version) {
            self.stamps.close_gathered();
            let rest = self.gather_all(n)?;
            self.stamps.gathered = Some(Gathered { rest, last: n, version: 0 });
        }
        let ended = self.count_phase(Phase::Ended) as usize;
        let version = self.version;
        let Some(all) = &mut self.stamps.gathered else { return Err(Error::Anonymous) };
        (all.last, all.version) = (n, version);
        all.rest.share(ended + 1)
    }

    /// Takes back what ended steps still own; if that is nothing, a part of what a live one owns.
    fn gather_all(&mut self, n: u32) -> Result<Twig, Error> {
        let steps: Vec<u32> = self.stamps.branches.keys().copied().collect();
        let mut all: Vec<Twig> = vec![self.stamps.trunk.peek().into()];
        for step in steps {
            let Some(branch) = self.stamps.branches.get(&step) else { continue };
            let waiting = branch.waiting.unwrap_or_else(|| self.waiting_for(step));
            let is_free = self.steps[step as usize].is_ended() && waiting == 0;
            all.push(branch.stamp.peek().into());
            if is_free {
                all.extend(self.hand_over(n, step));
            }
        }
        let mut all = Twig::join_many(all)?.expect("there is one at least");
        if !all.is_anonymous() {
            return Ok(all);
        }
        let stamps = self.stamps.branches.values_mut().map(|branch| &mut branch.stamp);
        let sized = stamps.filter_map(|stamp| Some((stamp.shallowest()?, stamp)));
        let part = match sized.min_by_key(|(depth, _)| *depth) {
            Some((_, largest)) => largest.share(2)?,
            None => self.stamps.trunk.share(2)?,
        };
        all.absorb(part.into_stamp())?;
        Ok(all)
    }
}
