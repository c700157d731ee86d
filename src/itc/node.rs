//! Nodes: a value, changed in several places, and the stamp that tells which change knew of which.
//!
//! The semantics are those of the programs that the names come from (DaveWelling/itcDiagram and its
//! parent `IntegritySynchronization`): if one side of a join knew of the other, its value stays; if
//! both changed, there is a conflict with both values. Two things are stricter, because otherwise
//! values would be lost without a word: equal stamps with different values are a conflict, and what
//! has a conflict cannot have another one before somebody has decided.

use super::error::Error;
use super::stamp::{Causality, Stamp};

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<V> {
    /// A value.
    Value(V),
    /// The values of two nodes that were joined though both had changed.
    Conflict {
        /// The value of the first.
        first: V,
        /// The value of the second.
        second: V,
    },
}

/// A value with a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node<V> {
    /// What it owns and knows.
    pub stamp: Stamp,
    /// What it holds.
    pub content: Content<V>,
}

impl<V: Clone + PartialEq> Node<V> {
    /// The first node: owns all and knows nothing.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self { stamp: Stamp::seed(), content: Content::Value(value) }
    }

    /// Two nodes with what this one holds; this one is spent.
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn fork(&self) -> Result<(Self, Self), Error> {
        let (first, second) = self.stamp.fork()?;
        let with = |stamp| Self { stamp, content: self.content.clone() };
        Ok((with(first), with(second)))
    }

    /// Changes the value, which also decides a conflict.
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Overflow`].
    pub fn event(&self, value: V) -> Result<Self, Error> {
        Ok(Self { stamp: self.stamp.event()?, content: Content::Value(value) })
    }

    /// A node with what this one holds that owns nothing.
    #[must_use]
    pub fn peek(&self) -> Self {
        Self { stamp: self.stamp.peek(), content: self.content.clone() }
    }

    /// One node of two; both are spent.
    ///
    /// ```
    /// use sutbot::itc::{Content, Error, Node};
    ///
    /// let (ours, theirs) = Node::new("draft").fork()?;
    /// let ours = ours.event("ours")?;
    /// assert_eq!(ours.join(&theirs)?.content, Content::Value("ours"));
    ///
    /// let theirs = theirs.event("theirs")?;
    /// let both = ours.join(&theirs)?;
    /// assert_eq!(both.content, Content::Conflict { first: "ours", second: "theirs" });
    /// let decided = both.event("agreed")?;
    /// assert_eq!(decided.content, Content::Value("agreed"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overlap`]; [`Error::Unresolved`] if both changed and one of them already had a
    /// conflict.
    pub fn join(&self, other: &Self) -> Result<Self, Error> {
        let stamp = self.stamp.join(&other.stamp)?;
        let content = match self.stamp.compare(&other.stamp) {
            Causality::After => self.content.clone(),
            Causality::Before => other.content.clone(),
            Causality::Equal if self.content == other.content => self.content.clone(),
            Causality::Equal | Causality::Concurrent => self.conflict(other)?,
        };
        Ok(Self { stamp, content })
    }

    fn conflict(&self, other: &Self) -> Result<Content<V>, Error> {
        match (&self.content, &other.content) {
            (Content::Value(first), Content::Value(second)) => {
                Ok(Content::Conflict { first: first.clone(), second: second.clone() })
            }
            (Content::Conflict { .. }, _) => Err(Error::Unresolved { first: true }),
            (Content::Value(_), Content::Conflict { .. }) => {
                Err(Error::Unresolved { first: false })
            }
        }
    }
}
