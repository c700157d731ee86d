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

    /// `count` events everywhere, which must not be more than can be.
    pub(super) const fn of(count: u64) -> Self {
        Self(Shape::Leaf(count))
    }

    /// How many events are known in a piece, if that is the same number everywhere in it and nowhere on
    /// the way there more is known all around. The way is told level by level: whether it goes right.
    pub(super) fn count_at(&self, mut way: impl Iterator<Item = bool>) -> Option<u64> {
        let (mut event, mut count) = (self, 0);
        // What is known all around the piece, less what is counted already.
        let mut around = Vec::new();
        while let Shape::Branch(branch) = &event.0 {
            let is_right = way.next()?;
            let (half, other) = if is_right {
                (&branch.right, &branch.left)
            } else {
                (&branch.left, &branch.right)
            };
            count += branch.base;
            around.push(count + other.base());
            event = half;
        }
        count += event.base();
        around.iter().all(|other| *other <= count).then_some(count)
    }

    /// The sum of both at each place, which must not be more than can be.
    pub(super) fn plus(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Shape::Leaf(count), _) => {
                let mut sum = other.clone();
                sum.lift(*count);
                sum
            }
            (_, Shape::Leaf(_)) => other.plus(self),
            (Shape::Branch(one), Shape::Branch(two)) => {
                let (left, right) = (one.left.plus(&two.left), one.right.plus(&two.right));
                Self::norm(one.base + two.base, left, right)
            }
        }
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
    pub(super) fn norm(base: u64, left: Self, right: Self) -> Self {
        if let (Shape::Leaf(one), Shape::Leaf(other)) = (&left.0, &right.0)
            && one == other
        {
            return Self(Shape::Leaf(base + one));
        }
        let branch = Branch { base, height: 0, depth: 0, left, right };
        let mut event = Self(Shape::Branch(Box::new(branch)));
        event.normalize();
        event
    }

    pub(super) fn lift(&mut self, by: u64) {
        match &mut self.0 {
            Shape::Leaf(count) => *count += by,
            Shape::Branch(branch) => {
                branch.base += by;
                branch.height += by;
            }
        }
    }

    /// `by` is at most the base.
    fn sink(&mut self, by: u64) {
        match &mut self.0 {
            Shape::Leaf(count) => *count -= by,
            Shape::Branch(branch) => {
                branch.base -= by;
                branch.height -= by;
            }
        }
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
        let mut joined = self.clone();
        joined.absorb(other.clone());
        joined
    }

    /// The same into this one.
    pub(super) fn absorb(&mut self, mut other: Self) {
        if self.height() <= other.base() {
            *self = other;
            return;
        }
        if other.height() <= self.base() {
            return;
        }
        let common = self.base().min(other.base());
        self.sink(common);
        other.sink(common);
        let (left, right) = other.into_halves();
        self.expand();
        if let Shape::Branch(branch) = &mut self.0 {
            let base = std::mem::replace(&mut branch.base, common);
            branch.left.lift(base);
            branch.right.lift(base);
            branch.left.absorb(left);
            branch.right.absorb(right);
        }
        self.normalize();
    }

    /// The halves with the base in them.
    fn into_halves(self) -> (Self, Self) {
        match self.0 {
            Shape::Leaf(count) => (Self(Shape::Leaf(count)), Self(Shape::Leaf(count))),
            Shape::Branch(branch) => {
                let Branch { base, mut left, mut right, .. } = *branch;
                left.lift(base);
                right.lift(base);
                (left, right)
            }
        }
    }

    /// A leaf becomes a branch of two, which is not in normal form.
    fn expand(&mut self) {
        if let Shape::Leaf(base) = self.0 {
            let (left, right) = (Self::zero(), Self::zero());
            let branch = Branch { base, height: base, depth: 1, left, right };
            self.0 = Shape::Branch(Box::new(branch));
        }
    }

    /// Counts one event more at places that `id` owns (`event`): by what makes the tree simpler,
    /// else by what makes it larger as little as possible. Nothing is changed by an error.
    pub(super) fn grow(&mut self, id: &Id) -> Result<(), Error> {
        if id.is_zero() {
            return Err(Error::Anonymous);
        }
        if self.fill(id) {
            return Ok(());
        }
        // No deeper than the deeper of the two trees, which are within the limit.
        self.inflate(id, 0)
    }

    /// (`fill`) Raises what is owned to what is known around it, as far as that makes the
    /// tree simpler. Answers whether it did.
    fn fill(&mut self, id: &Id) -> bool {
        let Shape::Branch(branch) = &mut self.0 else { return false };
        if id.is_zero() {
            return false;
        }
        let Some((id_left, id_right)) = id.children() else {
            self.0 = Shape::Leaf(branch.height);
            return true;
        };
        let Branch { left, right, .. } = &mut **branch;
        let has_changed = if id_left.is_one() {
            let has_changed = right.fill(id_right);
            left.raise(right.base()) || has_changed
        } else if id_right.is_one() {
            let has_changed = left.fill(id_left);
            right.raise(left.base()) || has_changed
        } else {
            // Both, not the first one of them.
            left.fill(id_left) | right.fill(id_right)
        };
        if has_changed {
            self.normalize();
        }
        has_changed
    }

    /// Becomes a leaf of its own height, or of `least` if that is more. Answers whether that is new.
    fn raise(&mut self, least: u64) -> bool {
        let whole = Self(Shape::Leaf(self.height().max(least)));
        let is_new = whole != *self;
        *self = whole;
        is_new
    }

    /// What it costs to grow it (`grow`).
    fn cost(&self, id: &Id) -> Cost {
        let Some((id_left, id_right)) = id.children() else {
            return if id.is_zero() { Cost::IMPOSSIBLE } else { Cost { expansions: 0, levels: 0 } };
        };
        let (left, right) = self.halves();
        left.cost(id_left).min(right.cost(id_right)).below(!self.is_branch())
    }

    /// (`grow`) Adds one to the leaf where that is cheapest; ties go right. A leaf on the way is
    /// expanded.
    fn inflate(&mut self, id: &Id, above: u64) -> Result<(), Error> {
        let above = above + self.base();
        let Some((id_left, id_right)) = id.children() else {
            if above >= COUNTER_MAX {
                return Err(Error::Overflow);
            }
            self.lift(1);
            return Ok(());
        };
        let (left, right) = self.halves();
        let is_left =
            id_right.is_zero() || !id_left.is_zero() && left.cost(id_left) < right.cost(id_right);
        if !self.is_branch() && above >= COUNTER_MAX {
            return Err(Error::Overflow);
        }
        self.expand();
        if let Shape::Branch(branch) = &mut self.0 {
            let (half, id) =
                if is_left { (&mut branch.left, id_left) } else { (&mut branch.right, id_right) };
            half.inflate(id, above)?;
        }
        self.normalize();
        Ok(())
    }

    /// Brings a branch whose children are in normal form into it.
    fn normalize(&mut self) {
        let Shape::Branch(branch) = &mut self.0 else { return };
        let Branch { base, height, depth, left, right } = &mut **branch;
        let common = left.base().min(right.base());
        if !left.is_branch() && left == right {
            self.0 = Shape::Leaf(*base + common);
            return;
        }
        if common > 0 {
            *base += common;
            left.sink(common);
            right.sink(common);
        }
        *height = *base + left.height().max(right.height());
        *depth = 1 + left.depth().max(right.depth());
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
