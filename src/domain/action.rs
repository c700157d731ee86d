//! What moves a step from one state to another, and who does it.

use std::fmt;

/// What is done. Codes never change once they have landed in a database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action(u8);

impl Action {
    /// Begin: the operation was started.
    pub const START: Self = Self(0);
    /// A worker claims an attempt.
    pub const RUN: Self = Self(1);
    /// The attempt ended well.
    pub const SUCCEED: Self = Self(2);
    /// The last attempt ended badly.
    pub const FAIL: Self = Self(3);
    /// The last attempt ended badly and the step is held for an operator.
    pub const ERROR: Self = Self(4);
    /// The last attempt ran out of time.
    pub const TIMEOUT: Self = Self(5);
    /// The attempt ended badly and another one follows after a back-off.
    pub const RETRY: Self = Self(6);
    /// The last attempt ended badly and the policy of the step is to skip it.
    pub const FORGIVE: Self = Self(7);
    /// The lease of the attempt's worker ran out.
    pub const LOSE: Self = Self(8);
    /// The lost attempt is given to another worker, as a new attempt.
    pub const REQUEUE: Self = Self(9);
    /// The budget for lost attempts is spent.
    pub const GIVE_UP: Self = Self(10);
    /// Nothing automatic can ever move the step any more.
    pub const CLOSE: Self = Self(11);
    /// The operation was stopped.
    pub const CANCEL: Self = Self(12);
    /// An operator holds the step back.
    pub const PAUSE: Self = Self(13);
    /// An operator stops the attempt.
    pub const INTERRUPT: Self = Self(14);
    /// An operator lets a held step go on.
    pub const RESUME: Self = Self(15);
    /// An operator wants the step to be skipped.
    pub const SKIP: Self = Self(16);
    /// An operator takes that back.
    pub const UNSKIP: Self = Self(17);
    /// The execution reached a step that is to be skipped.
    pub const REACH: Self = Self(18);
    /// An operator wants a further attempt of a step that ended.
    pub const RERUN: Self = Self(19);
    /// An operator takes the step out of the run.
    pub const BLOCK: Self = Self(20);
    /// An operator puts it back.
    pub const UNBLOCK: Self = Self(21);
    /// A step that was closed can be reached again.
    pub const REOPEN: Self = Self(22);
    /// The step was taken over, as it was, from the operation that this one was forked from.
    pub const KEEP: Self = Self(23);
    /// An operator wants the step to be held should it fail.
    pub const HOLD: Self = Self(24);
    /// An operator takes that back.
    pub const UNHOLD: Self = Self(25);
    /// An operator ends the wait of a step in back-off.
    pub const RUN_NOW: Self = Self(26);
    /// The worker of a lost attempt is heard of again before others may have it.
    pub const RECOVER: Self = Self(27);

    /// The actions that have a meaning of their own, in the order of their codes.
    pub const BUILT_IN: [Self; 28] = {
        let mut all = [Self(0); 28];
        let mut code = 0;
        while code < 28 {
            all[code as usize] = Self(code);
            code += 1;
        }
        all
    };

    /// The code of the first action that a jobset names itself.
    const OWN: u8 = 64;
    /// How many actions of its own a jobset may name.
    pub const OWN_MAX: usize = 192;

    /// Action number `index` of those that a jobset names itself, up to
    /// [`OWN_MAX`](Self::OWN_MAX) of them.
    #[must_use]
    pub fn own(index: usize) -> Option<Self> {
        let code = u8::try_from(index).ok()?.checked_add(Self::OWN)?;
        Some(Self(code))
    }

    /// Its number among the actions that its jobset names itself.
    #[must_use]
    pub fn own_index(self) -> Option<usize> {
        self.0.checked_sub(Self::OWN).map(usize::from)
    }

    /// The number that stands for this action in storage.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The action that a stored number stands for, if any does.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if (code as usize) < Self::BUILT_IN.len() || code >= Self::OWN {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The name of a built-in action on the wire; that of another knows only its jobset.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 28] = [
            "start",
            "run",
            "succeed",
            "fail",
            "error",
            "timeout",
            "retry",
            "forgive",
            "lose",
            "requeue",
            "give-up",
            "close",
            "cancel",
            "pause",
            "interrupt",
            "resume",
            "skip",
            "unskip",
            "reach",
            "rerun",
            "block",
            "unblock",
            "reopen",
            "keep",
            "hold",
            "unhold",
            "run-now",
            "recover",
        ];
        NAMES.get(usize::from(self.0)).copied().unwrap_or("own")
    }

    /// The built-in action of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::BUILT_IN.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.own_index() {
            Some(index) => write!(f, "own#{index}"),
            None => f.write_str(self.name()),
        }
    }
}

/// Who takes an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The engine, by itself, when the rule's condition holds.
    Engine,
    /// The worker that holds the attempt, by reporting its outcome.
    Worker,
    /// The engine, because a lease ran out or was renewed after that.
    Lease,
    /// A client.
    Operator,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        for (index, action) in Action::BUILT_IN.into_iter().enumerate() {
            assert_eq!(usize::from(action.code()), index);
            assert_eq!(Action::from_code(action.code()), Some(action));
            assert_eq!(Action::parse(action.name()), Some(action));
        }
        assert_eq!(Action::from_code(28), None);
        assert_eq!(Action::own(Action::OWN_MAX - 1).and_then(Action::own_index), Some(191));
        assert_eq!(Action::own(Action::OWN_MAX), None);
    }
}
