//! Ids: the part of the interval that a stamp owns. The paper's names are in brackets.

use std::fmt;

use super::DEPTH_MAX;
use super::error::Error;

/// The part of the interval that a stamp owns: nothing, all, or some of each half. In normal form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id(Shape);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Shape {
    Zero,
    One,
    Branch(Box<Branch>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Branch {
    depth: usize,
    left: Id,
    right: Id,
}

impl Id {
    /// Owns nothing: `0`.
    pub const ZERO: Self = Self(Shape::Zero);
    /// Owns all: `1`.
    pub const ONE: Self = Self(Shape::One);

    /// `(left, right)`.
    ///
    /// # Errors
    /// [`Error::NotNormal`] for `(0, 0)` and `(1, 1)`, [`Error::TooDeep`].
    pub fn branch(left: Self, right: Self) -> Result<Self, Error> {
        if !left.is_branch() && left == right {
            return Err(Error::NotNormal);
        }
        Self::norm(left, right).checked()
    }

    /// Whether it owns nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        matches!(self.0, Shape::Zero)
    }

    /// Whether it owns all.
    #[must_use]
    pub const fn is_one(&self) -> bool {
        matches!(self.0, Shape::One)
    }

    const fn is_branch(&self) -> bool {
        matches!(self.0, Shape::Branch(_))
    }

    /// What it owns of the left and of the right half, unless it is a leaf.
    #[must_use]
    pub const fn children(&self) -> Option<(&Self, &Self)> {
        match &self.0 {
            Shape::Zero | Shape::One => None,
            Shape::Branch(branch) => Some((&branch.left, &branch.right)),
        }
    }

    /// How many levels are below the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        match &self.0 {
            Shape::Zero | Shape::One => 0,
            Shape::Branch(branch) => branch.depth,
        }
    }

    /// How many leaves and branches it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.children().map_or(1, |(left, right)| 1 + left.nodes() + right.nodes())
    }

    /// Norm of a branch whose children are in normal form: (0, 0) is 0, (1, 1) is 1.
    fn norm(left: Self, right: Self) -> Self {
        if !left.is_branch() && left == right {
            return left;
        }
        let depth = 1 + left.depth().max(right.depth());
        Self(Shape::Branch(Box::new(Branch { depth, left, right })))
    }

    fn checked(self) -> Result<Self, Error> {
        if self.depth() > DEPTH_MAX { Err(Error::TooDeep) } else { Ok(self) }
    }

    /// Two ids that own together what this one owns (`split`). Half of nothing is nothing.
    pub(super) fn split(&self) -> Result<(Self, Self), Error> {
        let (left, right) = self.halves();
        Ok((left.checked()?, right.checked()?))
    }

    fn halves(&self) -> (Self, Self) {
        let Some((left, right)) = self.children() else {
            return if self.is_zero() {
                (Self::ZERO, Self::ZERO)
            } else {
                (Self::norm(Self::ONE, Self::ZERO), Self::norm(Self::ZERO, Self::ONE))
            };
        };
        if left.is_zero() {
            let (first, second) = right.halves();
            (Self::norm(Self::ZERO, first), Self::norm(Self::ZERO, second))
        } else if right.is_zero() {
            let (first, second) = left.halves();
            (Self::norm(first, Self::ZERO), Self::norm(second, Self::ZERO))
        } else {
            (Self::norm(left.clone(), Self::ZERO), Self::norm(Self::ZERO, right.clone()))
        }
    }

    /// What two disjoint ids own together (`sum`).
    pub(super) fn sum(&self, other: &Self) -> Result<Self, Error> {
        self.sum_at(other, &mut Vec::new())
    }

    fn sum_at(&self, other: &Self, way: &mut Vec<&'static str>) -> Result<Self, Error> {
        if self.is_zero() {
            return Ok(other.clone());
        }
        if other.is_zero() {
            return Ok(self.clone());
        }
        let (Some((left1, right1)), Some((left2, right2))) = (self.children(), other.children())
        else {
            return Err(Error::Overlap { place: way.join(".") });
        };
        way.push("left");
        let left = left1.sum_at(left2, way)?;
        way.pop();
        way.push("right");
        let right = right1.sum_at(right2, way)?;
        way.pop();
        Ok(Self::norm(left, right))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Zero => f.write_str("0"),
            Shape::One => f.write_str("1"),
            Shape::Branch(branch) => write!(f, "({},{})", branch.left, branch.right),
        }
    }
}

/// The same as the text: a tree of boxes is not readable.
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
