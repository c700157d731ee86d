//! Stamps: what is owned and what is known (the paper's fork-event-join model).

use std::fmt;
use std::str::FromStr;

use super::NODES_MAX;
use super::bits;
use super::error::{DecodeError, Error};
use super::event::Event;
use super::id::Id;
use super::text;

/// How what one stamp knows relates to what another one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Causality {
    /// The other one knows all of it, and more.
    Before,
    /// It knows all of the other one, and more.
    After,
    /// Both know the same.
    Equal,
    /// Each knows something that the other one does not.
    Concurrent,
}

/// What a participant owns and what it knows. Operations answer new stamps; what went in is spent,
/// except for comparisons and [`Stamp::peek`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    id: Id,
    events: Event,
}

impl Stamp {
    /// A stamp of these parts.
    #[must_use]
    pub const fn new(id: Id, events: Event) -> Self {
        Self { id, events }
    }

    /// The first stamp, which owns all and knows nothing: `(1, 0)`.
    #[must_use]
    pub fn seed() -> Self {
        Self { id: Id::ONE, events: Event::zero() }
    }

    /// What it owns.
    #[must_use]
    pub const fn id(&self) -> &Id {
        &self.id
    }

    /// What it knows.
    #[must_use]
    pub const fn events(&self) -> &Event {
        &self.events
    }

