//! Static analysis: what a jobset says and cannot mean.
//!
//! Five questions, each in a file of its own:
//!
//! - `machines`: does each declared machine lead from its beginning to an end?
//! - `reach`: which states can each step reach, and which guards can ever hold, were workers and
//!   operators to do whatever suits? The least fixed point of both together.
//! - `guards`: what follows from that: steps that can never run, actions that can never be taken.
//! - `ends`: is there an end for which steps wait that are for one?
//! - `deadlock`: can steps come to wait for each other? Found by running the jobset in the small.
//!
//! What can only be a mistake is an error and refuses the jobset; what may be meant so is a warning.
//!
//! Each question has a budget, because a submit waits for the answer: what is too large to be
//! answered in a few milliseconds is let through, since the run itself closes steps that wait in
//! vain. A solver was rejected: what is asked here is reachability in small graphs, and its answers
//! would have to be turned into words for people all the same.

mod deadlock;
mod ends;
mod guards;
mod machines;
mod model;
pub(super) mod reach;
#[cfg(test)]
mod tests;

use super::definition::Definition;
use super::jobset::Jobset;
use super::problem::{PROBLEMS_MAX, Problem};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// What can only be a mistake.
    pub(super) errors: Vec<Problem>,
    /// What may be meant so.
    pub(super) warnings: Vec<Problem>,
}

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Problem::new(path, message));
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::new(path, message));
    }

    /// Whether nothing more has to be looked for. Warnings, however many, must not hide an error.
    fn is_full(&self) -> bool {
        self.errors.len() >= PROBLEMS_MAX
    }

    /// Whether no more warnings are told, so that none has to be worked out.
    fn has_all_warnings(&self) -> bool {
        self.warnings.len() >= PROBLEMS_MAX
    }
}

/// What the machines of a definition say and cannot mean.
pub(super) fn of_machines(definition: &Definition) -> Findings {
    let mut findings = Findings::default();
    machines::examine(definition, &mut findings);
    findings
}

/// What is found in the whole jobset, added to what was found in its machines. `order` maps numbers
/// of steps to places in the document.
pub(super) fn of_jobset(jobset: &Jobset, order: &[u32], findings: &mut Findings) {
    let reach = reach::Reach::of(jobset);
    guards::examine(jobset, order, &reach, findings);
    ends::examine(jobset, order, findings);
    if findings.errors.is_empty() {
        deadlock::examine(jobset, order, findings);
    }
    findings.errors.truncate(PROBLEMS_MAX);
    findings.warnings.truncate(PROBLEMS_MAX);
}
