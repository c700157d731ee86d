//! What the steps of a jobset require of workers: few distinct sets of labels, mostly one, the empty
//! one. Steps that require the same wait in one line, so that the cost of a claim does not grow with
//! the steps that the worker cannot run.

use std::collections::BTreeMap;

use super::jobset::Step;

/// Labels that a worker must have.
pub type Labels = BTreeMap<String, String>;

/// The distinct sets of labels that the steps of a jobset require. A set is named by its number.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    sets: Vec<Labels>,
    /// The set of each step; empty where all have the only one.
    of: Vec<u32>,
}

impl Needs {
    pub(super) fn of_steps(steps: &[Step]) -> Self {
        let mut number: BTreeMap<&Labels, u32> = BTreeMap::new();
        for step in steps {
            let next = u32::try_from(number.len()).expect("no more sets than steps");
            number.entry(&step.definition.requires).or_insert(next);
        }
        let mut sets = vec![Labels::new(); number.len()];
        for (set, number) in &number {
            sets[*number as usize].clone_from(set);
        }
        let of = match sets.len() {
            1 => Vec::new(),
            _ => steps.iter().map(|step| number[&step.definition.requires]).collect(),
        };
        Self { sets, of }
    }

    /// The set that step `n` requires.
    pub(super) fn of(&self, n: u32) -> u32 {
        self.of.get(n as usize).copied().unwrap_or(0)
    }

    /// The labels of a set.
    #[must_use]
    pub fn labels(&self, set: u32) -> &Labels {
        &self.sets[set as usize]
    }

    /// How many sets there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.sets.len()
    }
}