    /// How many leaves and branches both trees have.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.id.nodes() + self.events.nodes()
    }

    /// Two stamps that know the same and share what this one owns (the paper, fork).
    ///
    /// ```
    /// # use sutbot::itc::Stamp;
    /// let (a, b) = Stamp::seed().fork()?;
    /// assert_eq!((a.to_string(), b.to_string()), ("((1,0),0)".into(), "((0,1),0)".into()));
    /// assert_eq!(a.join(&b)?, Stamp::seed());
    /// # Ok::<(), sutbot::itc::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn fork(&self) -> Result<(Self, Self), Error> {
        let (first, second) = self.id.split()?;
        Ok((Self::new(first, self.events.clone()), Self::new(second, self.events.clone())))
    }

    /// So many stamps that share what this one owns, forked in halves: their ids are as shallow as
    /// forks can make them. None if `count` is 0.
    ///
    /// ```
    /// # use sutbot::itc::Stamp;
    /// let parts = Stamp::seed().fork_many(1_000)?;
    /// assert!(parts.iter().all(|part| part.id().depth() <= 10));
    /// assert_eq!(Stamp::join_many(parts)?, Some(Stamp::seed()));
    /// # Ok::<(), sutbot::itc::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooDeep`].
    pub fn fork_many(&self, count: usize) -> Result<Vec<Self>, Error> {
        let mut parts = Vec::with_capacity(count);
        // Depth first and the left half first, so that neighbours in the list are neighbours in the
        // interval. The stack of work is as deep as the ids.
        let mut open = vec![(self.id.clone(), count)];
        while let Some((id, count)) = open.pop() {
            if count > 1 {
                let (first, second) = id.split()?;
                open.push((second, count / 2));
                open.push((first, count - count / 2));
            } else if count == 1 {
                parts.push(Self::new(id, self.events.clone()));
            }
        }
        Ok(parts)
    }

    /// Forks a participant off that is one of `count` who will get a share of what this one owns: at
    /// most an equal share, and about half of one at least, so that all can be served one after the
    /// other, in any order, without knowing them before. The last one (`count` 1) takes all.
    ///
    /// ```
    /// # use sutbot::itc::Stamp;
    /// let mut rest = Stamp::seed();
    /// let parts: Vec<Stamp> = (1..=5).rev().map(|n| rest.share(n)).collect::<Result<_, _>>()?;
    /// assert!(rest.id().is_zero() && parts.iter().all(|part| part.id().depth() <= 3));
    /// assert_eq!(Stamp::join_many(parts)?, Some(Stamp::seed()));
    /// # Ok::<(), sutbot::itc::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooDeep`]; nothing is changed then.
    pub fn share(&mut self, count: usize) -> Result<Self, Error> {
        Ok(Self::new(self.id.take(count)?, self.events.clone()))
    }

    /// As [`Id::cut`].
    pub(super) fn cut(&mut self, best: usize, wanted: usize, tell: &mut impl FnMut(bool)) {
        self.id.cut(best, wanted, tell);
    }

    /// One event more at what is owned: strictly after this stamp, and at most as much after others as
    /// it has to be (the paper, event: fill, else grow).
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Overflow`].
    pub fn event(&self) -> Result<Self, Error> {
        let mut next = self.clone();
        next.tick()?;
        Ok(next)
    }

    /// The same of this one: [`Stamp::event`] without a copy.
    ///
    /// # Errors
    /// [`Error::Anonymous`], [`Error::Overflow`]; nothing is changed then.
    pub fn tick(&mut self) -> Result<(), Error> {
        self.events.grow(&self.id)
    }

    /// A stamp that owns what both own and knows what one of them knows (the paper, join).
    ///
    /// # Errors
    /// [`Error::Overlap`] if both own the same, so that one of them is a copy.
    pub fn join(&self, other: &Self) -> Result<Self, Error> {
        let mut joined = self.clone();
        joined.absorb(other.clone())?;
        Ok(joined)
    }

    /// The same into this one: [`Stamp::join`] without copies.
    ///
    /// # Errors
    /// [`Error::Overlap`]; nothing is changed then.
    pub fn absorb(&mut self, other: Self) -> Result<(), Error> {
        self.id.add(other.id)?;
        self.events.absorb(other.events);
        Ok(())
    }

    /// All of them joined, neighbours first, which keeps what lies between small. `None` of none.
    ///
    /// # Errors
    /// [`Error::Overlap`].
    pub fn join_many(stamps: impl IntoIterator<Item = Self>) -> Result<Option<Self>, Error> {
        let mut open: Vec<Self> = stamps.into_iter().collect();
        while open.len() > 1 {
            let mut joined = Vec::with_capacity(open.len().div_ceil(2));
            let mut stamps = open.into_iter();
            while let Some(mut first) = stamps.next() {
                if let Some(second) = stamps.next() {
                    first.absorb(second)?;
                }
                joined.push(first);
            }
            open = joined;
        }
        Ok(open.pop())
    }

    /// An anonymous stamp, which owns nothing and knows the same: for messages and logs (the
    /// paper, peek).
    ///
    /// ```
    /// # use sutbot::itc::{Causality, Error, Stamp};
    /// let stamp = Stamp::seed().event()?;
    /// let note = stamp.peek();
    /// assert_eq!(note.to_string(), "(0,1)");
    /// assert_eq!(note.compare(&stamp), Causality::Equal);
    /// assert_eq!(note.event(), Err(Error::Anonymous));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn peek(&self) -> Self {
        Self::new(Id::ZERO, self.events.clone())
    }

    /// Whether `other` knows all that this one knows (the paper, comparison). Ids do not matter.
    #[must_use]
    pub fn leq(&self, other: &Self) -> bool {
        self.events.leq(&other.events)
    }

    /// How this one relates to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Causality {
        match (self.leq(other), other.leq(self)) {
            (true, true) => Causality::Equal,
            (true, false) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        }
    }

    /// Whether `other` knows all that this one knows, and more.
    #[must_use]
    pub fn happened_before(&self, other: &Self) -> bool {
        self.compare(other) == Causality::Before
    }

    /// Reads the text form: `(id,event)`, an id being `0`, `1` or `(l,r)`, an event tree being `n` or
    /// `(n,l,r)`, without blanks and in normal form.
    ///
    /// ```
    /// # use sutbot::itc::Stamp;
    /// let text = "((1,0),(2,(0,3,0),1))";
    /// assert_eq!(Stamp::parse(text, 100)?.to_string(), text);
    /// assert_eq!(
    ///     Stamp::parse("((1,1),0)", 100).unwrap_err().to_string(),
    ///     "at byte 1: the tree is not in normal form"
    /// );
    /// # Ok::<(), sutbot::itc::DecodeError>(())
    /// ```
    ///
    /// # Errors
    /// Says where the first mistake is: also if there are more than `nodes_max` nodes.
    pub fn parse(text: &str, nodes_max: usize) -> Result<Self, DecodeError> {
        text::parse(text, nodes_max)
    }

    /// The binary form: the bits of the paper's encoding, the id first, then zeros up to a
    /// whole byte.
    ///
    /// ```
    /// # use sutbot::itc::Stamp;
    /// assert_eq!(Stamp::seed().encode(), [0b0011_0000]);
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        bits::encode(self)
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// Says where the first mistake is: also if there are more than `nodes_max` nodes.
    pub fn decode(bytes: &[u8], nodes_max: usize) -> Result<Self, DecodeError> {
        bits::decode(bytes, nodes_max)
    }
}

impl FromStr for Stamp {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        Self::parse(text, NODES_MAX)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{})", self.id, self.events)
    }
}
