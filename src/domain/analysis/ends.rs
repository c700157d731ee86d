//! Steps for the end of an operation whose end never comes.

use super::Findings;
use crate::domain::definition::OnCancel;
use crate::domain::jobset::{Jobset, Role};

/// Warns of steps that run only when a cancelled operation does what this jobset does not ask for.
pub(super) fn examine(jobset: &Jobset, order: &[u32], findings: &mut Findings) {
    for n in jobset.for_end() {
        let (field, asked) = match jobset.step(*n).role {
            Role::CleanUp if jobset.on_cancel != OnCancel::CleanUp => ("cleanUp", "cleanUp"),
            Role::Compensates(_) if jobset.on_cancel != OnCancel::Compensate => {
                ("compensates", "compensate")
            }
            Role::Regular | Role::Ensure | Role::CleanUp | Role::Compensates(_) => continue,
        };
        if findings.has_all_warnings() {
            return;
        }
        let name = &jobset.step(*n).definition.name;
        let message = format!("`{name}` never runs: that needs `\"onCancel\": \"{asked}\"`");
        findings.warn(format!("steps[{}].{field}", order[*n as usize]), message);
    }
}
