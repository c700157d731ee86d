//! Who may do what.

use std::fmt;
use std::str::FromStr;

/// What the holder of a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Submits operations, reads them, steers them and cancels them.
    Client,
    /// Runs steps for the server, and nothing else.
    Worker,
    /// May do everything.
    Admin,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read or to change operations and what belongs to them.
    Operate,
    /// To take steps and to report how they ended.
    Work,
    /// To look after the service itself.
    Administer,
}

impl Role {
    /// In the order of their codes, which never change.
    pub const ALL: [Self; 3] = [Self::Client, Self::Worker, Self::Admin];

    /// What it is called, in a token too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Admin => "admin",
        }
    }

    /// Whether it has a right.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        self == Self::Admin || self == right.role()
    }

    /// The number that is stored.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Client => 0,
            Self::Worker => 1,
            Self::Admin => 2,
        }
    }

    /// The role with that number.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

impl Right {
    /// The least role that has it.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Operate => Role::Client,
            Self::Work => Role::Worker,
            Self::Administer => Role::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("`{text}` is no role; there are client, worker and admin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_admin_has_more_than_one_right() {
        let rights = [Right::Operate, Right::Work, Right::Administer];
        let may = |role: Role| rights.map(|right| role.may(right));
        assert_eq!(may(Role::Client), [true, false, false]);
        assert_eq!(may(Role::Worker), [false, true, false]);
        assert_eq!(may(Role::Admin), [true, true, true]);
    }

    #[test]
    fn names_and_codes_lead_back() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(Role::from_code(role.code()), Some(role));
        }
    }
}
