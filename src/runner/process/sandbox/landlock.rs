//! The rules for files a second time, by the kernel's Landlock module.

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    path_beneath_rules,
};
use nix::errno::Errno;

use super::super::sys;
use super::super::wire::{Refusal, Stage};
use super::Sandbox;
use super::mounts::PRIVATE;
use crate::domain::definition::Wall;

/// The newest version whose rights are asked for. What an older kernel does not know is left out.
const NEWEST: ABI = ABI::V7;

/// Whether this kernel has Landlock switched on.
pub(in super::super) fn is_supported() -> bool {
    sys::landlock_version().is_ok_and(|version| version >= 1)
}

/// Restricts the calling process, and all that it starts, to reading and executing what it sees, and
/// to changing what is its own.
pub(in super::super) fn restrict(sandbox: &Sandbox) -> Result<(), Refusal> {
    let refused = |errno| Refusal::new(Stage::Wall(Wall::Landlock), errno, "restrict itself");
    match enforce(sandbox) {
        Ok(RulesetStatus::NotEnforced) => Err(refused(Errno::EOPNOTSUPP)),
        Ok(RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced) => Ok(()),
        Err(_) => Err(refused(Errno::last())),
    }
}

fn enforce(sandbox: &Sandbox) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let private = PRIVATE.iter().map(|(folder, _)| folder.as_ref());
    let own = sandbox.writable.iter().map(AsRef::<std::path::Path>::as_ref);
    let changed = own.chain(private).chain(["/dev".as_ref()]);
    let rules = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(changed, all))?;
    Ok(rules.restrict_self()?.ruleset)
}
