//! Trees as deep as they may be, on a small stack.

use std::thread;

use sutbot::itc::{DEPTH_MAX, Error, Id, Stamp};

use crate::forms::bits;

/// Half of what a thread of the service has, and this is without optimisation.
const STACK_BYTES: usize = 1024 * 1024;

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(test).expect("a thread");
    thread.join().expect("no panic");
}

/// Forks one part again and again until it is refused.
fn deepest() -> (Stamp, Vec<Stamp>) {
    let (mut stamp, mut others) = (Stamp::seed(), Vec::new());
    loop {
        match stamp.fork() {
            Ok((first, second)) => {
                stamp = first.event().expect("few");
                others.push(second);
            }
            Err(error) => {
                assert_eq!(error, Error::TooDeep);
                return (stamp, others);
            }
        }
    }
}

#[test]
fn all_operations_work_at_the_limit() {
    on_a_small_stack(|| {
        let (stamp, mut others) = deepest();
        assert_eq!((stamp.id().depth(), others.len()), (DEPTH_MAX, DEPTH_MAX));
        let next = stamp.event().unwrap();
        assert!(next.events().depth() <= DEPTH_MAX);
        assert!(stamp.happened_before(&next));
        assert_eq!(next.to_string().parse().as_ref(), Ok(&next));
        assert_eq!(Stamp::decode(&next.encode(), next.nodes()).as_ref(), Ok(&next));
        let last = others.pop().unwrap();
        let shallower = next.join(&last).unwrap();
        assert_eq!(shallower.id().depth(), DEPTH_MAX - 1);
        assert!(shallower.fork().is_ok());
        others.push(shallower);
        // The deepest ones first.
        let all = others.into_iter().rev().reduce(|a, b| a.join(&b).unwrap()).unwrap();
        assert_eq!(all.event().unwrap().nodes(), 2);
        drop(stamp.clone());
    });
}

#[test]
fn what_is_too_deep_is_refused_before_it_is_descended_into() {
    on_a_small_stack(|| {
        let text = format!("({}", "(0,".repeat(1_000_000));
        let error = Stamp::parse(&text, 10_000_000).unwrap_err();
        assert_eq!(error.message, "the tree would have more than 1000 levels");
        assert_eq!(error.position, 1 + 3 * DEPTH_MAX + 1);
        let text = format!("(1,{}", "(0,0,".repeat(1_000_000));
        assert!(Stamp::parse(&text, 10_000_000).is_err());
        assert!(Stamp::decode(&vec![0b0101_0101; 100_000], 10_000_000).is_err());
        let mut zeros = vec![0; 100_000];
        zeros[0] = 0b0010_0000;
        assert!(Stamp::decode(&zeros, 10_000_000).is_err());
        let deep = |levels: usize| bits(&format!("{}001 1000", "10".repeat(levels)));
        assert!(Stamp::decode(&deep(DEPTH_MAX), 10_000).is_ok());
        let error = Stamp::decode(&deep(DEPTH_MAX + 1), 10_000).unwrap_err();
        assert_eq!(error.message, "the tree would have more than 1000 levels");
        let mut id = Id::ONE;
        for _ in 0..DEPTH_MAX {
            id = Id::branch(id, Id::ZERO).unwrap();
        }
        assert_eq!(Id::branch(id, Id::ZERO), Err(Error::TooDeep));
    });
}
