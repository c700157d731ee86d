//! What an attempt is confined by.

use std::path::PathBuf;

use super::process::{Confinement, Sandbox, Walls};
use crate::domain::definition::StepDefinition;

/// The confinement of an attempt that may write to these folders. A wall that only a sandbox has
/// brings the sandbox.
pub(super) fn confinement(definition: &StepDefinition, writable: Vec<PathBuf>) -> Confinement {
    let demanded: Walls = definition.containment.iter().copied().collect();
    let is_boxed = definition.sandbox || demanded.namespaces || demanded.landlock;
    Confinement {
        limits: definition.limits,
        sandbox: is_boxed.then_some(Sandbox { writable }),
        demanded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::definition::Wall;

    #[test]
    fn a_wall_of_a_sandbox_brings_the_sandbox() {
        for (walls, is_boxed) in [
            (vec![], false),
            (vec![Wall::Cgroup], false),
            (vec![Wall::Namespaces], true),
            (vec![Wall::Landlock], true),
        ] {
            let definition = StepDefinition { containment: walls, ..StepDefinition::default() };
            let confinement = confinement(&definition, Vec::new());
            assert_eq!(confinement.sandbox.is_some(), is_boxed);
        }
    }
}
