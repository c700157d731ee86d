//! The laws of section 7 of the notes on the source systems, and the worked example of the paper.

use proptest::prelude::*;
use sutbot::itc::{Causality, Content, Error, Node, Stamp};

use crate::support::{config, stamp, stamps};

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_stamp_and_its_own_future(stamps in stamps()) {
        for stamp in &stamps {
            prop_assert_eq!(stamp.compare(stamp), Causality::Equal);
            let next = stamp.event().unwrap();
            prop_assert_eq!(stamp.compare(&next), Causality::Before);
            prop_assert_eq!(next.compare(stamp), Causality::After);
            prop_assert_eq!(stamp.id(), next.id());
        }
    }

    #[test]
    fn forks(stamps in stamps()) {
        for stamp in &stamps {
            let (first, second) = stamp.fork().unwrap();
            for part in [&first, &second] {
                prop_assert_eq!(stamp.compare(part), Causality::Equal);
            }
            prop_assert_eq!(&first.join(&second).unwrap(), stamp);
            prop_assert_eq!(&second.join(&first).unwrap(), stamp);
            let (first, second) = (first.event().unwrap(), second.event().unwrap());
            prop_assert_eq!(first.compare(&second), Causality::Concurrent);
            let both = first.join(&second).unwrap();
            prop_assert_eq!(first.compare(&both), Causality::Before);
            prop_assert_eq!(second.compare(&both), Causality::Before);
        }
    }

    /// An event is not known to anybody else, and makes nothing else known.
    #[test]
    fn an_event_is_new_and_says_nothing_else(stamps in stamps(), who in 0..64_usize) {
        let who = who % stamps.len();
        let next = stamps[who].event().unwrap();
        for (at, other) in stamps.iter().enumerate() {
            prop_assert!(!next.leq(other));
            if at != who {
                prop_assert_eq!(other.leq(&next), other.leq(&stamps[who]));
            }
        }
    }

    #[test]
    fn join_is_the_least_that_knows_both(stamps in stamps()) {
        for a in &stamps {
            for b in &stamps {
                let (x, y) = (a.events(), b.events());
                let both = x.join(y);
                prop_assert!(x.leq(&both) && y.leq(&both));
                prop_assert_eq!(&both, &y.join(x));
                prop_assert_eq!(x.leq(y), &both == y);
                for c in stamps.iter().map(Stamp::events).take(4) {
                    prop_assert_eq!(both.join(c), x.join(&y.join(c)));
                    prop_assert_eq!(both.leq(c), x.leq(c) && y.leq(c));
                    prop_assert!(!(x.leq(y) && y.leq(c)) || x.leq(c));
                }
            }
        }
    }

    #[test]
    fn many_are_forked_evenly_and_join_again(stamps in stamps(), count in 1..40_usize) {
        for stamp in &stamps {
            let parts = stamp.fork_many(count).unwrap();
            prop_assert_eq!(parts.len(), count);
            let joined = Stamp::join_many(parts).unwrap();
            prop_assert_eq!(joined.as_ref(), Some(stamp));
        }
    }
}

/// The worked example of the paper, step by step.
#[test]
fn the_run_of_the_paper() {
    let (a, b) = Stamp::seed().fork().unwrap();
    let (a, b) = (a.event().unwrap(), b.event().unwrap());
    assert_eq!(a, stamp("((1,0),(0,1,0))"));
    assert_eq!(b, stamp("((0,1),(0,0,1))"));
    let (a, c) = a.fork().unwrap();
    let (a, b) = (a.event().unwrap(), b.event().unwrap());
    assert_eq!(a, stamp("(((1,0),0),(0,(1,1,0),0))"));
    assert_eq!(c, stamp("(((0,1),0),(0,1,0))"));
    assert_eq!(b, stamp("((0,1),(0,0,2))"));
    let b = b.join(&c).unwrap();
    assert_eq!(b, stamp("(((0,1),1),(1,0,1))"));
    let (c, b) = b.fork().unwrap();
    assert_eq!(b, stamp("((0,1),(1,0,1))"));
    let a = a.join(&c).unwrap();
    assert_eq!(a, stamp("((1,0),(1,(0,1,0),1))"));
    let a = a.event().unwrap();
    assert_eq!(a, stamp("((1,0),2)"));
    assert_eq!(b.compare(&a), Causality::Before);
}

