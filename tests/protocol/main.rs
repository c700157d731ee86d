//! The protocol of leases, claims and outcomes, walked through in every order up to small bounds, and
//! again with one of its parts left out at a time: then the walk must meet what that part prevents.
//!
//! `SUTBOT_PROTOCOL=large` walks through larger worlds, which takes long.

#![expect(clippy::cast_possible_truncation, reason = "a handful of workers")]
#![expect(clippy::trivially_copy_pass_by_ref, reason = "the library passes the model by reference")]

mod model;

use model::{Mutation, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Two workers, one step; who is stopped for ever has crashed.
const SMALL: Protocol = Protocol { steps: 1, incarnations: 2, crashes: 0, without: None };

#[test]
fn the_protocol_holds() {
    let mut worlds = vec![SMALL];
    if std::env::var("SUTBOT_PROTOCOL").is_ok_and(|size| size == "large") {
        worlds.push(Protocol { crashes: 1, ..SMALL });
        worlds.push(Protocol { incarnations: 3, ..SMALL });
        worlds.push(Protocol { steps: 2, ..SMALL });
    }
    for world in worlds {
        let checker = world.checker().threads(2).spawn_bfs().join();
        println!(
            "{world:?}: {} states, {} deep",
            checker.unique_state_count(),
            checker.max_depth()
        );
        checker.assert_properties();
    }
}

#[test]
fn no_part_of_the_protocol_can_be_left_out() {
    use Mutation as M;
    let processes = "one process per step";
    let late = "who is over changes nothing";
    for (without, broken) in [
        (M::NoMargin, processes),
        (M::FenceOnlyInWorker, processes),
        (M::FenceFromAnswer, processes),
        (M::OtherTerms, processes),
        (M::RequeueBeforeMark, processes),
        (M::RenewalAfterTheEnd, late),
        (M::LateWordUnasked, late),
        (M::ClaimUnguarded, "it ends when the faults do"),
        (M::NoVersionCheck, "what was answered is stored"),
        (M::OutcomeUnchecked, "an attempt has one outcome"),
        (M::AnswerBeforeCommit, "what was answered is stored"),
        (M::CancelWithoutWaiting, "no process outlives its step"),
    ] {
        let world = Protocol { without: Some(without), ..SMALL };
        let until = HasDiscoveries::AnyOf([broken].into());
        let checker = world.checker().threads(2).finish_when(until).spawn_bfs().join();
        let path = checker.discovery(broken);
        let path = path.unwrap_or_else(|| panic!("without {without:?} it is still so: {broken}"));
        println!("{without:?}, so not {broken}: {:?}", path.into_actions());
    }
}
