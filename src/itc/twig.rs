//! Stamps as those who go on working with them keep them.

use std::sync::Arc;

use super::COUNTER_MAX;
use super::bits;
use super::error::Error;
use super::event::Event;
use super::id::Id;
use super::stamp::Stamp;

/// So many levels fit into the bits of a piece.
const LEVELS_MAX: usize = 63;

/// A stamp, kept so that events, the binary form and a fan-in of many cost little: it stands for
/// [`Twig::stamp`] and behaves like it.
///
/// Who takes a share at a fan-out owns one piece of the interval, and knows what all others know who
/// took one, but there. Such a stamp is kept as the piece, what all of them know, and a number: an
/// event of it is an addition, where trees would need a node for each level.
///
/// ```
/// # use sutbot::itc::{Stamp, Twig};
/// let mut root = Twig::from(Stamp::seed());
/// let mut branches = (1..=3).rev().map(|left| root.share(left)).collect::<Result<Vec<_>, _>>()?;
/// branches[0].tick()?;
/// assert_eq!(branches[0].stamp().to_string(), "(((1,0),0),(0,(0,1,0),0))");
/// assert_eq!(branches[0].encode(), branches[0].stamp().encode());
/// let all = Twig::join_many(branches)?.expect("three");
/// assert_eq!(all.stamp().to_string(), "(1,(0,(0,1,0),0))");
/// # Ok::<(), sutbot::itc::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Twig(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Bud(Bud),
    Stamp {
        stamp: Stamp,
        /// Its events, for those who take shares.
        shared: Option<Arc<Event>>,
    },
}

/// Owns one piece, in which `base` knows the same everywhere, and knows `more` events there.
#[derive(Clone, Debug)]
struct Bud {
    piece: Piece,
    base: Arc<Event>,
    more: u64,
    /// How many events are known in the piece.
    count: u64,
}

/// One piece of the interval: how many levels it is below the whole, and the way there, the last level
/// in the lowest bit, 1 being the right half.
#[derive(Clone, Copy, Debug)]
struct Piece {
    levels: usize,
    way: u64,
}

impl Piece {
    /// The way from the whole to the piece: whether it goes right, level by level.
    fn sides(self) -> impl DoubleEndedIterator<Item = bool> + Clone {
        (0..self.levels).rev().map(move |level| self.way >> level & 1 == 1)
    }

    /// Where it begins, in parts of the deepest piece that there can be.
    const fn begin(self) -> u64 {
        self.way << (LEVELS_MAX - self.levels)
    }

    fn id(self) -> Id {
        self.sides().rev().fold(Id::ONE, |id, is_right| {
            if is_right { Id::norm(Id::ZERO, id) } else { Id::norm(id, Id::ZERO) }
        })
    }
}

impl Bud {
    /// `None` if an event could make the trees simpler, as it can where more is known all around the
    /// piece than in it.
    fn new(piece: Piece, base: Arc<Event>) -> Option<Self> {
        let count = base.count_at(piece.sides())?;
        Some(Self { piece, base, more: 0, count })
    }

    fn stamp(&self) -> Stamp {
        let sides = self.piece.sides().rev();
        let own = sides.fold(Event::of(self.more), |events, is_right| {
            if is_right {
                Event::norm(0, Event::zero(), events)
            } else {
                Event::norm(0, events, Event::zero())
            }
        });
        Stamp::new(self.piece.id(), self.base.plus(&own))
    }
}

/// What stamps stand for does not depend on how they are kept.
impl PartialEq for Twig {
    fn eq(&self, other: &Self) -> bool {
        self.stamp() == other.stamp()
    }
}

impl Eq for Twig {}

impl From<Stamp> for Twig {
    fn from(stamp: Stamp) -> Self {
        Self(Shape::Stamp { stamp, shared: None })
    }
}

