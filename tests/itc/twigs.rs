//! However a stamp is kept, it is the same stamp.

use proptest::prelude::*;
use sutbot::itc::{Stamp, Twig};

use crate::support::config;

/// What happens to some of those that take part; numbers are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Act {
    Tick(usize),
    Share(usize, usize),
    Join(usize, usize),
    Hear(usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..64_usize;
    prop_oneof![
        6 => who().prop_map(Act::Tick),
        4 => (who(), 1..9_usize).prop_map(|(who, count)| Act::Share(who, count)),
        1 => (who(), 2..9_usize).prop_map(|(who, count)| Act::Join(who, count)),
        1 => (who(), who()).prop_map(|(a, b)| Act::Hear(a, b)),
    ]
}

fn check(twig: &Twig, stamp: &Stamp) {
    assert_eq!(twig.stamp(), *stamp);
    assert_eq!(twig.encode(), stamp.encode());
    assert_eq!(twig.peek(), stamp.peek());
    assert_eq!(twig.is_anonymous(), stamp.id().is_zero());
    assert_eq!(twig.shallowest(), stamp.id().shallowest());
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn twigs_are_the_stamps_that_they_stand_for(acts in prop::collection::vec(act(), 0..60)) {
        let mut all = vec![(Twig::from(Stamp::seed()), Stamp::seed())];
        for act in acts {
            let count = all.len();
            match act {
                Act::Tick(who) => {
                    let (twig, stamp) = &mut all[who % count];
                    prop_assert_eq!(twig.tick(), stamp.tick());
                }
                Act::Share(who, of) => {
                    let (twig, stamp) = &mut all[who % count];
                    let shares = (twig.share(of).unwrap(), stamp.share(of).unwrap());
                    all.push(shares);
                }
                Act::Join(from, so_many) => {
                    let first = from % count;
                    let joined = all.drain(first..count.min(first + so_many));
                    let (twigs, stamps): (Vec<Twig>, Vec<Stamp>) = joined.unzip();
                    let joined = Stamp::join_many(stamps).unwrap().unwrap();
                    all.push((Twig::join_many(twigs).unwrap().unwrap(), joined));
                }
                Act::Hear(who, whom) => {
                    let told = all[whom % count].1.peek();
                    let (twig, stamp) = &mut all[who % count];
                    prop_assert_eq!(twig.knows(&told), told.leq(stamp));
                    twig.absorb(told.clone()).unwrap();
                    stamp.absorb(told).unwrap();
                }
            }
            for (twig, stamp) in &all {
                check(twig, stamp);
            }
        }
    }
}