/// What `itcDiagram` gets wrong: grow changed both sides, and norm forgot a number.
#[test]
fn the_defects_of_the_programs_that_the_names_come_from() {
    let spread = stamp("(((1,0),(1,0)),0)").event().unwrap();
    assert_eq!(spread.events().to_string(), "(0,0,(0,1,0))");
    let joined = stamp("((1,0),(0,1,0))").join(&stamp("((0,1),(1,0,1))")).unwrap();
    assert_eq!(joined.events().to_string(), "(1,0,1)");
}

#[test]
fn grow_expands_as_few_leaves_as_it_can_then_descends_as_little() {
    // The right half would have to be expanded, the left one not.
    let grown = stamp("(((1,0),(1,0)),(0,(0,0,1),0))").event().unwrap();
    assert_eq!(grown.events().to_string(), "(0,1,0)");
    let grown = stamp("(((0,(1,0)),(1,0)),(0,(1,0,(0,0,3)),0))").event().unwrap();
    assert_eq!(grown.events().to_string(), "(0,(1,0,3),0)");
    let grown = stamp("(((1,0),((1,0),0)),(0,(0,0,1),(0,(0,1,0),1)))").event().unwrap();
    assert_eq!(grown.events().to_string(), "(0,1,(0,(0,1,0),1))");
    let grown = stamp("(((1,0),((1,0),0)),(0,(0,1,0),(0,(0,1,0),0)))").event().unwrap();
    assert_eq!(grown.events().to_string(), "(0,(0,2,0),(0,(0,1,0),0))");
}

#[test]
fn overlapping_ids_are_refused_with_the_place() {
    let place = |first: &str, second: &str| match stamp(first).join(&stamp(second)) {
        Err(Error::Overlap { place }) => place,
        other => panic!("{other:?}"),
    };
    assert_eq!(place("(1,0)", "(1,0)"), "");
    assert_eq!(place("((1,0),0)", "(1,0)"), "");
    assert_eq!(place("((0,(1,0)),0)", "((0,(1,0)),3)"), "right.left");
    assert_eq!(place("((1,(0,1)),0)", "((0,1),0)"), "right");
}

#[test]
fn anonymous_stamps_have_no_events_and_split_into_anonymous_ones() {
    let note = stamp("(0,(1,0,2))");
    assert_eq!(note.event(), Err(Error::Anonymous));
    assert_eq!(note.fork(), Ok((note.clone(), note.clone())));
    assert_eq!(note.join(&note), Ok(note.clone()));
}

#[test]
fn values_of_nodes() {
    let (a, b) = Node::new(1).fork().unwrap();
    assert_eq!(a.join(&b).unwrap(), Node::new(1));
    let a = a.event(2).unwrap();
    assert_eq!(a.join(&b).unwrap().content, Content::Value(2));
    assert_eq!(b.join(&a).unwrap().content, Content::Value(2));
    let b = b.event(2).unwrap();
    // Both changed, though to the same.
    let both = a.join(&b).unwrap();
    assert_eq!(both.content, Content::Conflict { first: 2, second: 2 });
    let (a, b) = both.fork().unwrap();
    assert_eq!(a.join(&b).unwrap().content, both.content);
    let a = a.event(7).unwrap();
    assert_eq!(a.join(&b).unwrap().content, Content::Value(7));
    let b = b.event(8).unwrap();
    assert_eq!(a.join(&b).unwrap().content, Content::Conflict { first: 7, second: 8 });
}

#[test]
fn a_conflict_is_decided_before_there_is_another_one() {
    let (node, other) = Node::new(1).fork().unwrap();
    let (first, second) = node.fork().unwrap();
    let torn = first.event(2).unwrap().join(&second.event(3).unwrap()).unwrap();
    assert_eq!(torn.join(&other).unwrap().content, torn.content);
    let changed = other.event(4).unwrap();
    assert_eq!(torn.join(&changed), Err(Error::Unresolved { first: true }));
    assert_eq!(changed.join(&torn), Err(Error::Unresolved { first: false }));
    let decided = torn.event(5).unwrap();
    assert_eq!(decided.join(&changed).unwrap().content, Content::Conflict { first: 5, second: 4 });
}

/// A value that was changed without an event: nobody can say which one counts.
#[test]
fn equal_stamps_with_different_values_are_a_conflict() {
    let (a, b) = Node::new(1).fork().unwrap();
    let b = Node { content: Content::Value(2), ..b };
    assert_eq!(a.join(&b).unwrap().content, Content::Conflict { first: 1, second: 2 });
}