impl Twig {
    /// The stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.clone().into_stamp()
    }

    /// The same without a copy.
    #[must_use]
    pub fn into_stamp(self) -> Stamp {
        match self.0 {
            Shape::Bud(bud) => bud.stamp(),
            Shape::Stamp { stamp, .. } => stamp,
        }
    }

    /// Whether it owns nothing.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        match &self.0 {
            Shape::Bud(_) => false,
            Shape::Stamp { stamp, .. } => stamp.id().is_zero(),
        }
    }

    /// As [`Id::shallowest`].
    #[must_use]
    pub fn shallowest(&self) -> Option<usize> {
        match &self.0 {
            Shape::Bud(bud) => Some(bud.piece.levels),
            Shape::Stamp { stamp, .. } => stamp.id().shallowest(),
        }
    }

    /// As [`Stamp::peek`].
    #[must_use]
    pub fn peek(&self) -> Stamp {
        match &self.0 {
            Shape::Bud(bud) => bud.stamp().peek(),
            Shape::Stamp { stamp, .. } => stamp.peek(),
        }
    }

    /// Whether it knows all that `other` knows: `other.leq(&self.stamp())`.
    #[must_use]
    pub fn knows(&self, other: &Stamp) -> bool {
        match &self.0 {
            Shape::Bud(bud) => other.events().leq(&bud.base) || other.leq(&bud.stamp()),
            Shape::Stamp { stamp, .. } => other.leq(stamp),
        }
    }

    /// As [`Stamp::tick`].
    ///
    /// # Errors
    /// As there.
    pub fn tick(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Shape::Bud(bud) if bud.count < COUNTER_MAX => {
                bud.count += 1;
                bud.more += 1;
            }
            Shape::Bud(_) => return Err(Error::Overflow),
            Shape::Stamp { stamp, shared } => {
                stamp.tick()?;
                *shared = None;
            }
        }
        Ok(())
    }

    /// As [`Stamp::encode`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Shape::Bud(Bud { piece, base, more, .. }) => {
                bits::encode_piece(piece.sides(), base, *more)
            }
            Shape::Stamp { stamp, .. } => stamp.encode(),
        }
    }

    /// As [`Stamp::share`].
    ///
    /// # Errors
    /// As there.
    pub fn share(&mut self, count: usize) -> Result<Self, Error> {
        let twig = std::mem::replace(self, Self::from(Stamp::seed()));
        let (mut stamp, shared) = match twig.0 {
            Shape::Bud(bud) => (bud.stamp(), None),
            Shape::Stamp { stamp, shared } => (stamp, shared),
        };
        let shared = shared.unwrap_or_else(|| Arc::new(stamp.events().clone()));
        let share = share(&mut stamp, count, &shared);
        self.0 = Shape::Stamp { stamp, shared: Some(shared) };
        share
    }

    /// As [`Stamp::absorb`].
    ///
    /// # Errors
    /// As there.
    pub fn absorb(&mut self, other: Stamp) -> Result<(), Error> {
        let mut stamp = std::mem::replace(self, Self::from(Stamp::seed())).into_stamp();
        let outcome = stamp.absorb(other);
        *self = Self::from(stamp);
        outcome
    }

    /// As [`Stamp::join_many`].
    ///
    /// # Errors
    /// As there.
    pub fn join_many(twigs: Vec<Self>) -> Result<Option<Self>, Error> {
        if twigs.len() < 2 {
            return Ok(twigs.into_iter().next());
        }
        let (mut buds, mut stamps) = (Vec::new(), Vec::new());
        for twig in twigs {
            match twig.0 {
                Shape::Bud(bud) => buds.push(bud),
                Shape::Stamp { stamp, .. } => stamps.push(stamp),
            }
        }
        buds.sort_unstable_by_key(|bud: &Bud| (Arc::as_ptr(&bud.base), bud.piece.begin()));
        for alike in buds.chunk_by(|one, other| Arc::ptr_eq(&one.base, &other.base)) {
            let (id, events) = bind(alike, 0)?;
            stamps.push(Stamp::new(id, alike[0].base.plus(&events)));
        }
        Ok(Stamp::join_many(stamps)?.map(Self::from))
    }
}

/// As [`Stamp::share`]; `events` are those of the stamp.
fn share(stamp: &mut Stamp, count: usize, events: &Arc<Event>) -> Result<Twig, Error> {
    let fits = |(_, wanted): &(usize, usize)| *wanted <= LEVELS_MAX;
    let Some((best, wanted)) = stamp.id().piece_for(count).filter(fits) else {
        return stamp.share(count).map(Twig::from);
    };
    let mut piece = Piece { levels: 0, way: 0 };
    stamp.cut(best, wanted, &mut |is_right| {
        piece.way |= u64::from(is_right) << piece.levels;
        piece.levels += 1;
    });
    let grown = || Twig::from(Stamp::new(piece.id(), Event::clone(events)));
    Ok(Bud::new(piece, Arc::clone(events)).map_or_else(grown, |bud| Twig(Shape::Bud(bud))))
}

/// What those own, and know beyond their base, that lie in one piece so many levels below the whole,
/// in order.
fn bind(buds: &[Bud], level: usize) -> Result<(Id, Event), Error> {
    match buds {
        [] => return Ok((Id::ZERO, Event::zero())),
        [bud] if bud.piece.levels == level => return Ok((Id::ONE, Event::of(bud.more))),
        _ => {}
    }
    if buds.iter().any(|bud| bud.piece.levels <= level) {
        return Err(Error::Overlap { place: String::new() });
    }
    let is_left = |bud: &Bud| bud.piece.way >> (bud.piece.levels - level - 1) & 1 == 0;
    let (left, right) = buds.split_at(buds.partition_point(is_left));
    let ((left_id, left_events), (right_id, right_events)) =
        (bind(left, level + 1)?, bind(right, level + 1)?);
    Ok((Id::norm(left_id, right_id), Event::norm(0, left_events, right_events)))
}
