//! Event trees: how many events are known at each place of the interval. The paper's names are in
//! brackets.

use std::fmt;

use super::error::Error;
use super::id::Id;
use super::{COUNTER_MAX, DEPTH_MAX};

/// How many events are known at each place: the same number everywhere, or a number to be added to
/// what each half says. In normal form: the smallest number below a branch is 0, and its children
/// are not the same leaf.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Event(Shape);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Shape {
    Leaf(u64),
    Branch(Box<Branch>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Branch {
    base: u64,
    /// The largest number anywhere, `base` included.
    height: u64,
    depth: usize,
    left: Event,
    right: Event,
}

static ZERO: Event = Event(Shape::Leaf(0));

/// What it costs to grow a tree somewhere. The paper adds a number larger than any
/// depth for each leaf that has to be expanded; a pair has no such number, so trees of any depth are
/// compared right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    expansions: usize,
    levels: usize,
}

impl Cost {
    /// Where nothing is owned, nothing can grow.
    const IMPOSSIBLE: Self = Self { expansions: usize::MAX, levels: usize::MAX };

    fn below(self, expanded: bool) -> Self {
        Self {
            expansions: self.expansions.saturating_add(usize::from(expanded)),
            levels: self.levels.saturating_add(1),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Event {
    /// No events anywhere: `0`.
    #[must_use]
    pub const fn zero() -> Self {
        Self(Shape::Leaf(0))
    }

    /// Whether it knows nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        matches!(self.0, Shape::Leaf(0))
    }

    /// `count` events everywhere.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn leaf(count: u64) -> Result<Self, Error> {
        Self(Shape::Leaf(count)).checked()
    }

    /// `(base, left, right)`.
    ///
    /// # Errors
    /// [`Error::NotNormal`], [`Error::TooDeep`], [`Error::Overflow`].
    pub fn branch(base: u64, left: Self, right: Self) -> Result<Self, Error> {
        let is_leaf = !left.is_branch() && left == right;
        if is_leaf || left.base().min(right.base()) != 0 {
            return Err(Error::NotNormal);
        }
        // Both are at most the largest counter, so this cannot wrap around.
        base.checked_add(left.height().max(right.height())).ok_or(Error::Overflow)?;
        Self::norm(base, left, right).checked()
    }

    const fn is_branch(&self) -> bool {
        matches!(self.0, Shape::Branch(_))
    }

    /// The smallest number anywhere.
    #[must_use]
    pub fn base(&self) -> u64 {
        match &self.0 {
            Shape::Leaf(count) => *count,
            Shape::Branch(branch) => branch.base,
        }
    }

    /// The largest number anywhere.
    #[must_use]
    pub fn height(&self) -> u64 {
        match &self.0 {
            Shape::Leaf(count) => *count,
            Shape::Branch(branch) => branch.height,
        }
    }

    /// What is added to the base in the left and in the right half, unless it is a leaf.
    #[must_use]
    pub const fn children(&self) -> Option<(&Self, &Self)> {
        match &self.0 {
            Shape::Leaf(_) => None,
            Shape::Branch(branch) => Some((&branch.left, &branch.right)),
        }
    }

    /// The children, or those that an equal tree would have.
    fn halves(&self) -> (&Self, &Self) {
        self.children().unwrap_or((&ZERO, &ZERO))
    }

    /// How many levels are below the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        match &self.0 {
            Shape::Leaf(_) => 0,
            Shape::Branch(branch) => branch.depth,
        }
    }

    /// How many leaves and branches it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.children().map_or(1, |(left, right)| 1 + left.nodes() + right.nodes())
    }

    fn checked(self) -> Result<Self, Error> {
        if self.depth() > DEPTH_MAX {
            Err(Error::TooDeep)
        } else if self.height() > COUNTER_MAX {
            Err(Error::Overflow)
        } else {
            Ok(self)
        }
    }

    /// Norm of a branch whose children are in normal form: two equal leaves become one, and what both
    /// children have at least belongs to the base.
    fn norm(base: u64, left: Self, right: Self) -> Self {
        if !left.is_branch() && left == right {
            return left.lifted(base);
        }
        let common = left.base().min(right.base());
        let (base, left, right) = (base + common, left.sunk(common), right.sunk(common));
        let height = base + left.height().max(right.height());
        let depth = 1 + left.depth().max(right.depth());
        Self(Shape::Branch(Box::new(Branch { base, height, depth, left, right })))
    }

    fn lifted(mut self, by: u64) -> Self {
        match &mut self.0 {
            Shape::Leaf(count) => *count += by,
            Shape::Branch(branch) => {
                branch.base += by;
                branch.height += by;
            }
        }
        self
    }

    /// `by` is at most the base.
    fn sunk(mut self, by: u64) -> Self {
        match &mut self.0 {
            Shape::Leaf(count) => *count -= by,
            Shape::Branch(branch) => {
                branch.base -= by;
                branch.height -= by;
            }
        }
        self
    }

    /// Whether `other` knows everywhere at least as much (comparison: `leq`).
    #[must_use]
    pub fn leq(&self, other: &Self) -> bool {
        self.leq_at(0, other, 0)
    }

    /// The same of trees to which something is to be added.
    fn leq_at(&self, lift: u64, other: &Self, other_lift: u64) -> bool {
        let (base, other_base) = (lift + self.base(), other_lift + other.base());
        if base > other_base {
            return false;
        }
        let Some((left1, right1)) = self.children() else { return true };
        // What is at most the smallest number of the other needs no closer look.
        if lift + self.height() <= other_base {
            return true;
        }
        let (left2, right2) = other.halves();
        left1.leq_at(base, left2, other_base) && right1.leq_at(base, right2, other_base)
    }

    /// The larger of the two numbers at each place (`join`).
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        self.join_at(0, other, 0)
    }

    fn join_at(&self, lift: u64, other: &Self, other_lift: u64) -> Self {
        let (base, other_base) = (lift + self.base(), other_lift + other.base());
        if lift + self.height() <= other_base {
            return other.clone().lifted(other_lift);
        }
        if other_lift + other.height() <= base {
            return self.clone().lifted(lift);
        }
        let common = base.min(other_base);
        let ((left1, right1), (left2, right2)) = (self.halves(), other.halves());
        let left = left1.join_at(base - common, left2, other_base - common);
        let right = right1.join_at(base - common, right2, other_base - common);
        Self::norm(common, left, right)
    }

    /// Counts one event more at places that `id` owns (`event`): by what makes the tree simpler,
    /// else by what makes it larger as little as possible.
    pub(super) fn grown(&self, id: &Id) -> Result<Self, Error> {
        let filled = self.filled(id);
        if filled != *self {
            return Ok(filled);
        }
        let (cost, mut way) = self.cheapest(id);
        if cost == Cost::IMPOSSIBLE {
            return Err(Error::Anonymous);
        }
        // No deeper than the deeper of the two trees, which are within the limit.
        self.inflated(&mut way, 0)
    }

    /// (`fill`) Raises what is owned to what is known around it, as far as that makes the
    /// tree simpler.
    fn filled(&self, id: &Id) -> Self {
        let (Some((left, right)), false) = (self.children(), id.is_zero()) else {
            return self.clone();
        };
        let Some((id_left, id_right)) = id.children() else {
            return Self(Shape::Leaf(self.height()));
        };
        let (left, right) = if id_left.is_one() {
            let right = right.filled(id_right);
            (Self(Shape::Leaf(left.height().max(right.base()))), right)
        } else if id_right.is_one() {
            let left = left.filled(id_left);
            let right = Self(Shape::Leaf(right.height().max(left.base())));
            (left, right)
        } else {
            (left.filled(id_left), right.filled(id_right))
        };
        Self::norm(self.base(), left, right)
    }

    /// (`grow`) Where it is cheapest, as the way there from its end. Ties go right.
    fn cheapest(&self, id: &Id) -> (Cost, Vec<Side>) {
        let Some((id_left, id_right)) = id.children() else {
            let cost =
                if id.is_zero() { Cost::IMPOSSIBLE } else { Cost { expansions: 0, levels: 0 } };
            return (cost, Vec::new());
        };
        let (left, right) = self.halves();
        let (left, right) = (left.cheapest(id_left), right.cheapest(id_right));
        let ((cost, mut way), side) =
            if left.0 < right.0 { (left, Side::Left) } else { (right, Side::Right) };
        way.push(side);
        (cost.below(!self.is_branch()), way)
    }

    /// Adds one to the leaf at the end of the way, which is expanded if the way is longer.
    fn inflated(&self, way: &mut Vec<Side>, above: u64) -> Result<Self, Error> {
        let above = above + self.base();
        let Some(side) = way.pop() else {
            if above >= COUNTER_MAX {
                return Err(Error::Overflow);
            }
            return Ok(self.clone().lifted(1));
        };
        let (left, right) = self.halves();
        Ok(match side {
            Side::Left => Self::norm(self.base(), left.inflated(way, above)?, right.clone()),
            Side::Right => Self::norm(self.base(), left.clone(), right.inflated(way, above)?),
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Leaf(count) => write!(f, "{count}"),
            Shape::Branch(branch) => {
                write!(f, "({},{},{})", branch.base, branch.left, branch.right)
            }
        }
    }
}

/// The same as the text: a tree of boxes is not readable.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
