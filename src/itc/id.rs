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
    pub(super) fn norm(left: Self, right: Self) -> Self {
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

    /// Takes a part away: at most `1 / count` of what is owned, and more than half as much where that
    /// is in one piece; all of it if `count` is 1 or less. So as many as `count` can take their parts
    /// one after the other, and all of these are about equally deep.
    pub(super) fn take(&mut self, count: usize) -> Result<Self, Error> {
        let Some((best, wanted)) = self.piece_for(count) else {
            return Ok(std::mem::replace(self, Self::ZERO));
        };
        if wanted > DEPTH_MAX {
            return Err(Error::TooDeep);
        }
        let mut part = Self::ONE;
        self.cut(best, wanted, &mut |is_right| {
            let half = std::mem::replace(&mut part, Self::ZERO);
            part =
                if is_right { Self::norm(Self::ZERO, half) } else { Self::norm(half, Self::ZERO) };
        });
        Ok(part)
    }

    /// Which piece is to be cut for one of `count`: at which depth it is, and to which depth it is to
    /// be cut. `None` if that one takes all.
    pub(super) fn piece_for(&self, count: usize) -> Option<(usize, usize)> {
        if count <= 1 || self.is_zero() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of participants")]
        let most = self.size() / count as f64;
        // The smallest that is large enough, so that what is left stays in few pieces.
        let mut best = None;
        let mut largest = usize::MAX;
        self.each_piece(0, &mut |depth| {
            if size_at(depth) > most / 2.0 {
                best = best.max(Some(depth));
            }
            largest = largest.min(depth);
        });
        let best = best.unwrap_or(largest);
        let mut wanted = best;
        while size_at(wanted) > most {
            wanted += 1;
        }
        Some((best, wanted))
    }

    /// How many levels its largest piece is below the root; `None` if it owns nothing.
    #[must_use]
    pub fn shallowest(&self) -> Option<usize> {
        let mut least = None;
        self.each_piece(0, &mut |depth| {
            least = Some(least.map_or(depth, |other| depth.min(other)));
        });
        least
    }

    /// How much of the interval it owns.
    fn size(&self) -> f64 {
        match self.children() {
            None => f64::from(u8::from(self.is_one())),
            Some((left, right)) => f64::midpoint(left.size(), right.size()),
        }
    }

    /// Tells how deep each of its pieces lies.
    fn each_piece(&self, depth: usize, tell: &mut impl FnMut(usize)) {
        match self.children() {
            Some((left, right)) => {
                left.each_piece(depth + 1, tell);
                right.each_piece(depth + 1, tell);
            }
            None if self.is_one() => tell(depth),
            None => {}
        }
    }

    /// Cuts a part at depth `wanted` out of its first piece at depth `best`, both from here. Tells the
    /// way to it from its end: whether it is in the right half of what is one level above. Answers
    /// whether there is such a piece.
    pub(super) fn cut(&mut self, best: usize, wanted: usize, tell: &mut impl FnMut(bool)) -> bool {
        if let Shape::Branch(branch) = &mut self.0 {
            let Some(best) = best.checked_sub(1) else { return false };
            let Branch { left, right, depth } = &mut **branch;
            let is_left = left.cut(best, wanted - 1, tell);
            if !is_left && !right.cut(best, wanted - 1, tell) {
                return false;
            }
            tell(!is_left);
            *depth = 1 + left.depth().max(right.depth());
            if left.is_zero() && right.is_zero() {
                *self = Self::ZERO;
            }
            return true;
        }
        if best > 0 || self.is_zero() {
            return false;
        }
        // At each level the part is in the left half, and the right one is left.
        *self = Self::ZERO;
        for _ in 0..wanted {
            tell(false);
            *self = Self::norm(std::mem::replace(self, Self::ZERO), Self::ONE);
        }
        true
    }

    /// Adds what a disjoint id owns (`sum`). Nothing is changed by an error.
    ///
    /// # Errors
    /// [`Error::Overlap`].
    pub fn add(&mut self, other: Self) -> Result<(), Error> {
        let mut way = Vec::new();
        if self.overlaps(&other, &mut way) {
            return Err(Error::Overlap { place: way.join(".") });
        }
        self.add_disjoint(other);
        Ok(())
    }

    /// Whether both own the same somewhere; the first way there is left in `way`.
    fn overlaps(&self, other: &Self, way: &mut Vec<&'static str>) -> bool {
        if self.is_zero() || other.is_zero() {
            return false;
        }
        let (Some((left1, right1)), Some((left2, right2))) = (self.children(), other.children())
        else {
            return true;
        };
        for (name, one, two) in [("left", left1, left2), ("right", right1, right2)] {
            way.push(name);
            if one.overlaps(two, way) {
                return true;
            }
            way.pop();
        }
        false
    }

    /// What it owns and `other` does not.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        if self.is_zero() || other.is_one() {
            return Self::ZERO;
        }
        let Some((other_left, other_right)) = other.children() else { return self.clone() };
        let (left, right) = self.children().unwrap_or((&Self::ONE, &Self::ONE));
        Self::norm(left.without(other_left), right.without(other_right))
    }

    fn add_disjoint(&mut self, other: Self) {
        if self.is_zero() {
            *self = other;
            return;
        }
        // Two that are disjoint and own something are both branches.
        let (Shape::Branch(own), Shape::Branch(new)) = (&mut self.0, other.0) else { return };
        own.left.add_disjoint(new.left);
        own.right.add_disjoint(new.right);
        own.depth = 1 + own.left.depth().max(own.right.depth());
        if own.left.is_one() && own.right.is_one() {
            *self = Self::ONE;
        }
    }
}

fn size_at(depth: usize) -> f64 {
    (-f64::from(u32::try_from(depth).unwrap_or(u32::MAX))).exp2()
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
