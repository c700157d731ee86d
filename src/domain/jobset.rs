//! A jobset that was found valid: numbered steps in topological order and compiled guards.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use super::analysis;
use super::definition::{Definition, Need, OnFailure, Retry, StepDefinition, Work};
use super::guard::{Clause, Counters, Group, Guard, Guards, StateSet, Term};
use super::limits::Limits;
use super::machine::StepState;
use super::problem::{PROBLEMS_MAX, Problem, hint};
use super::validate;

/// A step of a valid jobset. Its number is its position in [`Jobset::steps`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The definition it was made from.
    pub definition: StepDefinition,
    /// The steps whose success handles a failure of this one.
    pub handlers: Vec<u32>,
}

impl Step {
    /// What an attempt does.
    #[must_use]
    pub const fn work(&self) -> &Work {
        &self.definition.work
    }

    /// When a failed attempt is followed by another.
    #[must_use]
    pub const fn retry(&self) -> &Retry {
        &self.definition.retry
    }

    /// What becomes of the step when its last attempt failed.
    #[must_use]
    pub const fn on_failure(&self) -> OnFailure {
        self.definition.on_failure
    }
}

/// A valid jobset. Immutable and shared by all the operations that run it.
#[derive(Clone, Debug)]
pub struct Jobset {
    /// A name for people.
    pub name: String,
    /// How long an operation may take from its creation.
    pub deadline: Option<Duration>,
    /// How many steps of one operation may run at once.
    pub max_concurrency: Option<u32>,
    /// Whether the steps wait for a `start` by a client.
    pub manual_start: bool,
    /// Whether DELETE stops an operation.
    pub cancellable: bool,
    /// The steps in topological order.
    pub steps: Vec<Step>,
    /// The guards, by step number.
    pub guards: Guards,
    /// The counters of a run in which no step has moved yet.
    pub fresh: Counters,
    by_name: HashMap<String, u32>,
}

impl Jobset {
    /// Checks a definition and compiles it.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to [`PROBLEMS_MAX`], each with its place in the
    /// document.
    pub fn compile(definition: Definition, limits: &Limits) -> Result<Self, Vec<Problem>> {
        let mut problems = validate::problems(&definition, limits);
        if !problems.is_empty() {
            problems.truncate(PROBLEMS_MAX);
            return Err(problems);
        }
        let declared = declared_guards(&definition, limits)?;
        let order = topological(&declared);
        let jobset = Self::assemble(definition, &declared, &order);
        let problems = analysis::problems(&jobset, &order);
        if problems.is_empty() { Ok(jobset) } else { Err(problems) }
    }

    fn assemble(definition: Definition, declared: &[Guard], order: &[u32]) -> Self {
        let mut number = vec![0_u32; order.len()];
        for (n, index) in (0_u32..).zip(order) {
            number[*index as usize] = n;
        }
        let by_name: HashMap<String, u32> =
            definition.steps.iter().zip(&number).map(|(step, n)| (step.name.clone(), *n)).collect();
        let guards: Vec<Guard> =
            order.iter().map(|index| renumber(&declared[*index as usize], &number)).collect();
        let guards = Guards::new(&guards);
        let state = initial_state(definition.manual_start);
        let fresh = guards.count(&vec![state; order.len()]);
        let mut handlers = vec![Vec::new(); order.len()];
        for (source, handler) in &definition.failure_pairs {
            handlers[by_name[source] as usize].push(by_name[handler]);
        }
        let mut definitions: Vec<Option<StepDefinition>> =
            definition.steps.into_iter().map(Some).collect();
        let steps = order
            .iter()
            .zip(handlers)
            .map(|(index, handlers)| Step {
                definition: definitions[*index as usize].take().expect("each index comes once"),
                handlers,
            })
            .collect();
        Self {
            name: definition.name,
            deadline: definition.deadline,
            max_concurrency: definition.max_concurrency,
            manual_start: definition.manual_start,
            cancellable: definition.cancellable,
            steps,
            guards,
            fresh,
            by_name,
        }
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.steps.len()).expect("the limit on steps is below 2^32")
    }

    /// Never true: a jobset has at least one step.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The number of the step of that name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The step of that number.
    #[must_use]
    pub fn step(&self, n: u32) -> &Step {
        &self.steps[n as usize]
    }

    /// The state in which every step begins.
    #[must_use]
    pub const fn initial_state(&self) -> StepState {
        initial_state(self.manual_start)
    }
}

const fn initial_state(manual_start: bool) -> StepState {
    if manual_start { StepState::Ready } else { StepState::Waiting }
}

/// The guards as declared, steps numbered by their position in the document.
fn declared_guards(definition: &Definition, limits: &Limits) -> Result<Vec<Guard>, Vec<Problem>> {
    let index: HashMap<&str, u32> =
        (0_u32..).zip(&definition.steps).map(|(n, step)| (step.name.as_str(), n)).collect();
    let mut pairs: Vec<[Vec<Term>; 2]> = vec![[Vec::new(), Vec::new()]; definition.steps.len()];
    let kinds = [
        (&definition.success_pairs, StateSet::SUCCESS),
        (&definition.failure_pairs, StateSet::FAILURE),
    ];
    for (kind, (list, states)) in kinds.into_iter().enumerate() {
        for (from, to) in list {
            let term = Term { step: index[from.as_str()], states };
            pairs[index[to.as_str()] as usize][kind].push(term);
        }
    }
    let mut problems = Vec::new();
    let mut terms = 0;
    let guards: Vec<Guard> = definition
        .steps
        .iter()
        .zip(pairs)
        .enumerate()
        .map(|(position, (step, pairs))| {
            let when = step.when.iter().map(|clause| {
                let terms = clause.terms.iter().map(|(name, states)| Term {
                    step: index[name.as_str()],
                    states: states.iter().filter_map(|name| StepState::parse(name)).fold(
                        StateSet::default(),
                        |mut set, state| {
                            set.insert(state);
                            set
                        },
                    ),
                });
                group(clause.at_least, terms.collect())
            });
            let path = format!("steps[{position}].need");
            let paired = pair_groups(step.need, pairs, &path, &mut problems);
            let guard = combine(when.collect(), &paired);
            terms += guard.iter().flatten().map(|group| group.terms.len()).sum::<usize>();
            guard
        })
        .collect();
    if terms > limits.guard_terms {
        let message = format!(
            "the guards have {terms} terms in all, more than the limit of {}; \
             join steps by a milestone (a step without `run`)",
            limits.guard_terms
        );
        problems.push(Problem::new("steps", message));
    }
    if problems.is_empty() { Ok(guards) } else { Err(problems) }
}

fn group(at_least: Option<u32>, terms: Vec<Term>) -> Group {
    let all = u32::try_from(terms.len()).unwrap_or(u32::MAX);
    Group { need: at_least.unwrap_or(all), terms }
}

/// What the pairs that point to a step ask for.
fn pair_groups(
    need: Need,
    [success, failure]: [Vec<Term>; 2],
    path: &str,
    problems: &mut Vec<Problem>,
) -> Clause {
    let terms: Vec<Term> = success.into_iter().chain(failure).collect();
    let at_least = match need {
        Need::All => None,
        Need::Any => Some(1),
        Need::AtLeast(number) => Some(number),
    };
    if at_least.is_some_and(|number| number as usize > terms.len()) {
        let message =
            format!("asks for more pairs than the {} that point to this step", terms.len());
        problems.push(Problem::new(path, message));
    }
    if terms.is_empty() { Vec::new() } else { vec![group(at_least, terms)] }
}

/// Every clause of `when` asks for the pairs as well.
fn combine(when: Vec<Group>, paired: &Clause) -> Guard {
    match (when.is_empty(), paired.is_empty()) {
        (true, true) => Vec::new(),
        (true, false) => vec![paired.clone()],
        (false, _) => when
            .into_iter()
            .map(|group| std::iter::once(group).chain(paired.iter().cloned()).collect())
            .collect(),
    }
}

/// Positions in topological order; among steps that could come next, the order of the document.
/// Alternatives in guards may form a harmless cycle: its first step in the document breaks it.
fn topological(guards: &[Guard]) -> Vec<u32> {
    let mut sources: Vec<BTreeSet<u32>> = guards
        .iter()
        .map(|guard| guard.iter().flatten().flat_map(|g| &g.terms).map(|t| t.step).collect())
        .collect();
    let mut dependents = vec![Vec::new(); guards.len()];
    for (n, list) in (0_u32..).zip(&sources) {
        for source in list {
            dependents[*source as usize].push(n);
        }
    }
    let mut next: BinaryHeap<Reverse<u32>> = (0_u32..)
        .zip(&sources)
        .filter(|(_, list)| list.is_empty())
        .map(|(n, _)| Reverse(n))
        .collect();
    let mut placed = vec![false; guards.len()];
    let mut order = Vec::with_capacity(guards.len());
    let mut first_unplaced = 0;
    while order.len() < guards.len() {
        let n = if let Some(Reverse(n)) = next.pop() {
            n
        } else {
            while placed[first_unplaced as usize] {
                first_unplaced += 1;
            }
            first_unplaced
        };
        if std::mem::replace(&mut placed[n as usize], true) {
            continue;
        }
        order.push(n);
        for dependent in &dependents[n as usize] {
            let list = &mut sources[*dependent as usize];
            if list.remove(&n) && list.is_empty() {
                next.push(Reverse(*dependent));
            }
        }
    }
    order
}

fn renumber(guard: &Guard, number: &[u32]) -> Guard {
    let mut guard = guard.clone();
    for term in guard.iter_mut().flatten().flat_map(|group| &mut group.terms) {
        term.step = number[term.step as usize];
    }
    guard
}

/// "No step is called `name`", with the nearest name.
#[must_use]
pub(super) fn unknown_step<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("no step is called `{}`{}", name.escape_debug(), hint(name, known))
}
